//! Operators retry and cancel many events at once.

use std::time::Duration;

use chrono::TimeDelta;
use entity::outbox_event::Status as EventStatus;
use entity::quote::Status;
use feebox::database::Listed;
use feebox::inspection::{EventFilter, list};
use feebox::operator::bulk::{self, Kind, Step};
use feebox::operator::{ActionFilter, BulkView, NewBulk, OperatorError, Which, actions};
use feebox::outbox::Outcome;
use feebox::quotes::Relay;
use uuid::Uuid;

use crate::support::{ANN, Desk, desk_tests};

desk_tests!(
    many_are_retried_at_a_pace_and_by_batches,
    a_dry_run_counts_and_changes_nothing,
    a_filter_takes_the_text_of_an_error_literally,
    a_bulk_of_pending_events_makes_them_due_now,
    many_are_cancelled_with_their_quotes,
    events_named_by_id_are_passed_over_if_their_state_does_not_allow_it,
    a_bulk_that_its_process_left_is_resumed_and_changes_each_event_once,
    a_bulk_is_stopped_and_keeps_to_its_pace,
    two_processes_that_work_on_one_bulk_change_each_event_once,
);

async fn many_are_retried_at_a_pace_and_by_batches(desk: Desk) {
    desk.submit_many(600).await;
    desk.fail(Outcome::Refused("422: no".into())).await;
    let done = carry_out(&desk, &NewBulk { per_second: Some(100), ..retry(dead()) }).await;
    assert_eq!((done.matched, done.revived, done.skipped, done.status.as_str()), (600, Some(600), 0, "finished"));

    let mut events = list(desk.db.connection(), &EventFilter::default(), 1_000).await.unwrap().rows;
    let mut events: Vec<_> = events.drain(..).filter_map(Listed::read).collect();
    events.reverse();
    assert!(events.iter().all(|event| event.status == EventStatus::Pending && event.attempts == 0));
    let spread: Vec<_> = events.iter().map(|event| event.due_at - done.created_at).collect();
    let paced = |(n, due): (usize, &TimeDelta)| *due >= TimeDelta::milliseconds(10 * i64::try_from(n).unwrap());
    assert!(spread.iter().enumerate().all(paced), "the n-th is due n / per_second later: {spread:?}");
    assert!(spread.is_sorted() && spread[599] < TimeDelta::seconds(20), "{spread:?}");
    assert_eq!(desk.audit().await, [], "the quotes came back too");

    let done = actions::list(desk.db.connection(), &ActionFilter::default(), 10).await.unwrap().rows;
    assert_eq!(done.len(), 1, "one line for all");
    assert_eq!((done[0].action.as_str(), &done[0].details["filter"]["status"]), ("outbox.retry", &"dead".into()));
    let of_quote = ActionFilter { quote_id: Some(events[0].aggregate_id), before: None };
    let done = actions::list(desk.db.connection(), &of_quote, 10).await.unwrap().rows;
    assert_eq!(done.iter().map(|action| action.action.as_str()).collect::<Vec<_>>(), ["event.revive"]);
}

async fn a_dry_run_counts_and_changes_nothing(desk: Desk) {
    let (_, event) = desk.submit_refused().await;
    let before = desk.event(event).await;
    let planned = bulk::dry_run(&desk.db, ANN, &retry(dead())).await.unwrap();
    assert_eq!((planned.bulk_id, planned.matched, planned.revived), (None, 1, Some(0)));
    assert_eq!(desk.event(event).await, before);
    assert!(actions::list(desk.db.connection(), &ActionFilter::default(), 10).await.unwrap().rows.is_empty());
}

async fn a_filter_takes_the_text_of_an_error_literally(desk: Desk) {
    let mut died_of = vec![];
    for error in ["100% no_way!", "100 percent", "NOWAY"] {
        died_of.push(desk.submit().await.1);
        desk.fail(Outcome::Refused(error.into())).await;
    }
    let matched = async |filter: EventFilter| bulk::dry_run(&desk.db, ANN, &retry(filter)).await.unwrap().matched;
    for (text, count) in [("100%", 1), ("o_w", 1), ("no", 2), ("way!", 1), ("'", 0), ("\\", 0), ("PERCENT", 1)] {
        let filter = EventFilter { error_contains: Some(text.into()), ..dead() };
        assert_eq!(matched(filter).await, count, "{text}");
    }
    for (destination, event_type, count) in
        [(Some("kafka"), None, 0), (Some("fee-server"), None, 3), (None, Some("quote.cancelled"), 0)]
    {
        let (destination, event_type) = (destination.map(Into::into), event_type.map(Into::into));
        assert_eq!(matched(EventFilter { destination, event_type, ..dead() }).await, count);
    }
    assert_eq!(matched(EventFilter { cause: Some("refused: NOWAY".into()), ..dead() }).await, 1);
    carry_out(&desk, &retry(EventFilter { error_contains: Some("noway".into()), ..dead() })).await;
    assert_eq!(desk.event(died_of[0]).await.status, EventStatus::Dead);
    assert_eq!(desk.event(died_of[2]).await.status, EventStatus::Pending);
}

async fn a_bulk_of_pending_events_makes_them_due_now(desk: Desk) {
    desk.submit_many(3).await;
    desk.fail(Outcome::Retry("500: oh".into())).await;
    assert!(desk.claim().await.is_empty());
    let done = carry_out(&desk, &retry(EventFilter { status: Some(EventStatus::Pending), ..dead() })).await;
    assert_eq!((done.matched, done.revived), (3, Some(3)));
    assert_eq!(desk.claim().await.len(), 3);
}

async fn many_are_cancelled_with_their_quotes(desk: Desk) {
    let mut refused = vec![];
    for _ in 0..3 {
        refused.push(desk.submit_refused().await);
    }
    let (other, _) = desk.submit().await;
    let cause = Some("refused 422: Unprocessable Entity: no".into());
    let cancel = NewBulk { kind: Kind::Cancel, ..retry(EventFilter { cause, ..dead() }) };
    let done = carry_out(&desk, &cancel).await;
    assert_eq!((done.matched, done.cancelled, done.revived), (3, Some(3), None));
    for (quote, event) in &refused {
        assert_eq!(desk.quote(*quote).await.status, Status::Cancelled);
        assert_eq!(desk.event(*event).await.status, EventStatus::Cancelled);
    }
    assert_eq!(desk.quote(other).await.status, Status::Pending);
    let done = actions::list(desk.db.connection(), &ActionFilter::default(), 10).await.unwrap().rows;
    assert_eq!(done.iter().map(|action| action.action.as_str()).collect::<Vec<_>>(), ["outbox.cancel"]);
    assert_eq!(desk.audit().await, []);
}

async fn events_named_by_id_are_passed_over_if_their_state_does_not_allow_it(desk: Desk) {
    let (_, delivered) = desk.submit().await;
    desk.deliver().await;
    let (quote, dead) = desk.submit_refused().await;
    let ids = Which::Ids(vec![delivered, dead, Uuid::now_v7()]);
    for (kind, status) in [(Kind::Retry, Status::Pending), (Kind::Cancel, Status::Cancelled)] {
        let done = carry_out(&desk, &NewBulk { kind, which: ids.clone(), per_second: None }).await;
        assert_eq!((done.matched, done.revived.or(done.cancelled), done.skipped), (3, Some(1), 2), "{kind:?}");
        assert_eq!(desk.quote(quote).await.status, status);
        assert_eq!(desk.event(delivered).await.status, EventStatus::Delivered);
    }
}

async fn a_bulk_that_its_process_left_is_resumed_and_changes_each_event_once(desk: Desk) {
    desk.submit_many(700).await;
    desk.fail(Outcome::Refused("422: no".into())).await;
    for steps in 0..3 {
        let id = bulk::begin(&desk.db, ANN, &retry(dead())).await.unwrap();
        for _ in 0..steps {
            assert_eq!(bulk::step(&desk.db, Relay::default(), id).await.unwrap(), Step::Again);
        }
        // Somebody else may still be at work.
        assert_eq!(bulk::resume(&desk.db, Relay::default(), || {}).await.unwrap(), 0);
        desk.advance(60);
        assert_eq!(bulk::get(&desk.db, id).await.unwrap().status, "interrupted");
        assert_eq!(bulk::resume(&desk.db, Relay::default(), || {}).await.unwrap(), 1);
        let done = bulk::get(&desk.db, id).await.unwrap();
        assert_eq!((done.matched, done.revived, done.skipped), (700, Some(700), 0), "left after {steps} steps");
        assert!(done.is_over());
        desk.fail(Outcome::Refused("422: no".into())).await;
    }
}

async fn a_bulk_is_stopped_and_keeps_to_its_pace(desk: Desk) {
    desk.submit_many(40).await;
    desk.fail(Outcome::Refused("422: no".into())).await;
    let id = bulk::begin(&desk.db, ANN, &NewBulk { per_second: Some(1), ..retry(dead()) }).await.unwrap();
    let until_it_waits = async || loop {
        match bulk::step(&desk.db, Relay::default(), id).await.unwrap() {
            Step::Again => {}
            Step::After(wait) => break wait,
            Step::Ended => panic!("it has forty events"),
        }
    };
    let wait = until_it_waits().await;
    assert!(wait <= Duration::from_secs(10), "{wait:?}");
    let early = bulk::get(&desk.db, id).await.unwrap().revived.unwrap();
    assert!((1..=20).contains(&early), "no more than become due soon: {early}");
    let stopped = bulk::abort(&desk.db, ANN, id).await.unwrap();
    assert_eq!((stopped.status.as_str(), stopped.matched, stopped.revived), ("aborted", 40, Some(early)));
    assert_eq!(bulk::step(&desk.db, Relay::default(), id).await.unwrap(), Step::Ended);
    let again = bulk::abort(&desk.db, ANN, id).await.unwrap_err();
    assert!(matches!(again, OperatorError::Conflict(_)), "{again}");
    let left = bulk::dry_run(&desk.db, ANN, &retry(dead())).await.unwrap().matched;
    assert_eq!(left, 40 - early);
}

async fn two_processes_that_work_on_one_bulk_change_each_event_once(desk: Desk) {
    desk.submit_many(30).await;
    desk.fail(Outcome::Refused("422: no".into())).await;
    let cancel = NewBulk { kind: Kind::Cancel, ..retry(dead()) };
    let id = bulk::begin(&desk.db, ANN, &cancel).await.unwrap();
    let work = async || bulk::work(&desk.db, Relay::default(), id, || {}).await.unwrap();
    tokio::join!(work(), work());
    let done = bulk::get(&desk.db, id).await.unwrap();
    assert_eq!((done.matched, done.cancelled, done.skipped), (30, Some(30), 0));
}

fn dead() -> EventFilter {
    EventFilter { status: Some(EventStatus::Dead), ..EventFilter::default() }
}

fn retry(filter: EventFilter) -> NewBulk {
    NewBulk { kind: Kind::Retry, which: Which::Matching(Box::new(filter)), per_second: None }
}

async fn carry_out(desk: &Desk, new: &NewBulk) -> BulkView {
    let id = bulk::begin(&desk.db, ANN, new).await.unwrap();
    bulk::work(&desk.db, Relay::default(), id, || {}).await.unwrap();
    bulk::get(&desk.db, id).await.unwrap()
}
