//! A result that cannot be stored costs its own event, and nobody else's.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, NaiveDate, Utc};
use entity::{outbox_event::Status, quote};
use feebox::clock::after;
use feebox::database::DatabaseTransaction;
use feebox::destination::{Destination, FeeServer};
use feebox::outbox::{DestinationName, Disposition, LeasedEvent, Outcome, Settled, revive_one};
use feebox::quotes::FEE_SERVER;
use feebox::settings;
use feebox::worker::Report;
use parking_lot::Mutex;
use sea_orm::{ConnectionTrait, DbErr};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::support::{
    LIMIT, Receipt, TestOutbox, delivered, eventually, fee_server, on_each_engine, retry, with_fee, worker_settings,
};

const EVENTS: usize = 300;

on_each_engine!(
    fees_that_cannot_be_stored_kill_their_own_events_and_no_other,
    a_fee_that_cannot_be_stored_leaves_its_quote_to_an_operators_retry,
    a_result_that_breaks_a_constraint_is_found_among_others,
    a_result_that_fails_for_an_unknown_reason_is_found_among_others,
    a_panic_while_one_result_is_applied_is_found_among_others,
    several_culprits_in_a_row_are_all_found,
    an_error_that_fails_all_kills_nobody,
    an_error_that_fails_all_deliveries_kills_none_of_them,
    a_result_that_cannot_be_stored_drops_no_delivery_in_the_air,
    foreign_text_is_stored_as_what_can_be_printed,
);

/// What the checks at the door would have caught, had they not been forgotten.
fn unstorable(number: usize, event: &LeasedEvent) -> Option<Receipt> {
    let Outcome::Delivered(Receipt::Fee(status, mut fee)) = with_fee(event).outcome else { return None };
    let at = |year| NaiveDate::from_ymd_opt(year, 1, 1).unwrap().and_hms_opt(0, 0, 0).unwrap().and_utc();
    match number {
        7 => fee.fee_id = "fee\0".into(),
        77 => fee.fee_id = "x".repeat(129),
        100 => fee.calculated_at = at(10_000),
        101 => fee.calculated_at = at(0),
        102 => fee.calculated_at = at(-1),
        103 => fee.calculated_at = at(1),
        200 => fee.calculated_at = leap_second(),
        299 => fee.currency = "E\0R".into(),
        _ => return None,
    }
    Some(Receipt::Fee(status, fee))
}

fn leap_second() -> DateTime<Utc> {
    NaiveDate::from_ymd_opt(2016, 12, 31).unwrap().and_hms_nano_opt(23, 59, 59, 1_500_000_000).unwrap().and_utc()
}

async fn fees_that_cannot_be_stored_kill_their_own_events_and_no_other(outbox: TestOutbox) {
    let stored = outbox.submit(EVENTS).await;
    let numbers: HashMap<_, _> = stored.iter().enumerate().map(|(number, id)| (*id, number)).collect();
    let answers = Arc::new(Answers::new(move |event| match unstorable(numbers[&event.id], event) {
        Some(receipt) => Outcome::Delivered(receipt),
        None => with_fee(event).outcome,
    }));
    let report = outbox.worker("a", &answers, worker_settings()).run_once().await.unwrap();
    assert_eq!(report, Report { claimed: EVENTS, delivered: EVENTS - 8, dead: 8, ..Report::default() });
    assert_eq!(outbox.fee_records().await.len(), EVENTS - 8);
    for (number, field) in
        [(7, "fee_id"), (77, "fee_id"), (100, "calculated_at"), (200, "calculated_at"), (299, "currency")]
    {
        let row = outbox.event(stored[number]).await;
        assert_eq!((row.status, row.outcome_unknown), (Status::Dead, true));
        let error = row.last_error.unwrap();
        assert!(error.starts_with(&format!("what the destination answered cannot be stored: {field} is")), "{error}");
    }
}

async fn a_fee_that_cannot_be_stored_leaves_its_quote_to_an_operators_retry(outbox: TestOutbox) {
    let event = outbox.submit(1).await[0];
    let quote = outbox.event(event).await.aggregate_id;
    let answers = Arc::new(Answers::new(|event| {
        if event.outcome_unknown { with_fee(event).outcome } else { Outcome::Delivered(unstorable(7, event).unwrap()) }
    }));
    let worker = outbox.worker("a", &answers, worker_settings());
    assert_eq!(worker.run_once().await.unwrap().dead, 1);
    assert_eq!(outbox.quote(quote).await.status, quote::Status::Pending);

    let txn = outbox.db.begin().await.unwrap();
    revive_one(&txn, event, outbox.now().await).await.unwrap();
    txn.commit().await.unwrap();
    assert_eq!(worker.run_once().await.unwrap().delivered, 1);
    assert_eq!(outbox.quote(quote).await.status, quote::Status::Confirmed);
}

async fn a_result_that_breaks_a_constraint_is_found_among_others(outbox: TestOutbox) {
    one_among_many(outbox, Trouble::Constraint, "a value violates a constraint").await;
}

async fn a_result_that_fails_for_an_unknown_reason_is_found_among_others(outbox: TestOutbox) {
    one_among_many(outbox, Trouble::Unknown, "the database refuses it").await;
}

async fn a_panic_while_one_result_is_applied_is_found_among_others(outbox: TestOutbox) {
    one_among_many(outbox, Trouble::Panic, "the database refuses it").await;
}

async fn one_among_many(outbox: TestOutbox, trouble: Trouble, text: &str) {
    let stored = outbox.submit(EVENTS).await;
    let bad = stored[123];
    let report = troubled(&outbox, trouble, vec![bad]).await;
    assert_eq!(report, Report { claimed: EVENTS, delivered: EVENTS - 1, dead: 1, ..Report::default() });
    let row = outbox.event(bad).await;
    assert_eq!((row.status, row.attempts, row.outcome_unknown), (Status::Dead, 1, true));
    let expected = format!("what the destination answered cannot be stored: {text}");
    assert_eq!(row.last_error.as_deref(), Some(&*expected));
}

async fn several_culprits_in_a_row_are_all_found(outbox: TestOutbox) {
    let stored = outbox.submit(40).await;
    let report = troubled(&outbox, Trouble::Unknown, stored[..7].to_vec()).await;
    assert_eq!(report, Report { claimed: 40, delivered: 33, dead: 7, ..Report::default() });
}

/// What a worker reports that has trouble with `bad`. The others are answered when these were tried in vain: one that fails when all
/// others are stored proves nothing, and is tried until its lease ends.
async fn troubled(outbox: &TestOutbox, trouble: Trouble, bad: Vec<Uuid>) -> Report {
    let (told, culprits) = (CancellationToken::new(), bad.len());
    let troubled = Arc::new(Troubled { in_the_air: Some(told.clone()), ..Troubled::by(trouble, bad) });
    // Time for each of them on a busy machine.
    let worker = outbox.worker("a", &troubled, settings::Worker { lease: LIMIT, ..worker_settings() });
    let meanwhile = async {
        let all_tried = async || (troubled.tried.lock().len() == culprits).then_some(());
        eventually("all culprits were tried", LIMIT, all_tried).await;
        told.cancel();
    };
    tokio::join!(worker.run_once(), meanwhile).0.unwrap()
}

/// A table that is missing, a right that was withdrawn: true for each event, and no event's fault.
async fn an_error_that_fails_all_kills_nobody(outbox: TestOutbox) {
    let stored = outbox.submit(40).await;
    let troubled = Arc::new(Troubled::by(Trouble::Unknown, stored.clone()));
    let settings = settings::Worker { lease: Duration::from_secs(2), ..worker_settings() };
    let report = outbox.worker("a", &troubled, settings).run_once().await.unwrap();
    assert_eq!((report.dead, report.delivered), (0, 0), "{report}");
    assert!(report.lost >= 40, "{report}");
}

/// Failures are stored as ever: that says nothing about what keeps fees from being stored.
async fn an_error_that_fails_all_deliveries_kills_none_of_them(outbox: TestOutbox) {
    let stored = outbox.submit(40).await;
    let (bad, failing) = stored.split_at(30);
    let troubled = Troubled { failing: failing.to_vec(), ..Troubled::by(Trouble::Unknown, bad.to_vec()) };
    let troubled = Arc::new(troubled);
    let settings = settings::Worker { lease: Duration::from_secs(4), ..worker_settings() };
    let report = outbox.worker("a", &troubled, settings).run_once().await.unwrap();
    assert_eq!((report.dead, report.delivered, report.retried), (0, 0, 10), "{report}");
}

async fn a_result_that_cannot_be_stored_drops_no_delivery_in_the_air(outbox: TestOutbox) {
    let bad = outbox.submit(1).await[0];
    let told = CancellationToken::new();
    let troubled = Troubled { in_the_air: Some(told.clone()), ..Troubled::by(Trouble::Unknown, vec![bad]) };
    let troubled = Arc::new(troubled);
    let signals = feebox::worker::Signals::default();
    let settings = settings::Worker { lease: Duration::from_secs(10), ..worker_settings() };
    let worker = outbox.worker_told("a", &troubled, settings, signals.clone());
    let meanwhile = async {
        let leased = eventually("the first one is leased", LIMIT, async || outbox.event(bad).await.leased_until).await;
        // Not of the row: it may be rescued and leased again.
        let ends_within = async |limit: Duration| {
            let soon = async || (leased < after(outbox.now().await, limit)).then_some(());
            eventually("the first one's lease is nearly over", LIMIT, soon).await;
        };
        // The first one's lease ends while the second is in the air.
        ends_within(Duration::from_secs(5)).await;
        outbox.submit(1).await;
        signals.wake.send();
        ends_within(Duration::ZERO).await;
        told.cancel();
    };
    let (report, ()) = tokio::join!(worker.run_once(), meanwhile);
    let report = report.unwrap();
    // The first one may be claimed, and lost, once more.
    assert!(report.lost >= 1 && report.delivered == 1, "{report}");
    let delivered = outbox.events().await.into_iter().find(|event| event.status == Status::Delivered).unwrap();
    assert_eq!((delivered.attempts, delivered.failures), (1, serde_json::json!([])));
}

async fn foreign_text_is_stored_as_what_can_be_printed(mut outbox: TestOutbox) {
    outbox.policy.circuit.failures = 1;
    let text = "503 \0 \u{1b}[2J \u{202e}ruo\ncafé 수수료";
    let printed = "503 \u{fffd} \u{fffd}[2J \u{fffd}ruo café 수수료";
    let stored = outbox.submit(2).await;
    // The refusal begins first: it says nothing about the call after it.
    let refusal = stored[0];
    let answers = Arc::new(Answers::new(move |event| {
        if event.id == refusal { Outcome::Refused(text.into()) } else { Outcome::Retry(text.into()) }
    }));
    let report = outbox.worker("a", &answers, worker_settings()).run_once().await.unwrap();
    assert_eq!(report, Report { claimed: 2, retried: 1, dead: 1, ..Report::default() });
    assert_eq!(outbox.fee_server().await.circuit_reason.as_deref(), Some(printed));
    for event in stored {
        let row = outbox.event(event).await;
        assert_eq!(row.last_error.as_deref(), Some(printed));
        assert_eq!(row.failures[0]["error"], printed);
    }
    let quote = outbox.quote(outbox.event(refusal).await.aggregate_id).await;
    assert_eq!((quote.status, quote.status_reason.as_deref()), (quote::Status::Rejected, Some(printed)));
}

type Script = Box<dyn Fn(&LeasedEvent) -> Outcome<Receipt> + Send + Sync>;

/// Answers as its script says, and stores fees as the fee server's client does.
struct Answers {
    client: FeeServer,
    script: Script,
}

impl Answers {
    fn new(script: impl Fn(&LeasedEvent) -> Outcome<Receipt> + Send + Sync + 'static) -> Self {
        Self { client: fee_server(), script: Box::new(script) }
    }
}

#[async_trait::async_trait]
impl Destination for Answers {
    type Receipt = Receipt;

    fn name(&self) -> &'static DestinationName {
        &FEE_SERVER
    }

    async fn deliver(&self, event: &LeasedEvent) -> Outcome<Receipt> {
        (self.script)(event)
    }

    async fn apply(
        &self,
        txn: &DatabaseTransaction,
        settled: &[Settled<'_, Receipt>],
        now: DateTime<Utc>,
    ) -> Result<(), DbErr> {
        self.client.apply(txn, settled, now).await
    }
}

#[derive(Clone, Copy)]
enum Trouble {
    Constraint,
    Unknown,
    Panic,
}

/// Takes everything, and has trouble with storing what `bad` brought.
struct Troubled {
    trouble: Trouble,
    bad: Vec<Uuid>,
    /// These come to nothing, and are to be tried again.
    failing: Vec<Uuid>,
    /// All but `bad` are answered when this is cancelled.
    in_the_air: Option<CancellationToken>,
    /// Those of `bad` whose results were to be stored.
    tried: Mutex<HashSet<Uuid>>,
}

impl Troubled {
    fn by(trouble: Trouble, bad: Vec<Uuid>) -> Self {
        Self { trouble, bad, failing: vec![], in_the_air: None, tried: Mutex::default() }
    }
}

#[async_trait::async_trait]
impl Destination for Troubled {
    type Receipt = ();

    fn name(&self) -> &'static DestinationName {
        &FEE_SERVER
    }

    async fn deliver(&self, event: &LeasedEvent) -> Outcome<()> {
        if let Some(told) = self.in_the_air.as_ref().filter(|_| !self.bad.contains(&event.id)) {
            told.cancelled().await;
        }
        if self.failing.contains(&event.id) { retry() } else { delivered() }
    }

    async fn apply(
        &self,
        txn: &DatabaseTransaction,
        settled: &[Settled<'_, ()>],
        _now: DateTime<Utc>,
    ) -> Result<(), DbErr> {
        let bad = |(attempt, became): &Settled<'_, ()>| {
            **became == Disposition::Delivered && self.bad.contains(&attempt.event.id)
        };
        let bad: Vec<_> = settled.iter().filter(|settled| bad(settled)).map(|(attempt, _)| attempt.event.id).collect();
        if bad.is_empty() {
            return Ok(());
        }
        self.tried.lock().extend(bad);
        let sql = match self.trouble {
            Trouble::Constraint => "INSERT INTO destination SELECT * FROM destination",
            Trouble::Unknown => "SELECT * FROM no_such_table",
            Trouble::Panic => panic!("index out of bounds"),
        };
        txn.execute_unprepared(sql).await.map(drop)
    }
}
