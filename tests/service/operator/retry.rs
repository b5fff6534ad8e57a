//! Operators retry events, one or many.

use chrono::TimeDelta;
use entity::outbox_event::Status as EventStatus;
use entity::quote::Status;
use feebox::database::Listed;
use feebox::inspection::{EventFilter, list};
use feebox::operator::{self, ActionFilter, BulkRetried, BulkRetry, OperatorError, actions};
use feebox::outbox::{Outcome, RetryFilter, Revivable};
use feebox::quotes::Relay;
use uuid::Uuid;

use crate::support::{ANN, Desk, desk_tests};

desk_tests!(
    a_dead_event_comes_back_to_life_with_its_quote,
    a_pending_event_becomes_due_now,
    what_is_in_flight_or_over_is_not_retried,
    many_are_retried_at_a_pace_and_by_batches,
    a_dry_run_counts_and_changes_nothing,
    a_filter_takes_the_text_of_an_error_literally,
    a_bulk_of_pending_events_makes_them_due_now,
);

const DEAD: RetryFilter =
    RetryFilter { status: Revivable::Dead, destination: None, event_type: None, error_contains: None };

async fn a_dead_event_comes_back_to_life_with_its_quote(desk: Desk) {
    let (quote_id, event) = desk.submit_refused().await;
    assert_eq!(desk.quote(quote_id).await.status, Status::Rejected);
    desk.advance(60);
    let before = desk.now().await;

    let revived = operator::retry(&desk.db, ANN, event).await.unwrap();

    assert_eq!(revived, desk.event(event).await);
    assert_eq!((revived.status, revived.attempts, revived.settled_at), (EventStatus::Pending, 0, None));
    assert!(revived.due_at >= before && revived.live_since >= before);
    assert_eq!(revived.failures.as_array().unwrap().len(), 1, "the failures stay on record");
    assert_eq!(desk.quote(quote_id).await.status, Status::Pending);
    let done = actions::list(desk.db.connection(), &ActionFilter::default(), 10).await.unwrap().rows;
    assert_eq!(done.len(), 1);
    assert_eq!((done[0].actor.as_str(), done[0].action.as_str()), ("ann", "event.retry"));
    assert_eq!((done[0].target.as_str(), done[0].quote_id), (event.to_string().as_str(), Some(quote_id)));
    assert_eq!(done[0].reason.as_deref(), Some("because I can"));
    assert_eq!(done[0].details["status_before"], "dead");
    assert_eq!(desk.audit().await, []);

    desk.deliver().await;
    assert_eq!(desk.quote(quote_id).await.status, Status::Confirmed);
    assert_eq!(desk.audit().await, []);
}

async fn a_pending_event_becomes_due_now(desk: Desk) {
    let (_, event) = desk.submit().await;
    desk.fail(Outcome::Retry("500: oh".into())).await;
    let before = desk.event(event).await;
    let retried = operator::retry(&desk.db, ANN, event).await.unwrap();
    assert!(retried.due_at < before.due_at);
    assert_eq!((retried.attempts, retried.live_since), (before.attempts, before.live_since));
    assert_eq!(desk.claim().await.len(), 1);
}

async fn what_is_in_flight_or_over_is_not_retried(desk: Desk) {
    let (_, delivered) = desk.submit().await;
    desk.deliver().await;
    let (_, cancelled) = desk.submit().await;
    operator::cancel(&desk.db, Relay::default(), ANN, cancelled).await.unwrap();
    let (_, leased) = desk.submit().await;
    let _claimed = desk.claim().await;
    for (event, why) in
        [(delivered, "delivered already"), (cancelled, "was cancelled"), (leased, "worker-1 is delivering")]
    {
        let before = desk.event(event).await;
        let error = operator::retry(&desk.db, ANN, event).await.unwrap_err();
        assert!(matches!(&error, OperatorError::Conflict(text) if text.contains(why)), "{error}");
        assert_eq!(desk.event(event).await, before);
    }
    let error = operator::retry(&desk.db, ANN, Uuid::now_v7()).await.unwrap_err();
    assert!(matches!(error, OperatorError::NotFound(_)), "{error}");
    assert_eq!(actions::list(desk.db.connection(), &ActionFilter::default(), 10).await.unwrap().rows.len(), 1);
}

async fn many_are_retried_at_a_pace_and_by_batches(desk: Desk) {
    desk.submit_many(600).await;
    desk.fail(Outcome::Refused("422: no".into())).await;
    let bulk = BulkRetry { filter: DEAD, dry_run: false, per_second: 100.try_into().ok() };
    let retried = operator::retry_bulk(&desk.db, ANN, &bulk).await.unwrap();
    assert_eq!(retried, BulkRetried { matched: 600, revived: 600 });

    let mut events = list(desk.db.connection(), &EventFilter::default(), 1_000).await.unwrap().rows;
    let mut events: Vec<_> = events.drain(..).filter_map(Listed::read).collect();
    events.reverse();
    assert!(events.iter().all(|event| event.status == EventStatus::Pending && event.attempts == 0));
    let spread: Vec<_> = events.iter().map(|event| event.due_at - events[0].due_at).collect();
    let expected: Vec<_> = (0..600).map(|n| TimeDelta::milliseconds(10 * n)).collect();
    assert_eq!(spread, expected, "the n-th is due n / per_second later, across batches");
    assert_eq!(desk.audit().await, [], "the quotes came back too");

    let done = actions::list(desk.db.connection(), &ActionFilter::default(), 10).await.unwrap().rows;
    let revived: Vec<_> = done.iter().map(|action| action.details["revived"].as_u64().unwrap()).collect();
    assert_eq!(revived, [100, 500], "one line a batch, newest first");
    let of_quote = ActionFilter { quote_id: Some(events[0].aggregate_id), before: None };
    let done = actions::list(desk.db.connection(), &of_quote, 10).await.unwrap().rows;
    assert_eq!(done.iter().map(|action| action.action.as_str()).collect::<Vec<_>>(), ["event.revive"]);
}

async fn a_dry_run_counts_and_changes_nothing(desk: Desk) {
    let (_, event) = desk.submit_refused().await;
    let before = desk.event(event).await;
    let bulk = BulkRetry { filter: DEAD, dry_run: true, per_second: None };
    let retried = operator::retry_bulk(&desk.db, ANN, &bulk).await.unwrap();
    assert_eq!(retried, BulkRetried { matched: 1, revived: 0 });
    assert_eq!(desk.event(event).await, before);
    assert!(actions::list(desk.db.connection(), &ActionFilter::default(), 10).await.unwrap().rows.is_empty());
}

async fn a_filter_takes_the_text_of_an_error_literally(desk: Desk) {
    let mut died_of = vec![];
    for error in ["100% no_way!", "100 percent", "NOWAY"] {
        died_of.push(desk.submit().await.1);
        desk.fail(Outcome::Refused(error.into())).await;
    }
    for (text, matched) in [("100%", 1), ("o_w", 1), ("no", 2), ("way!", 1), ("'", 0), ("\\", 0), ("PERCENT", 1)] {
        let filter = RetryFilter { error_contains: Some(text.into()), ..DEAD };
        let bulk = BulkRetry { filter, dry_run: true, per_second: None };
        assert_eq!(operator::retry_bulk(&desk.db, ANN, &bulk).await.unwrap().matched, matched, "{text}");
    }
    for (destination, event_type, matched) in
        [(Some("kafka"), None, 0), (Some("fee-server"), None, 3), (None, Some("quote.cancelled"), 0)]
    {
        let (destination, event_type) = (destination.map(Into::into), event_type.map(Into::into));
        let bulk =
            BulkRetry { filter: RetryFilter { destination, event_type, ..DEAD }, dry_run: true, per_second: None };
        assert_eq!(operator::retry_bulk(&desk.db, ANN, &bulk).await.unwrap().matched, matched);
    }
    let filter = RetryFilter { error_contains: Some("noway".into()), ..DEAD };
    operator::retry_bulk(&desk.db, ANN, &BulkRetry { filter, dry_run: false, per_second: None }).await.unwrap();
    assert_eq!(desk.event(died_of[0]).await.status, EventStatus::Dead);
    assert_eq!(desk.event(died_of[2]).await.status, EventStatus::Pending);
}

async fn a_bulk_of_pending_events_makes_them_due_now(desk: Desk) {
    desk.submit_many(3).await;
    desk.fail(Outcome::Retry("500: oh".into())).await;
    assert!(desk.claim().await.is_empty());
    let filter = RetryFilter { status: Revivable::Pending, ..DEAD };
    let bulk = BulkRetry { filter, dry_run: false, per_second: None };
    assert_eq!(operator::retry_bulk(&desk.db, ANN, &bulk).await.unwrap(), BulkRetried { matched: 3, revived: 3 });
    assert_eq!(desk.claim().await.len(), 3);
}
