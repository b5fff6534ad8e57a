//! Operators give events up.

use entity::outbox_event::Status as EventStatus;
use entity::quote::Status;
use feebox::operator::{self, ActionFilter, OperatorError, actions};
use feebox::outbox::{Outcome, of_aggregate};
use feebox::quotes::Relay;

use crate::support::{ANN, Desk, desk_tests};

desk_tests!(
    giving_up_an_event_that_never_went_out_cancels_its_quote,
    giving_up_an_event_that_may_have_reached_the_fee_server_voids_the_fee,
    giving_up_a_dead_event_ends_a_rejected_quote,
    an_event_that_is_being_delivered_ends_with_the_running_attempt,
    what_is_over_is_not_given_up,
    a_void_can_be_given_up_alone,
);

async fn giving_up_an_event_that_never_went_out_cancels_its_quote(desk: Desk) {
    let (quote_id, event) = desk.submit().await;
    let given_up = operator::cancel(&desk.db, Relay::default(), ANN, event).await.unwrap();
    assert_eq!(given_up.status, EventStatus::Cancelled);
    let quote = desk.quote(quote_id).await;
    assert_eq!((quote.status, quote.status_reason.as_deref()), (Status::Cancelled, Some("because I can")));
    assert_eq!(of_aggregate(desk.db.connection(), quote_id).await.unwrap().len(), 1, "there is nothing to void");
    let done = actions::list(desk.db.connection(), &ActionFilter::default(), 10).await.unwrap().rows;
    assert_eq!((done[0].action.as_str(), done[0].quote_id), ("event.cancel", Some(quote_id)));
    assert_eq!(desk.audit().await, []);
}

async fn giving_up_an_event_that_may_have_reached_the_fee_server_voids_the_fee(desk: Desk) {
    let (quote_id, event) = desk.submit().await;
    desk.fail(Outcome::Unknown("no answer".into())).await;
    operator::cancel(&desk.db, Relay::default(), ANN, event).await.unwrap();
    let events = of_aggregate(desk.db.connection(), quote_id).await.unwrap();
    assert_eq!((events.len(), events[1].event_type.as_str()), (2, "quote.cancelled"));
    desk.deliver().await;
    assert_eq!(desk.event(events[1].id).await.status, EventStatus::Delivered);
    assert_eq!(desk.audit().await, []);
}

async fn giving_up_a_dead_event_ends_a_rejected_quote(desk: Desk) {
    let (quote_id, event) = desk.submit_refused().await;
    operator::cancel(&desk.db, Relay::default(), ANN, event).await.unwrap();
    assert_eq!(desk.quote(quote_id).await.status, Status::Cancelled);
    assert_eq!(desk.event(event).await.status, EventStatus::Cancelled);
    assert_eq!(desk.audit().await, []);
}

async fn an_event_that_is_being_delivered_ends_with_the_running_attempt(desk: Desk) {
    let (quote_id, event) = desk.submit().await;
    let leased = desk.claim().await.remove(0);
    operator::cancel(&desk.db, Relay::default(), ANN, event).await.unwrap();
    assert_eq!(desk.event(event).await.status, EventStatus::Leased);
    let error = operator::cancel(&desk.db, Relay::default(), ANN, event).await.unwrap_err();
    assert!(matches!(error, OperatorError::Conflict(_)), "{error}");
    let void = of_aggregate(desk.db.connection(), quote_id).await.unwrap().remove(1);
    assert_eq!(void.status, EventStatus::Pending, "a second try did not withdraw the void");
    desk.settle(leased, Outcome::Retry("500: oh".into())).await;
    assert_eq!(desk.event(event).await.status, EventStatus::Cancelled);
    assert_eq!(desk.audit().await, []);
    assert_eq!(desk.quote(quote_id).await.status, Status::Cancelled);
}

async fn what_is_over_is_not_given_up(desk: Desk) {
    let (quote_id, event) = desk.submit().await;
    desk.deliver().await;
    let error = operator::cancel(&desk.db, Relay::default(), ANN, event).await.unwrap_err();
    assert!(matches!(&error, OperatorError::Conflict(why) if why.contains("delivered")), "{error}");
    assert_eq!(desk.quote(quote_id).await.status, Status::Confirmed);
    let (_, event) = desk.submit().await;
    operator::cancel(&desk.db, Relay::default(), ANN, event).await.unwrap();
    let error = operator::cancel(&desk.db, Relay::default(), ANN, event).await.unwrap_err();
    assert!(matches!(&error, OperatorError::Conflict(why) if why.contains("cancelled already")), "{error}");
    let error = operator::cancel(&desk.db, Relay::default(), ANN, quote_id).await.unwrap_err();
    assert!(matches!(error, OperatorError::NotFound(_)), "{error}");
}

async fn a_void_can_be_given_up_alone(desk: Desk) {
    let (quote_id, _) = desk.submit().await;
    desk.deliver().await;
    desk.submission.cancel(quote_id, None, None).await.unwrap();
    let void = of_aggregate(desk.db.connection(), quote_id).await.unwrap().remove(1);
    operator::cancel(&desk.db, Relay::default(), ANN, void.id).await.unwrap();
    assert_eq!(desk.event(void.id).await.status, EventStatus::Cancelled);
    assert_eq!(desk.audit().await, [], "it was given up on purpose");
    assert_eq!(desk.audit_remote().await, []);
}
