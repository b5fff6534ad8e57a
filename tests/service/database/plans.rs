//! What hot statements read: as much as they ask for, whatever the database believes about its tables.

mod hot;
mod lists;
mod statements;

use std::time::Duration;

use feebox::audit;
use sea_orm::{ConnectionTrait, DbBackend, Statement};

use crate::support::{Filling, TestOutbox, on_each_engine};
use hot::Hot;
use lists::lists;
use statements::hot_statements;

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
/// How many of them, the oldest, have come to something rare.
const RARE: u64 = 400;
/// How many quotes a slice of an audit has.
const SLICE: u64 = 1_000;

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
    let hot = [hot_statements(&outbox, ROWS).await, lists(&outbox, ROWS)].concat();
    let txn = outbox.db.begin().await.unwrap();
    for it in &hot {
        it.keep_plan(&txn).await;
    }
    filling.pending(6..=ROWS).await;
    // Not those that the transaction has locked.
    filling.rare(6..=RARE).await;
    let mut over = vec![];
    for it in &hot {
        over.extend(it.reads_too_much(&txn).await);
    }
    assert!(over.is_empty(), "{over:#?}");
}

async fn each_statement_searches_by_an_index(outbox: TestOutbox) {
    let mut scans = vec![];
    for it in [hot_statements(&outbox, ROWS).await, lists(&outbox, ROWS)].concat() {
        let explain = format!("EXPLAIN QUERY PLAN {}", it.statement.sql);
        let explain = Statement::from_sql_and_values(DbBackend::Sqlite, explain, it.statement.values.unwrap());
        let rows = outbox.db.connection().query_all_raw(explain).await.unwrap();
        let steps = rows.iter().map(|row| row.try_get::<String>("", "detail").unwrap());
        let known = ["outbox_event", "quote", "fee_record", "idempotency_key", "operator_action"];
        // The count of what settled last reads its index from the end, and stops.
        // What a list reads a bounded piece of is sorted once more.
        let sorts = |step: &str| step.contains("FOR ORDER BY") && !it.statement.sql.contains("\"scanned\"");
        let scan = |step: &String| known.iter().any(|table| step == &format!("SCAN {table}")) || sorts(step);
        scans.extend(steps.filter(scan).map(|step| format!("{}: {step}", it.name)));
    }
    assert!(scans.is_empty(), "{scans:#?}");
}

/// Those that read too much, at the first run or by a kept plan.
async fn each_reads(outbox: &TestOutbox, all: Vec<Hot>) -> Vec<String> {
    let mut over = vec![];
    for it in all {
        let txn = outbox.db.begin().await.unwrap();
        over.extend(it.reads_too_much(&txn).await);
        it.keep_plan(&txn).await;
        over.extend(it.reads_too_much(&txn).await.map(|much| format!("{much}, by a kept plan")));
        txn.rollback().await.unwrap();
    }
    over
}

async fn each_reads_what_it_asks_for(outbox: &TestOutbox, last: u64) {
    let mut over = each_reads(outbox, hot_statements(outbox, last).await).await;
    Filling::of(outbox).rare(1..=RARE).await;
    over.extend(each_reads(outbox, lists(outbox, last)).await);
    let behind = outbox.now().await - Duration::from_hours(1);
    let (after, through) = (Filling::quote(last / 2), Filling::quote(last / 2 + SLICE));
    let ids: Vec<_> = (1..=128).map(|number| Filling::quote(number * last / 200)).collect();
    for (number, question) in audit::queries(behind, after, through, SLICE, &ids).into_iter().enumerate() {
        // A slice looks at each of its rows once, and looks up two others for it at most; its end counts four events a quote.
        let it = Hot::new(outbox, format!("query {number} of a slice"), &question, 4 * SLICE + 20);
        let txn = outbox.db.begin().await.unwrap();
        over.extend(it.reads_too_much(&txn).await);
        txn.rollback().await.unwrap();
    }
    assert!(over.is_empty(), "{over:#?}");
}
