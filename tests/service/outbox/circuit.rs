//! What the fleet shares about a destination: its circuit, its wish to be left alone, an operator's pause.

use std::time::Duration;

use entity::destination::Circuit;
use entity::outbox_event::Status;
use feebox::outbox::{Disposition, Hold, LeasedEvent, Outcome};
use feebox::quotes::{FEE_SERVER, KAFKA};
use uuid::Uuid;

use crate::support::{TestOutbox, attempt, delivered, on_each_engine, refused, retry, unknown};

on_each_engine!(
    the_circuit_opens_after_failures_in_a_row_of_the_whole_fleet,
    a_success_between_failures_keeps_the_circuit_closed,
    failures_in_a_row_open_no_circuit_while_others_are_delivered_and_more_are_in_flight,
    the_circuit_opens_at_once_when_our_credentials_are_refused,
    what_says_nothing_about_the_destination_does_not_open_the_circuit,
    nothing_goes_out_while_the_circuit_is_open,
    other_destinations_go_on_while_a_circuit_is_open,
    only_one_probe_goes_out_in_the_whole_fleet,
    a_probe_that_found_nothing_to_send_is_not_used_up,
    a_probe_that_is_delivered_closes_the_circuit,
    a_refusal_of_the_probe_closes_the_circuit_too,
    a_probe_that_fails_leaves_the_circuit_open_for_another_cool_down,
    a_probe_that_fails_spends_no_attempt,
    a_bad_event_as_probe_does_not_keep_the_circuit_open,
    a_probe_whose_worker_died_is_followed_by_another,
    a_probe_that_fails_after_its_lease_does_not_let_two_others_out,
    stragglers_neither_close_an_open_circuit_nor_put_its_probe_off,
    a_retry_after_holds_the_destination_for_every_worker_until_then,
    a_shorter_retry_after_does_not_shorten_a_longer_one,
    a_retry_after_is_no_failure_of_the_destination,
    a_paused_destination_gets_nothing,
);

const COOL_DOWN: Duration = Duration::from_secs(15);

async fn the_circuit_opens_after_failures_in_a_row_of_the_whole_fleet(mut outbox: TestOutbox) {
    outbox.policy.circuit.failures = 4;
    outbox.submit(4).await;
    let a = outbox.claim("a", 3).await;
    let b = outbox.claim("b", 1).await;
    outbox.settle("a", &[attempt(&a[0], retry()), attempt(&a[1], unknown())]).await;
    outbox.settle_one("b", &b[0], retry()).await;
    assert_eq!(outbox.fee_server().await.circuit, Circuit::Closed);

    let before = outbox.now().await;
    outbox.settle_one("a", &a[2], Outcome::Retry("502".into())).await;
    let row = outbox.fee_server().await;
    assert_eq!((row.circuit, row.consecutive_failures), (Circuit::Open, 4));
    assert_eq!(row.circuit_reason.as_deref(), Some("502"));
    assert!(row.circuit_opened_at.unwrap() >= before);
    assert_eq!(row.probe_at, row.circuit_opened_at.map(|at| at + COOL_DOWN));
}

async fn a_success_between_failures_keeps_the_circuit_closed(mut outbox: TestOutbox) {
    outbox.policy.circuit.failures = 3;
    outbox.submit(12).await;
    let claimed = outbox.claim("a", 12).await;
    let failed = |event| attempt(event, retry());
    // A success alone, one in the middle of a batch, and a refusal, which is an answer too.
    outbox.settle("a", &[failed(&claimed[0]), failed(&claimed[1])]).await;
    outbox.settle("a", &[attempt(&claimed[2], delivered())]).await;
    outbox.settle("a", &[failed(&claimed[3]), attempt(&claimed[4], delivered()), failed(&claimed[5])]).await;
    outbox.settle("a", &[failed(&claimed[6])]).await;
    outbox.settle("a", &[attempt(&claimed[7], refused())]).await;
    outbox.settle("a", &[failed(&claimed[8]), failed(&claimed[9])]).await;
    let row = outbox.fee_server().await;
    assert_eq!((row.circuit, row.consecutive_failures), (Circuit::Closed, 2));

    outbox.settle("a", &[failed(&claimed[10])]).await;
    assert_eq!(outbox.fee_server().await.circuit, Circuit::Open);
}

async fn the_circuit_opens_at_once_when_our_credentials_are_refused(outbox: TestOutbox) {
    let event = outbox.submit(1).await[0];
    outbox.deliver("a", Outcome::Unauthorised("401: token expired".into())).await;
    let row = outbox.fee_server().await;
    assert_eq!((row.circuit, row.circuit_reason.as_deref()), (Circuit::Open, Some("401: token expired")));
    let event = outbox.event(event).await;
    assert_eq!((event.status, event.attempts), (Status::Pending, 0));
}

async fn what_says_nothing_about_the_destination_does_not_open_the_circuit(mut outbox: TestOutbox) {
    outbox.policy.circuit.failures = 1;
    outbox.submit(2).await;
    let claimed = outbox.claim("a", 2).await;
    outbox.settle_one("a", &claimed[0], Outcome::NotSent("drained".into())).await;
    outbox.settle_one("a", &claimed[1], refused()).await;
    assert_eq!(outbox.fee_server().await.circuit, Circuit::Closed);
}

async fn nothing_goes_out_while_the_circuit_is_open(outbox: TestOutbox) {
    open_circuit(&outbox).await;
    outbox.submit(3).await;
    let probe_at = outbox.fee_server().await.probe_at.unwrap();
    for _ in 0..14 {
        let claim = outbox.ask("a", 10).await;
        assert_eq!((claim.events.len(), claim.hold), (0, Some(Hold::CircuitOpen(probe_at))));
        outbox.advance(Duration::from_secs(1));
    }
}

async fn other_destinations_go_on_while_a_circuit_is_open(outbox: TestOutbox) {
    open_circuit(&outbox).await;
    outbox.record(Uuid::now_v7(), &KAFKA, 1).await;
    assert_eq!(outbox.claim_of(&KAFKA, "a", 10, TestOutbox::LEASE).await.events.len(), 1);
}

async fn only_one_probe_goes_out_in_the_whole_fleet(outbox: TestOutbox) {
    open_circuit(&outbox).await;
    outbox.submit(20).await;
    for _ in 0..10 {
        outbox.advance(COOL_DOWN);
        let claims = tokio::join!(outbox.ask("a", 10), outbox.ask("b", 10), outbox.ask("c", 10), outbox.ask("d", 10));
        let claims = [claims.0, claims.1, claims.2, claims.3];
        let probes: Vec<_> = claims.iter().flat_map(|claim| &claim.events).collect();
        assert_eq!(probes.len(), 1);
        assert!(probes[0].probe);
        assert!(claims.iter().all(|claim| claim.events.len() == 1 || matches!(claim.hold, Some(Hold::CircuitOpen(_)))));
        // Nor another one as long as this one may be in the air.
        outbox.advance(Duration::from_secs(29));
        assert!(outbox.claim("e", 10).await.is_empty());
        outbox.settle_one("a", probes[0], retry()).await;
    }
}

async fn a_probe_that_found_nothing_to_send_is_not_used_up(outbox: TestOutbox) {
    open_circuit(&outbox).await;
    outbox.advance(COOL_DOWN);
    // What opened it is due as well: take it out of the way.
    let probe = outbox.claim("a", 1).await.remove(0);
    outbox.settle_one("a", &probe, Outcome::Broken("not JSON".into())).await;
    outbox.advance(COOL_DOWN);
    let before = outbox.fee_server().await;
    assert!(outbox.claim("a", 1).await.is_empty());
    assert_eq!(outbox.fee_server().await, before);
    outbox.submit(1).await;
    assert!(outbox.claim("b", 1).await[0].probe);
}

async fn a_probe_that_is_delivered_closes_the_circuit(outbox: TestOutbox) {
    open_circuit(&outbox).await;
    outbox.submit(5).await;
    let probe = next_probe(&outbox).await;
    outbox.settle_one("a", &probe, delivered()).await;
    let row = outbox.fee_server().await;
    assert_eq!((row.circuit, row.consecutive_failures), (Circuit::Closed, 0));
    assert_eq!((row.circuit_opened_at, row.circuit_reason, row.probe_at), (None, None, None));
    let claimed = outbox.claim("b", 10).await;
    assert_eq!(claimed.len(), 5);
    assert!(claimed.iter().all(|event| !event.probe));
}

async fn a_refusal_of_the_probe_closes_the_circuit_too(outbox: TestOutbox) {
    open_circuit(&outbox).await;
    let probe = next_probe(&outbox).await;
    assert!(matches!(outbox.settle_one("a", &probe, refused()).await, Disposition::Dead(_)));
    assert_eq!(outbox.fee_server().await.circuit, Circuit::Closed);
}

async fn a_probe_that_fails_leaves_the_circuit_open_for_another_cool_down(outbox: TestOutbox) {
    open_circuit(&outbox).await;
    outbox.submit(20).await;
    let failures = [
        retry(),
        unknown(),
        Outcome::Unauthorised("401".into()),
        Outcome::Broken("not JSON".into()),
        Outcome::RetryAfter("503".into(), Duration::from_secs(1)),
    ];
    for failure in failures {
        let probe = next_probe(&outbox).await;
        let opened_at = outbox.fee_server().await.circuit_opened_at;
        outbox.settle_one("a", &probe, failure).await;
        assert_eq!(outbox.fee_server().await.circuit_opened_at, opened_at, "since when it is open");
        outbox.advance(Duration::from_secs(14));
        assert!(matches!(outbox.ask("b", 10).await.hold, Some(Hold::CircuitOpen(_))));
        outbox.advance(Duration::from_secs(1));
    }
}

async fn a_probe_that_fails_spends_no_attempt(outbox: TestOutbox) {
    open_circuit(&outbox).await;
    let event = outbox.events().await[0].id;
    for failure in [retry(), unknown()].into_iter().cycle().take(20) {
        let probe = next_probe(&outbox).await;
        assert!(matches!(outbox.settle_one("a", &probe, failure).await, Disposition::Pending(_)));
    }
    let row = outbox.event(event).await;
    assert_eq!((row.status, row.attempts), (Status::Pending, 0));
    assert_eq!(row.failures.as_array().unwrap().len(), 20);
}

async fn a_bad_event_as_probe_does_not_keep_the_circuit_open(outbox: TestOutbox) {
    open_circuit(&outbox).await;
    let bad = next_probe(&outbox).await;
    outbox.settle_one("a", &bad, unknown()).await;
    // It is sent behind all that becomes due until the next probe, also behind what was not even stored then.
    outbox.advance(Duration::from_secs(5));
    let good = outbox.submit(1).await[0];
    let probe = next_probe(&outbox).await;
    assert_eq!(probe.id, good);
    outbox.settle_one("a", &probe, delivered()).await;
    assert_eq!(outbox.fee_server().await.circuit, Circuit::Closed);
}

async fn a_probe_whose_worker_died_is_followed_by_another(outbox: TestOutbox) {
    open_circuit(&outbox).await;
    outbox.submit(1).await;
    next_probe(&outbox).await;
    outbox.advance(TestOutbox::LEASE + Duration::from_secs(1));
    outbox.rescue("b").await;
    let next = outbox.claim("b", 10).await;
    assert_eq!(next.len(), 1);
    assert!(next[0].probe);
}

async fn a_probe_that_fails_after_its_lease_does_not_let_two_others_out(outbox: TestOutbox) {
    open_circuit(&outbox).await;
    outbox.submit(3).await;
    for failure in [Outcome::NotSent("its lease was nearly over".into()), retry()] {
        let late = next_probe(&outbox).await;
        outbox.advance(TestOutbox::LEASE + Duration::from_secs(1));
        assert_eq!(outbox.claim("b", 10).await.len(), 1, "the next probe");
        let probe_at = outbox.fee_server().await.probe_at;
        outbox.settle_one("a", &late, failure).await;
        assert_eq!(outbox.fee_server().await.probe_at, probe_at);
        outbox.advance(COOL_DOWN);
        assert!(outbox.claim("c", 10).await.is_empty(), "a probe is under way");
        outbox.advance(TestOutbox::LEASE);
        outbox.rescue("b").await;
    }
}

async fn stragglers_neither_close_an_open_circuit_nor_put_its_probe_off(mut outbox: TestOutbox) {
    outbox.policy.circuit.failures = 1;
    outbox.submit(3).await;
    let claimed = outbox.claim("a", 3).await;
    outbox.settle_one("a", &claimed[0], retry()).await;
    let opened = outbox.fee_server().await;
    outbox.advance(Duration::from_secs(5));
    outbox.settle_one("a", &claimed[1], retry()).await;
    outbox.settle_one("a", &claimed[2], delivered()).await;
    let row = outbox.fee_server().await;
    assert_eq!((row.circuit, row.probe_at), (Circuit::Open, opened.probe_at));
    assert_eq!((row.circuit_opened_at, row.circuit_reason), (opened.circuit_opened_at, opened.circuit_reason));
}

async fn a_retry_after_holds_the_destination_for_every_worker_until_then(outbox: TestOutbox) {
    outbox.submit(1).await;
    outbox.deliver("a", Outcome::RetryAfter("429".into(), Duration::from_mins(2))).await;
    outbox.submit(3).await;
    let until = outbox.fee_server().await.not_before.unwrap();
    let claim = outbox.ask("b", 10).await;
    assert_eq!((claim.events.len(), claim.hold), (0, Some(Hold::NotBefore(until))));
    outbox.advance(Duration::from_secs(119));
    assert!(outbox.claim("b", 10).await.is_empty());
    outbox.advance(Duration::from_secs(1));
    assert_eq!(outbox.claim("b", 10).await.len(), 4);
}

async fn a_shorter_retry_after_does_not_shorten_a_longer_one(outbox: TestOutbox) {
    outbox.submit(3).await;
    let claimed = outbox.claim("a", 3).await;
    let wait = |seconds| Outcome::RetryAfter("429".into(), Duration::from_secs(seconds));
    outbox.settle("a", &[attempt(&claimed[0], wait(300)), attempt(&claimed[1], wait(20))]).await;
    let until = outbox.fee_server().await.not_before;
    outbox.settle_one("a", &claimed[2], wait(20)).await;
    assert_eq!(outbox.fee_server().await.not_before, until);
    outbox.advance(Duration::from_secs(299));
    assert!(outbox.claim("a", 10).await.is_empty());
}

async fn a_retry_after_is_no_failure_of_the_destination(mut outbox: TestOutbox) {
    outbox.policy.circuit.failures = 1;
    outbox.submit(1).await;
    outbox.deliver("a", Outcome::RetryAfter("429".into(), Duration::from_secs(30))).await;
    let row = outbox.fee_server().await;
    assert_eq!((row.circuit, row.consecutive_failures), (Circuit::Closed, 0));
}

async fn a_paused_destination_gets_nothing(outbox: TestOutbox) {
    outbox.submit(1).await;
    outbox.pause(&FEE_SERVER).await;
    let claim = outbox.ask("a", 10).await;
    assert_eq!((claim.events.len(), claim.hold), (0, Some(Hold::Paused)));
}

/// Leaves the event that opened it pending.
async fn open_circuit(outbox: &TestOutbox) {
    outbox.submit(1).await;
    outbox.deliver("a", Outcome::Unauthorised("401".into())).await;
    assert_eq!(outbox.fee_server().await.circuit, Circuit::Open);
}

async fn next_probe(outbox: &TestOutbox) -> LeasedEvent {
    outbox.advance(COOL_DOWN);
    let mut claimed = outbox.claim("a", 10).await;
    assert_eq!(claimed.len(), 1);
    assert!(claimed[0].probe);
    claimed.remove(0)
}

async fn failures_in_a_row_open_no_circuit_while_others_are_delivered_and_more_are_in_flight(mut outbox: TestOutbox) {
    outbox.policy.circuit.failures = 2;
    outbox.submit(20).await;
    let claimed = outbox.claim("a", 8).await;
    let fail = async |range: std::ops::Range<usize>| {
        let failed: Vec<_> = claimed[range].iter().map(|event| attempt(event, retry())).collect();
        outbox.settle("a", &failed).await;
        outbox.fee_server().await.circuit
    };
    outbox.settle_one("a", &claimed[0], delivered()).await;
    // Of seven others three have failed, and four may still succeed.
    assert_eq!(fail(1..4).await, Circuit::Closed);
    // Four have failed, and three are left: a whole generation of calls.
    assert_eq!(fail(4..5).await, Circuit::Open);

    outbox.advance(COOL_DOWN);
    let probe = outbox.claim("a", 1).await;
    outbox.settle_one("a", &probe[0], delivered()).await;
    let claimed = outbox.claim("a", 8).await;
    // Nothing was delivered for some seconds: that others are in flight, perhaps in the hands of a dead worker, says nothing.
    outbox.advance(Duration::from_secs(6));
    outbox.settle("a", &[attempt(&claimed[0], retry()), attempt(&claimed[1], unknown())]).await;
    assert_eq!(outbox.fee_server().await.circuit, Circuit::Open);
}
