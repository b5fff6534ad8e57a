//! Operators retry events.

use entity::outbox_event::Status as EventStatus;
use entity::quote::Status;
use feebox::operator::{self, ActionFilter, OperatorError, actions};
use feebox::outbox::Outcome;
use feebox::quotes::Relay;
use uuid::Uuid;

use crate::support::{ANN, Desk, desk_tests};

desk_tests!(
    a_dead_event_comes_back_to_life_with_its_quote,
    a_pending_event_becomes_due_now,
    what_is_in_flight_or_over_is_not_retried,
);

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
