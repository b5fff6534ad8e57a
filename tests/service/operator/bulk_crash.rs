//! A process that carries out a bulk dies.

use std::time::Duration;

use chrono::TimeDelta;
use entity::{bulk, outbox_event::Status as EventStatus, quote::Status};
use feebox::{operator::bulk::resume, outbox::Outcome, quotes::Relay};
use sea_orm::{ActiveValue::Set, EntityTrait};
use uuid::Uuid;

use crate::support::{Desk, Process, desk_tests};

const LIMIT: Duration = Duration::from_mins(1);
/// More than a piece, and several transactions.
const EVENTS: usize = 600;

desk_tests!(
    a_bulk_whose_processes_are_killed_after_a_commit_is_finished_and_changes_each_event_once,
    a_bulk_whose_process_is_killed_before_a_commit_has_changed_nothing_and_is_finished,
    a_bulk_whose_process_is_killed_while_it_collects_is_finished,
);

async fn a_bulk_whose_processes_are_killed_after_a_commit_is_finished_and_changes_each_event_once(desk: Desk) {
    let (submitted, first) = killed_at(&desk, "after-bulk-commit").await;
    assert!(first.changed > 0 && first.changed < 600, "{first:?}");
    // A worker goes on with it, within a minute, and is killed after the next commit.
    let fee_server = desk.sample.base_url();
    let worker = Process::start(&["worker"], &env(&desk, &fee_server, "after-bulk-commit"));
    assert_eq!(worker.wait(2 * LIMIT).await.code(), None, "killed: {:#?}", worker.lines());
    let second = look_dead(&desk).await;
    assert!(second.changed > first.changed && second.ended_at.is_none(), "{second:?}");
    finish(&desk, submitted).await;
}

async fn a_bulk_whose_process_is_killed_before_a_commit_has_changed_nothing_and_is_finished(desk: Desk) {
    let (submitted, left) = killed_at(&desk, "before-bulk-commit").await;
    assert_eq!((left.status, left.matched, left.changed), (bulk::Status::Running, 600, 0));
    finish(&desk, submitted).await;
}

async fn a_bulk_whose_process_is_killed_while_it_collects_is_finished(desk: Desk) {
    let (submitted, left) = killed_at(&desk, "after-collect-commit").await;
    assert_eq!((left.status, left.matched, left.changed), (bulk::Status::Collecting, 500, 0));
    finish(&desk, submitted).await;
}

fn env<'a>(desk: &'a Desk, fee_server: &'a str, point: &'a str) -> [(&'a str, &'a str); 5] {
    [
        ("DATABASE_URL", desk.database.url()),
        ("FEEBOX__FEE_SERVER__BASE_URL", fee_server),
        ("FEEBOX__WORKER__SCHEDULE", "* * * * * *"),
        ("FEEBOX__WORKER__BIND", "127.0.0.1:0"),
        ("FEEBOX_CRASH_AT", point),
    ]
}

/// The process of an operator who cancels what is dead is killed at `point`.
async fn killed_at(desk: &Desk, point: &str) -> (Vec<(Uuid, Uuid)>, bulk::Model) {
    let submitted = desk.submit_many(EVENTS).await;
    desk.fail_all(Outcome::Refused("422: no".into())).await;
    let fee_server = desk.sample.base_url();
    let cancel = ["outbox", "cancel", "--status", "dead", "--reason", "blocked", "--yes"];
    let cancel = Process::start(&cancel, &env(desk, &fee_server, point));
    assert_eq!(cancel.wait(LIMIT).await.code(), None, "killed: {:#?}", cancel.lines());
    (submitted, look_dead(desk).await)
}

async fn finish(desk: &Desk, submitted: Vec<(Uuid, Uuid)>) {
    assert_eq!(resume(&desk.db, Relay::default(), || {}).await.unwrap(), 1);
    let done = look_dead(desk).await;
    assert_eq!((done.status, done.matched, done.changed, done.skipped), (bulk::Status::Finished, 600, 600, 0));
    for (quote, event) in submitted {
        assert_eq!(desk.quote(quote).await.status, Status::Cancelled);
        assert_eq!(desk.event(event).await.status, EventStatus::Cancelled);
    }
    assert_eq!(desk.audit().await, []);
}

/// Makes it an hour ago that a process worked on the bulk.
async fn look_dead(desk: &Desk) -> bulk::Model {
    let bulk = bulk::Entity::find().one(desk.db.connection()).await.unwrap().expect("the bulk was stored");
    let aged = bulk::ActiveModel { updated_at: Set(bulk.updated_at - TimeDelta::hours(1)), ..Default::default() };
    bulk::Entity::update_many().set(aged).exec(desk.db.connection()).await.unwrap();
    bulk
}
