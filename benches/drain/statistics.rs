//! The planner's statistics while the backlog is drained.

use std::fmt;

use clap::ValueEnum;
use feebox::database::Database;
use sea_orm::ConnectionTrait;

/// When the tables were analysed. Nothing analyses them while a backlog is drained.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Statistics {
    /// With the backlog
    Fresh,
    /// Before the backlog
    Stale,
    /// Never
    Never,
}

impl fmt::Display for Statistics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fresh => "fresh",
            Self::Stale => "stale",
            Self::Never => "never",
        })
    }
}

const TABLES: [&str; 3] = ["quote", "outbox_event", "fee_record"];

/// Turns autovacuum off: from now on only `analyse` updates the statistics. And `worker --once` finds that the audit has run: one of a
/// million quotes at its end would be measured, too.
pub async fn keep_still(db: &Database) -> anyhow::Result<()> {
    for table in TABLES {
        let sql = format!("ALTER TABLE {table} SET (autovacuum_enabled = false)");
        db.connection().execute_unprepared(&sql).await?;
    }
    let audited = "INSERT INTO schedule (name, last_tick_at, taken_by) VALUES ('audit', now(), 'bench')";
    db.connection().execute_unprepared(audited).await?;
    Ok(())
}

/// Updates the statistics.
pub async fn analyse(db: &Database) -> anyhow::Result<()> {
    db.connection().execute_unprepared("VACUUM ANALYZE").await?;
    Ok(())
}

/// Stores quotes that were delivered long ago.
pub async fn deliver(db: &Database, quotes: usize) -> anyhow::Result<()> {
    let at = "timestamptz '2026-01-01 00:00:00+00' + n * interval '1 second'";
    let id = |kind: &str| format!("CAST('0190000000007000{kind}000' || LPAD(TO_HEX(n), 12, '0') AS uuid)");
    let (fee, event, quote) = (id("a"), id("9"), id("8"));
    for sql in [
        format!(
            "INSERT INTO quote (id, customer_id, currency, amount_minor, lines, status, submitted_at, updated_at) \
             SELECT {quote}, 'customer-' || n % 100, 'EUR', 285000, '[{{\"description\": \"Consulting, one day\", \
             \"quantity\": 3, \"unit_price_minor\": 95000}}]', 'confirmed', {at}, {at} FROM generate_series(1, {quotes}) n"
        ),
        format!(
            "INSERT INTO outbox_event (id, aggregate_type, aggregate_id, event_type, destination, sequence, payload, \
             status, attempts, live_since, due_at, outcome_unknown, withdrawn, failures, created_at, settled_at) \
             SELECT {event}, 'quote', {quote}, 'quote.submitted', 'fee-server', 1, jsonb_build_object('quote_id', {quote}, \
             'customer_id', 'customer', 'currency', 'EUR', 'amount_minor', 285000), 'delivered', 1, {at}, {at}, FALSE, \
             FALSE, '[]', {at}, {at} FROM generate_series(1, {quotes}) n"
        ),
        format!(
            "INSERT INTO fee_record (id, quote_id, event_id, fee_id, currency, amount_minor, rate_bps, calculated_at, \
             created_at) SELECT {fee}, {quote}, {event}, 'fee-' || n, 'EUR', 4275, 150, {at}, {at} \
             FROM generate_series(1, {quotes}) n"
        ),
    ] {
        db.connection().execute_unprepared(&sql).await?;
    }
    Ok(())
}
