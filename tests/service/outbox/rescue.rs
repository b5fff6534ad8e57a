//! What becomes of events whose worker left no result.

use std::time::Duration;

use entity::outbox_event::Status;
use feebox::outbox::{Disposition, Poll};
use feebox::quotes::{FEE_SERVER, KAFKA};

use crate::support::{TestOutbox, delivered, on_each_engine, retry};

on_each_engine!(
    only_leases_that_have_run_out_are_rescued,
    a_rescued_event_is_looked_up_and_due_at_once_the_first_time,
    a_further_rescue_waits_by_the_retry_policy,
    an_event_that_kills_its_workers_is_dead_after_its_attempts,
    an_event_is_dead_if_its_worker_was_away_for_too_long,
    a_rescue_is_noted_as_a_failure_of_the_worker_that_left_no_result,
    a_delivered_event_is_not_rescued,
    concurrent_rescuers_take_each_event_back_once,
    more_than_a_batch_is_rescued,
    a_look_tells_what_a_run_would_find,
);

async fn a_look_tells_what_a_run_would_find(outbox: TestOutbox) {
    let look = async |destination| feebox::outbox::poll(&outbox.db, destination).await.unwrap();
    let nothing = Poll { due: false, expired: false };
    assert_eq!(look(&FEE_SERVER).await, nothing);
    outbox.submit(1).await;
    assert_eq!(look(&FEE_SERVER).await, Poll { due: true, ..nothing });
    assert_eq!(look(&KAFKA).await, nothing, "it is not its event");
    outbox.claim("a", 1).await;
    assert_eq!(look(&FEE_SERVER).await, nothing, "it is in good hands");
    outbox.advance(TestOutbox::LEASE * 2);
    assert_eq!(look(&KAFKA).await, Poll { expired: true, ..nothing }, "whoever looks takes it back");
    let rescued = outbox.rescue("b").await;
    assert_eq!(rescued[0].0.event.destination, FEE_SERVER, "which is told of it, whoever takes it back");
    assert_eq!(look(&FEE_SERVER).await, Poll { due: true, ..nothing });
    outbox.deliver("b", retry()).await;
    assert_eq!(look(&FEE_SERVER).await, nothing, "it is due later");
    outbox.advance(Duration::from_hours(1));
    assert_eq!(look(&FEE_SERVER).await, Poll { due: true, ..nothing });
}

async fn only_leases_that_have_run_out_are_rescued(outbox: TestOutbox) {
    let stored = outbox.submit(2).await;
    outbox.claim_of(&FEE_SERVER, "a", 1, Duration::from_secs(10)).await;
    outbox.claim_of(&FEE_SERVER, "a", 1, Duration::from_secs(20)).await;

    outbox.advance(Duration::from_secs(9));
    assert!(outbox.rescue("b").await.is_empty());
    outbox.advance(Duration::from_secs(2));
    let rescued = outbox.rescue("b").await;
    assert_eq!(rescued.iter().map(|(attempt, _)| attempt.event.id).collect::<Vec<_>>(), stored[..1]);
    assert_eq!(outbox.statuses(&stored).await, [Status::Pending, Status::Leased]);
    assert!(outbox.rescue("b").await.is_empty());
}

async fn a_rescued_event_is_looked_up_and_due_at_once_the_first_time(outbox: TestOutbox) {
    let event = outbox.submit(1).await[0];
    outbox.claim("a", 1).await;
    outbox.advance(TestOutbox::LEASE * 2);
    assert!(matches!(outbox.rescue("b").await[0].1, Disposition::Pending(_)));

    let row = outbox.event(event).await;
    assert_eq!((row.status, row.attempts, row.outcome_unknown), (Status::Pending, 1, true));
    assert!(row.lease_token.is_none() && row.leased_until.is_none() && row.leased_by.is_none());
    let claimed = outbox.claim("b", 1).await.remove(0);
    assert_eq!((claimed.attempt, claimed.outcome_unknown), (2, true));
}

async fn a_further_rescue_waits_by_the_retry_policy(outbox: TestOutbox) {
    outbox.submit(1).await;
    for (rescue, seconds) in [(1, 0), (2, 10), (3, 20), (4, 40)] {
        assert_eq!(outbox.claim("a", 1).await.len(), 1);
        outbox.advance(TestOutbox::LEASE * 2);
        outbox.rescue("b").await;
        if seconds > 0 {
            outbox.advance(Duration::from_secs(seconds - 1));
            assert!(outbox.claim("b", 1).await.is_empty(), "after rescue {rescue}");
            outbox.advance(Duration::from_secs(1));
        }
    }
    assert_eq!(outbox.claim("b", 1).await.len(), 1);
}

async fn an_event_that_kills_its_workers_is_dead_after_its_attempts(outbox: TestOutbox) {
    let event = outbox.submit(1).await[0];
    for attempt in 1..=6 {
        assert_eq!(outbox.claim("a", 1).await[0].attempt, attempt);
        outbox.advance(TestOutbox::LEASE * 2);
        outbox.rescue("b").await;
        outbox.advance(Duration::from_mins(1));
    }
    let row = outbox.event(event).await;
    assert_eq!((row.status, row.attempts), (Status::Dead, 6));
    assert!(row.settled_at.is_some());
}

async fn an_event_is_dead_if_its_worker_was_away_for_too_long(outbox: TestOutbox) {
    let event = outbox.submit(1).await[0];
    for number in 1..=5 {
        outbox.advance(Duration::from_mins(1));
        assert_eq!(outbox.claim("a", 1).await.len(), 1);
        outbox.advance(Duration::from_hours(1));
        let became = outbox.rescue("b").await.remove(0).1;
        assert_eq!(matches!(became, Disposition::Dead(_)), number == 5, "{became:?}");
    }
    assert_eq!(outbox.event(event).await.status, Status::Dead);
}

async fn a_rescue_is_noted_as_a_failure_of_the_worker_that_left_no_result(outbox: TestOutbox) {
    let event = outbox.submit(1).await[0];
    outbox.claim("worker-7", 1).await;
    outbox.advance(TestOutbox::LEASE * 2);
    outbox.rescue("worker-8").await;
    let row = outbox.event(event).await;
    assert_eq!(row.last_error.as_deref(), Some("worker-7 left no result before its lease ended"));
    let failure = &row.failures[0];
    assert_eq!((&failure["attempt"], &failure["outcome"]), (&1.into(), &"unknown".into()));
    assert_eq!(failure["by"], "worker-8");
}

async fn a_delivered_event_is_not_rescued(outbox: TestOutbox) {
    outbox.submit(2).await;
    let claimed = outbox.claim("a", 2).await;
    outbox.settle_one("a", &claimed[0], delivered()).await;
    outbox.settle_one("a", &claimed[1], retry()).await;
    let before = outbox.events().await;
    outbox.advance(Duration::from_hours(24));
    assert!(outbox.rescue("b").await.is_empty());
    assert_eq!(outbox.events().await, before);
}

async fn concurrent_rescuers_take_each_event_back_once(outbox: TestOutbox) {
    const EVENTS: usize = 40;
    outbox.submit(EVENTS).await;
    outbox.claim("a", EVENTS).await;
    outbox.advance(TestOutbox::LEASE * 2);
    // The last to look may pass over what another one holds, and be done before it.
    let (b, c, d) = tokio::join!(outbox.rescue("b"), outbox.rescue("c"), outbox.rescue("d"));
    assert_eq!(b.len() + c.len() + d.len(), EVENTS);
    for row in outbox.events().await {
        assert_eq!((row.status, row.attempts), (Status::Pending, 1));
        assert_eq!(row.failures.as_array().unwrap().len(), 1);
    }
}

async fn more_than_a_batch_is_rescued(outbox: TestOutbox) {
    const EVENTS: usize = 501;
    outbox.submit(EVENTS).await;
    outbox.claim("a", EVENTS).await;
    outbox.advance(TestOutbox::LEASE * 2);
    assert_eq!(outbox.rescue("b").await.len(), EVENTS);
    assert_eq!(outbox.claim("b", EVENTS).await.len(), EVENTS);
}
