use std::ops::RangeInclusive;
use std::time::Duration;

use chrono::{DateTime, TimeZone, Utc};
use sea_orm::{ConnectionTrait, DbBackend};
use uuid::Uuid;

use super::TestOutbox;

/// Fills the tables of a server with numbered rows, by statements of its own and in no time.
pub struct Filling<'a> {
    outbox: &'a TestOutbox,
}

const TABLES: [&str; 5] = ["quote", "outbox_event", "fee_record", "idempotency_key", "operator_action"];

impl Filling<'_> {
    /// Of tables that were left to the database.
    pub fn of(outbox: &TestOutbox) -> Filling<'_> {
        Filling { outbox }
    }

    /// Of tables that nobody analyses or vacuums unless told to.
    pub async fn without_upkeep(outbox: &TestOutbox) -> Filling<'_> {
        let filling = Filling { outbox };
        for table in TABLES {
            filling
                .run(match filling.backend() {
                    DbBackend::Postgres => format!("ALTER TABLE {table} SET (autovacuum_enabled = false)"),
                    _ => format!("ALTER TABLE {table} STATS_AUTO_RECALC = 0"),
                })
                .await;
        }
        filling
    }

    /// Gives quote, event and idempotency key of each number. Every hundredth event is leased, and its lease has ended. Nearly all
    /// are of one partner, and one in fifty of others: number 50 of each thousand is of `shop-50`.
    pub async fn pending(&self, numbers: RangeInclusive<u64>) {
        let (event, quote) = (self.id("9"), self.id("8"));
        let at = self.at();
        let from = self.from(&numbers);
        let n = self.number();
        let partner = format!("CASE WHEN {n} % 50 = 0 THEN CONCAT('shop-', {n} % 1000) ELSE 'shop' END");
        self.run(format!(
            "INSERT INTO quote (id, customer_id, currency, amount_minor, {lines}, status, submitted_by, submitted_at, \
             updated_at) SELECT {quote}, CONCAT('customer-', {n} % 100), 'EUR', 100, '[]', 'pending', {partner}, {at}, {at} \
             {from}",
            lines = self.quoted("lines"),
        ))
        .await;
        let (status, token, until) = (
            format!("CASE WHEN {n} % 100 = 0 THEN 'leased' ELSE 'pending' END"),
            format!("CASE WHEN {n} % 100 = 0 THEN {event} END"),
            format!("CASE WHEN {n} % 100 = 0 THEN {at} END"),
        );
        self.run(format!(
            "INSERT INTO outbox_event (id, aggregate_type, aggregate_id, event_type, destination, partner, sequence, payload, \
             status, attempts, live_since, due_at, lease_token, leased_until, outcome_unknown, withdrawn, failures, \
             created_at) SELECT {event}, 'quote', {quote}, 'quote.submitted', 'fee-server', {partner}, 1, '{{}}', {status}, 0, {at}, \
             {at}, {token}, {until}, FALSE, FALSE, '[]', {at} {from}"
        ))
        .await;
        self.run(format!(
            "INSERT INTO idempotency_key (scope, {key}, request_sha256, quote_ids, created_at) \
             SELECT 'shop', CONCAT('key-', {n}), '', '[]', {at} {from}",
            key = self.quoted("key"),
        ))
        .await;
    }

    /// Has the events of these numbers delivered.
    pub async fn deliver(&self, numbers: RangeInclusive<u64>) {
        let (fee, event, quote, at) = (self.id("a"), self.id("9"), self.id("8"), self.at());
        let from = self.from(&numbers);
        self.run(format!(
            "INSERT INTO fee_record (id, quote_id, event_id, fee_id, currency, amount_minor, rate_bps, calculated_at, \
             created_at) SELECT {fee}, {quote}, {event}, 'fee', 'EUR', 1, 100, {at}, {at} {from}"
        ))
        .await;
        let (first, last) = (self.literal(Self::event(*numbers.start())), self.literal(Self::event(*numbers.end())));
        self.run(format!(
            "UPDATE outbox_event SET status = 'delivered', lease_token = NULL, leased_until = NULL, settled_at = due_at \
             WHERE id BETWEEN {first} AND {last}"
        ))
        .await;
        let (first, last) = (self.literal(Self::quote(*numbers.start())), self.literal(Self::quote(*numbers.end())));
        self.run(format!("UPDATE quote SET status = 'confirmed' WHERE id BETWEEN {first} AND {last}")).await;
    }

    /// Has the odd quotes of these numbers rejected, and their events dead; the even ones are cancelled with theirs. What operators
    /// did to each of these quotes is written down, and a bulk of a hundred times as many events.
    pub async fn rare(&self, numbers: RangeInclusive<u64>) {
        let mysql = self.backend() == DbBackend::MySql;
        for (odd, of_quote, of_event) in [(1, "rejected", "dead"), (0, "cancelled", "cancelled")] {
            let ids = |kind: &str| {
                let (id, from) = (self.id(kind), self.from(&numbers));
                let n = self.number();
                // MariaDB finds rows by a subquery only if it is made a table first.
                format!("SELECT id FROM (SELECT {id} AS id {from} WHERE {n} % 2 = {odd}) AS named")
            };
            let changes = [
                ("quote", "8", format!("status = '{of_quote}'")),
                (
                    "outbox_event",
                    "9",
                    format!(
                        "status = '{of_event}', settled_at = due_at, lease_token = NULL, last_error = '422: no', \
                         cause = 'refused 422: no', failed_at = due_at"
                    ),
                ),
            ];
            for (table, kind, change) in changes {
                let ids = ids(kind);
                self.run(if mysql {
                    format!("UPDATE {table} JOIN ({ids}) AS those ON those.id = {table}.id SET {change}")
                } else {
                    format!("UPDATE {table} SET {change} WHERE id IN ({ids})")
                })
                .await;
            }
        }
        let (action, quote, at) = (self.id("b"), self.id("8"), self.at());
        let bulk = numbers.end() + 1..=100 * numbers.end();
        for (numbers, what) in [(numbers, "event.retry"), (bulk, "event.revive")] {
            let from = self.from(&numbers);
            self.run(format!(
                "INSERT INTO operator_action (id, actor, action, target, quote_id, details, created_at) \
                 SELECT {action}, 'ann', '{what}', 'event', {quote}, '{{}}', {at} {from}"
            ))
            .await;
        }
    }

    /// Lets the database look at what there is now.
    pub async fn analyse(&self) {
        for table in TABLES {
            self.run(match self.backend() {
                DbBackend::Postgres => format!("VACUUM ANALYZE {table}"),
                _ => format!("ANALYZE TABLE {table}"),
            })
            .await;
        }
    }

    /// The id of an event.
    pub fn event(number: u64) -> Uuid {
        Uuid::from_u128(0x7000_9000_0000_0000_0000 | u128::from(number))
    }

    /// The id of its quote.
    pub fn quote(number: u64) -> Uuid {
        Uuid::from_u128(0x7000_8000_0000_0000_0000 | u128::from(number))
    }

    /// The id of what an operator did to it.
    pub fn action(number: u64) -> Uuid {
        Uuid::from_u128(0x7000_b000_0000_0000_0000 | u128::from(number))
    }

    /// When they were stored, a millisecond after the ones before.
    pub fn stored_at(number: u64) -> DateTime<Utc> {
        Utc.with_ymd_and_hms(2026, 1, 1, 0, 0, 0).unwrap() + Duration::from_millis(number)
    }

    fn backend(&self) -> DbBackend {
        self.outbox.db.connection().get_database_backend()
    }

    fn number(&self) -> &'static str {
        if self.backend() == DbBackend::Postgres { "number" } else { "seq" }
    }

    fn id(&self, kind: &str) -> String {
        let digits = format!("'0000000000007000{kind}000'");
        match self.backend() {
            DbBackend::Postgres => format!("CAST({digits} || LPAD(TO_HEX(number), 12, '0') AS uuid)"),
            _ => format!("UNHEX(CONCAT({digits}, LPAD(HEX(seq), 12, '0')))"),
        }
    }

    fn at(&self) -> &'static str {
        match self.backend() {
            DbBackend::Postgres => "(timestamptz '2026-01-01 00:00:00+00' + number * interval '1 millisecond')",
            _ => "(TIMESTAMP '2026-01-01 00:00:00' + INTERVAL seq * 1000 MICROSECOND)",
        }
    }

    fn from(&self, numbers: &RangeInclusive<u64>) -> String {
        let (first, last) = (numbers.start(), numbers.end());
        match self.backend() {
            DbBackend::Postgres => format!("FROM generate_series({first}, {last}) AS number"),
            _ => format!("FROM seq_{first}_to_{last}"),
        }
    }

    fn literal(&self, id: Uuid) -> String {
        match self.backend() {
            DbBackend::Postgres => format!("'{id}'"),
            _ => format!("x'{}'", id.simple()),
        }
    }

    fn quoted(&self, column: &str) -> String {
        if self.backend() == DbBackend::Postgres { format!("\"{column}\"") } else { format!("`{column}`") }
    }

    async fn run(&self, sql: String) {
        self.outbox.db.connection().execute_unprepared(&sql).await.unwrap();
    }
}
