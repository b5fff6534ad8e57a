//! A worker's run: what it takes, what it keeps in the air.

mod ended;

use feebox::database::DatabaseTransaction;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use entity::destination::Circuit;
use entity::outbox_event::Status;
use feebox::destination::{Destination, FeeServer};
use feebox::outbox::{DestinationName, Disposition, LeasedEvent, Outcome, Settled};
use feebox::quotes::FEE_SERVER;
use feebox::settings;
use feebox::worker::{Report, Signals};
use sea_orm::DbErr;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::support::{
    Cue, Scripted, TestOutbox, delivered, eventually, fee_server, on_each_engine, retry, with_fee, worker_settings,
};

on_each_engine!(
    a_run_delivers_all_that_is_due_whatever_the_batch_size,
    a_run_keeps_places_filled_without_waiting_for_the_slowest,
    a_run_goes_on_claiming_when_its_batches_are_small,
    a_run_never_has_more_running_deliveries_than_it_may,
    a_run_delivers_the_later_events_of_a_quote_too,
    a_run_goes_on_after_the_probe_that_closed_the_circuit,
    a_run_ends_when_the_circuit_opens_and_spends_no_attempts_on_what_waits,
    a_run_takes_along_what_becomes_due_when_it_is_woken,
    a_run_rescues_also_while_it_never_ends,
    effects_are_applied_for_what_was_settled,
    workers_side_by_side_deliver_each_event_once,
);

async fn a_run_delivers_all_that_is_due_whatever_the_batch_size(outbox: TestOutbox) {
    for (batch_size, concurrency) in [(1, 1), (1, 2), (3, 2), (2, 8), (500, 256)] {
        let stored = outbox.submit(11).await;
        let scripted = Arc::new(Scripted::new(&FEE_SERVER, |_| Cue::Answer(delivered())));
        let report = outbox.worker("a", &scripted, sized(batch_size, concurrency)).run_once().await.unwrap();
        assert_eq!(report, Report { claimed: 11, delivered: 11, ..Report::default() }, "{batch_size}, {concurrency}");
        let delivered: HashSet<_> = scripted.calls().iter().map(|call| call.event.id).collect();
        assert_eq!(delivered, stored.into_iter().collect());
    }
}

async fn a_run_keeps_places_filled_without_waiting_for_the_slowest(outbox: TestOutbox) {
    let slow = outbox.submit(1).await[0];
    outbox.advance(Duration::from_secs(1));
    let quick = outbox.submit(20).await;
    let told = CancellationToken::new();
    let scripted = slow_one(slow, &told);
    let worker = outbox.worker("a", &scripted, sized(3, 2));
    let watching = async {
        eventually("all others are delivered", LIMIT, async || {
            let statuses = outbox.statuses(&quick).await;
            statuses.iter().all(|status| *status == Status::Delivered).then_some(())
        })
        .await;
        assert_eq!(outbox.event(slow).await.status, Status::Leased);
        told.cancel();
    };
    let (report, ()) = tokio::join!(worker.run_once(), watching);
    assert_eq!(report.unwrap().delivered, 21);
}

/// Two slow ones take both places, and a whole batch waits: once one place is free, all others go through it.
async fn a_run_goes_on_claiming_when_its_batches_are_small(outbox: TestOutbox) {
    let slow = outbox.submit(2).await;
    outbox.advance(Duration::from_secs(1));
    let quick = outbox.submit(5).await;
    let told = [CancellationToken::new(), CancellationToken::new()];
    let script: Vec<_> = slow.into_iter().zip(told.clone()).collect();
    let scripted = Arc::new(Scripted::new(&FEE_SERVER, move |event| {
        let line = script.iter().find(|(id, _)| *id == event.id);
        line.map_or(Cue::Answer(delivered()), |(_, told)| Cue::AnswerAfter(told.clone(), delivered()))
    }));
    let worker = outbox.worker("a", &scripted, sized(1, 2));
    let watching = async {
        begun(&scripted, 2).await;
        eventually("one more is claimed", LIMIT, async || {
            (outbox.event(quick[0]).await.status == Status::Leased).then_some(())
        })
        .await;
        told[0].cancel();
        begun(&scripted, 7).await;
        told[1].cancel();
    };
    let (report, ()) = tokio::join!(worker.run_once(), watching);
    assert_eq!(report.unwrap().delivered, 7);
}

async fn a_run_never_has_more_running_deliveries_than_it_may(outbox: TestOutbox) {
    outbox.submit(10).await;
    let told = CancellationToken::new();
    let cue = Cue::AnswerAfter(told.clone(), delivered());
    let scripted = Arc::new(Scripted::new(&FEE_SERVER, move |_| cue.clone()));
    let worker = outbox.worker("a", &scripted, sized(500, 4));
    let watching = async {
        begun(&scripted, 4).await;
        // What is claimed ahead, so that a place that becomes free is filled at once, is as much as began just now, and no more.
        let all: Vec<_> = outbox.events().await.iter().map(|event| event.id).collect();
        let statuses = outbox.statuses(&all).await;
        let leased = statuses.iter().filter(|status| **status == Status::Leased).count();
        assert!((4..=8).contains(&leased), "{leased}");
        assert_eq!(scripted.calls().len(), 4);
        told.cancel();
    };
    let (report, ()) = tokio::join!(worker.run_once(), watching);
    assert_eq!(report.unwrap().delivered, 10);
}

async fn a_run_delivers_the_later_events_of_a_quote_too(outbox: TestOutbox) {
    let quote = Uuid::now_v7();
    let mut stored = vec![];
    for sequence in 1..=3 {
        stored.push(outbox.record(quote, &FEE_SERVER, sequence).await);
    }
    let scripted = Arc::new(Scripted::new(&FEE_SERVER, |_| Cue::Answer(delivered())));
    let report = outbox.worker("a", &scripted, worker_settings()).run_once().await.unwrap();
    assert_eq!(report.delivered, 3);
    assert_eq!(scripted.calls().iter().map(|call| call.event.id).collect::<Vec<_>>(), stored);
}

async fn a_run_goes_on_after_the_probe_that_closed_the_circuit(outbox: TestOutbox) {
    outbox.submit(1).await;
    outbox.deliver("a", Outcome::Unauthorised("401".into())).await;
    outbox.submit(20).await;
    outbox.advance(Duration::from_secs(15));
    let scripted = Arc::new(Scripted::new(&FEE_SERVER, |_| Cue::Answer(delivered())));
    let report = outbox.worker("a", &scripted, worker_settings()).run_once().await.unwrap();
    assert_eq!(report.delivered, 21);
    assert_eq!(scripted.calls().iter().filter(|call| call.event.probe).count(), 1);
    assert_eq!(outbox.fee_server().await.circuit, Circuit::Closed);
}

async fn a_run_ends_when_the_circuit_opens_and_spends_no_attempts_on_what_waits(mut outbox: TestOutbox) {
    outbox.policy.circuit.failures = 3;
    let stored = outbox.submit(10).await;
    let scripted = Arc::new(Scripted::new(&FEE_SERVER, |_| Cue::Answer(retry())));
    let report = outbox.worker("a", &scripted, sized(1, 1)).run_once().await.unwrap();
    assert_eq!(outbox.fee_server().await.circuit, Circuit::Open);
    assert!(report.retried < 10, "{report}");
    let mut attempts = 0;
    for id in stored {
        attempts += outbox.event(id).await.attempts;
    }
    assert_eq!(usize::try_from(attempts).unwrap(), scripted.calls().len());
}

async fn a_run_takes_along_what_becomes_due_when_it_is_woken(outbox: TestOutbox) {
    let slow = outbox.submit(1).await[0];
    let told = CancellationToken::new();
    let scripted = slow_one(slow, &told);
    let signals = Signals::default();
    let worker = outbox.worker_told("a", &scripted, worker_settings(), signals.clone());
    let watching = async {
        begun(&scripted, 1).await;
        let later = outbox.submit(1).await;
        signals.wake.send();
        begun(&scripted, 2).await;
        assert_eq!(scripted.calls()[1].event.id, later[0]);
        told.cancel();
    };
    let (report, ()) = tokio::join!(worker.run_once(), watching);
    assert_eq!(report.unwrap().delivered, 2);
}

/// Under steady load something is always in the air: leases of a worker that died must not wait for a pause.
async fn a_run_rescues_also_while_it_never_ends(outbox: TestOutbox) {
    let slow = outbox.submit(1).await[0];
    let told = CancellationToken::new();
    let scripted = slow_one(slow, &told);
    let signals = Signals::default();
    let settings = settings::Worker { lease: Duration::from_secs(12), ..worker_settings() };
    let worker = outbox.worker_told("a", &scripted, settings, signals.clone());
    let watching = async {
        begun(&scripted, 1).await;
        let left_behind = outbox.submit(1).await[0];
        let claim = outbox.claim_of(&FEE_SERVER, "dead-worker", 1, Duration::from_millis(1)).await;
        assert_eq!(claim.events.len(), 1);
        eventually("it is rescued and delivered", LIMIT, async || {
            signals.wake.send();
            (outbox.event(left_behind).await.status == Status::Delivered).then_some(())
        })
        .await;
        assert_eq!(outbox.event(slow).await.status, Status::Leased);
        told.cancel();
    };
    let (report, ()) = tokio::join!(worker.run_once(), watching);
    assert_eq!(report.unwrap(), Report { claimed: 2, delivered: 2, rescued: 1, ..Report::default() });
}

async fn effects_are_applied_for_what_was_settled(outbox: TestOutbox) {
    let stored = outbox.submit(3).await;
    let lost = stored[0];
    let told = CancellationToken::new();
    let scripted = slow_one(lost, &told);
    let worker = outbox.worker("a", &scripted, worker_settings());
    let meanwhile = async {
        begun(&scripted, 3).await;
        // By the database's clock the lease is over, and another worker takes the event.
        eventually("the others are settled", LIMIT, async || (scripted.applied().len() == 2).then_some(())).await;
        outbox.advance(TestOutbox::LEASE * 2);
        outbox.rescue("b").await;
        assert_eq!(outbox.claim("b", 1).await[0].id, lost);
        told.cancel();
    };
    let (report, ()) = tokio::join!(worker.run_once(), meanwhile);
    assert_eq!(report.unwrap(), Report { claimed: 3, delivered: 2, lost: 1, ..Report::default() });
    let applied = scripted.applied();
    assert!(applied[..2].iter().all(|(_, became)| *became == Disposition::Delivered));
    assert_eq!(applied[2..], [(lost, Disposition::LeaseLost("b".into()))]);
}

async fn workers_side_by_side_deliver_each_event_once(outbox: TestOutbox) {
    const EVENTS: usize = 200;
    outbox.submit(EVENTS).await;
    let destination = Arc::new(FeeServerAtHand { client: fee_server() });
    let workers = ["a", "b", "c"].map(|name| outbox.worker(name, &destination, sized(20, 10)));
    let (a, b, c) = tokio::join!(workers[0].run_once(), workers[1].run_once(), workers[2].run_once());
    let reports = [a.unwrap(), b.unwrap(), c.unwrap()];
    assert_eq!(reports.iter().map(|report| report.delivered).sum::<usize>(), EVENTS);
    assert!(reports.iter().all(|report| (report.lost, report.retried, report.dead) == (0, 0, 0)), "{reports:?}");
    assert_eq!(outbox.fee_records().await.len(), EVENTS);
    for event in outbox.events().await {
        assert_eq!((event.status, event.attempts), (Status::Delivered, 1));
    }
}

/// The longest that a test waits for what a worker does on its own.
const LIMIT: Duration = Duration::from_secs(20);

async fn begun(scripted: &Scripted, deliveries: usize) {
    let begun = tokio::time::timeout(LIMIT, scripted.begun(deliveries)).await;
    assert!(begun.is_ok(), "{} deliveries were begun, not {deliveries}", scripted.calls().len());
}

fn sized(batch_size: usize, concurrency: usize) -> settings::Worker {
    settings::Worker { batch_size, concurrency, ..worker_settings() }
}

/// Delivers all at once but `slow`, which waits for the token.
fn slow_one(slow: Uuid, told: &CancellationToken) -> Arc<Scripted> {
    let told = told.clone();
    Arc::new(Scripted::new(&FEE_SERVER, move |event| {
        if event.id == slow { Cue::AnswerAfter(told.clone(), delivered()) } else { Cue::Answer(delivered()) }
    }))
}

/// Stores fees as the fee server's client does, without a network.
struct FeeServerAtHand {
    client: FeeServer,
}

#[async_trait::async_trait]
impl Destination for FeeServerAtHand {
    type Receipt = <FeeServer as Destination>::Receipt;

    fn name(&self) -> &'static DestinationName {
        &FEE_SERVER
    }

    async fn deliver(&self, event: &LeasedEvent) -> Outcome<Self::Receipt> {
        with_fee(event).outcome
    }

    async fn apply(
        &self,
        txn: &DatabaseTransaction,
        settled: &[Settled<'_, Self::Receipt>],
        now: chrono::DateTime<chrono::Utc>,
    ) -> Result<(), DbErr> {
        self.client.apply(txn, settled, now).await
    }
}
