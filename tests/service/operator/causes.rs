//! What failed is found by its cause, its customer and its time.

use std::time::Duration;

use chrono::TimeDelta;
use entity::outbox_event::Status as EventStatus;
use feebox::database::Listed;
use feebox::inspection::{COUNTED_MAX, EventFilter, causes, list, total, views};
use feebox::outbox::Outcome;
use feebox::quotes::{self, Line, Money, NewQuote, QuoteFilter, ids_with_prefix};
use uuid::Uuid;

use crate::support::{Desk, desk_tests};

desk_tests!(
    failures_are_grouped_by_what_went_wrong,
    failures_at_the_head_of_a_long_backlog_are_grouped,
    events_are_found_by_cause_customer_and_time,
    a_customer_with_many_quotes_is_found_in_what_a_page_reads,
    a_total_is_counted_whatever_the_page,
    a_row_says_why_it_stands_there_and_for_whom,
    quotes_are_found_by_the_beginning_of_their_id_and_by_time,
);

async fn failures_are_grouped_by_what_went_wrong(desk: Desk) {
    let mut died = vec![];
    for error in ["422 Unprocessable Entity: customer-7 is blocked", "422 Unprocessable Entity: customer-8 is blocked"]
    {
        died.push(desk.submit().await);
        desk.fail(Outcome::Refused(error.into())).await;
        desk.advance(60);
    }
    desk.submit_many(3).await;
    desk.fail(Outcome::Retry("connect to 127.0.0.1:8081: refused".into())).await;
    desk.submit().await;

    let found = causes(&desk.db, None, None).await.unwrap();
    assert!(found.is_complete);
    let [unreachable, refused] = &found.causes[..] else { panic!("two causes: {found:#?}") };
    assert_eq!(unreachable.cause, "retry: connect to #: refused");
    assert_eq!((unreachable.outcome.as_str(), unreachable.status), ("retry", None));
    assert_eq!((unreachable.events, unreachable.dead, unreachable.quotes), (3, 0, 3));
    assert_eq!(refused.cause, "refused 422: Unprocessable Entity: customer-# is blocked");
    assert_eq!((refused.outcome.as_str(), refused.status), ("refused", Some(422)));
    assert_eq!((refused.events, refused.dead, refused.quotes, refused.customers), (2, 2, 2, 1));
    assert_eq!(refused.money, [Money::new("EUR".into(), 5_000)]);
    assert!(refused.sample.as_ref().unwrap().contains("is blocked"), "{refused:#?}");
    let apart = refused.last_seen.unwrap() - refused.first_seen.unwrap();
    assert!(apart >= TimeDelta::minutes(1), "{apart}");

    let dead = causes(&desk.db, Some(EventStatus::Dead), None).await.unwrap();
    assert_eq!(dead.causes.len(), 1);
    assert!(causes(&desk.db, None, Some("kafka")).await.unwrap().causes.is_empty());

    // What is delivered fails no longer.
    desk.advance(3600);
    desk.deliver().await;
    assert_eq!(causes(&desk.db, None, None).await.unwrap().causes.len(), 1);
}

async fn failures_at_the_head_of_a_long_backlog_are_grouped(desk: Desk) {
    desk.submit_many(3).await;
    desk.fail(Outcome::Retry("503 Service Unavailable: no".into())).await;
    let quote = NewQuote::parse("crowd", "EUR", vec![Line::parse("a thing", 2, 1_250).unwrap()]).unwrap();
    for _ in 0..COUNTED_MAX / 1_000 {
        desk.submission.submit(&vec![quote.clone(); 1_000], None, None).await.unwrap();
    }
    let found = causes(&desk.db, None, None).await.unwrap();
    assert_eq!(found.causes.iter().map(|cause| (cause.events, cause.quotes)).collect::<Vec<_>>(), [(3, 3)]);
    assert!(found.causes[0].sample.as_ref().unwrap().starts_with("503"), "{found:#?}");
}

async fn events_are_found_by_cause_customer_and_time(desk: Desk) {
    let (_, refused) = desk.submit_refused().await;
    let begun = desk.now().await;
    desk.advance(60);
    let of_ada = submit_for(&desk, "ada").await;
    desk.fail(Outcome::Retry("503 Service Unavailable: 17 wait".into())).await;
    let now = desk.now().await;
    let (early, late) = (begun + Duration::from_secs(30), now + Duration::from_mins(1));
    let none = EventFilter::default;
    for (filter, expected) in [
        (EventFilter { cause: Some("retry 503: Service Unavailable: # wait".into()), ..none() }, vec![of_ada]),
        (EventFilter { cause: Some("refused 422: Unprocessable Entity: no".into()), ..none() }, vec![refused]),
        (EventFilter { cause: Some("refused 422".into()), ..none() }, vec![]),
        (EventFilter { customer_id: Some("ada".into()), ..none() }, vec![of_ada]),
        (
            EventFilter { customer_id: Some("customer".into()), status: Some(EventStatus::Dead), ..none() },
            vec![refused],
        ),
        (EventFilter { customer_id: Some("nobody".into()), ..none() }, vec![]),
        (EventFilter { created_after: Some(early), ..none() }, vec![of_ada]),
        (EventFilter { created_before: Some(early), ..none() }, vec![refused]),
        (EventFilter { created_after: Some(early), created_before: Some(late), ..none() }, vec![of_ada]),
        (EventFilter { created_before: Some(early), status: Some(EventStatus::Dead), ..none() }, vec![refused]),
        (EventFilter { created_after: Some(late), ..none() }, vec![]),
        (EventFilter { settled_before: Some(early), ..none() }, vec![refused]),
        (EventFilter { settled_after: Some(early), ..none() }, vec![]),
        (EventFilter { settled_after: Some(begun - Duration::from_mins(1)), ..none() }, vec![refused]),
    ] {
        assert_eq!(ids(&desk, &filter).await, expected, "{filter:?}");
        let counted = total(desk.db.connection(), &filter).await.unwrap();
        assert_eq!((counted.events, counted.is_complete), (expected.len() as u64, true), "{filter:?}");
    }
}

async fn a_customer_with_many_quotes_is_found_in_what_a_page_reads(desk: Desk) {
    let quote = NewQuote::parse("crowd", "EUR", vec![Line::parse("a thing", 2, 1_250).unwrap()]).unwrap();
    desk.submission.submit(&vec![quote; 300], None, None).await.unwrap();
    desk.submit_many(2).await;
    let of_crowd = EventFilter { customer_id: Some("crowd".into()), ..EventFilter::default() };
    let page = list(desk.db.connection(), &of_crowd, 200).await.unwrap();
    assert_eq!((page.rows.len(), page.next.is_some()), (200, true));
    assert_eq!(total(desk.db.connection(), &of_crowd).await.unwrap().events, 300);
    let settled = EventFilter { status: Some(EventStatus::Dead), ..of_crowd };
    assert_eq!(total(desk.db.connection(), &settled).await.unwrap().events, 0);
}

async fn a_total_is_counted_whatever_the_page(desk: Desk) {
    desk.submit_many(7).await;
    let page = list(desk.db.connection(), &EventFilter::default(), 3).await.unwrap();
    let second = EventFilter { before: page.next, ..EventFilter::default() };
    assert_eq!(list(desk.db.connection(), &second, 3).await.unwrap().rows.len(), 3);
    assert_eq!(total(desk.db.connection(), &second).await.unwrap().events, 7);
}

async fn a_row_says_why_it_stands_there_and_for_whom(desk: Desk) {
    let refused = desk.submit_refused().await.1;
    let of_ada = submit_for(&desk, "ada").await;
    let why = async |id: Uuid| views(&desk.db, vec![desk.event(id).await]).await.unwrap().remove(0);
    assert_eq!(why(refused).await.why, "refused: 422 Unprocessable Entity: no");
    let ada = why(of_ada).await;
    assert_eq!(ada.customer_id.as_deref(), Some("ada"));
    assert_eq!(ada.money, Some(Money::new("EUR".into(), 2_500)));
    assert!(ada.why.starts_with("due for "), "{}", ada.why);
    desk.fail(Outcome::Retry("503 Service Unavailable: no".into())).await;
    let failed = why(of_ada).await;
    assert!(failed.why.starts_with("next attempt at ") && failed.why.ends_with(": no"), "{}", failed.why);
    assert!(failed.failed_at.is_some());
    desk.sql("UPDATE destination SET circuit = 'open'").await;
    assert_eq!(why(of_ada).await.why, "the circuit is open");
    desk.sql("UPDATE destination SET paused_at = updated_at, paused_by = 'bob'").await;
    assert_eq!(why(of_ada).await.why, "paused by bob");
}

async fn quotes_are_found_by_the_beginning_of_their_id_and_by_time(desk: Desk) {
    let (first, _) = desk.submit_refused().await;
    let between = desk.now().await + Duration::from_secs(30);
    desk.advance(60);
    let (second, _) = desk.submit().await;
    let found = async |filter: QuoteFilter| {
        let page = quotes::list(desk.db.connection(), &filter, 10).await.unwrap();
        page.rows.into_iter().map(|found| found.id(|found| found.quote.id)).collect::<Vec<_>>()
    };
    let rejected = Some(entity::quote::Status::Rejected);
    let none = QuoteFilter::default;
    for status in [None, rejected] {
        let whole = ids_with_prefix(&first.to_string()).unwrap();
        assert_eq!(found(QuoteFilter { ids: Some(whole), status, ..none() }).await, [first]);
        assert_eq!(found(QuoteFilter { submitted_before: Some(between), status, ..none() }).await, [first]);
    }
    let century = ids_with_prefix(&second.to_string()[..4]).unwrap();
    assert_eq!(found(QuoteFilter { ids: Some(century), ..none() }).await, [second, first]);
    assert_eq!(found(QuoteFilter { submitted_after: Some(between), ..none() }).await, [second]);
    assert!(found(QuoteFilter { submitted_after: Some(between), status: rejected, ..none() }).await.is_empty());
}

async fn ids(desk: &Desk, filter: &EventFilter) -> Vec<Uuid> {
    let page = list(desk.db.connection(), filter, 10).await.unwrap();
    page.rows.iter().map(|found: &Listed<_>| found.id(|event| event.id)).collect()
}

/// Submits a quote of `customer`; returns its event.
async fn submit_for(desk: &Desk, customer: &str) -> Uuid {
    let quote = NewQuote::parse(customer, "EUR", vec![Line::parse("a thing", 2, 1_250).unwrap()]).unwrap();
    let receipt = desk.submission.submit(&[quote], None, None).await.unwrap();
    feebox::outbox::of_aggregate(desk.db.connection(), receipt.quotes[0].id).await.unwrap()[0].id
}
