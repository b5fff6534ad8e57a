//! The audit of the fleet: bounded at each tick, and nothing that it found is forgotten.

use std::time::Duration;

use entity::{audit_progress, schedule};
use feebox::audit::{JOB, Limits, Violation, Watched, watch};
use feebox::database::Database;
use feebox::operator;
use sea_orm::{DbBackend, EntityTrait, QueryOrder};
use uuid::Uuid;

use crate::support::{ANN, Desk, desk_tests};

desk_tests!(
    the_pass_over_all_quotes_goes_on_where_a_process_that_died_has_left_it,
    a_violation_stays_counted_until_its_quote_passes_a_check,
    what_was_settled_since_the_last_tick_is_checked_wherever_the_pass_is,
    what_was_submitted_since_the_last_tick_is_checked_wherever_the_pass_is,
    events_that_wait_for_the_far_future_are_counted_until_they_are_repaired,
    a_place_that_a_wrong_clock_has_stored_stops_nothing,
    a_quote_is_counted_once_on_each_way,
);

const WEEK: Duration = Duration::from_hours(7 * 24);
/// One slice of so many quotes on each way.
const FEW: Limits = Limits { rows: 4, changed: Duration::ZERO, all: Duration::ZERO, round: false };
/// All that has changed, and one slice of the pass over all quotes.
const CHANGED: Limits = Limits { changed: Duration::from_hours(1), ..FEW };

async fn tick(db: &Database, limits: Limits) -> (Watched, Vec<Uuid>) {
    let mut told = vec![];
    let watched = watch(db, WEEK, limits, |violation: &Violation| told.push(violation.quote_id)).await.unwrap();
    told.sort();
    (watched, told)
}

fn is_sqlite(desk: &Desk) -> bool {
    desk.db.connection().get_database_backend() == DbBackend::Sqlite
}

async fn lose(desk: &Desk, event: Uuid) {
    desk.sql(&format!("UPDATE outbox_event SET status = 'cancelled' WHERE id = {}", desk.quoted(event))).await;
}

async fn find_again(desk: &Desk, event: Uuid) {
    desk.sql(&format!("UPDATE outbox_event SET status = 'pending' WHERE id = {}", desk.quoted(event))).await;
}

async fn the_pass_over_all_quotes_goes_on_where_a_process_that_died_has_left_it(desk: Desk) {
    let quotes = desk.submit_many(20).await;
    // So that they do not count as submitted just now.
    desk.advance(3600);
    tick(&desk.db, FEW).await;
    for (_, event) in &quotes {
        lose(&desk, *event).await;
    }
    let mut found = vec![];
    for _ in 0..4 {
        let db = desk.database.open().await;
        db.clock().advance(Duration::from_hours(1));
        // It dies as soon as it has stored the first slice with a new violation.
        let dies = tokio::spawn(async move {
            let known = known(&db).await;
            let limits = Limits { all: Duration::from_hours(1), ..FEW };
            watch(&db, WEEK, limits, |violation| assert!(known.contains(&violation.quote_id), "dies")).await.map(drop)
        });
        assert!(dies.await.unwrap_err().is_panic());
        let now_known = known(&desk.db).await;
        assert_eq!(now_known.len(), found.len() + 4, "each process checks the slice after those of the ones before");
        found = now_known;
    }
    // The first tick has checked the first slice when all was well: the next pass finds these.
    assert_eq!(found, quotes[4..].iter().map(|(quote, _)| *quote).collect::<Vec<_>>());
    let (watched, _) = tick(&desk.db, Limits { all: Duration::from_hours(1), ..FEW }).await;
    assert!(watched.is_whole && watched.violations == 16, "{watched:?}");
    let (watched, _) = tick(&desk.db, Limits { all: Duration::from_hours(1), ..FEW }).await;
    assert!(watched.is_whole && watched.violations == 20, "{watched:?}");
}

async fn known(db: &Database) -> Vec<Uuid> {
    use entity::audit_violation::{Column, Entity};
    let rows = Entity::find().order_by_asc(Column::QuoteId).all(db.connection()).await.unwrap();
    rows.into_iter().map(|row| row.quote_id).collect()
}

async fn a_violation_stays_counted_until_its_quote_passes_a_check(desk: Desk) {
    let quotes = desk.submit_many(20).await;
    let now = if is_sqlite(&desk) { "'2026-01-01T00:00:00+00:00'" } else { "'2026-01-01 00:00:00'" };
    desk.sql(&format!("INSERT INTO schedule (name, last_tick_at, taken_by) VALUES ('audit', {now}, 'me')")).await;
    desk.advance(3600);
    lose(&desk, quotes[1].1).await;
    lose(&desk, quotes[2].1).await;
    let both = [quotes[1].0, quotes[2].0];
    let (watched, told) = tick(&desk.db, FEW).await;
    assert_eq!((watched.violations, told.as_slice()), (2, &both[..]));
    assert_eq!(shown(&desk).await, Some(2), "also if the process dies before the end of its tick");
    for _ in 0..3 {
        // The pass is at other quotes; these are checked again all the same.
        let (watched, told) = tick(&desk.db, FEW).await;
        assert_eq!((watched.violations, told.as_slice()), (2, &both[..]));
    }
    find_again(&desk, quotes[1].1).await;
    let (watched, told) = tick(&desk.db, FEW).await;
    assert_eq!((watched.violations, told.as_slice()), (1, &both[1..]));
    assert_eq!(shown(&desk).await, Some(1));
    find_again(&desk, quotes[2].1).await;
    assert_eq!(tick(&desk.db, FEW).await.0.violations, 0);
    assert_eq!(shown(&desk).await, Some(0));
}

/// What `/metrics` shows.
async fn shown(desk: &Desk) -> Option<i64> {
    schedule::Entity::find_by_id(JOB).one(desk.db.connection()).await.unwrap().unwrap().last_count
}

async fn what_was_settled_since_the_last_tick_is_checked_wherever_the_pass_is(desk: Desk) {
    let quotes = desk.submit_many(20).await;
    desk.advance(3600);
    tick(&desk.db, CHANGED).await;
    desk.deliver().await;
    let last = desk.quoted(quotes[19].0);
    desk.sql(&format!("DELETE FROM fee_record WHERE quote_id = {last}")).await;
    // As long as a transaction may take to commit.
    desk.advance(600);
    let (watched, told) = tick(&desk.db, CHANGED).await;
    assert_eq!(told, [quotes[19].0], "{watched:?}");
    assert!(watched.is_up_to_date && !watched.is_whole, "{watched:?}");
    assert!(!tick(&desk.db, FEW).await.0.is_whole);
    let (watched, _) = tick(&desk.db, FEW).await;
    assert_eq!(
        (watched.changed, watched.quotes),
        (1, 4),
        "what is unchanged is left to the pass, what is wrong is not"
    );
}

async fn what_was_submitted_since_the_last_tick_is_checked_wherever_the_pass_is(desk: Desk) {
    desk.submit_many(20).await;
    desk.advance(3600);
    tick(&desk.db, CHANGED).await;
    let new = desk.submit_many(6).await;
    lose(&desk, new[5].1).await;
    let (watched, told) = tick(&desk.db, FEW).await;
    assert!(told.is_empty() && !watched.is_up_to_date, "only some of the changes were checked: {watched:?}");
    let (watched, told) = tick(&desk.db, CHANGED).await;
    assert_eq!(told, [new[5].0]);
    assert!(watched.is_up_to_date && !watched.is_whole, "{watched:?}");
}

async fn events_that_wait_for_the_far_future_are_counted_until_they_are_repaired(desk: Desk) {
    let (quote, _) = desk.submit().await;
    let sqlite = is_sqlite(&desk);
    let future = if sqlite { "'2099-01-01T00:00:00+00:00'" } else { "'2099-01-01 00:00:00'" };
    desk.sql(&format!("UPDATE outbox_event SET due_at = {future}")).await;
    for _ in 0..2 {
        let (watched, told) = tick(&desk.db, FEW).await;
        assert_eq!((watched.violations, told), (1, vec![quote]));
    }
    feebox::outbox::repair_future_times(&desk.db).await.unwrap();
    assert_eq!(tick(&desk.db, FEW).await.0.violations, 0);
}

async fn a_place_that_a_wrong_clock_has_stored_stops_nothing(desk: Desk) {
    let ahead = desk.database.open().await;
    ahead.clock().advance(Duration::from_hours(365 * 24));
    tick(&ahead, CHANGED).await;
    let quotes = desk.submit_many(20).await;
    desk.deliver().await;
    tick(&desk.db, CHANGED).await;
    let last = desk.quoted(quotes[19].0);
    desk.sql(&format!("DELETE FROM fee_record WHERE quote_id = {last}")).await;
    let (_, told) = tick(&desk.db, CHANGED).await;
    assert_eq!(told, [quotes[19].0]);
    let places = audit_progress::Entity::find().all(desk.db.connection()).await.unwrap();
    let now = desk.now().await;
    assert!(places.iter().all(|place| place.settled_at.is_none_or(|at| at < now)), "{places:#?}");
}

async fn a_quote_is_counted_once_on_each_way(desk: Desk) {
    let quotes = desk.submit_many(10).await;
    desk.advance(3600);
    // The pass stops behind the fourth.
    tick(&desk.db, CHANGED).await;
    // Each has two events that settle, in different windows of four.
    desk.deliver().await;
    for (quote, _) in &quotes {
        operator::cancel_quote(&desk.db, &desk.submission, ANN, *quote, None).await.unwrap();
    }
    desk.deliver().await;
    desk.advance(3600);
    let whole = Limits { all: Duration::from_hours(1), round: true, ..CHANGED };
    let (watched, _) = tick(&desk.db, whole).await;
    assert!(watched.is_whole && watched.is_up_to_date, "{watched:?}");
    assert_eq!((watched.changed, watched.quotes), (10, 10));
    let (watched, _) = tick(&desk.db, whole).await;
    assert_eq!((watched.changed, watched.quotes), (0, 10), "nothing has changed since");
}
