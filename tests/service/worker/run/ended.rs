//! How deliveries and runs end, and what a run reports.

use std::sync::Arc;
use std::time::Duration;

use entity::outbox_event::Status;
use feebox::outbox::Outcome;
use feebox::quotes::FEE_SERVER;
use feebox::settings;
use feebox::worker::{Report, Signals};
use tokio_util::sync::CancellationToken;

use super::{LIMIT, begun, sized, slow_one};
use crate::support::{
    Cue, Scripted, TestOutbox, delivered, eventually, on_each_engine, refused, retry, worker_settings,
};

on_each_engine!(
    a_panic_is_an_attempt_with_an_unknown_outcome,
    a_delivery_that_outlasts_its_lease_is_dropped_and_settled_as_unknown,
    a_drain_finishes_running_deliveries_and_hands_the_rest_back,
    a_cut_off_ends_running_deliveries_as_unknown,
    a_drained_worker_claims_nothing,
    a_report_counts_what_each_event_became,
    an_idle_run_reports_nothing,
);

async fn a_panic_is_an_attempt_with_an_unknown_outcome(outbox: TestOutbox) {
    let stored = outbox.submit(3).await;
    let bad = stored[1];
    let scripted = Arc::new(Scripted::new(&FEE_SERVER, move |event| {
        if event.id == bad { Cue::Panic("index out of bounds") } else { Cue::Answer(delivered()) }
    }));
    let report = outbox.worker("a", &scripted, worker_settings()).run_once().await.unwrap();
    assert_eq!(report, Report { claimed: 3, delivered: 2, retried: 1, ..Report::default() });
    let row = outbox.event(bad).await;
    assert_eq!((row.status, row.attempts, row.outcome_unknown), (Status::Pending, 1, true));
    assert_eq!(row.last_error.as_deref(), Some("the delivery panicked: index out of bounds"));
}

async fn a_delivery_that_outlasts_its_lease_is_dropped_and_settled_as_unknown(outbox: TestOutbox) {
    let event = outbox.submit(1).await[0];
    let never = CancellationToken::new();
    let scripted = slow_one(event, &never);
    let settings = settings::Worker { lease: Duration::from_secs(2), ..worker_settings() };
    let report = outbox.worker("a", &scripted, settings).run_once().await.unwrap();
    assert_eq!(report, Report { claimed: 1, retried: 1, ..Report::default() });
    let row = outbox.event(event).await;
    assert_eq!((row.status, row.attempts, row.outcome_unknown), (Status::Pending, 1, true));
    assert!(scripted.calls()[0].ended.is_none());
}

async fn a_drain_finishes_running_deliveries_and_hands_the_rest_back(outbox: TestOutbox) {
    let stored = outbox.submit(9).await;
    let told = CancellationToken::new();
    let cue = Cue::AnswerAfter(told.clone(), delivered());
    let scripted = Arc::new(Scripted::new(&FEE_SERVER, move |_| cue.clone()));
    let signals = Signals::default();
    let worker = outbox.worker_told("a", &scripted, sized(500, 3), signals.clone());
    let before = outbox.event(stored[3]).await;
    let watching = async {
        begun(&scripted, 3).await;
        signals.drain.cancel();
        eventually("what waits is handed back", LIMIT, async || {
            let statuses = outbox.statuses(&stored).await;
            (statuses.iter().filter(|status| **status == Status::Leased).count() == 3).then_some(())
        })
        .await;
        told.cancel();
    };
    let (report, ()) = tokio::join!(worker.run_once(), watching);
    assert_eq!(report.unwrap(), Report { claimed: 6, delivered: 3, handed_back: 3, ..Report::default() });
    assert_eq!(scripted.calls().len(), 3);
    // As if it had never been claimed.
    assert_eq!(outbox.event(stored[3]).await, before);
    assert_eq!(outbox.claim("b", 10).await.len(), 6);
}

async fn a_cut_off_ends_running_deliveries_as_unknown(outbox: TestOutbox) {
    let event = outbox.submit(1).await[0];
    let scripted = slow_one(event, &CancellationToken::new());
    let signals = Signals::default();
    let worker = outbox.worker_told("a", &scripted, worker_settings(), signals.clone());
    let stopping = async {
        begun(&scripted, 1).await;
        signals.drain.cancel();
        worker.cut_off();
    };
    let (report, ()) = tokio::join!(worker.run_once(), stopping);
    assert_eq!(report.unwrap(), Report { claimed: 1, retried: 1, ..Report::default() });
    let row = outbox.event(event).await;
    assert_eq!((row.status, row.attempts, row.outcome_unknown), (Status::Pending, 1, true));
}

async fn a_drained_worker_claims_nothing(outbox: TestOutbox) {
    let stored = outbox.submit(1).await;
    let scripted = Arc::new(Scripted::new(&FEE_SERVER, |_| Cue::Answer(delivered())));
    let signals = Signals::default();
    signals.drain.cancel();
    let worker = outbox.worker_told("a", &scripted, worker_settings(), signals);
    assert!(worker.run_once().await.unwrap().is_idle());
    worker.work().await;
    assert_eq!(outbox.statuses(&stored).await, [Status::Pending]);
}

async fn a_report_counts_what_each_event_became(outbox: TestOutbox) {
    outbox.submit(1).await;
    outbox.claim("dead-worker", 1).await;
    outbox.advance(TestOutbox::LEASE * 2);
    let scripted = Arc::new(Scripted::new(&FEE_SERVER, |_| Cue::Answer(delivered())));
    let report = outbox.worker("a", &scripted, worker_settings()).run_once().await.unwrap();
    assert_eq!(report, Report { claimed: 1, delivered: 1, rescued: 1, ..Report::default() });
    // By itself: MariaDB's SKIP LOCKED may pass over an expired lease beside a claim, until the next run.
    let stored = outbox.submit(4).await;
    let outcomes = [delivered(), retry(), refused(), Outcome::Unknown("no answer".into())];
    let script: Vec<_> = stored.into_iter().zip(outcomes).collect();
    let scripted = Arc::new(Scripted::new(&FEE_SERVER, move |event| {
        let line = script.iter().find(|(id, _)| *id == event.id);
        Cue::Answer(line.map_or_else(delivered, |(_, outcome)| outcome.clone()))
    }));
    let report = outbox.worker("a", &scripted, worker_settings()).run_once().await.unwrap();
    assert_eq!(report, Report { claimed: 4, delivered: 1, retried: 2, dead: 1, ..Report::default() });
    assert_eq!(
        report.to_string(),
        "claimed 4, delivered 1, to retry 2, dead 1, cancelled 0, handed back 0, lost leases 0, rescued 0"
    );
}

async fn an_idle_run_reports_nothing(outbox: TestOutbox) {
    let scripted = Arc::new(Scripted::new(&FEE_SERVER, |_| Cue::Panic("nothing is due")));
    assert!(outbox.worker("a", &scripted, worker_settings()).run_once().await.unwrap().is_idle());
    outbox.submit(1).await;
    outbox.pause(&FEE_SERVER).await;
    assert!(outbox.worker("a", &scripted, worker_settings()).run_once().await.unwrap().is_idle());
}
