//! Events that wait for an earlier one of their quote leave the queue, and come back as soon as that one has ended.

use std::time::Duration;

use entity::outbox_event::Status;
use feebox::operator::{self, Operator};
use feebox::outbox::{self, LeasedEvent};
use feebox::quotes::{FEE_SERVER, Relay};
use uuid::Uuid;

use crate::support::{TestOutbox, delivered, on_each_engine, refused, retry};

on_each_engine!(
    what_waits_is_parked_and_due_at_once_when_the_earlier_event_is_delivered,
    what_waits_for_a_dead_event_is_due_when_that_is_given_up,
    what_waits_for_a_withdrawn_event_is_due_when_its_lease_has_run_out,
    what_waits_for_nothing_is_not_parked,
);

/// The first and the second event of each of `count` quotes.
async fn pairs(outbox: &TestOutbox, count: usize) -> Vec<[Uuid; 2]> {
    let mut pairs = Vec::new();
    for _ in 0..count {
        let quote = Uuid::now_v7();
        pairs.push([outbox.record(quote, &FEE_SERVER, 1).await, outbox.record(quote, &FEE_SERVER, 2).await]);
    }
    pairs
}

/// A minute later, when what is due has been due for long enough; leases go on for as long.
async fn park(outbox: &TestOutbox) -> u64 {
    outbox.advance(Duration::from_secs(61));
    outbox::park(&outbox.db).await.unwrap()
}

fn ids(events: &[LeasedEvent]) -> Vec<Uuid> {
    events.iter().map(|event| event.id).collect()
}

async fn is_parked(outbox: &TestOutbox, event: Uuid) -> bool {
    let event = outbox.event(event).await;
    event.status == Status::Pending && event.due_at > outbox.now().await
}

async fn what_waits_is_parked_and_due_at_once_when_the_earlier_event_is_delivered(outbox: TestOutbox) {
    let pairs = pairs(&outbox, 3).await;
    let claimed = outbox.claim("a", 10).await;
    assert_eq!(claimed.len(), 3);
    assert_eq!((park(&outbox).await, park(&outbox).await), (3, 0));
    for [_, second] in &pairs {
        assert!(is_parked(&outbox, *second).await);
    }
    outbox.settle_one("a", &claimed[0], delivered()).await;
    outbox.settle_one("a", &claimed[1], retry()).await;
    assert_eq!(ids(&outbox.claim("b", 10).await), [pairs[0][1]]);
    assert!(is_parked(&outbox, pairs[1][1]).await, "its earlier event is tried again");
}

async fn what_waits_for_a_dead_event_is_due_when_that_is_given_up(outbox: TestOutbox) {
    let [first, second] = pairs(&outbox, 1).await[0];
    outbox.deliver("a", refused()).await;
    assert_eq!(park(&outbox).await, 1);
    assert!(outbox.claim("a", 10).await.is_empty());
    let ann = Operator { name: "ann", reason: None };
    operator::cancel(&outbox.db, Relay::default(), ann, first).await.unwrap();
    assert_eq!(ids(&outbox.claim("a", 10).await), [second]);
}

async fn what_waits_for_a_withdrawn_event_is_due_when_its_lease_has_run_out(outbox: TestOutbox) {
    let submitted = outbox.submit(1).await[0];
    let quote = outbox.event(submitted).await.aggregate_id;
    assert_eq!(ids(&outbox.claim("a", 10).await), [submitted]);
    outbox.submission.cancel(quote, None, None).await.unwrap();
    assert_eq!(park(&outbox).await, 1);
    // The worker dies.
    outbox.advance(TestOutbox::LEASE * 2);
    outbox.rescue("b").await;
    let void = outbox.events_of(quote).await[1].id;
    assert_eq!(ids(&outbox.claim("b", 10).await), [void]);
}

async fn what_waits_for_nothing_is_not_parked(outbox: TestOutbox) {
    let [first, second] = pairs(&outbox, 1).await[0];
    assert_eq!(ids(&outbox.claim("a", 10).await), [first]);
    let claimed = outbox.event(first).await;
    assert_eq!(claimed.status, Status::Leased);
    outbox.submit(3).await;
    assert_eq!(park(&outbox).await, 1, "the second event alone");
    assert!(is_parked(&outbox, second).await);
    assert_eq!(outbox.claim("a", 10).await.len(), 3);
}
