//! Fills a database with a long history and a backlog, by statements of its own.

use chrono::Utc;
use sea_orm::DbBackend;

use super::stage::Stage;

/// Rows a statement.
const CHUNK: u64 = 250_000;
/// Events that were cancelled.
const CANCELLED: u64 = 1_000;

/// How many rows there are to be.
pub(super) struct Fill {
    pub delivered: u64,
    pub waiting: u64,
    /// Of two causes, the second of which has each fifth.
    pub dead: u64,
}

/// Rows with the same fate.
struct Part<'a> {
    /// The time of all statements, as text.
    now: &'a str,
    first: u64,
    last: u64,
    /// How long ago the last of them was stored, and how long before the one after it each was.
    ended_seconds_ago: u64,
    step_microseconds: u64,
    quote: &'a str,
    event: &'a str,
}

impl Fill {
    /// Fills the tables; returns the id of one of the quotes.
    pub(super) async fn run(&self, stage: &Stage) -> anyhow::Result<String> {
        let Self { delivered, waiting, dead } = *self;
        let parts = [
            ("confirmed", "delivered", delivered, 7_200, 100_000),
            ("pending", "pending", waiting, 60, 12_000),
            ("rejected", "dead", dead, 86_400, 12_000),
            ("cancelled", "cancelled", CANCELLED, 86_400, 12_000),
        ];
        let now = Utc::now().format("%Y-%m-%d %H:%M:%S").to_string();
        let mut first = 1;
        for (quote, event, rows, ended_seconds_ago, step_microseconds) in parts {
            let last = first + rows - 1;
            let part = Part { now: &now, first, last, ended_seconds_ago, step_microseconds, quote, event };
            part.store(stage).await?;
            first = last + 1;
        }
        stage.settle().await?;
        stage.tidy().await?;
        stage.text(&format!("SELECT {} AS text FROM quote WHERE status = 'rejected' LIMIT 1", uuid_text(stage))).await
    }
}

impl Part<'_> {
    async fn store(&self, stage: &Stage) -> anyhow::Result<()> {
        let mut first = self.first;
        while first <= self.last {
            let last = self.last.min(first + CHUNK - 1);
            for sql in self.statements(stage, first, last) {
                stage.execute(&sql).await?;
            }
            first = last + 1;
        }
        Ok(())
    }

    /// A quote, its event and, if that is delivered, its fee record, for each number.
    fn statements(&self, stage: &Stage, first: u64, last: u64) -> Vec<String> {
        let (postgres, now) = (stage.backend() == DbBackend::Postgres, self.now);
        let ago = format!("{} + ({} - n) * {}", self.ended_seconds_ago * 1_000_000, self.last, self.step_microseconds);
        let numbered = if postgres {
            format!(
                "(SELECT n, timestamptz '{now}+00' - ({ago}) * interval '1 microsecond' AS at \
                 FROM generate_series({first}::bigint, {last}) AS n) AS numbered"
            )
        } else {
            format!(
                "(SELECT n, TIMESTAMP '{now}' - INTERVAL ({ago}) MICROSECOND AS at \
                 FROM (SELECT CAST(seq AS SIGNED) AS n FROM seq_{first}_to_{last}) AS numbers) AS numbered"
            )
        };
        let id = |kind: u8| {
            if postgres {
                format!(
                    "CAST(lpad(to_hex((extract(epoch FROM at) * 1000)::bigint), 12, '0') || '70008{kind}' || \
                     lpad(to_hex(n), 14, '0') AS uuid)"
                )
            } else {
                format!(
                    "UNHEX(CONCAT(LPAD(HEX(TIMESTAMPDIFF(MICROSECOND, '1970-01-01', at) DIV 1000), 12, '0'), '70008{kind}', \
                     LPAD(HEX(n), 14, '0')))"
                )
            }
        };
        let (quote_id, event_id, fee_id) = (id(0), id(1), id(2));
        let (lines, customer) = (if postgres { "lines" } else { "`lines`" }, "CONCAT('customer-', n % 5000)");
        let later = |by: &str| format!("at + INTERVAL {}", if postgres { format!("'{by}'") } else { by.to_owned() });
        let (settled, lease_end) = (later("1 second"), later("30 second"));
        let (quote, event) = (self.quote, self.event);
        let (delivered, waits) = (event == "delivered", event == "pending");
        let only = |condition: bool, value: &str| if condition { value.to_owned() } else { "NULL".to_owned() };
        let error = match event {
            "dead" => {
                "CASE WHEN n % 5 = 0 THEN '400 Bad Request: no such currency' ELSE '422 Unprocessable Entity: unavailable' END"
            }
            // Each thirtieth has failed once.
            "pending" => "CASE WHEN n % 30 = 0 THEN '503 Service Unavailable: try again later' END",
            _ => "NULL",
        };
        let cause = match event {
            "dead" => "CASE WHEN n % 5 = 0 THEN 'refused 400 no such currency' ELSE 'refused 422 unavailable' END",
            "pending" => "CASE WHEN n % 30 = 0 THEN 'retry 503 try again later' END",
            _ => "NULL",
        };
        let text = |it: &str| if postgres { format!("CAST('{it}' AS jsonb)") } else { format!("'{it}'") };
        let mut statements = vec![
            format!(
                "INSERT INTO quote (id, customer_id, currency, amount_minor, {lines}, destination, status, submitted_at, \
                 updated_at) SELECT {quote_id}, {customer}, 'EUR', 285000, {line}, 'fee-server', '{quote}', at, at \
                 FROM {numbered}",
                line = text(r#"[{"description": "Consulting, one day", "quantity": 3, "unit_price_minor": 95000}]"#)
            ),
            format!(
                "INSERT INTO outbox_event (id, aggregate_type, aggregate_id, event_type, destination, sequence, payload, \
                 status, attempts, live_since, due_at, lease_token, leased_until, leased_by, outcome_unknown, withdrawn, \
                 last_error, cause, failed_at, failures, created_at, settled_at, receipt) SELECT {event_id}, 'quote', {quote_id}, \
                 'quote.submitted', 'fee-server', 1, {payload}, '{event}', {attempts}, at, at, {token}, {until}, {by}, \
                 FALSE, FALSE, {error}, {cause}, {failed_at}, {none}, at, {settled_at}, {receipt} FROM {numbered}",
                payload = text(
                    r#"{"quote_id": "01900000-0000-7000-8000-000000000000", "customer_id": "customer-7", "currency": "EUR", "amount_minor": 285000}"#
                ),
                attempts = i32::from(!waits),
                token = only(delivered, &event_id),
                until = only(delivered, &lease_end),
                by = only(delivered, "'worker-1'"),
                none = text("[]"),
                failed_at = only(event == "dead", &settled),
                settled_at = only(!waits, &settled),
                receipt = only(delivered, &text(r#"{"duration_ms": 21, "status": 201}"#)),
            ),
        ];
        if delivered {
            statements.push(format!(
                "INSERT INTO fee_record (id, quote_id, event_id, fee_id, currency, amount_minor, rate_bps, calculated_at, \
                 created_at) SELECT {fee_id}, {quote_id}, {event_id}, CONCAT('fee-', n), 'EUR', 2850, 100, at, {settled} \
                 FROM {numbered}"
            ));
        }
        statements
    }
}

fn uuid_text(stage: &Stage) -> &'static str {
    if stage.backend() == DbBackend::Postgres { "CAST(id AS text)" } else { "LOWER(HEX(id))" }
}
