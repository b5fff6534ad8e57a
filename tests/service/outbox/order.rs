//! Events of one quote for one destination go out in the order in which they were stored.

use std::time::Duration;

use feebox::outbox::{LeasedEvent, Outcome};
use feebox::quotes::{FEE_SERVER, KAFKA, QUOTE, QUOTE_CANCELLED};
use uuid::Uuid;

use crate::support::{TestOutbox, delivered, on_each_engine, refused, retry};

on_each_engine!(
    a_later_event_waits_for_a_pending_one_even_if_that_is_not_due,
    a_later_event_waits_for_a_leased_one_and_goes_out_after_it,
    a_later_event_waits_for_a_dead_one,
    a_cancelled_event_holds_back_nothing,
    every_later_event_waits_not_only_the_next,
    a_held_back_event_leaves_room_for_others_within_the_limit,
    other_quotes_and_other_destinations_do_not_wait,
    order_is_told_by_place_and_not_by_due_time,
    two_events_cannot_share_a_place,
);

async fn a_later_event_waits_for_a_pending_one_even_if_that_is_not_due(outbox: TestOutbox) {
    let [first, second] = two_of_one_quote(&outbox).await;
    outbox.deliver("a", retry()).await;
    assert!(outbox.claim("a", 10).await.is_empty());
    outbox.advance(Duration::from_secs(10));
    assert_eq!(ids(&outbox.claim("a", 10).await), [first]);
    outbox.advance(TestOutbox::LEASE * 2);
    outbox.rescue("b").await;
    assert!(!ids(&outbox.claim("b", 10).await).contains(&second));
}

async fn a_later_event_waits_for_a_leased_one_and_goes_out_after_it(outbox: TestOutbox) {
    let [first, second] = two_of_one_quote(&outbox).await;
    let claimed = outbox.claim("a", 10).await;
    assert_eq!(ids(&claimed), [first]);
    assert!(outbox.claim("b", 10).await.is_empty());
    outbox.settle_one("a", &claimed[0], delivered()).await;
    assert_eq!(ids(&outbox.claim("b", 10).await), [second]);
}

async fn a_later_event_waits_for_a_dead_one(outbox: TestOutbox) {
    two_of_one_quote(&outbox).await;
    outbox.deliver("a", refused()).await;
    outbox.advance(Duration::from_hours(24));
    assert!(outbox.claim("a", 10).await.is_empty());
}

async fn a_cancelled_event_holds_back_nothing(outbox: TestOutbox) {
    let submitted = outbox.submit(1).await[0];
    let quote = outbox.event(submitted).await.aggregate_id;
    outbox.deliver("a", retry()).await;
    outbox.submission.cancel(quote, None, None).await.unwrap();
    let void = outbox.events_of(quote).await[1].id;
    assert_eq!(ids(&outbox.claim("a", 10).await), [void]);
}

async fn every_later_event_waits_not_only_the_next(outbox: TestOutbox) {
    let quote = Uuid::now_v7();
    let mut stored = vec![];
    for sequence in 1..=3 {
        stored.push(outbox.record(quote, &FEE_SERVER, sequence).await);
    }
    let mut claimed = vec![];
    for _ in 1..=3 {
        let event = outbox.claim("a", 10).await;
        outbox.settle_one("a", &event[0], delivered()).await;
        claimed.extend(ids(&event));
    }
    assert_eq!(claimed, stored);
}

async fn a_held_back_event_leaves_room_for_others_within_the_limit(outbox: TestOutbox) {
    // The longest due are all held back by the one that was put off.
    let quote = Uuid::now_v7();
    outbox.record(quote, &FEE_SERVER, 1).await;
    outbox.deliver("a", Outcome::Unauthorised("401".into())).await;
    for sequence in 2..=5 {
        outbox.record(quote, &FEE_SERVER, sequence).await;
    }
    outbox.advance(Duration::from_secs(1));
    let other = outbox.record(Uuid::now_v7(), &FEE_SERVER, 1).await;
    outbox.advance(Duration::from_secs(14));
    assert_eq!(ids(&outbox.claim("a", 1).await), [other]);
}

async fn other_quotes_and_other_destinations_do_not_wait(outbox: TestOutbox) {
    let quote = Uuid::now_v7();
    outbox.record(quote, &FEE_SERVER, 1).await;
    outbox.record(quote, &FEE_SERVER, 2).await;
    outbox.deliver("a", refused()).await;

    // Not the first one of its destination, so that earlier ones are looked for.
    let for_kafka = outbox.record(quote, &KAFKA, 3).await;
    let others = outbox.submit(3).await;
    assert_eq!(ids(&outbox.claim("a", 10).await), others);
    let claim = outbox.claim_of(&KAFKA, "a", 10, TestOutbox::LEASE).await;
    assert_eq!(ids(&claim.events), [for_kafka]);
}

/// The clock may be set back between two events of a quote.
async fn order_is_told_by_place_and_not_by_due_time(outbox: TestOutbox) {
    let quote = Uuid::now_v7();
    let second = outbox.record(quote, &FEE_SERVER, 2).await;
    let first = outbox.record(quote, &FEE_SERVER, 1).await;
    let claimed = outbox.claim("a", 10).await;
    assert_eq!(ids(&claimed), [first]);
    outbox.settle_one("a", &claimed[0], delivered()).await;
    assert_eq!(ids(&outbox.claim("a", 10).await), [second]);
}

async fn two_events_cannot_share_a_place(outbox: TestOutbox) {
    use feebox::outbox::{NewEvent, record};
    let [first, _] = two_of_one_quote(&outbox).await;
    let txn = outbox.db.begin().await.unwrap();
    let event = NewEvent {
        aggregate_type: QUOTE,
        aggregate_id: outbox.event(first).await.aggregate_id,
        event_type: QUOTE_CANCELLED.clone(),
        destination: FEE_SERVER.clone(),
        partner: String::new(),
        sequence: 2,
        payload: serde_json::json!({}),
        trace_context: None,
    };
    // It may wait for the commit, which then fails in its place.
    let error = match record(&*txn, chrono::Utc::now(), vec![event]).await {
        Ok(()) => txn.commit().await.unwrap_err(),
        Err(error) => error,
    };
    assert!(matches!(error.sql_err(), Some(sea_orm::SqlErr::UniqueConstraintViolation(_))), "{error}");
}

async fn two_of_one_quote(outbox: &TestOutbox) -> [Uuid; 2] {
    let quote = Uuid::now_v7();
    [outbox.record(quote, &FEE_SERVER, 1).await, outbox.record(quote, &FEE_SERVER, 2).await]
}

fn ids(events: &[LeasedEvent]) -> Vec<Uuid> {
    events.iter().map(|event| event.id).collect()
}
