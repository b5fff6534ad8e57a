//! A 403 is about our credentials, or about one event that something in between dislikes. Others tell which.

use std::time::Duration;

use entity::destination::Circuit;
use entity::outbox_event::Status;
use feebox::outbox::{Disposition, LeasedEvent, Outcome};

use crate::support::{TestOutbox, attempt, delivered, on_each_engine, unknown};

on_each_engine!(
    forty_others_flow_while_one_event_is_forbidden,
    when_all_are_forbidden_the_circuit_opens_at_the_third,
    a_403_with_nothing_delivered_lately_is_about_our_credentials,
    another_event_shows_at_once_whether_one_alone_is_forbidden,
    a_success_in_the_same_batch_tells_that_our_credentials_are_fine,
    an_event_that_was_forbidden_before_others_were_delivered_opens_nothing_later,
    a_forbidden_probe_keeps_the_circuit_open_if_nothing_is_delivered,
);

const COOL_DOWN: Duration = Duration::from_secs(15);

async fn forty_others_flow_while_one_event_is_forbidden(outbox: TestOutbox) {
    outbox.submit(1).await;
    outbox.deliver("a", delivered()).await;
    let bad = outbox.submit(1).await[0];
    let mut others = vec![];
    for _ in 0..40 {
        others.extend(outbox.submit(1).await);
        for event in outbox.claim("a", 10).await {
            let outcome = if event.id == bad { forbidden() } else { delivered() };
            outbox.settle_one("a", &event, outcome).await;
            assert_eq!(outbox.fee_server().await.circuit, Circuit::Closed);
        }
        outbox.advance(Duration::from_secs(10));
    }
    let row = outbox.event(bad).await;
    assert_eq!((row.status, row.attempts), (Status::Dead, 6), "it reaches its last attempt");
    assert!(outbox.statuses(&others).await.iter().all(|status| *status == Status::Delivered));
}

async fn when_all_are_forbidden_the_circuit_opens_at_the_third(outbox: TestOutbox) {
    outbox.submit(5).await;
    let claimed = outbox.claim("a", 5).await;
    outbox.settle_one("a", &claimed[0], delivered()).await;
    outbox.advance(Duration::from_secs(1));
    for (event, opens) in claimed[1..].iter().zip([false, false, true, true]) {
        outbox.settle_one("a", event, forbidden()).await;
        assert_eq!(outbox.fee_server().await.circuit == Circuit::Open, opens);
    }
    assert_eq!(outbox.fee_server().await.circuit_reason.as_deref(), Some("403: forbidden"));
    for event in &claimed[3..] {
        assert_eq!(outbox.event(event.id).await.attempts, 0);
    }
}

async fn a_403_with_nothing_delivered_lately_is_about_our_credentials(outbox: TestOutbox) {
    outbox.submit(1).await;
    outbox.deliver("a", delivered()).await;
    outbox.advance(Duration::from_mins(1));
    let event = outbox.submit(1).await[0];
    for _ in 0..20 {
        let claimed = outbox.claim("a", 1).await.remove(0);
        assert!(matches!(outbox.settle_one("a", &claimed, forbidden()).await, Disposition::Pending(_)));
        assert_eq!(outbox.fee_server().await.circuit, Circuit::Open);
        outbox.advance(Duration::from_secs(14));
        assert!(outbox.claim("a", 1).await.is_empty());
        outbox.advance(Duration::from_secs(1));
    }
    let row = outbox.event(event).await;
    assert_eq!((row.status, row.attempts), (Status::Pending, 0));
}

async fn another_event_shows_at_once_whether_one_alone_is_forbidden(outbox: TestOutbox) {
    let bad = outbox.submit(1).await[0];
    outbox.deliver("a", forbidden()).await;
    let good = outbox.submit(2).await;
    let probe = only_probe(&outbox).await;
    assert_eq!(probe.id, good[0]);
    assert!(outbox.claim("b", 10).await.is_empty(), "one probe at a time");
    // It is forbidden, too: now all wait for the cool-down.
    outbox.settle_one("a", &probe, forbidden()).await;
    outbox.advance(Duration::from_secs(14));
    assert!(outbox.claim("b", 10).await.is_empty());
    outbox.advance(Duration::from_secs(1));
    let probe = only_probe(&outbox).await;
    outbox.settle_one("a", &probe, delivered()).await;
    let row = outbox.fee_server().await;
    assert_eq!((row.circuit, row.consecutive_failures), (Circuit::Closed, 0));
    assert_eq!(outbox.event(bad).await.status, Status::Pending);
}

async fn a_success_in_the_same_batch_tells_that_our_credentials_are_fine(outbox: TestOutbox) {
    outbox.submit(4).await;
    let claimed = outbox.claim("a", 4).await;
    let of = |event: &LeasedEvent, outcome| attempt(event, outcome);
    let batch = [of(&claimed[0], forbidden()), of(&claimed[1], unknown()), of(&claimed[2], delivered())];
    outbox.settle("a", &batch).await;
    assert_eq!(outbox.fee_server().await.circuit, Circuit::Closed);
    assert_eq!(outbox.event(claimed[0].id).await.attempts, 1);
}

/// At night: hours without anything else.
async fn an_event_that_was_forbidden_before_others_were_delivered_opens_nothing_later(mut outbox: TestOutbox) {
    outbox.policy.circuit.failures = 10;
    let bad = outbox.submit(1).await[0];
    outbox.deliver("a", forbidden()).await;
    outbox.submit(1).await;
    let probe = only_probe(&outbox).await;
    outbox.settle_one("a", &probe, delivered()).await;

    outbox.advance(Duration::from_mins(50));
    // Others fail meanwhile, which says nothing about our credentials.
    let others = outbox.submit(3).await;
    let claimed = outbox.claim("a", 10).await;
    for event in claimed.iter().filter(|event| others.contains(&event.id)) {
        outbox.settle_one("a", event, unknown()).await;
    }
    let event = claimed.iter().find(|event| event.id == bad).unwrap();
    outbox.settle_one("a", event, forbidden()).await;
    assert_eq!(outbox.fee_server().await.circuit, Circuit::Closed);
    assert_eq!(outbox.event(bad).await.attempts, 1);
}

async fn a_forbidden_probe_keeps_the_circuit_open_if_nothing_is_delivered(outbox: TestOutbox) {
    outbox.submit(3).await;
    let claimed = outbox.claim("a", 1).await;
    outbox.settle_one("a", &claimed[0], Outcome::Unauthorised("401".into())).await;
    for _ in 0..10 {
        outbox.advance(COOL_DOWN);
        let probe = only_probe(&outbox).await;
        outbox.settle_one("a", &probe, forbidden()).await;
        assert_eq!(outbox.event(probe.id).await.attempts, 0);
        assert!(outbox.claim("b", 1).await.is_empty());
    }
    assert_eq!(outbox.fee_server().await.circuit, Circuit::Open);
}

async fn only_probe(outbox: &TestOutbox) -> LeasedEvent {
    let mut claimed = outbox.claim("a", 10).await;
    assert_eq!(claimed.iter().map(|event| event.probe).collect::<Vec<_>>(), [true]);
    claimed.remove(0)
}

fn forbidden() -> Outcome<()> {
    Outcome::Forbidden("403: forbidden".into())
}
