//! The audit is silent on sound databases and names every broken promise.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use entity::outbox_event::Status as EventStatus;
use feebox::audit::{audit, not_promised};
use feebox::database::Database;
use feebox::operator;
use feebox::outbox::{Outcome, of_aggregate, prune};
use feebox::quotes::Relay;
use feebox::settings::Strategy;
use sea_orm::DbBackend;
use uuid::Uuid;

use crate::support::{ANN, Desk, Engine, TestDatabase, desk_tests};

desk_tests!(
    sound_databases_are_silent,
    a_lost_quote_is_named,
    a_falsified_quote_is_named,
    a_falsified_event_is_named,
    a_damaged_fee_record_is_named,
    a_cancelled_quote_whose_fee_stays_is_named,
    what_retention_deletes_is_not_missed,
    what_was_deleted_under_another_setting_is_not_missed,
);

async fn sound_databases_are_silent(desk: Desk) {
    let one_of_each = async || {
        let (confirmed, _) = desk.submit().await;
        desk.deliver().await;
        desk.submission.cancel(confirmed, None, None).await.unwrap();
        desk.submit_refused().await;
        let (in_flight, _) = desk.submit().await;
        let leased = desk.claim().await;
        desk.submission.cancel(in_flight, None, None).await.unwrap();
        let (attempted, _) = desk.submit().await;
        desk.fail(Outcome::Unknown("no answer".into())).await;
        desk.submission.cancel(attempted, None, None).await.unwrap();
        let (untouched, _) = desk.submit().await;
        desk.submission.cancel(untouched, None, None).await.unwrap();
        desk.submit().await;
        leased
    };
    assert_eq!(desk.audit().await, []);
    let leased = one_of_each().await;
    assert_eq!(desk.audit().await, [], "while things are in flight");
    for event in leased {
        let outcome = feebox::destination::Destination::deliver(&desk.fee_server, &event).await;
        desk.settle(event, outcome).await;
    }
    desk.deliver().await;
    assert_eq!(desk.audit().await, []);
    assert_eq!(desk.audit_remote().await, []);
}

async fn a_lost_quote_is_named(desk: Desk) {
    let lost = desk.submit_many(2).await;
    let (rejected, dead) = desk.submit_refused().await;
    desk.submit().await;
    desk.sql(&format!("DELETE FROM outbox_event WHERE id = {}", desk.quoted(lost[0].1))).await;
    desk.sql(&format!("UPDATE outbox_event SET status = 'cancelled' WHERE id = {}", desk.quoted(lost[1].1))).await;
    desk.sql(&format!("DELETE FROM outbox_event WHERE id = {}", desk.quoted(dead))).await;
    assert_eq!(desk.audit().await, sorted(vec![(2, lost[0].0), (2, lost[1].0), (2, rejected)]));
}

async fn a_falsified_quote_is_named(desk: Desk) {
    let (confirmed, _) = desk.submit().await;
    desk.deliver().await;
    desk.sql("UPDATE quote SET status = 'pending'").await;
    assert_eq!(desk.audit().await, [(5, confirmed)]);
    desk.sql("UPDATE quote SET status = 'cancelled'").await;
    assert_eq!(desk.audit().await, [(4, confirmed)], "nothing voids its fee");
    desk.sql("UPDATE quote SET status = 'confirmed'").await;

    let (pending, _) = desk.submit().await;
    for (status, promise) in [("confirmed", 5), ("rejected", 2), ("cancelled", 4)] {
        desk.sql(&format!("UPDATE quote SET status = '{status}' WHERE id = {}", desk.quoted(pending))).await;
        assert_eq!(desk.audit().await, [(promise, pending)], "{status}");
    }
    desk.sql(&format!("DELETE FROM quote WHERE id = {}", desk.quoted(pending))).await;
    assert_eq!(desk.audit().await, [(1, pending)], "its event has no quote");
}

async fn a_falsified_event_is_named(desk: Desk) {
    let (pending, event) = desk.submit().await;
    let id = desk.quoted(event);
    desk.sql(&format!("UPDATE outbox_event SET status = 'delivered' WHERE id = {id}")).await;
    assert_eq!(desk.audit().await, [(2, pending)], "delivered without a fee");
    desk.sql(&format!("UPDATE outbox_event SET status = 'leased' WHERE id = {id}")).await;
    assert_eq!(desk.audit().await, [(2, pending)], "leased for ever");
    desk.sql(&format!("UPDATE outbox_event SET status = 'pending' WHERE id = {id}")).await;
    assert_eq!(desk.audit().await, []);
    desk.deliver().await;
    desk.submission.cancel(pending, None, None).await.unwrap();
    desk.deliver().await;
    assert_eq!(desk.audit().await, []);
    // Out of order, and the fee record's event undone, and one that may bring another fee.
    desk.sql(&format!("UPDATE outbox_event SET status = 'pending' WHERE id = {id}")).await;
    assert_eq!(desk.audit().await, [(4, pending), (5, pending), (6, pending)]);
}

async fn a_damaged_fee_record_is_named(desk: Desk) {
    let mut quotes = vec![];
    for _ in 0..5 {
        quotes.push(desk.submit().await);
    }
    desk.deliver().await;
    let of = |n: usize| desk.quoted(quotes[n].0);
    desk.sql(&format!("DELETE FROM fee_record WHERE quote_id = {}", of(0))).await;
    desk.sql(&format!("UPDATE fee_record SET currency = 'USD' WHERE quote_id = {}", of(1))).await;
    desk.sql(&format!("UPDATE fee_record SET amount_minor = -1 WHERE quote_id = {}", of(2))).await;
    let event_of_first = desk.quoted(quotes[0].1);
    desk.sql(&format!("UPDATE fee_record SET event_id = {event_of_first} WHERE quote_id = {}", of(3))).await;
    let expected = vec![(5, quotes[0].0), (3, quotes[1].0), (3, quotes[2].0), (3, quotes[3].0)];
    assert_eq!(desk.audit().await, sorted(expected));
}

async fn a_cancelled_quote_whose_fee_stays_is_named(desk: Desk) {
    let (with_record, _) = desk.submit().await;
    desk.deliver().await;
    let (attempted, _) = desk.submit().await;
    desk.fail(Outcome::Unknown("no answer".into())).await;
    let (delivered, _) = desk.submit().await;
    desk.deliver().await;
    for quote in [with_record, attempted, delivered] {
        desk.submission.cancel(quote, None, None).await.unwrap();
    }
    assert_eq!(desk.audit().await, []);
    let of_delivered = desk.quoted(delivered);
    desk.sql(&format!("DELETE FROM fee_record WHERE quote_id = {of_delivered}")).await;
    assert_eq!(desk.audit().await, [(5, delivered)], "its fee record was deleted");
    desk.sql("DELETE FROM outbox_event WHERE event_type = 'quote.cancelled'").await;
    let expected = vec![(4, with_record), (4, attempted), (4, delivered), (5, delivered)];
    assert_eq!(desk.audit().await, sorted(expected));
}

async fn what_retention_deletes_is_not_missed(desk: Desk) {
    let (quote_id, _) = desk.submit().await;
    desk.deliver().await;
    desk.submit().await;
    desk.deliver().await;
    desk.submission.cancel(quote_id, None, None).await.unwrap();
    desk.deliver().await;
    let (_, dead) = desk.submit_refused().await;
    let (given_up, _) = desk.submit().await;
    operator::cancel(
        &desk.db,
        Relay::default(),
        ANN,
        of_aggregate(desk.db.connection(), given_up).await.unwrap()[0].id,
    )
    .await
    .unwrap();
    desk.advance(8 * 24 * 3600);
    let week_ago = desk.now().await - Duration::from_hours(7 * 24);
    assert_eq!(prune(&desk.db, week_ago).await.unwrap(), 4);
    assert_eq!(desk.event(dead).await.status, EventStatus::Dead);
    assert_eq!(desk.audit().await, []);
    assert_eq!(desk.audit_remote().await, []);
}

async fn what_was_deleted_under_another_setting_is_not_missed(desk: Desk) {
    let (quote_id, _) = desk.submit().await;
    desk.deliver().await;
    desk.submission.cancel(quote_id, None, None).await.unwrap();
    desk.deliver().await;
    desk.advance(2 * 24 * 3600);
    let day_ago = desk.now().await - Duration::from_hours(24);
    let mut pruned = 0;
    // A tick goes no further than six hours.
    for _ in 0..30 {
        pruned += prune(&desk.db, day_ago).await.unwrap();
    }
    assert_eq!(pruned, 2);
    let audited = async |delivered_for| audit(&desk.db, delivered_for, |_| ()).await.unwrap().violations;
    // Raised after that, or asked by a process that is set to another time.
    for days in [1, 7, 365] {
        assert_eq!(audited(Duration::from_hours(24 * days)).await, 0, "{days} days");
    }
    // A void that was not there when nothing had been pruned yet is missed all the same.
    let (young, _) = desk.submit().await;
    desk.deliver().await;
    desk.submission.cancel(young, None, None).await.unwrap();
    desk.sql("DELETE FROM outbox_event WHERE event_type = 'quote.cancelled'").await;
    assert_eq!(audited(Duration::from_hours(24 * 7)).await, 1);
}

#[test]
fn the_other_strategies_say_what_they_do_not_promise() {
    let promises = |strategy| not_promised(strategy).iter().map(|one| one.promise).collect::<Vec<_>>();
    assert!(promises(Strategy::Outbox).is_empty());
    assert_eq!(promises(Strategy::InTransaction), [4, 8]);
    assert_eq!(promises(Strategy::BeforeCommitAsync), [2, 4]);
    assert_eq!(promises(Strategy::AfterCommit), [2]);
}

#[tokio::test]
async fn an_audit_of_many_quotes_stays_in_bounded_memory_on_sqlite() {
    let numbers = "WITH RECURSIVE numbers(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM numbers WHERE n < 99999)";
    let id = "unhex(printf('0190000000007000a000%012x', n))";
    stays_in_bounded_memory(Engine::Sqlite, numbers, id).await;
}

#[tokio::test]
async fn an_audit_of_many_quotes_stays_in_bounded_memory_on_postgres() {
    let numbers = "WITH numbers AS (SELECT n FROM generate_series(0, 99999) AS s(n))";
    let id = "('01900000-0000-7000-a000-' || lpad(to_hex(n), 12, '0'))::uuid";
    stays_in_bounded_memory(Engine::Postgres, numbers, id).await;
}

/// Nine quotes in ten are lost, so that there is much to hand over.
async fn stays_in_bounded_memory(engine: Engine, numbers: &str, id: &str) {
    const GROWTH_MAX: u64 = 24 * 1024 * 1024;
    let database = TestDatabase::migrated(engine).await;
    let db = database.open().await;
    let at = if engine == Engine::Sqlite { "'2026-01-01T00:00:00+00:00'" } else { "now()" };
    let lines = "[{\"description\": \"x\", \"quantity\": 1, \"unit_price_minor\": 1}]";
    insert(
        &db,
        &format!(
            "INSERT INTO quote (id, customer_id, currency, amount_minor, lines, status, submitted_at, updated_at) \
             {numbers} SELECT {id}, 'acme', 'EUR', 1, '{lines}', 'pending', {at}, {at} FROM numbers"
        ),
    )
    .await;
    insert(
        &db,
        &format!(
            "INSERT INTO outbox_event (id, aggregate_type, aggregate_id, event_type, destination, sequence, payload, \
             status, attempts, live_since, due_at, outcome_unknown, withdrawn, failures, created_at) {numbers} \
             SELECT {id}, 'quote', {id}, 'quote.submitted', 'fee-server', 1, '{{}}', 'pending', 0, {at}, {at}, \
             false, false, '[]', {at} FROM numbers WHERE n % 10 = 0"
        ),
    )
    .await;
    let (mut lost, mut first, mut most) = (0, 0, 0);
    // A process of its own: in this one others work, too.
    let mut audit = Command::new(env!("CARGO_BIN_EXE_feebox"));
    let audit = audit.args(["audit", "--database-url", database.url()]).stdout(Stdio::piped());
    let mut audit = audit.spawn().unwrap();
    for line in BufReader::new(audit.stdout.take().unwrap()).lines().map(Result::unwrap) {
        if line.starts_with("promise 2 is broken") {
            lost += 1;
            if lost % 5_000 == 1 {
                let resident = resident_bytes(audit.id());
                first = if lost == 1 { resident } else { first };
                most = most.max(resident);
            }
        } else {
            assert_eq!(line, "100000 quotes, 90000 broken promises");
        }
    }
    assert_eq!((lost, audit.wait().unwrap().code()), (90_000, Some(3)));
    assert!(most - first < GROWTH_MAX, "grew by {} bytes", most - first);
}

async fn insert(db: &Database, sql: &str) {
    sea_orm::ConnectionTrait::execute_unprepared(db.connection(), sql).await.unwrap();
}

fn resident_bytes(process: u32) -> u64 {
    let statm = std::fs::read_to_string(format!("/proc/{process}/statm")).unwrap();
    statm.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

fn sorted(mut violations: Vec<(u8, Uuid)>) -> Vec<(u8, Uuid)> {
    violations.sort();
    violations
}

impl Desk {
    /// An id as this engine writes it.
    pub fn quoted(&self, id: Uuid) -> String {
        match sea_orm::ConnectionTrait::get_database_backend(self.db.connection()) {
            DbBackend::Postgres => format!("'{id}'"),
            _ => format!("x'{}'", id.simple()),
        }
    }
}
