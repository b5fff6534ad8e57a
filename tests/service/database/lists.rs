//! Lists whose pages are read from pieces of an index: together they are whole, each row once and in order.

use feebox::database::{Listed, Page};
use feebox::inspection::{self, EventFilter};
use feebox::operator::{ActionFilter, actions};
use feebox::outbox::EventStatus;
use feebox::quotes::{self, QuoteFilter, Status};
use uuid::Uuid;

use crate::support::{Filling, TestOutbox, on_each_engine};

on_each_engine!(
    postgres,
    Postgres: quotes_are_listed_whole,
    events_are_listed_whole,
    actions_are_listed_whole,
    a_backlog_is_counted_up_to_a_bound,
);
on_each_engine!(
    mariadb,
    MariaDb: quotes_are_listed_whole,
    events_are_listed_whole,
    actions_are_listed_whole,
    a_backlog_is_counted_up_to_a_bound,
);

/// More than two pieces.
const ROWS: u64 = 12_000;
/// The oldest, odd ones rejected and even ones cancelled.
const RARE: u64 = 400;
/// Up to here the others are delivered; the rest waits.
const DELIVERED: u64 = 3_000;
const LIMIT: u64 = 500;

async fn filled(outbox: &TestOutbox) {
    let filling = Filling::without_upkeep(outbox).await;
    filling.pending(1..=ROWS).await;
    filling.deliver(RARE + 1..=DELIVERED).await;
    filling.rare(1..=RARE).await;
}

async fn quotes_are_listed_whole(outbox: TestOutbox) {
    type Belongs = fn(u64) -> bool;
    filled(&outbox).await;
    let statuses: [(Option<Status>, Belongs); 5] = [
        (None, |_| true),
        (Some(Status::Pending), |number| number > DELIVERED),
        (Some(Status::Confirmed), |number| number > RARE && number <= DELIVERED),
        (Some(Status::Rejected), |number| number <= RARE && number % 2 == 1),
        (Some(Status::Cancelled), |number| number <= RARE && number % 2 == 0),
    ];
    let customers: [(Option<&str>, Belongs); 3] =
        [(None, |_| true), (Some("customer-7"), |number| number % 100 == 7), (Some("nobody"), |_| false)];
    let submitters: [(Option<&str>, Belongs); 2] = [(None, |_| true), (Some("shop-50"), |number| number % 1_000 == 50)];
    for (status, has_status) in statuses {
        for (customer_id, is_of) in customers {
            for (submitted_by, is_by) in submitters {
                let listed = pages(async |before| {
                    let (customer_id, submitted_by) = (customer_id.map(str::to_owned), submitted_by.map(str::to_owned));
                    let filter = QuoteFilter { status, customer_id, submitted_by, before, ..QuoteFilter::default() };
                    ids(quotes::list(outbox.db.connection(), &filter, LIMIT).await.unwrap(), |found| found.quote.id)
                });
                let belongs = (1..=ROWS).rev().filter(|number| has_status(*number) && is_of(*number) && is_by(*number));
                let what = format!("{status:?} of {customer_id:?} by {submitted_by:?}");
                assert_eq!(listed.await, belongs.map(Filling::quote).collect::<Vec<_>>(), "{what}");
            }
        }
    }
}

async fn events_are_listed_whole(outbox: TestOutbox) {
    type Belongs = fn(u64) -> bool;
    filled(&outbox).await;
    let statuses: [(Option<EventStatus>, Belongs); 6] = [
        (None, |_| true),
        (Some(EventStatus::Pending), |number| number > DELIVERED && number % 100 != 0),
        (Some(EventStatus::Leased), |number| number > DELIVERED && number % 100 == 0),
        (Some(EventStatus::Delivered), |number| number > RARE && number <= DELIVERED),
        (Some(EventStatus::Dead), |number| number <= RARE && number % 2 == 1),
        (Some(EventStatus::Cancelled), |number| number <= RARE && number % 2 == 0),
    ];
    let others = [(None, None), (Some("fee-server"), None), (None, Some("quote.submitted"))];
    let nothing = [(Some("kafka"), None), (None, Some("quote.cancelled"))];
    for (status, has_status) in statuses {
        for (destination, event_type) in others.into_iter().chain(nothing) {
            let (destination, event_type) = (destination.map(str::to_owned), event_type.map(str::to_owned));
            let listed = pages(async |before| {
                let (destination, event_type) = (destination.clone(), event_type.clone());
                let filter = EventFilter { status, destination, event_type, before, ..EventFilter::default() };
                ids(inspection::list(outbox.db.connection(), &filter, LIMIT).await.unwrap(), |event| event.id)
            });
            let all = destination.as_deref() != Some("kafka") && event_type.as_deref() != Some("quote.cancelled");
            let belongs = (1..=ROWS).rev().filter(|number| all && has_status(*number));
            let belongs: Vec<_> = belongs.map(Filling::event).collect();
            assert_eq!(listed.await, belongs, "{status:?} for {destination:?} of type {event_type:?}");
        }
    }
    let filter = EventFilter { quote_id: Some(Filling::quote(7)), ..EventFilter::default() };
    let found = inspection::list(outbox.db.connection(), &filter, LIMIT).await.unwrap();
    assert_eq!(ids(found, |event| event.id), (vec![Filling::event(7)], None));
}

async fn a_backlog_is_counted_up_to_a_bound(outbox: TestOutbox) {
    let filling = Filling::without_upkeep(&outbox).await;
    filling.pending(1..=ROWS).await;
    let stats = inspection::stats(&outbox.db).await.unwrap();
    let events = stats.destinations[0].events;
    assert_eq!((events.pending, stats.unsettled_counted_max), (10_000, 10_000));
    assert_eq!(events.leased, ROWS / 100);
    assert!(stats.headline.contains("10000 events or more wait"), "{}", stats.headline);
    let since_first = (outbox.now().await - Filling::stored_at(1)).as_seconds_f64();
    assert!((stats.destinations[0].oldest_due_seconds - since_first).abs() < 60.0, "the oldest of all");
}

/// Behind the bulk, which is one line a batch, are those of single events.
async fn actions_are_listed_whole(outbox: TestOutbox) {
    filled(&outbox).await;
    let listed = pages(async |before| {
        let filter = ActionFilter { quote_id: None, before };
        let Page { rows, next } = actions::list(outbox.db.connection(), &filter, 100).await.unwrap();
        (rows.into_iter().map(|action| action.id).collect(), next)
    });
    assert_eq!(listed.await, (1..=RARE).rev().map(Filling::action).collect::<Vec<_>>());
    let filter = ActionFilter { quote_id: Some(Filling::quote(401)), before: None };
    let of_quote = actions::list(outbox.db.connection(), &filter, 100).await.unwrap();
    assert_eq!((of_quote.rows.len(), of_quote.next), (1, None), "also one of a bulk");
}

fn ids<T>(page: Page<Listed<T>>, id: impl Fn(&T) -> Uuid) -> (Vec<Uuid>, Option<Uuid>) {
    (page.rows.into_iter().map(|found| found.id(&id)).collect(), page.next)
}

/// All ids of the pages that `page` tells after the one before.
async fn pages(page: impl AsyncFn(Option<Uuid>) -> (Vec<Uuid>, Option<Uuid>)) -> Vec<Uuid> {
    let (mut all, mut before) = (vec![], None);
    loop {
        let (ids, next) = page(before).await;
        assert!(ids.len() as u64 <= LIMIT);
        all.extend(ids);
        assert!(next.is_none() || before.is_none() || next < before, "pages go on");
        before = next;
        if next.is_none() {
            return all;
        }
    }
}
