//! The one way to run a transaction that writes.

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

/// For how long a transaction is run again, when the database asks for it.
const TIME_MAX: Duration = Duration::from_secs(5);
/// How often it is run at most.
const RUNS_MAX: u32 = 20;
/// The longest pause before the second run; it doubles with each further one.
const PAUSE_FIRST: Duration = Duration::from_millis(10);
/// The longest pause of all.
const PAUSE_MAX: Duration = Duration::from_millis(400);

/// The transaction that a unit of work runs in, for as long as `'txn`; what the work borrows from outside lives for `'env`.
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
    /// In the commit: unless the database says what it did, that is unknown.
    Committing(E),
}

impl Database {
    /// Runs `work` in a transaction and commits it. The one way to run a transaction that writes:
    /// `db.transaction(|txn| Box::pin(async move { … }))`. What `work` uses from outside, it borrows.
    ///
    /// A deadlock or a serialization failure, of a statement or of the commit, means that nothing was done and that the
    /// same transaction may succeed now; so does a session that was lost or led to a read-only server before the commit
    /// was sent. Then it is run again, from its begin, for up to 5 seconds and 20 times with growing random pauses. So
    /// `work` has no effect but through its transaction. If it fails otherwise, the transaction is rolled back. A caller
    /// that goes away in the middle leaves it rolled back, or committed as a whole.
    ///
    /// # Errors
    /// Those of `work`; any database error. After an error of the commit it is unknown whether it is done.
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
            let (again, error) = failed.run_again();
            if let Some(error) = error.database_error() {
                self.writes.failed(kind(error));
            }
            let pause = PAUSE_MAX.min(PAUSE_FIRST * 2_u32.pow(runs - 1));
            let pause = rand::rng().random_range(Duration::ZERO..pause);
            // It may take seconds until a lost session is noticed: that costs nobody the second run.
            let is_over = runs == RUNS_MAX || (runs > 1 && begun.elapsed() + pause > TIME_MAX);
            if !again || is_over {
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
    /// Whether nothing was done and the same may succeed now; and the error.
    fn run_again(self) -> (bool, E) {
        let of = |error: &E| error.database_error().map(kind);
        match self {
            // Sessions were tried anew already, for as long as a caller waits.
            Self::Beginning(error) => (of(&error) == Some(Kind::ReadOnly), error),
            Self::Working(error) => {
                let again = matches!(of(&error), Some(Kind::Conflict | Kind::Unavailable | Kind::ReadOnly));
                (again, error)
            }
            Self::Committing(error) => {
                let again = matches!(of(&error), Some(Kind::Conflict | Kind::ReadOnly));
                (again, error)
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
