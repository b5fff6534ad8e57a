//! Runs a transaction that writes, with retries.

use std::{
    marker::PhantomData,
    ops::Deref,
    time::{Duration, Instant},
};

use futures_util::future::BoxFuture;
use rand::RngExt;
use sea_orm::DbErr;
use tokio::time::sleep;

use super::{
    Database, DatabaseTransaction, Transaction,
    failure::{DatabaseFailure, Kind, kind},
};

/// How long a transaction is retried.
const TIME_MAX: Duration = Duration::from_secs(5);
/// Most times that it is run.
const RUNS_MAX: u32 = 20;
/// The longest pause before the second run; it doubles with each further run.
const PAUSE_FIRST: Duration = Duration::from_millis(10);
/// The upper limit of the pause.
const PAUSE_MAX: Duration = Duration::from_millis(400);

/// The transaction of a unit of work, which lives for `'txn`. What the work borrows lives for `'env`.
#[derive(Clone, Copy, Debug)]
pub struct Txn<'txn, 'env: 'txn> {
    txn: &'txn Transaction,
    borrows: PhantomData<&'env ()>,
}

/// Where a run failed.
enum Failed<E> {
    /// The transaction did not begin.
    Beginning(E),
    /// In the work: nothing is stored.
    Working(E),
    /// In the commit: whether it was done is unknown, unless the error says it.
    Committing(E),
}

impl Database {
    /// Runs `work` in a transaction and commits it: `db.transaction(|txn| Box::pin(async move { … }))`. All writes use it.
    ///
    /// It is retried where nothing was done and a retry may succeed: after a deadlock or a serialization failure, of a
    /// statement or of the commit, and after a session that was lost or read-only before the commit was sent. It is retried
    /// for up to 5 seconds and 20 times, with growing random pauses, so `work` must have no effect outside its transaction.
    /// After any other error the transaction is rolled back. If the caller is dropped, the transaction is rolled back or
    /// committed as a whole.
    ///
    /// # Errors
    /// Those of `work`, and any database error. If the commit fails, it is unknown whether it was done.
    pub async fn transaction<'env, T, E, W>(&self, work: W) -> Result<T, E>
    where
        W: for<'txn> Fn(Txn<'txn, 'env>) -> BoxFuture<'txn, Result<T, E>>,
        E: From<DbErr> + DatabaseFailure,
    {
        let begun = Instant::now();
        let mut runs = 1;
        loop {
            let failed = match self.run_once(&work).await {
                Ok(done) => {
                    self.writes.worked();
                    return Ok(done);
                }
                Err(failed) => failed,
            };
            let (retry, error) = failed.retry();
            if let Some(error) = error.database_error() {
                self.writes.failed(kind(error));
            }
            let pause = PAUSE_MAX.min(PAUSE_FIRST * 2_u32.pow(runs - 1));
            let pause = rand::rng().random_range(Duration::ZERO..pause);
            // A lost session may take seconds to be noticed, so the second run is allowed at any time.
            let is_over = runs == RUNS_MAX || (runs > 1 && begun.elapsed() + pause > TIME_MAX);
            if !retry || is_over {
                return Err(error);
            }
            sleep(pause).await;
            runs += 1;
        }
    }

    async fn run_once<'env, T, E, W>(&self, work: &W) -> Result<T, Failed<E>>
    where
        W: for<'txn> Fn(Txn<'txn, 'env>) -> BoxFuture<'txn, Result<T, E>>,
        E: From<DbErr>,
    {
        let txn = self.begin().await.map_err(|error| Failed::Beginning(error.into()))?;
        match work(Txn { txn: &txn, borrows: PhantomData }).await {
            Ok(done) => {
                txn.commit().await.map_err(|error| Failed::Committing(error.into()))?;
                Ok(done)
            }
            Err(error) => {
                txn.rollback().await.ok();
                Err(Failed::Working(error))
            }
        }
    }
}

impl<E: DatabaseFailure> Failed<E> {
    /// Whether nothing was done and a retry may succeed; and the error.
    fn retry(self) -> (bool, E) {
        let of = |error: &E| error.database_error().map(kind);
        match self {
            // Other errors were retried when the session was acquired.
            Self::Beginning(error) => (of(&error) == Some(Kind::ReadOnly), error),
            Self::Working(error) => {
                let retry = matches!(of(&error), Some(Kind::Conflict | Kind::Unavailable | Kind::ReadOnly));
                (retry, error)
            }
            Self::Committing(error) => {
                let retry = matches!(of(&error), Some(Kind::Conflict | Kind::ReadOnly));
                (retry, error)
            }
        }
    }
}

impl Deref for Txn<'_, '_> {
    type Target = DatabaseTransaction;

    fn deref(&self) -> &DatabaseTransaction {
        self.txn
    }
}
