//! A statement, and how many rows it reads.

use feebox::database::DatabaseTransaction;
use sea_orm::sea_query::SelectStatement;
use sea_orm::{ConnectionTrait, DbBackend, Statement};

use crate::support::TestOutbox;

/// A statement as Feebox sends it, and how many rows it may read.
#[derive(Clone)]
pub struct Hot {
    pub name: String,
    pub statement: Statement,
    pub rows_max: u64,
}

impl Hot {
    pub fn new(outbox: &TestOutbox, name: String, question: &SelectStatement, rows_max: u64) -> Self {
        let backend = outbox.db.connection().get_database_backend();
        Self { name, statement: backend.build(question), rows_max }
    }

    /// Reads its rows, also those that it changes.
    async fn run(&self, txn: &DatabaseTransaction) {
        if self.statement.sql.starts_with("SELECT") {
            txn.query_all_raw(self.statement.clone()).await.unwrap();
        } else {
            txn.execute_raw(self.statement.clone()).await.unwrap();
        }
    }

    /// `PostgreSQL` keeps a plan from the sixth run on.
    pub async fn keep_plan(&self, txn: &DatabaseTransaction) {
        for _ in 0..8 {
            self.run(txn).await;
        }
    }

    /// Says so if it does.
    pub async fn reads_too_much(&self, txn: &DatabaseTransaction) -> Option<String> {
        // What the question about rows costs itself is left out.
        let (first, before) = (rows_read(txn).await, rows_read(txn).await);
        self.run(txn).await;
        let read = rows_read(txn).await.saturating_sub(before).saturating_sub(before - first);
        let Self { name, rows_max, .. } = self;
        (read > *rows_max).then(|| format!("{name} read {read} rows, and may read {rows_max}"))
    }
}

/// How many rows this session has read so far, on `PostgreSQL` those of Feebox's tables in this transaction.
async fn rows_read(txn: &DatabaseTransaction) -> u64 {
    let sql = match txn.get_database_backend() {
        DbBackend::Postgres => {
            "SELECT COALESCE(SUM(seq_tup_read + COALESCE(idx_tup_fetch, 0)), 0)::bigint FROM pg_stat_xact_user_tables"
        }
        _ => {
            "SELECT CAST(SUM(variable_value) AS SIGNED) FROM information_schema.session_status \
             WHERE variable_name LIKE 'HANDLER_READ%'"
        }
    };
    let row = txn.query_one_raw(Statement::from_string(txn.get_database_backend(), sql)).await.unwrap().unwrap();
    let rows: i64 = row.try_get_by_index(0).unwrap();
    rows.try_into().unwrap()
}
