//! What hot statements read: as much as they ask for, whatever the database believes about its tables.

use std::time::Duration;

use feebox::database::DatabaseTransaction;
use feebox::database::update_each::{Cell, Column, Type, UpdateEach};
use feebox::inspection;
use feebox::outbox::{EventStatus, statements};
use feebox::quotes::{self, FEE_SERVER, Status};
use feebox::sweeper::{self, Band, Bounds};
use feebox::{audit, submission};
use sea_orm::sea_query::SelectStatement;
use sea_orm::{ConnectionTrait, DbBackend, QueryTrait, Statement, Value};
use uuid::Uuid;

use crate::support::{Filling, TestOutbox, on_each_engine};

on_each_engine!(postgres, Postgres:
    statements_read_what_they_ask_for_on_tables_that_were_never_analysed,
    statements_read_what_they_ask_for_on_tables_that_were_analysed_empty_and_then_filled,
    statements_read_what_they_ask_for_on_tables_that_were_analysed_full_and_then_drained,
    statements_read_what_they_ask_for_beside_a_history_that_was_analysed_before_the_backlog_grew,
    statements_read_what_they_ask_for_on_tables_that_were_just_analysed,
    plans_of_a_small_table_are_not_kept_for_a_large_one,
);
on_each_engine!(mariadb, MariaDb:
    statements_read_what_they_ask_for_on_tables_that_were_never_analysed,
    statements_read_what_they_ask_for_on_tables_that_were_analysed_empty_and_then_filled,
    statements_read_what_they_ask_for_on_tables_that_were_analysed_full_and_then_drained,
    statements_read_what_they_ask_for_beside_a_history_that_was_analysed_before_the_backlog_grew,
    statements_read_what_they_ask_for_on_tables_that_were_just_analysed,
);
on_each_engine!(sqlite, Sqlite: each_statement_searches_by_an_index);

/// How many rows a table is filled with.
const ROWS: u64 = 50_000;
/// How many rows a statement asks for.
const LIMIT: u64 = 100;
/// How many keys a statement names.
const KEYS: u64 = 256;

async fn statements_read_what_they_ask_for_on_tables_that_were_never_analysed(outbox: TestOutbox) {
    let filling = Filling::without_upkeep(&outbox).await;
    filling.pending(1..=ROWS).await;
    each_reads_what_it_asks_for(&outbox, ROWS).await;
}

async fn statements_read_what_they_ask_for_on_tables_that_were_analysed_empty_and_then_filled(outbox: TestOutbox) {
    let filling = Filling::without_upkeep(&outbox).await;
    filling.analyse().await;
    filling.pending(1..=ROWS).await;
    each_reads_what_it_asks_for(&outbox, ROWS).await;
}

async fn statements_read_what_they_ask_for_on_tables_that_were_analysed_full_and_then_drained(outbox: TestOutbox) {
    let filling = Filling::without_upkeep(&outbox).await;
    filling.pending(1..=ROWS).await;
    filling.analyse().await;
    filling.deliver(1..=ROWS - 1_000).await;
    each_reads_what_it_asks_for(&outbox, ROWS).await;
}

async fn statements_read_what_they_ask_for_beside_a_history_that_was_analysed_before_the_backlog_grew(
    outbox: TestOutbox,
) {
    let filling = Filling::without_upkeep(&outbox).await;
    filling.pending(1..=ROWS).await;
    filling.deliver(1..=ROWS).await;
    filling.analyse().await;
    filling.pending(ROWS + 1..=2 * ROWS).await;
    each_reads_what_it_asks_for(&outbox, 2 * ROWS).await;
}

async fn statements_read_what_they_ask_for_on_tables_that_were_just_analysed(outbox: TestOutbox) {
    let filling = Filling::without_upkeep(&outbox).await;
    filling.pending(1..=ROWS).await;
    filling.deliver(1..=ROWS / 2).await;
    filling.analyse().await;
    each_reads_what_it_asks_for(&outbox, ROWS).await;
}

/// A connection that has run its statements on a table of a few rows keeps them prepared while the table grows.
async fn plans_of_a_small_table_are_not_kept_for_a_large_one(outbox: TestOutbox) {
    let filling = Filling::without_upkeep(&outbox).await;
    filling.pending(1..=5).await;
    filling.deliver(1..=3).await;
    filling.analyse().await;
    let hot = hot_statements(&outbox, ROWS).await;
    let txn = outbox.db.begin().await.unwrap();
    for it in &hot {
        it.keep_plan(&txn).await;
    }
    filling.pending(6..=ROWS).await;
    let mut over = vec![];
    for it in &hot {
        over.extend(it.reads_too_much(&txn).await);
    }
    assert!(over.is_empty(), "{over:#?}");
}

async fn each_statement_searches_by_an_index(outbox: TestOutbox) {
    let mut scans = vec![];
    for it in hot_statements(&outbox, ROWS).await {
        let explain = format!("EXPLAIN QUERY PLAN {}", it.statement.sql);
        let explain = Statement::from_sql_and_values(DbBackend::Sqlite, explain, it.statement.values.unwrap());
        let rows = outbox.db.connection().query_all_raw(explain).await.unwrap();
        let steps = rows.iter().map(|row| row.try_get::<String>("", "detail").unwrap());
        let known = ["outbox_event", "quote", "fee_record", "idempotency_key"];
        // The count of what settled last reads its index from the end, and stops.
        let scan =
            |step: &String| known.iter().any(|table| step == &format!("SCAN {table}")) || step.contains("FOR ORDER BY");
        scans.extend(steps.filter(scan).map(|step| format!("{}: {step}", it.name)));
    }
    assert!(scans.is_empty(), "{scans:#?}");
}

async fn each_reads_what_it_asks_for(outbox: &TestOutbox, last: u64) {
    let mut over = vec![];
    for it in hot_statements(outbox, last).await {
        let txn = outbox.db.begin().await.unwrap();
        over.extend(it.reads_too_much(&txn).await);
        it.keep_plan(&txn).await;
        over.extend(it.reads_too_much(&txn).await.map(|much| format!("{much}, by a kept plan")));
        txn.rollback().await.unwrap();
    }
    let behind = outbox.now().await - Duration::from_hours(1);
    for (number, question) in audit::queries(behind, Uuid::nil(), 10_000).into_iter().enumerate() {
        // An audit looks at each row once, and looks up two others for it at most.
        let it = Hot::new(outbox, format!("check {number}"), &question, 4 * last);
        let txn = outbox.db.begin().await.unwrap();
        over.extend(it.reads_too_much(&txn).await);
        txn.rollback().await.unwrap();
    }
    assert!(over.is_empty(), "{over:#?}");
}

/// A statement as Feebox sends it, and how many rows it may read.
struct Hot {
    name: String,
    statement: Statement,
    rows_max: u64,
}

/// All of them, about the last of the rows up to number `last`.
async fn hot_statements(outbox: &TestOutbox, last: u64) -> Vec<Hot> {
    let connection = outbox.db.connection();
    let backend = connection.get_database_backend();
    let now = outbox.now().await;
    let clock = outbox.db.clock().as_sql(backend);
    let events = || (last - KEYS + 1..=last).map(Filling::event);
    let of_quotes = || (last - KEYS + 1..=last).map(Filling::quote);
    let hour_ago = now - Duration::from_hours(1);
    let stale = Bounds::of(now, Duration::from_hours(1));
    let (oldest, youngest) = (Filling::stored_at(last - LIMIT), Filling::stored_at(last));
    let (asked, named) = (4 * LIMIT, 4 * KEYS);
    let hot = |name: &str, question: &SelectStatement, rows_max| Hot::new(outbox, name.into(), question, rows_max);
    let built = |name: &str, statement: Statement, rows_max| Hot { name: name.into(), statement, rows_max };
    let lease = statements::leased(events(), "worker", Uuid::nil(), now);
    let advance = quotes::statements::change(of_quotes(), &[Status::Pending], Status::Confirmed, None, now);
    let behind = Some((Filling::stored_at(last - 500), Uuid::nil()));
    let back_to_pending = UpdateEach {
        table: "outbox_event",
        to_all: &[("leased_until", Value::ChronoDateTimeUtc(None))],
        by_row: &[Column("status", Type::Text), Column("due_at", Type::Time)],
    };
    let rows = events().map(|id| (id, vec![Cell::Text("pending".into()), Cell::Keep])).collect();
    let mut all = vec![
        built("write down", back_to_pending.statements(backend, 512 * 1024, rows).remove(0), named + 2 * KEYS),
        hot("look", &statements::work_due(&FEE_SERVER, &clock), 10),
        built("claim", statements::due(&FEE_SERVER, now, 100).build(backend), asked),
        built("lease", lease.build(backend), named),
        built("lock", statements::locked(&FEE_SERVER, clock.clone(), events()).build(backend), named),
        built("rescue", statements::expired(now, LIMIT).build(backend), asked),
        built("ages of keys", submission::ages(now, LIMIT).build(backend), asked),
        built("deletion of keys", submission::deletion(oldest, youngest).build(backend), asked),
        built("advance", advance.build(backend), named),
        built("hand-overs", quotes::statements::handovers(&FEE_SERVER, of_quotes()).build(backend), named),
        built("stale", sweeper::oldest_stale(Band::Past, stale, None, LIMIT).build(backend), asked),
        built("stale behind", sweeper::oldest_stale(Band::Past, stale, behind, LIMIT).build(backend), asked),
        hot("number of stale", &sweeper::number_of_stale(Band::Past, stale, LIMIT), asked),
        built("stale ahead", sweeper::oldest_stale(Band::Ahead, stale, None, LIMIT).build(backend), asked),
        hot("delivered", &inspection::statements::numbers_of_delivered(backend, hour_ago, LIMIT), asked),
    ];
    let prunable = statements::prunable(backend, now, LIMIT).into_iter();
    all.extend(prunable.map(|question| built("retention", question.build(backend), asked)));
    let settled = inspection::statements::numbers_of_settled(backend, LIMIT);
    all.extend(settled.iter().map(|question| hot("settled", question, asked)));
    for status in [EventStatus::Pending, EventStatus::Leased, EventStatus::Dead] {
        all.push(hot("unsettled", &inspection::statements::number_of_unsettled(&FEE_SERVER, status, LIMIT), asked));
    }
    all
}

impl Hot {
    fn new(outbox: &TestOutbox, name: String, question: &SelectStatement, rows_max: u64) -> Self {
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
    async fn keep_plan(&self, txn: &DatabaseTransaction) {
        for _ in 0..8 {
            self.run(txn).await;
        }
    }

    /// Says so if it does.
    async fn reads_too_much(&self, txn: &DatabaseTransaction) -> Option<String> {
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
