//! What is deleted, and what never is.

use std::time::Duration;

use chrono::{DateTime, Utc};
use entity::outbox_event::Status;
use feebox::outbox::{self, Outcome};
use feebox::quotes::FEE_SERVER;
use sea_orm::{ConnectionTrait, DbBackend, Statement};
use uuid::Uuid;

use crate::support::{TestOutbox, delivered, fee_server, on_each_engine, refused, retry, with_fee};

on_each_engine!(
    only_what_was_delivered_or_cancelled_before_the_limit_is_pruned,
    a_circuit_is_remembered_for_as_long_as_the_events_that_it_held_back,
    more_than_a_batch_is_pruned,
    a_fee_record_outlives_its_event,
    a_quote_can_be_cancelled_after_its_event_was_pruned,
);

async fn only_what_was_delivered_or_cancelled_before_the_limit_is_pruned(outbox: TestOutbox) {
    let old = one_of_each_status(&outbox).await;
    outbox.advance(Duration::from_secs(4));
    let limit = outbox.now().await;
    outbox.advance(Duration::from_secs(4));
    let young = one_of_each_status(&outbox).await;

    assert_eq!(prune(&outbox, limit).await, 2);
    let left: Vec<_> = outbox.events().await.iter().map(|event| event.id).collect();
    let pruned: Vec<_> = old.iter().filter(|id| !left.contains(id)).copied().collect();
    assert_eq!(pruned, old[..2], "the delivered and the cancelled one");
    assert!(young.iter().all(|id| left.contains(id)));
    assert_eq!(prune(&outbox, limit).await, 0);

    outbox.advance(Duration::from_hours(24 * 365));
    assert_eq!(prune(&outbox, outbox.now().await).await, 2);
    assert_eq!(outbox.statuses(&old[2..]).await, [Status::Dead, Status::Leased, Status::Pending]);
}

async fn a_circuit_is_remembered_for_as_long_as_the_events_that_it_held_back(outbox: TestOutbox) {
    let born = outbox.now().await;
    let openings = async || {
        let until = outbox.now().await;
        outbox::circuit_openings(outbox.db.connection(), &[&FEE_SERVER], born, until).await.unwrap()
    };
    outbox.submit(1).await;
    outbox.deliver("a", Outcome::Unauthorised("401: token expired".into())).await;
    outbox.advance(Duration::from_hours(1));
    prune(&outbox, outbox.now().await).await;
    assert_eq!(openings().await[0].closed_at, None, "an open one is never forgotten");
    outbox.deliver("a", delivered()).await;
    let told = openings().await;
    let [opening] = &told[..] else { panic!("one opening: {told:?}") };
    assert_eq!(opening.reason.as_deref(), Some("401: token expired"));
    let closed_at = opening.closed_at.unwrap();
    prune(&outbox, closed_at).await;
    assert_eq!(openings().await.len(), 1);
    prune(&outbox, closed_at + Duration::from_secs(1)).await;
    assert_eq!(openings().await.len(), 1, "operators see it for ninety days");
    outbox.advance(Duration::from_hours(24 * 91));
    prune(&outbox, outbox.now().await).await;
    assert!(openings().await.is_empty());
}

async fn more_than_a_batch_is_pruned(outbox: TestOutbox) {
    for _ in 0..2 {
        outbox.submit(1_000).await;
    }
    outbox.submit(1).await;
    let backend = outbox.db.connection().get_database_backend();
    let settled = if backend == DbBackend::MySql { "'2026-01-01 00:00:00'" } else { "'2026-01-01 00:00:00+00:00'" };
    let deliver = format!("UPDATE outbox_event SET status = 'delivered', settled_at = {settled}");
    outbox.db.connection().execute_raw(Statement::from_string(backend, deliver)).await.unwrap();
    assert_eq!(prune(&outbox, outbox.now().await).await, 2_001);
    assert!(outbox.events().await.is_empty());
}

async fn a_fee_record_outlives_its_event(outbox: TestOutbox) {
    outbox.submit(1).await;
    let claimed = outbox.claim("a", 1).await.remove(0);
    outbox.settle_at(&fee_server(), "a", &[with_fee(&claimed)]).await;
    outbox.advance(Duration::from_secs(1));
    assert_eq!(prune(&outbox, outbox.now().await).await, 1);
    assert_eq!(outbox.fee_records().await[0].event_id, claimed.id);
}

async fn a_quote_can_be_cancelled_after_its_event_was_pruned(outbox: TestOutbox) {
    outbox.submit(1).await;
    let claimed = outbox.claim("a", 1).await.remove(0);
    outbox.settle_at(&fee_server(), "a", &[with_fee(&claimed)]).await;
    outbox.advance(Duration::from_secs(1));
    prune(&outbox, outbox.now().await).await;

    outbox.submission.cancel(claimed.aggregate_id, None, None).await.unwrap();
    let void = outbox.claim("a", 1).await.remove(0);
    assert_eq!((void.event_type.as_str(), void.aggregate_id), ("quote.cancelled", claimed.aggregate_id));
}

/// A delivered and a cancelled one, then a dead, a leased and a pending one.
async fn one_of_each_status(outbox: &TestOutbox) -> [Uuid; 5] {
    let stored = outbox.submit(5).await;
    let quote = outbox.event(stored[1]).await.aggregate_id;
    outbox.submission.cancel(quote, None, None).await.unwrap();
    let claimed = outbox.claim("a", 4).await;
    for (event, outcome) in claimed.iter().zip([Some(delivered()), Some(refused()), None, Some(retry())]) {
        if let Some(outcome) = outcome {
            outbox.settle_one("a", event, outcome).await;
        }
    }
    let expected = [Status::Delivered, Status::Cancelled, Status::Dead, Status::Leased, Status::Pending];
    assert_eq!(outbox.statuses(&stored).await, expected);
    stored.try_into().unwrap()
}

async fn prune(outbox: &TestOutbox, settled_before: DateTime<Utc>) -> u64 {
    outbox::prune(&outbox.db, settled_before).await.unwrap()
}
