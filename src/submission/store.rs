//! Storing the quotes of one or of many calls, and everything that must be stored with them, in one transaction.

use std::{collections::HashSet, sync::Arc};

use chrono::{DateTime, Utc};
use sea_orm::{ConnectionTrait, DbBackend, DbErr, QueryResult, Statement};
use serde_json::json;
use uuid::Uuid;

use super::{ClientKey, Handover, Listener, SubmissionError, Submitted, run::Run, shared::Ending};
use crate::{
    clock, crash,
    database::{
        Database, DatabaseFailure, DatabaseTransaction, Kind, LOCK_SECONDS,
        insert_each::{IfTaken, InsertEach},
        is_refused, kind,
        update_each::{Cell, Column, Type},
    },
    quotes::{self, NewQuote, Quote, Status},
};

/// A row of the same key that another transaction has stored, or is about to commit, wins.
const KEYS: InsertEach = InsertEach {
    table: "idempotency_key",
    columns: &[
        Column("scope", Type::Text),
        Column("key", Type::Text),
        Column("request_sha256", Type::Text),
        Column("quote_ids", Type::Json),
        Column("created_at", Type::Time),
    ],
    also: &[],
    if_taken: IfTaken::SkipAndReturn(&["scope", "key"]),
};

/// What stores calls.
#[derive(Clone)]
pub(super) struct Store {
    pub(super) db: Database,
    pub(super) handover: Arc<dyn Handover>,
    pub(super) listeners: Vec<Arc<dyn Listener>>,
}

/// A call to be stored.
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub(super) new_quotes: Vec<NewQuote>,
    /// The name of the caller's token.
    pub(super) submitted_by: Option<String>,
    /// Its key, and the digest of its body.
    pub(super) key: Option<(ClientKey, String)>,
    pub(super) trace_context: Option<String>,
}

/// How long a transaction waits for another process that is storing the same key. Where several calls share it, none shall wait
/// for one key: that call is answered that its key is in flight. On `PostgreSQL` alone: `MariaDB` waits in whole seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum KeyWait {
    Short,
    Long,
}

/// What became of a call.
#[derive(Debug)]
pub(super) enum Stored {
    /// Its quotes are stored.
    New(Submitted),
    /// Nothing is stored: its key belongs to an earlier call.
    KeyTaken,
}

/// Why a transaction was rolled back.
struct Failed {
    /// The call, by its place, whose listener failed; none if it may be any.
    culprit: Option<usize>,
    /// It may be committed all the same.
    may_be_done: bool,
    /// Another process is storing a key of these calls.
    key_in_flight: bool,
    error: SubmissionError,
}

impl From<DbErr> for Failed {
    fn from(error: DbErr) -> Self {
        SubmissionError::from(error).into()
    }
}

impl From<SubmissionError> for Failed {
    fn from(error: SubmissionError) -> Self {
        Self { culprit: None, may_be_done: false, key_in_flight: false, error }
    }
}

impl DatabaseFailure for Failed {
    fn database_error(&self) -> Option<&DbErr> {
        self.error.database_error()
    }
}

impl Store {
    /// Stores `calls`, each as a whole or not at all, in one transaction if that is possible. What fails for one of them does
    /// not fail the others: it is left out, or found by halving them. Each commit is told to `ending`.
    pub(super) async fn store_all(
        &self,
        calls: Vec<Arc<Call>>,
        ending: &Ending,
    ) -> Vec<Result<Stored, SubmissionError>> {
        let mut results: Vec<_> = calls.iter().map(|_| None).collect();
        let wait = if calls.len() > 1 { KeyWait::Short } else { KeyWait::Long };
        let mut groups = vec![(0..calls.len()).collect::<Vec<_>>()];
        while let Some(mut group) = groups.pop() {
            let members: Vec<_> = group.iter().map(|place| &*calls[*place]).collect();
            match self.store(&members, wait, ending).await {
                Ok(stored) => {
                    for (place, stored) in group.into_iter().zip(stored) {
                        results[place] = Some(Ok(stored));
                    }
                }
                Err(Failed { culprit: Some(culprit), error, .. }) => {
                    results[group.remove(culprit)] = Some(Err(error));
                    groups.extend((!group.is_empty()).then_some(group));
                }
                Err(Failed { key_in_flight: true, .. }) if group.len() == 1 => {
                    results[group[0]] = Some(Err(SubmissionError::KeyInFlight));
                }
                Err(Failed { error, may_be_done: false, key_in_flight, .. })
                    if group.len() > 1 && (key_in_flight || may_be_about_one(&error)) =>
                {
                    let half = group.split_off(group.len() / 2);
                    groups.extend([half, group]);
                }
                Err(Failed { error, .. }) => {
                    for place in group {
                        results[place] = Some(Err(error.clone()));
                    }
                }
            }
        }
        // Each place is in one group, and each group ends.
        results.into_iter().flatten().collect()
    }

    /// What became of each of `calls`, all of which are stored but for those whose key is taken.
    async fn store(&self, calls: &[&Call], wait: KeyWait, ending: &Ending) -> Result<Vec<Stored>, Failed> {
        let run = &Run::default();
        let stored = self.db.transaction(|txn| {
            Box::pin(async move {
                // Run again, because the run before was rolled back.
                self.rolled_back(run).await;
                let at = self.db.begun_at(&txn);
                let mut ids = clock::ids(at);
                let submitted = calls.iter().map(|call| self.submitted(call, &mut ids, at)).collect::<Vec<_>>();
                // First: a call with the same key in another process waits here before it has stored anything.
                let is_new = store_keys(&txn, calls, &submitted, wait).await.map_err(|error| Failed {
                    key_in_flight: wait == KeyWait::Short && kind(&error) == Kind::Busy,
                    ..Failed::from(error)
                })?;
                let new = submitted.into_iter().zip(&is_new).filter_map(|(it, is_new)| is_new.then_some(it));
                let new = Arc::new(new.collect::<Vec<_>>());
                run.begins(Arc::clone(&new));
                quotes::insert(&txn, new.iter().flat_map(|it| &it.quotes)).await?;
                self.handover.before_commit(&txn, &new).await.map_err(SubmissionError::from)?;
                let places = is_new.iter().enumerate().filter_map(|(place, is_new)| is_new.then_some(place));
                for (submitted, place) in new.iter().zip(places) {
                    for listener in &self.listeners {
                        let done = listener.before_commit(&txn, submitted).await;
                        done.map_err(|error| Failed {
                            culprit: Some(place),
                            may_be_done: false,
                            key_in_flight: false,
                            error: error.into(),
                        })?;
                    }
                }
                crash::point("before-commit");
                run.commits();
                ending.begins();
                Ok::<_, Failed>((new, is_new))
            })
        });
        match stored.await {
            Ok((new, is_new)) => {
                // The process may die here: the clients have no answer, the quotes have their events, and the worker finds
                // them.
                crash::point("after-commit");
                // It shares the quotes, which would else be copied.
                run.take();
                let mut new = Arc::unwrap_or_clone(new).into_iter();
                let of = |is_new: bool| if is_new { new.next().map(Stored::New) } else { Some(Stored::KeyTaken) };
                Ok(is_new.into_iter().filter_map(of).collect())
            }
            Err(failed) => {
                // Statements that waited for the commit may fail in its place.
                let may_be_done = run.may_be_committed() && !failed.database_error().is_some_and(is_refused);
                if !may_be_done {
                    self.rolled_back(run).await;
                }
                Err(Failed { may_be_done, ..failed })
            }
        }
    }

    fn submitted(&self, call: &Call, ids: &mut impl FnMut() -> Uuid, at: DateTime<Utc>) -> Submitted {
        let destination = self.handover.destination().name();
        let quotes = call.new_quotes.iter().map(|new_quote| Quote {
            submitted_by: call.submitted_by.clone(),
            ..quote(new_quote, destination, ids(), at)
        });
        Submitted { quotes: quotes.collect(), trace_context: call.trace_context.clone(), at }
    }

    /// Notifies the listeners that the submissions of `run` were rolled back, if it began any.
    async fn rolled_back(&self, run: &Run) {
        for submitted in run.take().iter() {
            for listener in &self.listeners {
                listener.after_rollback(submitted).await;
            }
        }
    }
}

/// Whether one of several calls may be to blame, so that others can be stored without it.
fn may_be_about_one(error: &SubmissionError) -> bool {
    match error.database_error() {
        Some(error) => matches!(kind(error), Kind::TooLarge | Kind::Internal),
        None => true,
    }
}

/// Stores the keys of `calls`; answers which calls are new.
async fn store_keys(
    txn: &DatabaseTransaction,
    calls: &[&Call],
    submitted: &[Submitted],
    wait: KeyWait,
) -> Result<Vec<bool>, DbErr> {
    let keyed = calls.iter().zip(submitted).filter_map(|(call, it)| Some((call.key.as_ref()?, it)));
    let mut keyed: Vec<_> = keyed.collect();
    if keyed.is_empty() {
        return Ok(vec![true; calls.len()]);
    }
    // All processes store keys in one order: no two wait for each other.
    keyed.sort_unstable_by(|(one, _), (next, _)| (&one.0.scope, &one.0.key).cmp(&(&next.0.scope, &next.0.key)));
    let rows = keyed.into_iter().map(|((key, sha256), submitted)| {
        let ids: Vec<_> = submitted.quotes.iter().map(|quote| quote.id).collect();
        vec![
            Cell::Text(key.scope.clone()),
            Cell::Text(key.key.clone()),
            Cell::Text(sha256.clone()),
            Cell::Json(json!(ids)),
            Cell::Time(submitted.at),
        ]
    });
    let is_short = wait == KeyWait::Short && txn.get_database_backend() == DbBackend::Postgres;
    if is_short {
        set_lock_timeout(txn, "250ms").await?;
    }
    let stored = KEYS.run(txn, rows).await?;
    if is_short {
        set_lock_timeout(txn, &format!("{LOCK_SECONDS}s")).await?;
    }
    let mut stored: HashSet<_> = stored.iter().map(key_of).collect::<Result<_, _>>()?;
    // Taken out: of two calls with one key, one is stored.
    let is_new = |call: &&Call| call.key.as_ref().is_none_or(|(key, _)| stored.remove(key));
    Ok(calls.iter().map(is_new).collect())
}

async fn set_lock_timeout(txn: &DatabaseTransaction, timeout: &str) -> Result<(), DbErr> {
    let sql = format!("SET LOCAL lock_timeout = '{timeout}'");
    txn.execute_later(Statement::from_string(DbBackend::Postgres, sql)).await
}

fn key_of(row: &QueryResult) -> Result<ClientKey, DbErr> {
    Ok(ClientKey { scope: row.try_get("", "scope")?, key: row.try_get("", "key")? })
}

fn quote(new_quote: &NewQuote, destination: &str, id: Uuid, at: DateTime<Utc>) -> Quote {
    Quote {
        id,
        customer_id: new_quote.customer_id().into(),
        currency: new_quote.currency().into(),
        amount_minor: new_quote.amount_minor(),
        lines: json!(new_quote.lines()),
        destination: destination.into(),
        submitted_by: None,
        status: Status::Pending,
        status_reason: None,
        cancelled_by: None,
        submitted_at: at,
        updated_at: at,
    }
}
