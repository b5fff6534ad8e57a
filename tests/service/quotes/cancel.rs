//! Taking a quote back, whatever its events are doing.

use entity::outbox_event::{self, Status};
use entity::quote;
use feebox::outbox::{Disposition, Outcome};
use feebox::quotes::CancelError;
use std::time::Duration;
use uuid::Uuid;

use crate::support::{TestOutbox, delivered, fee_server, on_each_engine, refused, retry, unknown, with_fee};

on_each_engine!(
    before_any_attempt_nothing_is_sent,
    after_a_hand_back_nothing_is_sent,
    after_a_failed_attempt_a_void_is_sent_in_its_place,
    after_a_dead_event_a_void_is_sent,
    after_the_delivery_a_void_follows,
    in_flight_and_delivered_the_fee_is_recorded_and_voided,
    in_flight_and_failed_no_attempt_but_the_void_follows,
    in_flight_and_rescued_no_attempt_but_the_void_follows,
    in_flight_and_handed_back_no_attempt_but_the_void_follows,
    cancelling_twice_is_one_cancellation,
    a_rejected_quote_and_an_unknown_one_are_not_cancelled,
    cancelling_while_it_is_claimed_ends_in_a_sound_state,
    cancelling_while_it_is_settled_ends_in_a_sound_state,
);

async fn before_any_attempt_nothing_is_sent(outbox: TestOutbox) {
    let quote = submit(&outbox).await;
    let cancelled = outbox.submission.cancel(quote, Some("a mistake"), None).await.unwrap();
    assert_eq!((cancelled.status, cancelled.status_reason.as_deref()), (quote::Status::Cancelled, Some("a mistake")));
    let events = outbox.events_of(quote).await;
    assert_eq!(kinds(&events), [("quote.submitted", Status::Cancelled)]);
    assert!(events[0].settled_at.is_some());
    assert!(outbox.claim("a", 10).await.is_empty());
}

async fn after_a_hand_back_nothing_is_sent(outbox: TestOutbox) {
    let quote = submit(&outbox).await;
    outbox.deliver("a", Outcome::NotSent("drained".into())).await;
    outbox.submission.cancel(quote, None, None).await.unwrap();
    assert_eq!(kinds(&outbox.events_of(quote).await), [("quote.submitted", Status::Cancelled)]);
}

async fn after_a_failed_attempt_a_void_is_sent_in_its_place(outbox: TestOutbox) {
    let after_a_minute = Outcome::RetryAfter("503".into(), Duration::from_mins(1));
    for outcome in [retry(), unknown(), after_a_minute] {
        let quote = submit(&outbox).await;
        outbox.deliver("a", outcome).await;
        outbox.submission.cancel(quote, None, None).await.unwrap();
        let events = outbox.events_of(quote).await;
        assert_eq!(kinds(&events), [("quote.submitted", Status::Cancelled), ("quote.cancelled", Status::Pending)]);
        outbox.advance(Duration::from_mins(1));
        let void = outbox.claim("a", 10).await.remove(0);
        assert_eq!((void.aggregate_id, &void.payload), (quote, &serde_json::json!({ "quote_id": quote })));
    }
}

async fn after_a_dead_event_a_void_is_sent(outbox: TestOutbox) {
    let quote = submit(&outbox).await;
    outbox.deliver("a", Outcome::Broken("200 with another quote's fee".into())).await;
    outbox.submission.cancel(quote, None, None).await.unwrap();
    let events = outbox.events_of(quote).await;
    assert_eq!(kinds(&events), [("quote.submitted", Status::Cancelled), ("quote.cancelled", Status::Pending)]);
    assert_eq!(outbox.claim("a", 10).await.len(), 1);
}

async fn after_the_delivery_a_void_follows(outbox: TestOutbox) {
    let quote = submit(&outbox).await;
    let claimed = outbox.claim("a", 1).await.remove(0);
    outbox.settle_at(&fee_server(), "a", &[with_fee(&claimed)]).await;
    outbox.submission.cancel(quote, None, None).await.unwrap();
    let events = outbox.events_of(quote).await;
    assert_eq!(kinds(&events), [("quote.submitted", Status::Delivered), ("quote.cancelled", Status::Pending)]);
    assert_eq!(outbox.quote(quote).await.status, quote::Status::Cancelled);
    assert_eq!(outbox.fee_records().await.len(), 1);
    assert_eq!(outbox.claim("a", 10).await[0].event_type.as_str(), "quote.cancelled");
}

async fn in_flight_and_delivered_the_fee_is_recorded_and_voided(outbox: TestOutbox) {
    let quote = submit(&outbox).await;
    let claimed = outbox.claim("a", 1).await.remove(0);
    outbox.submission.cancel(quote, None, None).await.unwrap();
    assert!(outbox.claim("b", 10).await.is_empty(), "the void waits for the running delivery");

    assert_eq!(outbox.settle_at(&fee_server(), "a", &[with_fee(&claimed)]).await, [Disposition::Delivered]);
    let events = outbox.events_of(quote).await;
    assert_eq!(kinds(&events), [("quote.submitted", Status::Delivered), ("quote.cancelled", Status::Pending)]);
    assert_eq!(outbox.fee_records().await.len(), 1);
    assert_eq!(outbox.quote(quote).await.status, quote::Status::Cancelled);
    assert_eq!(outbox.claim("b", 10).await[0].event_type.as_str(), "quote.cancelled");
}

async fn in_flight_and_failed_no_attempt_but_the_void_follows(outbox: TestOutbox) {
    let broken = Outcome::Broken("not JSON".into());
    let after_a_second = Outcome::RetryAfter("503".into(), Duration::from_secs(1));
    for outcome in [retry(), unknown(), refused(), broken, after_a_second] {
        let quote = submit(&outbox).await;
        let claimed = outbox.claim("a", 1).await.remove(0);
        outbox.submission.cancel(quote, None, None).await.unwrap();
        assert_eq!(outbox.settle_one("a", &claimed, outcome).await, Disposition::Cancelled);
        outbox.advance(Duration::from_secs(1));
        let void = outbox.claim("b", 10).await.remove(0);
        assert_eq!((void.event_type.as_str(), void.aggregate_id), ("quote.cancelled", quote));
        outbox.settle_one("b", &void, delivered()).await;
        let events = outbox.events_of(quote).await;
        assert_eq!(kinds(&events), [("quote.submitted", Status::Cancelled), ("quote.cancelled", Status::Delivered)]);
        assert!(events[0].settled_at.is_some());
    }
}

async fn in_flight_and_rescued_no_attempt_but_the_void_follows(outbox: TestOutbox) {
    let quote = submit(&outbox).await;
    let late = outbox.claim("a", 1).await.remove(0);
    outbox.submission.cancel(quote, None, None).await.unwrap();
    outbox.advance(TestOutbox::LEASE * 2);
    assert_eq!(outbox.rescue("b").await[0].1, Disposition::Cancelled);
    assert_eq!(outbox.claim("b", 10).await[0].event_type.as_str(), "quote.cancelled");
    assert!(matches!(outbox.settle_at(&fee_server(), "a", &[with_fee(&late)]).await[0], Disposition::LeaseLost(_)));
    assert!(outbox.fee_records().await.is_empty());
}

async fn in_flight_and_handed_back_no_attempt_but_the_void_follows(outbox: TestOutbox) {
    let quote = submit(&outbox).await;
    let claimed = outbox.claim("a", 1).await.remove(0);
    outbox.submission.cancel(quote, None, None).await.unwrap();
    assert_eq!(outbox.settle_one("a", &claimed, Outcome::NotSent("drained".into())).await, Disposition::Cancelled);
    assert_eq!(outbox.claim("b", 10).await[0].event_type.as_str(), "quote.cancelled");
}

async fn cancelling_twice_is_one_cancellation(outbox: TestOutbox) {
    let quote = submit(&outbox).await;
    outbox.claim("a", 1).await;
    let (one, two) =
        tokio::join!(outbox.submission.cancel(quote, None, None), outbox.submission.cancel(quote, None, None));
    assert_eq!((one.unwrap().status, two.unwrap().status), (quote::Status::Cancelled, quote::Status::Cancelled));
    assert_eq!(outbox.events_of(quote).await.len(), 2);
    let before = outbox.events().await;
    outbox.submission.cancel(quote, Some("again"), None).await.unwrap();
    assert_eq!(outbox.events().await, before);
    assert_eq!(outbox.quote(quote).await.status_reason, None);
}

async fn a_rejected_quote_and_an_unknown_one_are_not_cancelled(outbox: TestOutbox) {
    let quote = submit(&outbox).await;
    let claimed = outbox.claim("a", 1).await.remove(0);
    let refused = crate::support::attempt(&claimed, Outcome::Refused("422".into()));
    outbox.settle_at(&fee_server(), "a", &[refused]).await;
    let before = outbox.events().await;
    assert!(matches!(outbox.submission.cancel(quote, None, None).await, Err(CancelError::Rejected)));
    assert!(matches!(outbox.submission.cancel(Uuid::now_v7(), None, None).await, Err(CancelError::NotFound)));
    assert_eq!(outbox.events().await, before);
}

async fn cancelling_while_it_is_claimed_ends_in_a_sound_state(outbox: TestOutbox) {
    for _ in 0..20 {
        let quote = submit(&outbox).await;
        let (claimed, cancelled) = tokio::join!(outbox.claim("a", 10), outbox.submission.cancel(quote, None, None));
        cancelled.unwrap();
        let events = outbox.events_of(quote).await;
        match claimed.first() {
            Some(event) => {
                assert_eq!(kinds(&events), [("quote.submitted", Status::Leased), ("quote.cancelled", Status::Pending)]);
                assert!(events[0].withdrawn);
                outbox.settle_one("a", event, delivered()).await;
                outbox.deliver("a", delivered()).await;
            }
            None => assert_eq!(kinds(&events), [("quote.submitted", Status::Cancelled)]),
        }
    }
}

async fn cancelling_while_it_is_settled_ends_in_a_sound_state(outbox: TestOutbox) {
    let fee_server = fee_server();
    for round in 1..=20 {
        let quote = submit(&outbox).await;
        let claimed = outbox.claim("a", 1).await.remove(0);
        let attempts = [with_fee(&claimed)];
        let (became, cancelled) =
            tokio::join!(outbox.settle_at(&fee_server, "a", &attempts), outbox.submission.cancel(quote, None, None));
        cancelled.unwrap();
        assert_eq!(became, [Disposition::Delivered]);
        let events = outbox.events_of(quote).await;
        assert_eq!(kinds(&events), [("quote.submitted", Status::Delivered), ("quote.cancelled", Status::Pending)]);
        assert_eq!(outbox.quote(quote).await.status, quote::Status::Cancelled);
        assert_eq!(outbox.fee_records().await.len(), round);
        outbox.deliver("a", delivered()).await;
    }
}

async fn submit(outbox: &TestOutbox) -> Uuid {
    let event = outbox.submit(1).await[0];
    outbox.event(event).await.aggregate_id
}

fn kinds(events: &[outbox_event::Model]) -> Vec<(&str, Status)> {
    events.iter().map(|event| (event.event_type.as_str(), event.status)).collect()
}
