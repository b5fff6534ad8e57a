//! A process that carries out a bulk dies.

use std::time::Duration;

use chrono::TimeDelta;
use entity::{bulk, outbox_event::Status as EventStatus, quote::Status};
use feebox::{operator::bulk::resume, outbox::Outcome, quotes::Relay};
use sea_orm::{ActiveValue::Set, EntityTrait};

use crate::support::{Desk, Process, desk_tests};

const LIMIT: Duration = Duration::from_mins(1);
const EVENTS: usize = 3;

desk_tests!(a_bulk_whose_processes_are_killed_after_a_commit_is_finished_and_changes_each_event_once);

async fn a_bulk_whose_processes_are_killed_after_a_commit_is_finished_and_changes_each_event_once(desk: Desk) {
    let submitted = desk.submit_many(EVENTS).await;
    desk.fail(Outcome::Refused("422: no".into())).await;
    let fee_server = desk.sample.base_url();
    let env = [
        ("DATABASE_URL", desk.database.url()),
        ("FEEBOX__FEE_SERVER__BASE_URL", fee_server.as_str()),
        ("FEEBOX__WORKER__SCHEDULE", "* * * * * *"),
        ("FEEBOX__WORKER__BIND", "127.0.0.1:0"),
        ("FEEBOX_CRASH_AT", "after-bulk-commit"),
    ];
    let cancel = Process::start(&["outbox", "cancel", "--status", "dead", "--reason", "blocked", "--yes"], &env);
    assert_eq!(cancel.wait(LIMIT).await.code(), None, "killed: {:#?}", cancel.lines());
    // A worker goes on with it, within a minute, and is killed after the next commit.
    look_dead(&desk).await;
    let worker = Process::start(&["worker"], &env);
    assert_eq!(worker.wait(2 * LIMIT).await.code(), None, "killed: {:#?}", worker.lines());
    assert!(look_dead(&desk).await.ended_at.is_none());
    assert_eq!(resume(&desk.db, Relay::default(), || {}).await.unwrap(), 1);
    let done = look_dead(&desk).await;
    assert_eq!((done.status, done.matched, done.changed, done.skipped), (bulk::Status::Finished, 3, 3, 0));
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
