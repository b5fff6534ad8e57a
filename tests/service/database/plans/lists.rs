//! The pages of lists.

use feebox::database::{SCANNED_MAX, Scan};
use feebox::inspection::{COUNTED_MAX, EventFilter, statements};
use feebox::operator::{ActionFilter, actions};
use feebox::outbox::EventStatus;
use feebox::quotes::{self, FEE_SERVER, QuoteFilter, Status};
use sea_orm::{DbBackend, QuerySelect};
use uuid::Uuid;

use super::{Hot, RARE};
use crate::support::{Filling, TestOutbox};

/// How many rows a page has.
const LIMIT: u64 = 100;
/// What finding the place costs, and a page of which the database looks twice at each row.
const PAGE: u64 = 2 * LIMIT + 20;
/// As many rows as a page passes over, each once in its table, in its index and in what is read from it.
const PIECE: u64 = 3 * SCANNED_MAX + PAGE;

/// All of them, of tables whose last row has the number `last`.
pub fn lists(outbox: &TestOutbox, last: u64) -> Vec<Hot> {
    [of_quotes(outbox, last), of_events(outbox, last), of_actions(outbox)].concat()
}

fn of_quotes(outbox: &TestOutbox, last: u64) -> Vec<Hot> {
    let backend = outbox.db.connection().get_database_backend();
    let mut all = vec![];
    for status in
        [None, Some(Status::Pending), Some(Status::Confirmed), Some(Status::Rejected), Some(Status::Cancelled)]
    {
        for customer_id in [None, Some("customer-7".to_owned()), Some("nobody".to_owned())] {
            for before in [None, Some(Filling::quote(last / 2)), Some(Filling::quote(300))] {
                for submitted_by in [None, Some("shop-50".to_owned())] {
                    let exact = match status {
                        None => customer_id.is_none() || submitted_by.is_none(),
                        Some(Status::Confirmed) => {
                            backend == DbBackend::MySql && customer_id.is_none() && submitted_by.is_none()
                        }
                        Some(_) => customer_id.is_none() && submitted_by.is_none(),
                    };
                    let name = format!("quotes {status:?} of {customer_id:?} by {submitted_by:?} before {before:?}");
                    let customer_id = customer_id.clone();
                    let filter = QuoteFilter { status, customer_id, submitted_by, before, ..QuoteFilter::default() };
                    all.extend(of_scan(outbox, &name, &quotes::statements::scan(backend, &filter), exact));
                }
            }
        }
    }
    all
}

fn of_events(outbox: &TestOutbox, last: u64) -> Vec<Hot> {
    use EventStatus::{Cancelled, Dead, Delivered, Leased, Pending};
    let backend = outbox.db.connection().get_database_backend();
    let mariadb = backend == DbBackend::MySql;
    let mut all = vec![];
    for before in [None, Some(Filling::event(last / 2)), Some(Filling::event(300))] {
        for event_type in [None, Some("quote.cancelled".to_owned())] {
            let filter = EventFilter { event_type: event_type.clone(), before, ..EventFilter::default() };
            let name = |what: &str| format!("{what} events of type {event_type:?} before {before:?}");
            let exact = event_type.is_none();
            all.extend(of_scan(outbox, &name("all"), &statements::newest(&filter), exact));
            let of_quote = statements::of_one_quote(backend, Filling::quote(last / 3), &filter);
            all.push(Hot::new(outbox, name("a quote's"), &of_quote.ids(LIMIT), 20));
            for destination in [FEE_SERVER.as_str(), "kafka"] {
                let of_one = EventFilter { destination: Some(destination.into()), ..filter.clone() };
                all.extend(of_scan(outbox, &name(destination), &statements::newest(&of_one), false));
                let by_id: &[_] =
                    if mariadb { &[Pending, Leased, Delivered, Dead, Cancelled] } else { &[Dead, Cancelled] };
                for status in by_id {
                    let name = name(&format!("{status:?} {destination}"));
                    let scan = statements::with_status(backend, *status, destination, &filter);
                    all.extend(of_scan(outbox, &name, &scan, exact));
                }
                let with_error = EventFilter { error_contains: Some("503".into()), ..filter.clone() };
                if !mariadb {
                    let name = name(&format!("failing {destination}"));
                    all.extend(of_scan(outbox, &name, &statements::failing(destination, &with_error), false));
                }
                let dead = statements::with_status(backend, Dead, destination, &with_error);
                all.extend(of_scan(outbox, &name(&format!("dead {destination} with an error")), &dead, false));
                for status in if mariadb { &[][..] } else { &[Pending, Leased] } {
                    let name = name(&format!("{status:?} {destination}"));
                    let scan = statements::waiting(*status, destination, &filter);
                    all.extend(of_scan(outbox, &name, &scan, false));
                }
            }
        }
        all.extend(of_failures(outbox, before));
        let delivered = EventFilter { status: Some(Delivered), before, ..EventFilter::default() };
        let name = format!("delivered events before {before:?}");
        all.extend(of_scan(outbox, &name, &statements::newest(&delivered), false));
    }
    all
}

/// Lists by cause and by customer, and the groups of causes.
fn of_failures(outbox: &TestOutbox, before: Option<Uuid>) -> Vec<Hot> {
    let backend = outbox.db.connection().get_database_backend();
    let filter = EventFilter { before, ..EventFilter::default() };
    let quotes: Vec<_> = (1..=64).map(Filling::quote).collect();
    let of_quotes = statements::of_quotes(&quotes, &filter);
    let mut all = vec![Hot::new(outbox, "some quotes' events".into(), &of_quotes.ids(LIMIT), 4 * 64 + 20)];
    for status in [EventStatus::Pending, EventStatus::Dead] {
        let name = |what: &str| format!("{what} {status:?} before {before:?}");
        if backend == DbBackend::MySql {
            let counted = statements::counted_by_cause(backend, status, FEE_SERVER.as_str(), None);
            all.push(Hot::new(outbox, name("causes"), &counted, 6 * COUNTED_MAX + PAGE));
            continue;
        }
        for (cause, rows) in [("refused 422: no", 2 * RARE), ("nothing", 0)] {
            let scan = statements::with_cause(status, FEE_SERVER.as_str(), cause, &filter);
            all.extend(of_scan(outbox, &name(cause), &scan, true));
            let counted = statements::counted_by_cause(backend, status, FEE_SERVER.as_str(), Some(cause));
            all.push(Hot::new(outbox, name(&format!("count of {cause}")), &counted, 2 * rows + 20));
        }
        let next = statements::next_cause(status, FEE_SERVER.as_str(), "");
        all.push(Hot::new(outbox, name("the next cause"), QuerySelect::query(&mut next.clone()), 5));
    }
    all
}

fn of_actions(outbox: &TestOutbox) -> Vec<Hot> {
    let backend = outbox.db.connection().get_database_backend();
    let mut all = vec![];
    for before in [None, Some(Filling::action(300))] {
        let filter = ActionFilter { quote_id: None, before };
        let exact = backend != DbBackend::MySql;
        all.extend(of_scan(outbox, &format!("actions before {before:?}"), &actions::scan(backend, &filter), exact));
        for quote_id in [Filling::quote(7), Uuid::nil()] {
            let filter = ActionFilter { quote_id: Some(quote_id), before };
            let name = format!("actions of {quote_id} before {before:?}");
            all.extend(of_scan(outbox, &name, &actions::scan(backend, &filter), true));
        }
    }
    all
}

/// A page, and the end of the piece that it is read from, if that holds rows that it passes over.
fn of_scan(outbox: &TestOutbox, name: &str, scan: &Scan, exact: bool) -> Vec<Hot> {
    let page = |rows_max| Hot::new(outbox, name.into(), &scan.ids(LIMIT + 1), rows_max);
    if exact {
        return vec![page(PAGE)];
    }
    vec![page(PIECE), Hot::new(outbox, format!("the end of {name}"), &scan.end(), SCANNED_MAX + PAGE)]
}
