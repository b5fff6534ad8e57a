//! A service that acts on what Feebox tells Kafka, once for each event.
//!
//! Kafka may tell an event twice: when a worker or this consumer died at the wrong moment. Each record carries its event's id, `ce_id`,
//! and is told twice with the same one. So the id goes into an inbox, in the transaction that does what follows from the event: the
//! second time the inbox has it, and nothing follows.
//!
//! `cargo run --example inbox --features kafka -- BROKERS DATABASE_URL` keeps one row for each quote: where it stands.

use anyhow::Context;
use rdkafka::{
    ClientConfig, Message,
    consumer::{CommitMode, Consumer, StreamConsumer},
    message::{BorrowedMessage, Headers},
};
use sea_orm::{ConnectionTrait, Database, DatabaseConnection, Statement, TransactionTrait};

const TABLES: [&str; 2] = [
    "CREATE TABLE IF NOT EXISTS inbox (ce_id VARCHAR(36) PRIMARY KEY)",
    "CREATE TABLE IF NOT EXISTS quote_step (quote_id VARCHAR(36) PRIMARY KEY, step VARCHAR(32) NOT NULL, steps INT NOT NULL)",
];

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let (brokers, url) = arguments.next().zip(arguments.next()).context("name the brokers and the database")?;
    let db = Database::connect(url).await?;
    for table in TABLES {
        db.execute_unprepared(table).await?;
    }
    let consumer: StreamConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", "quote-steps")
        // Nothing that was told before this group existed is missed.
        .set("auto.offset.reset", "earliest")
        // What another producer's transaction rolled back was never said.
        .set("isolation.level", "read_committed")
        // The place is kept after the work is stored, never before.
        .set("enable.auto.commit", "false")
        .create()?;
    consumer.subscribe(&["feebox.quotes"])?;
    loop {
        let record = consumer.recv().await?;
        act_on(&db, &record).await?;
        // Who dies here is told the record once more.
        consumer.commit_message(&record, CommitMode::Async)?;
    }
}

/// Does what follows from `record`, unless that is done. An error ends this process: a supervisor starts it again, and the record comes
/// again.
async fn act_on(db: &DatabaseConnection, record: &BorrowedMessage<'_>) -> anyhow::Result<()> {
    let header = |name: &str| {
        let header = record.headers()?.iter().find(|header| header.key == name)?;
        std::str::from_utf8(header.value?).ok()
    };
    let (Some(id), Some(step), Some(quote)) = (header("ce_id"), header("ce_type"), header("ce_subject")) else {
        // Somebody else's record.
        return Ok(());
    };
    let backend = db.get_database_backend();
    let txn = db.begin().await?;
    let known = if backend == sea_orm::DbBackend::MySql {
        "INSERT IGNORE INTO inbox VALUES (?)"
    } else {
        "INSERT INTO inbox VALUES ($1) ON CONFLICT DO NOTHING"
    };
    let is_new =
        txn.execute_raw(Statement::from_sql_and_values(backend, known, [id.into()])).await?.rows_affected() == 1;
    if is_new {
        let next = if backend == sea_orm::DbBackend::MySql {
            "INSERT INTO quote_step VALUES (?, ?, 1) ON DUPLICATE KEY UPDATE step = VALUES(step), steps = steps + 1"
        } else {
            "INSERT INTO quote_step VALUES ($1, $2, 1) \
             ON CONFLICT (quote_id) DO UPDATE SET step = excluded.step, steps = quote_step.steps + 1"
        };
        txn.execute_raw(Statement::from_sql_and_values(backend, next, [quote.into(), step.into()])).await?;
    }
    // Id and step together: who dies before this line has done neither.
    txn.commit().await?;
    Ok(())
}
