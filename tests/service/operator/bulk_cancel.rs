//! Operators cancel many events: in batches, each as if it were cancelled by itself.

use std::collections::BTreeSet;

use entity::outbox_event::Status as EventStatus;
use entity::quote::Status;
use feebox::operator::bulk::{self, Kind, Step};
use feebox::operator::{self, ActionFilter, BulkView, NewBulk, Which, actions};
use feebox::outbox::{Outcome, of_aggregate};
use feebox::quotes::Relay;
use feebox::settings::{Settings, Sources};
use uuid::Uuid;

use crate::support::{ANN, Desk, desk_tests};

desk_tests!(
    a_batch_does_to_each_event_what_cancelling_it_alone_does,
    thousands_are_cancelled_by_batches,
    an_event_that_cannot_be_cancelled_holds_up_no_other,
    a_cancellation_keeps_to_its_pace,
);

async fn a_batch_does_to_each_event_what_cancelling_it_alone_does(desk: Desk) {
    let relay = relay();
    let pairs = two_of_each_kind(&desk).await;
    let of = |side: usize| pairs.iter().map(move |pair| pair[side]);
    let sorted: BTreeSet<Uuid> = of(0).map(|(_, event)| event).collect();
    let mut done = 0;
    for event in sorted {
        done += u64::from(operator::cancel(&desk.db, relay, ANN, event).await.is_ok());
    }
    let ids = of(1).map(|(_, event)| event).collect();
    let cancel = NewBulk { kind: Kind::Cancel, which: Which::Ids(ids), per_second: None };
    let bulk = carry_out(&desk, relay, &cancel).await;
    assert_eq!((bulk.cancelled, bulk.skipped), (Some(done), pairs.len() as u64 - done));
    assert_eq!(done, 5, "never sent, unknown, refused, leased, and a void");
    for [(alone, _), (together, _)] in pairs {
        assert_eq!(traces(&desk, together).await, traces(&desk, alone).await);
    }
    // What the fee server may have is voided in both cases.
    assert_eq!(desk.audit().await, []);
}

/// Quotes in each state, with the event that is named; two of each.
async fn two_of_each_kind(desk: &Desk) -> Vec<[(Uuid, Uuid); 2]> {
    let two = async || <[(Uuid, Uuid); 2]>::try_from(desk.submit_many(2).await).unwrap();
    let (delivered, voided, cancelled) = (two().await, two().await, two().await);
    desk.deliver().await;
    let refused = two().await;
    desk.fail(Outcome::Refused("422: no".into())).await;
    let leased = two().await;
    assert_eq!(desk.claim().await.len(), 2);
    let unknown = two().await;
    desk.fail(Outcome::Unknown("no answer".into())).await;
    let never_sent = two().await;
    for (quote, _) in voided.iter().chain(&cancelled) {
        desk.submission.cancel(*quote, None, None).await.unwrap();
    }
    let mut voids = voided;
    for (quote, event) in &mut voids {
        *event = of_aggregate(desk.db.connection(), *quote).await.unwrap()[1].id;
    }
    let missing = [(Uuid::now_v7(), Uuid::now_v7()), (Uuid::now_v7(), Uuid::now_v7())];
    vec![delivered, refused, leased, unknown, never_sent, voids, cancelled, missing]
}

/// All that is left of a quote, without ids and times.
async fn traces(desk: &Desk, quote: Uuid) -> Vec<String> {
    let db = desk.db.connection();
    let mut traces = vec![];
    if let Some(found) = feebox::quotes::get(db, quote).await.unwrap() {
        let it = found.quote;
        traces.push(format!("{:?} {:?} {:?}", it.status, it.status_reason, it.cancelled_by));
    }
    for it in of_aggregate(db, quote).await.unwrap() {
        let (status, kind, settled) = (it.status, it.event_type, it.settled_at.is_some());
        let about = (it.destination, it.sequence, it.partner, it.payload["reason"].clone());
        traces.push(format!("{kind} {status:?} {about:?} {} {} {settled}", it.withdrawn, it.attempts));
    }
    let filter = ActionFilter { quote_id: Some(quote), before: None };
    for mut it in actions::list(db, &filter, 10).await.unwrap().rows {
        it.details.as_object_mut().unwrap().remove("bulk_id");
        let name = it.action.replace("event.give_up", "event.cancel");
        traces.push(format!("{name} {:?} {:?} {:?}", it.actor, it.reason, it.details));
    }
    traces
}

async fn thousands_are_cancelled_by_batches(desk: Desk) {
    let submitted = desk.submit_many(700).await;
    desk.fail_all(Outcome::Refused("422: no".into())).await;
    let id = bulk::begin(&desk.db, ANN, &cancel(&submitted)).await.unwrap();
    let mut steps = 1;
    while bulk::step(&desk.db, Relay::default(), id).await.unwrap() == Step::Again {
        steps += 1;
    }
    assert!(steps < 20, "{steps} transactions");
    let done = bulk::get(&desk.db, id).await.unwrap();
    assert_eq!((done.matched, done.cancelled, done.skipped), (700, Some(700), 0));
    for (quote, event) in &submitted[690..] {
        assert_eq!(desk.quote(*quote).await.status, Status::Cancelled);
        assert_eq!(desk.event(*event).await.status, EventStatus::Cancelled);
    }
    assert_eq!(desk.audit().await, []);
}

async fn an_event_that_cannot_be_cancelled_holds_up_no_other(desk: Desk) {
    let submitted = desk.submit_many(20).await;
    desk.fail(Outcome::Refused("422: no".into())).await;
    // Somebody else changed them: a destination that no quote has, and a payload that cannot be read.
    let (bad_quote, unreadable) = (submitted[3], submitted[11]);
    let key = |id: Uuid| match desk.database.url() {
        url if url.starts_with("postgres") => format!("'{id}'"),
        _ => format!("x'{}'", id.simple()),
    };
    desk.sql(&format!("UPDATE quote SET destination = 'elsewhere' WHERE id = {}", key(bad_quote.0))).await;
    let unreadable_row = match desk.database.url() {
        url if url.starts_with("postgres") => "created_at = 'infinity'",
        url if url.starts_with("mysql") => "status = 'lost'",
        _ => "created_at = 'lost'",
    };
    desk.sql(&format!("UPDATE outbox_event SET {unreadable_row} WHERE id = {}", key(unreadable.1))).await;
    let done = carry_out(&desk, Relay::default(), &cancel(&submitted)).await;
    assert_eq!((done.cancelled, done.skipped, done.status.as_str()), (Some(18), 2, "finished"));
    for (quote, _) in submitted.iter().filter(|it| **it != bad_quote && **it != unreadable) {
        assert_eq!(desk.quote(*quote).await.status, Status::Cancelled);
    }
    assert_eq!(desk.event(bad_quote.1).await.status, EventStatus::Dead);
}

async fn a_cancellation_keeps_to_its_pace(desk: Desk) {
    let submitted = desk.submit_many(40).await;
    let slow = NewBulk { per_second: Some(2), ..cancel(&submitted) };
    let id = bulk::begin(&desk.db, ANN, &slow).await.unwrap();
    let mut waits = false;
    while !waits {
        waits = matches!(bulk::step(&desk.db, Relay::default(), id).await.unwrap(), Step::After(_));
    }
    let done = bulk::get(&desk.db, id).await.unwrap();
    let elapsed = desk.now().await - done.created_at;
    let paced = u64::try_from(2 * elapsed.num_seconds() + 4).unwrap();
    assert!(done.cancelled.unwrap() <= paced, "{done:?} after {elapsed}");
    let stopped = bulk::abort(&desk.db, ANN, id).await.unwrap();
    assert_eq!(bulk::step(&desk.db, Relay::default(), id).await.unwrap(), Step::Ended);
    assert_eq!(bulk::get(&desk.db, id).await.unwrap().cancelled, stopped.cancelled);
}

fn cancel(submitted: &[(Uuid, Uuid)]) -> NewBulk {
    let ids = submitted.iter().map(|(_, event)| *event).collect();
    NewBulk { kind: Kind::Cancel, which: Which::Ids(ids), per_second: None }
}

async fn carry_out(desk: &Desk, relay: Relay, new: &NewBulk) -> BulkView {
    let id = bulk::begin(&desk.db, ANN, new).await.unwrap();
    bulk::work(&desk.db, relay, id, || {}).await.unwrap();
    bulk::get(&desk.db, id).await.unwrap()
}

/// News of cancelled quotes are stored for Kafka.
fn relay() -> Relay {
    let brokers = [("kafka.brokers".to_owned(), "127.0.0.1:9".to_owned())];
    Relay::new(&Settings::load(&Sources::overrides(brokers)).unwrap())
}
