//! When a failing event is given up for its age: after some attempts that counted, and for as long as its destination could
//! be called.

use std::time::Duration;

use entity::destination::Circuit;
use entity::outbox_event::Status;
use feebox::outbox::{self, Disposition, Outcome, Pause};
use feebox::quotes::FEE_SERVER;

use crate::support::{TestOutbox, delivered, on_each_engine, retry, unknown};

on_each_engine!(
    an_event_is_dead_when_it_has_been_failing_for_too_long,
    an_old_event_is_not_given_up_before_its_fifth_attempt,
    time_before_the_first_failure_does_not_count,
    time_under_a_pause_does_not_count,
    time_behind_an_open_circuit_does_not_count,
    time_under_a_retry_after_does_not_count,
    a_lease_that_ends_under_a_pause_is_not_held_against_the_events_age,
);

const GIVE_UP_AFTER: Duration = Duration::from_hours(1);

async fn an_event_is_dead_when_it_has_been_failing_for_too_long(outbox: TestOutbox) {
    outbox.submit(1).await;
    fail(&outbox, 4).await;
    outbox.advance(GIVE_UP_AFTER);
    let Disposition::Dead(why) = outbox.deliver("a", retry()).await else { panic!("it is given up") };
    assert!(why.contains("retry.give_up_after = 1h"), "{why}");
}

async fn an_old_event_is_not_given_up_before_its_fifth_attempt(outbox: TestOutbox) {
    outbox.submit(1).await;
    for _ in 0..4 {
        assert!(matches!(outbox.deliver("a", unknown()).await, Disposition::Pending(_)));
        outbox.advance(GIVE_UP_AFTER);
    }
    assert!(matches!(outbox.deliver("a", retry()).await, Disposition::Dead(_)));
}

/// No worker ran for a week.
async fn time_before_the_first_failure_does_not_count(outbox: TestOutbox) {
    outbox.submit(1).await;
    outbox.advance(Duration::from_hours(24 * 7));
    fail(&outbox, 5).await;
}

async fn time_under_a_pause_does_not_count(outbox: TestOutbox) {
    outbox.submit(1).await;
    fail(&outbox, 4).await;
    pause(&outbox, true).await;
    outbox.advance(Duration::from_hours(100));
    pause(&outbox, false).await;
    assert!(matches!(outbox.deliver("a", retry()).await, Disposition::Pending(_)));
}

async fn time_behind_an_open_circuit_does_not_count(outbox: TestOutbox) {
    let event = outbox.submit(1).await[0];
    fail(&outbox, 4).await;
    outbox.deliver("a", Outcome::Unauthorised("401".into())).await;
    assert_eq!(outbox.fee_server().await.circuit, Circuit::Open);
    outbox.advance(Duration::from_hours(100));
    outbox.submit(1).await;
    // As a probe, and as the first call after another probe closed the circuit.
    assert!(matches!(outbox.deliver("a", retry()).await, Disposition::Pending(_)));
    outbox.advance(Duration::from_mins(1));
    outbox.deliver("a", delivered()).await;
    assert_eq!(outbox.fee_server().await.circuit, Circuit::Closed);
    assert!(matches!(outbox.deliver("a", retry()).await, Disposition::Pending(_)));
    assert_eq!(outbox.event(event).await.attempts, 5);
}

async fn time_under_a_retry_after_does_not_count(mut outbox: TestOutbox) {
    outbox.policy.retry_after_max = Duration::from_hours(100);
    outbox.submit(1).await;
    fail(&outbox, 4).await;
    outbox.deliver("a", Outcome::RetryAfter("429".into(), Duration::from_hours(100))).await;
    outbox.advance(Duration::from_hours(100));
    assert!(matches!(outbox.deliver("a", retry()).await, Disposition::Pending(_)));
}

async fn a_lease_that_ends_under_a_pause_is_not_held_against_the_events_age(outbox: TestOutbox) {
    let event = outbox.submit(1).await[0];
    fail(&outbox, 4).await;
    assert_eq!(outbox.claim("dies", 1).await.len(), 1);
    pause(&outbox, true).await;
    outbox.advance(Duration::from_hours(100));
    assert_eq!(outbox.rescue("b").await.len(), 1);
    let row = outbox.event(event).await;
    assert_eq!((row.status, row.attempts), (Status::Pending, 5));
}

/// The event that is due fails this often, one minute after the other.
async fn fail(outbox: &TestOutbox, times: usize) {
    for _ in 0..times {
        assert!(matches!(outbox.deliver("a", retry()).await, Disposition::Pending(_)));
        outbox.advance(Duration::from_mins(1));
    }
}

async fn pause(outbox: &TestOutbox, paused: bool) {
    let now = outbox.now().await;
    let pause = Pause { by: "ann".into(), since: now, reason: None };
    let txn = outbox.db.begin().await.unwrap();
    assert!(outbox::set_pause(&txn, &FEE_SERVER, paused.then_some(&pause), now).await.unwrap());
    txn.commit().await.unwrap();
}
