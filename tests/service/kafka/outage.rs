//! The broker or the way to it fails; what was promised then.

use std::time::Duration;

use entity::outbox_event::Status;

use super::{IMPATIENT, PATIENT, QUOTES, Relayed, ids, read_of};
use crate::support::{Proxy, Server, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_was_unavailable_gets_everything_once_and_in_order() {
    let broker = Server::own_kafka();
    let relayed = Relayed::to(broker.url(), IMPATIENT).await;
    let before = relayed.record(3).await;
    relayed.run_to_the_end().await;
    broker.stop();
    let meanwhile = relayed.record(10).await;
    for _ in 0..2 {
        let report = relayed.worker().run_once().await.unwrap();
        assert_eq!((report.delivered, report.retried), (0, 10), "{report}");
        relayed.outbox.advance(Duration::from_mins(1));
    }
    let waiting = relayed.with_status(Status::Pending).await;
    assert!(waiting.iter().all(|event| event.attempts <= 2));
    broker.start();
    relayed.run_to_the_end().await;
    assert!(relayed.with_status(Status::Dead).await.is_empty());
    let recorded = before.into_iter().chain(meanwhile);
    for (quote, events) in recorded {
        assert_eq!(ids(&read_of(broker.url(), QUOTES, [&quote])[&quote]), events);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_whose_acknowledgement_was_lost_is_stored_once() {
    let broker = Server::shared_kafka();
    let proxy = Proxy::before_kafka(broker.addr()).await;
    let relayed = Relayed::to(&proxy.addr().to_string(), PATIENT).await;
    relayed.record(1).await;
    relayed.run_to_the_end().await;

    let recorded = relayed.record(5).await;
    proxy.lose_answers();
    let worker = relayed.worker();
    let mending = async {
        let first: Vec<_> = recorded.values().map(|events| events[0]).collect();
        eventually("the broker has stored all", Duration::from_secs(10), async || {
            let read = read_of(broker.url(), QUOTES, recorded.keys());
            let stored = read.values().flatten().filter(|record| first.contains(&record.event_id())).count();
            (stored == first.len()).then_some(())
        })
        .await;
        proxy.resume();
        proxy.cut();
    };
    let (report, ()) = tokio::join!(worker.run_once(), mending);
    // The first attempt itself was acknowledged in the end: the client had repeated it.
    assert_eq!(report.unwrap().delivered, 15);
    for (quote, events) in &recorded {
        assert_eq!(ids(&read_of(broker.url(), QUOTES, [quote])[quote]), *events);
    }
}

/// The window that no idempotent producer closes, as `docs/delivery.md` has it.
#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_is_never_acknowledged_comes_again_with_the_same_id() {
    let broker = Server::shared_kafka();
    let proxy = Proxy::before_kafka(broker.addr()).await;
    let relayed = Relayed::to(&proxy.addr().to_string(), IMPATIENT).await;
    relayed.record(1).await;
    relayed.run_to_the_end().await;

    let quote = relayed.submit(1).await[0];
    proxy.lose_answers();
    let report = relayed.worker().run_once().await.unwrap();
    assert_eq!((report.delivered, report.retried), (0, 1));
    let event = relayed.with_status(Status::Pending).await.remove(0);
    assert!(event.outcome_unknown, "{event:?}");
    proxy.resume();
    proxy.cut();
    relayed.run_to_the_end().await;
    let read = &read_of(broker.url(), QUOTES, [&quote])[&quote];
    assert_eq!(ids(read), [event.id, event.id]);
}
