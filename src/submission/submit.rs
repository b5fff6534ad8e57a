//! Storing quotes and everything that must be stored with them, in one transaction.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use data_encoding::HEXLOWER;
use entity::idempotency_key;
use sea_orm::{ActiveValue::Set, DbErr, EntityTrait, SqlErr};
use serde_json::json;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::{Handover, Listener, ListenerError, Submitted, in_flight::InFlight, run::Run};
use crate::{
    clock, crash,
    database::{Database, DatabaseFailure, DatabaseTransaction, Kind, kind},
    quotes::{self, NewQuote, Quote, Relay, Status},
    telemetry::metrics,
};

/// The unit of work behind `POST /v1/quotes`.
#[derive(Clone)]
pub struct Submission {
    pub(super) db: Database,
    handover: Arc<dyn Handover>,
    pub(super) listeners: Vec<Arc<dyn Listener>>,
    in_flight: InFlight,
}

/// A client's `Idempotency-Key` and whose it is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ClientKey {
    /// The caller's token name.
    pub scope: String,
    /// 1 to 255 visible ASCII characters.
    pub key: String,
}

/// The answer to a submission.
#[derive(Clone, Debug)]
pub struct StoredQuotes {
    /// The quotes as they were stored, in the order of the call.
    pub quotes: Vec<Quote>,
    /// An earlier call with the same key stored them.
    pub replayed: bool,
}

/// Why nothing was submitted.
#[derive(Debug, thiserror::Error)]
pub enum SubmissionError {
    /// The same key came with another body.
    #[error("this Idempotency-Key was used for another submission")]
    KeyReused,
    /// A call with this key is still in flight.
    #[error("a submission with this Idempotency-Key is still in flight")]
    KeyInFlight,
    /// A listener refused; nothing is stored.
    #[error("{0}")]
    Refused(String),
    /// A part of it could not be done; nothing is stored, and the client may repeat the call.
    #[error("{0}")]
    Unavailable(String),
    /// The database failed. If it was the commit that failed, it is unknown whether something is stored. The client may
    /// repeat the call; with a key it does not store twice.
    #[error("the database failed")]
    Database(#[from] DbErr),
}

impl DatabaseFailure for SubmissionError {
    fn database_error(&self) -> Option<&DbErr> {
        match self {
            Self::Database(error) => Some(error),
            Self::KeyReused | Self::KeyInFlight | Self::Refused(_) | Self::Unavailable(_) => None,
        }
    }
}

impl From<ListenerError> for SubmissionError {
    fn from(error: ListenerError) -> Self {
        match error {
            ListenerError::Database(error) => Self::Database(error),
            ListenerError::Refused(why) => Self::Refused(why),
            ListenerError::Unavailable(why) => Self::Unavailable(why),
        }
    }
}

impl Submission {
    /// Submissions into `db`, whose quotes `handover` brings to their destination; `listeners` add further reactions.
    #[must_use]
    pub fn new(db: Database, handover: Arc<dyn Handover>, listeners: Vec<Arc<dyn Listener>>) -> Self {
        Self { db, handover, listeners, in_flight: InFlight::default() }
    }

    /// Stores the news of what becomes of quotes.
    #[must_use]
    pub fn relay(&self) -> Relay {
        self.handover.relay()
    }

    /// Stores `new_quotes` and everything that belongs to them, all or nothing.
    ///
    /// # Errors
    /// See [`SubmissionError`]; nothing is stored, except that a failed commit may have been done.
    pub async fn submit(
        &self,
        new_quotes: &[NewQuote],
        key: Option<&ClientKey>,
        trace_context: Option<String>,
    ) -> Result<StoredQuotes, SubmissionError> {
        let Some(key) = key else {
            let submitted = self.store(new_quotes, None, trace_context).await?;
            return Ok(StoredQuotes { quotes: submitted, replayed: false });
        };
        let _held = self.in_flight.enter(key).ok_or(SubmissionError::KeyInFlight)?;
        let sha256 = digest(new_quotes);
        if let Some(stored) = self.replay(key, &sha256).await? {
            return Ok(stored);
        }
        match self.store(new_quotes, Some((key, &sha256)), trace_context).await {
            // Another process stored the same key first: ours waited for its commit and was rolled back. Or our own commit is
            // done, and the answer to it was lost.
            Err(SubmissionError::Database(error)) if is_unique_violation(&error) || may_be_done(&error) => {
                let stored = self.replay(key, &sha256).await;
                if is_unique_violation(&error) {
                    stored?.ok_or(SubmissionError::Database(error))
                } else {
                    stored.ok().flatten().ok_or(SubmissionError::Database(error))
                }
            }
            stored => Ok(StoredQuotes { quotes: stored?, replayed: false }),
        }
    }

    async fn store(
        &self,
        new_quotes: &[NewQuote],
        key: Option<(&ClientKey, &str)>,
        trace_context: Option<String>,
    ) -> Result<Vec<Quote>, SubmissionError> {
        let (run, trace_context) = (&Run::default(), &trace_context);
        let stored = self.db.transaction(|txn| {
            Box::pin(async move {
                // Run again, because the run before was rolled back.
                self.rolled_back(run).await;
                let at = self.db.now(&*txn).await?;
                let mut ids = clock::ids(at);
                let quotes = new_quotes
                    .iter()
                    .map(|new_quote| quote(new_quote, self.handover.destination().name(), ids(), at))
                    .collect();
                let submitted = Submitted { quotes, trace_context: trace_context.clone(), at };
                run.begins(&submitted);
                if let Some((key, sha256)) = key {
                    // First, so that a second call with the same key waits here before it has stored anything.
                    store_key(&txn, key, sha256, &submitted).await?;
                }
                quotes::insert(&txn, &submitted.quotes).await?;
                self.handover.before_commit(&txn, std::slice::from_ref(&submitted)).await?;
                for listener in &self.listeners {
                    listener.before_commit(&txn, &submitted).await?;
                }
                crash::point("before-commit");
                run.commits();
                Ok(submitted)
            })
        });
        let submitted = match stored.await {
            Ok(submitted) => submitted,
            Err(error) => {
                if !run.may_be_committed() {
                    self.rolled_back(run).await;
                }
                return Err(error);
            }
        };
        // The process may die here: the client has no answer, the quote has its event, and the worker finds it.
        crash::point("after-commit");
        metrics::quotes_submitted(submitted.quotes.len() as u64);
        self.handover.after_commit(&submitted).await;
        for listener in &self.listeners {
            listener.after_commit(&submitted).await;
        }
        Ok(submitted.quotes)
    }

    /// Notifies the listeners that the submission of `run` was rolled back, if it began one.
    async fn rolled_back(&self, run: &Run) {
        if let Some(submitted) = run.take() {
            for listener in &self.listeners {
                listener.after_rollback(&submitted).await;
            }
        }
    }

    /// The answer of the first call with `key`, if there was one.
    async fn replay(&self, key: &ClientKey, sha256: &str) -> Result<Option<StoredQuotes>, SubmissionError> {
        let db = self.db.connection();
        let id = (key.scope.clone(), key.key.clone());
        let Some(stored) = idempotency_key::Entity::find_by_id(id).one(db).await? else {
            return Ok(None);
        };
        if stored.request_sha256 != sha256 {
            return Err(SubmissionError::KeyReused);
        }
        let ids: Vec<Uuid> = serde_json::from_value(stored.quote_ids).unwrap_or_default();
        let quotes = quotes::by_ids(db, &ids).await?;
        // As it was answered then, whatever has become of them since.
        let as_stored = |quote| Quote { status: Status::Pending, status_reason: None, ..quote };
        let quotes = quotes.into_iter().map(|found| as_stored(found.quote)).collect();
        Ok(Some(StoredQuotes { quotes, replayed: true }))
    }
}

async fn store_key(
    txn: &DatabaseTransaction,
    key: &ClientKey,
    sha256: &str,
    submitted: &Submitted,
) -> Result<(), DbErr> {
    let ids: Vec<_> = submitted.quotes.iter().map(|quote| quote.id).collect();
    let row = idempotency_key::ActiveModel {
        scope: Set(key.scope.clone()),
        key: Set(key.key.clone()),
        request_sha256: Set(sha256.into()),
        quote_ids: Set(json!(ids)),
        created_at: Set(submitted.at),
    };
    idempotency_key::Entity::insert(row).exec_without_returning(txn).await.map(drop)
}

fn quote(new_quote: &NewQuote, destination: &str, id: Uuid, at: DateTime<Utc>) -> Quote {
    Quote {
        id,
        customer_id: new_quote.customer_id().into(),
        currency: new_quote.currency().into(),
        amount_minor: new_quote.amount_minor(),
        lines: json!(new_quote.lines()),
        destination: destination.into(),
        status: Status::Pending,
        status_reason: None,
        submitted_at: at,
        updated_at: at,
    }
}

/// Of the values, not of the bytes: white space and the order of fields do not make another submission.
fn digest(new_quotes: &[NewQuote]) -> String {
    HEXLOWER.encode(&Sha256::digest(json!(new_quotes).to_string()))
}

/// Whether a transaction that failed with `error` may have been committed: its session was lost.
fn may_be_done(error: &DbErr) -> bool {
    matches!(error, DbErr::Exec(_)) && kind(error) == Kind::Unavailable
}

fn is_unique_violation(error: &DbErr) -> bool {
    matches!(error.sql_err(), Some(SqlErr::UniqueConstraintViolation(_)))
}
