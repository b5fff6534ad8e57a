//! A client's call: its key, its answer, and the answer of an earlier call with the same key.

use std::sync::Arc;

use data_encoding::HEXLOWER;
use entity::idempotency_key;
use sea_orm::{DbErr, EntityTrait};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::{
    Handover, Listener, ListenerError, Submitted,
    in_flight::InFlight,
    shared::{Ending, Shared},
    store::{Call, Store, Stored},
};
use crate::{
    database::{Database, DatabaseFailure, Kind, kind},
    outbox,
    quotes::{self, NewQuote, QUOTE_SUBMITTED, Quote, Relay, Status},
    telemetry::metrics,
};

/// The most quotes of several calls that one transaction stores.
const QUOTES_TOGETHER_MAX: usize = 500;
/// Most transactions of submissions at a time, if some wait for a lock. The database is shared with others.
const TRANSACTIONS_MAX: usize = 4;
/// How often a key is tried whose other call has gone without a trace meanwhile.
const KEY_TRIES_MAX: u32 = 3;

/// The unit of work behind `POST /v1/quotes`.
#[derive(Clone)]
pub struct Submission {
    pub(super) store: Store,
    /// For calls that share transactions, if the handover permits it.
    shared: Option<Shared<Arc<Call>, Result<Stored, SubmissionError>>>,
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
#[derive(Clone, Debug, thiserror::Error)]
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
        let store = Store { db, handover, listeners };
        let shared = store.handover.shares_transactions().then(|| {
            let under_way_max = if store.db.has_one_writer() { 1 } else { TRANSACTIONS_MAX };
            let store = store.clone();
            Shared::new(QUOTES_TOGETHER_MAX, under_way_max, move |calls, ending| {
                let store = store.clone();
                async move { store.store_all(calls, &ending).await }
            })
        });
        Self { store, shared, in_flight: InFlight::default() }
    }

    /// Stores the news of what becomes of quotes.
    #[must_use]
    pub fn relay(&self) -> Relay {
        self.store.handover.relay()
    }

    /// Stores `new_quotes`, which are nobody's, and everything that belongs to them, all or nothing.
    ///
    /// # Errors
    /// As [`submit_by`](Self::submit_by).
    pub async fn submit(
        &self,
        new_quotes: &[NewQuote],
        key: Option<&ClientKey>,
        trace_context: Option<String>,
    ) -> Result<StoredQuotes, SubmissionError> {
        self.submit_by(None, new_quotes, key, trace_context).await
    }

    /// Stores `new_quotes` of the owner of token `name` and everything that belongs to them, all or nothing.
    ///
    /// # Errors
    /// See [`SubmissionError`]; nothing is stored, except that a failed commit may have been done.
    pub async fn submit_by(
        &self,
        name: Option<&str>,
        new_quotes: &[NewQuote],
        key: Option<&ClientKey>,
        trace_context: Option<String>,
    ) -> Result<StoredQuotes, SubmissionError> {
        let _entered = match key {
            Some(key) => Some(self.in_flight.enter(key).ok_or(SubmissionError::KeyInFlight)?),
            None => None,
        };
        let key = key.map(|key| (key.clone(), digest(new_quotes)));
        let submitted_by = name.map(str::to_owned);
        let call = Arc::new(Call { new_quotes: new_quotes.to_vec(), submitted_by, key, trace_context });
        for _ in 0..KEY_TRIES_MAX {
            let error = match self.store(Arc::clone(&call)).await {
                Ok(Stored::New(submitted)) => return Ok(self.committed(submitted).await),
                Ok(Stored::KeyTaken) => None,
                // Our own commit may be done, and the answer to it lost.
                Err(SubmissionError::Database(error)) if may_be_done(&error) => Some(error),
                Err(error) => return Err(error),
            };
            let stored = match &call.key {
                Some((key, sha256)) => self.replay(key, sha256).await,
                None => Ok(None),
            };
            match (stored, error) {
                (Ok(Some(stored)), _) => return Ok(stored),
                (Err(SubmissionError::KeyReused), _) => return Err(SubmissionError::KeyReused),
                (_, Some(error)) => return Err(error.into()),
                (stored, None) => stored.map(drop)?,
            }
        }
        Err(SubmissionError::KeyInFlight)
    }

    /// Stores `call` together with those that come while others are under way, or alone.
    async fn store(&self, call: Arc<Call>) -> Result<Stored, SubmissionError> {
        let Some(shared) = &self.shared else {
            return self.store.store_all(vec![call], &Ending::of_one()).await.pop().unwrap_or_else(unanswered);
        };
        let quotes = call.new_quotes.len();
        shared.call(call, quotes).await.unwrap_or_else(|_| unanswered())
    }

    /// Whether a submission with `key` is stored.
    ///
    /// # Errors
    /// Any database error.
    pub async fn has_stored(&self, key: &ClientKey) -> Result<bool, DbErr> {
        let id = (key.scope.clone(), key.key.clone());
        Ok(idempotency_key::Entity::find_by_id(id).one(self.store.db.connection()).await?.is_some())
    }

    /// How many quotes that the owners of `name` submitted wait to be handed over; counted up to one above `most`.
    ///
    /// # Errors
    /// Any database error.
    pub async fn waiting_of(&self, name: &str, most: usize) -> Result<usize, DbErr> {
        let destination = self.store.handover.destination().name();
        outbox::waiting_of(self.store.db.connection(), destination, &QUOTE_SUBMITTED, name, most).await
    }

    /// What follows a commit.
    async fn committed(&self, submitted: Submitted) -> StoredQuotes {
        metrics::quotes_submitted(submitted.quotes.len() as u64);
        self.store.handover.after_commit(&submitted).await;
        for listener in &self.store.listeners {
            listener.after_commit(&submitted).await;
        }
        StoredQuotes { quotes: submitted.quotes, replayed: false }
    }

    /// The answer of the first call with `key`, if there was one.
    async fn replay(&self, key: &ClientKey, sha256: &str) -> Result<Option<StoredQuotes>, SubmissionError> {
        let db = self.store.db.connection();
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
        let as_stored = |quote| Quote { status: Status::Pending, status_reason: None, cancelled_by: None, ..quote };
        let quotes = quotes.into_iter().map(|found| as_stored(found.quote)).collect();
        Ok(Some(StoredQuotes { quotes, replayed: true }))
    }
}

fn unanswered() -> Result<Stored, SubmissionError> {
    Err(SubmissionError::Database(DbErr::Custom("the transaction ended without a result".into())))
}

/// Of the values, not of the bytes: white space and the order of fields do not make another submission.
fn digest(new_quotes: &[NewQuote]) -> String {
    HEXLOWER.encode(&Sha256::digest(serde_json::to_vec(new_quotes).expect("no map with keys that are no text")))
}

/// Whether a transaction that failed with `error` may have been committed: its session was lost.
fn may_be_done(error: &DbErr) -> bool {
    matches!(error, DbErr::Exec(_)) && kind(error) == Kind::Unavailable
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quotes::Line;

    #[test]
    fn a_submission_has_the_digest_that_earlier_versions_gave_it() {
        let line = Line::parse("a \"day\"", 3, 95_000).expect("valid");
        let quote = NewQuote::parse("C-7", "EUR", vec![line]).expect("valid");
        let text = concat!(
            r#"[{"amount_minor":285000,"currency":"EUR","customer_id":"C-7","#,
            r#""lines":[{"description":"a \"day\"","quantity":3,"unit_price_minor":95000}]}]"#
        );
        assert_eq!(digest(&[quote]), HEXLOWER.encode(&Sha256::digest(text)));
    }
}
