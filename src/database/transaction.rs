//! A transaction, and the one way to run one.

use std::{marker::PhantomData, ops::Deref, time::Duration};

use futures_util::future::BoxFuture;
use rand::RngExt;
use sea_orm::{DatabaseTransaction, DbErr, RuntimeErr, sqlx};
use tokio::{sync::OwnedMutexGuard, time::sleep};

use super::Database;

/// How often a transaction is run at most, when the database asks for it to be run again.
const TRIES_MAX: u32 = 8;
/// The longest pause before the second run; it doubles with each further one.
const PAUSE_MAX: Duration = Duration::from_millis(10);

/// A transaction that may write. Rolled back when dropped.
#[derive(Debug)]
pub struct Transaction {
    inner: DatabaseTransaction,
    _writer: Option<OwnedMutexGuard<()>>,
}

/// The transaction that a unit of work runs in, for as long as `'txn`; what the work borrows from outside lives for `'env`.
#[derive(Clone, Copy, Debug)]
pub struct Txn<'txn, 'env: 'txn> {
    txn: &'txn Transaction,
    borrows: PhantomData<&'env ()>,
}

/// An error that may have come from the database.
pub trait DatabaseFailure {
    /// The database's own error, if it is one.
    fn database_error(&self) -> Option<&DbErr>;
}

impl DatabaseFailure for DbErr {
    fn database_error(&self) -> Option<&DbErr> {
        Some(self)
    }
}

impl Database {
    /// Runs `work` in a transaction and commits it. The one way to run a transaction that writes:
    /// `db.transaction(|txn| Box::pin(async move { … }))`. What `work` uses from outside, it borrows.
    ///
    /// A deadlock or a serialization failure, of a statement or of the commit, means that nothing was done and that the
    /// same transaction may succeed now: it is run again, from its begin, up to 8 times in all with growing random pauses.
    /// So `work` has no effect but through its transaction. If it fails otherwise, the transaction is rolled back.
    ///
    /// # Errors
    /// Those of `work`; any database error. After an error of the commit it is unknown whether it is done.
    pub async fn transaction<'env, T, E, W>(&self, work: W) -> Result<T, E>
    where
        W: for<'txn> Fn(Txn<'txn, 'env>) -> BoxFuture<'txn, Result<T, E>>,
        E: From<DbErr> + DatabaseFailure,
    {
        let mut tries = 1;
        loop {
            let done = self.run_once(&work).await;
            match &done {
                Err(error) if tries < TRIES_MAX && error.database_error().is_some_and(asks_again) => {
                    let pause = rand::rng().random_range(Duration::ZERO..PAUSE_MAX * 2_u32.pow(tries - 1));
                    sleep(pause).await;
                    tries += 1;
                }
                _ => return done,
            }
        }
    }

    async fn run_once<'env, T, E, W>(&self, work: &W) -> Result<T, E>
    where
        W: for<'txn> Fn(Txn<'txn, 'env>) -> BoxFuture<'txn, Result<T, E>>,
        E: From<DbErr>,
    {
        let txn = self.begin().await?;
        let done = work(Txn { txn: &txn, borrows: PhantomData }).await;
        match done {
            Ok(done) => {
                txn.commit().await?;
                Ok(done)
            }
            Err(error) => {
                txn.rollback().await?;
                Err(error)
            }
        }
    }
}

/// Whether the database asks for the transaction to be run again: it has been rolled back for the sake of another one.
#[must_use]
pub fn asks_again(error: &DbErr) -> bool {
    let (DbErr::Conn(RuntimeErr::SqlxError(error))
    | DbErr::Exec(RuntimeErr::SqlxError(error))
    | DbErr::Query(RuntimeErr::SqlxError(error))) = error
    else {
        return false;
    };
    let sqlx::Error::Database(error) = error.as_ref() else { return false };
    // SQLSTATE: serialization failure, deadlock detected. MariaDB's lock wait time-out (1205) is a general error there.
    let code = error.code();
    matches!(code.as_deref(), Some("40001" | "40P01"))
        || error
            .try_downcast_ref::<sqlx::mysql::MySqlDatabaseError>()
            .is_some_and(|it| [1205, 1213].contains(&it.number()))
}

impl Transaction {
    pub(super) fn new(inner: DatabaseTransaction, writer: Option<OwnedMutexGuard<()>>) -> Self {
        Self { inner, _writer: writer }
    }

    /// Makes it durable. After an error it is unknown whether it is.
    ///
    /// # Errors
    /// Any database error.
    pub async fn commit(self) -> Result<(), DbErr> {
        self.inner.commit().await
    }

    /// Takes it back.
    ///
    /// # Errors
    /// Any database error; a transaction that is dropped is taken back too.
    pub async fn rollback(self) -> Result<(), DbErr> {
        self.inner.rollback().await
    }
}

impl Deref for Transaction {
    type Target = DatabaseTransaction;

    fn deref(&self) -> &DatabaseTransaction {
        &self.inner
    }
}

impl Deref for Txn<'_, '_> {
    type Target = DatabaseTransaction;

    fn deref(&self) -> &DatabaseTransaction {
        self.txn
    }
}
