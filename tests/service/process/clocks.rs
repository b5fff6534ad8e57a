//! Clocks that ran ahead, that are set back, and hosts whose clocks differ: nothing waits for a time that was wrong.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use entity::outbox_event::Status;
use entity::{destination, schedule};
use feebox::audit::{Violation, audit};
use feebox::clock::{LEASE_MAX, WAIT_MAX};
use feebox::database::Database;
use feebox::lab::sample_fee_server::Faults;
use feebox::outbox::{self, ClaimRequest, Outcome, Repaired, hold, prune, repair_future_times};
use feebox::quotes::{self, FEE_SERVER, QuoteFilter, Relay};
use feebox::settings::{SweepAction, Sweeper};
use feebox::submission::{ClientKey, OutboxRecorder, Submission, prune_keys};
use feebox::sweeper::sweep;
use sea_orm::{ActiveModelTrait, ActiveValue::Set, ColumnTrait, EntityTrait, IntoActiveModel, QueryFilter};
use uuid::Uuid;

use crate::support::{Engine, LIMIT, Stage, TestOutbox, delivered, eventually, new_quote, on_each_engine};

const YEAR: Duration = Duration::from_hours(366 * 24);
const HOUR: Duration = Duration::from_hours(1);
const DELIVERED_FOR: Duration = Duration::from_hours(7 * 24);

on_each_engine!(
    what_a_clock_that_ran_ahead_left_waiting_is_due_again,
    a_wait_that_a_setting_permits_is_left_alone,
    a_quote_of_the_future_is_stale_when_it_has_been_seen_for_that_long,
    an_event_of_the_future_is_pruned_when_it_has_been_seen_for_that_long,
    what_a_clock_an_hour_ahead_has_put_off_is_due_again,
    a_clock_a_year_ahead_deletes_nothing_that_is_young,
    an_audit_names_what_is_dated_in_the_future,
    a_list_follows_the_clock_of_the_database,
);

/// A process of the same fleet, and its submissions, whose clock is a year ahead.
async fn a_year_ahead(outbox: &TestOutbox) -> (Database, Submission) {
    let db = outbox.database.open().await;
    db.clock().advance(YEAR);
    let submission = Submission::new(db.clone(), Arc::new(OutboxRecorder::default()), vec![]);
    (db, submission)
}

async fn submit(submission: &Submission) -> Uuid {
    submission.submit(&[new_quote()], None, None).await.unwrap().quotes[0].id
}

async fn what_a_clock_that_ran_ahead_left_waiting_is_due_again(outbox: TestOutbox) {
    let (ahead, submission) = a_year_ahead(&outbox).await;
    let leased = submit(&submission).await;
    let request = ClaimRequest {
        destination: &FEE_SERVER,
        worker: "gone",
        limit: 1,
        lease: TestOutbox::LEASE,
        lanes: &[],
        turn: outbox::Turn::default(),
    };
    assert_eq!(outbox::claim(&ahead, &request).await.unwrap().events.len(), 1);
    let waiting = submit(&submission).await;
    let mut held = outbox.fee_server().await.into_active_model();
    held.not_before = Set(Some(outbox.now().await + YEAR));
    held.circuit = Set(destination::Circuit::Open);
    held.probe_at = Set(Some(outbox.now().await + YEAR));
    held.update(outbox.db.connection()).await.unwrap();

    let found = repair_future_times(&outbox.db).await.unwrap();
    assert_eq!(found, Repaired { due: 1, leases: 1, destinations: vec![FEE_SERVER.to_string()] });
    assert!(repair_future_times(&outbox.db).await.unwrap().is_nothing());
    let fee_server = outbox.fee_server().await;
    assert_eq!(fee_server.not_before, None);
    assert!(fee_server.probe_at.unwrap() <= outbox.now().await);
    outbox.advance(Duration::from_millis(1));
    assert_eq!(outbox.rescue("worker").await.len(), 1, "the lease is over");
    for quote in [leased, waiting] {
        let event = &outbox.events_of(quote).await[0];
        assert_eq!(event.status, Status::Pending);
        assert!(event.due_at <= outbox.now().await, "{}", event.due_at);
    }
}

async fn a_wait_that_a_setting_permits_is_left_alone(outbox: TestOutbox) {
    let events = outbox.submit(2).await;
    outbox.claim_of(&FEE_SERVER, "worker", 1, LEASE_MAX).await;
    let [leased, pending] = [outbox.event(events[0]).await, outbox.event(events[1]).await];
    assert_eq!((leased.status, pending.status), (Status::Leased, Status::Pending));
    let mut later = pending.into_active_model();
    later.due_at = Set(outbox.now().await + WAIT_MAX);
    let later = later.update(outbox.db.connection()).await.unwrap();
    let mut held = outbox.fee_server().await.into_active_model();
    held.not_before = Set(Some(outbox.now().await + WAIT_MAX));
    held.update(outbox.db.connection()).await.unwrap();
    assert!(repair_future_times(&outbox.db).await.unwrap().is_nothing());
    assert_eq!(outbox.event(events[0]).await, leased);
    assert_eq!(outbox.event(events[1]).await.due_at, later.due_at);
}

async fn a_quote_of_the_future_is_stale_when_it_has_been_seen_for_that_long(outbox: TestOutbox) {
    let (_, submission) = a_year_ahead(&outbox).await;
    let quote = submit(&submission).await;
    let settings = Sweeper { schedule: String::new(), stale_after: 24 * HOUR, action: SweepAction::Alert };
    let stale = async || sweep(&outbox.db, &settings, Relay::default()).await.unwrap().oldest;
    assert_eq!(stale().await, Vec::<Uuid>::new(), "its age counts from now");
    outbox.advance(23 * HOUR);
    assert_eq!(stale().await, Vec::<Uuid>::new());
    outbox.advance(2 * HOUR);
    assert_eq!(stale().await, [quote]);
    let settings = Sweeper { action: SweepAction::Cancel, ..settings };
    assert_eq!(sweep(&outbox.db, &settings, Relay::default()).await.unwrap().cancelled, 1);
}

async fn an_event_of_the_future_is_pruned_when_it_has_been_seen_for_that_long(outbox: TestOutbox) {
    let (ahead, submission) = a_year_ahead(&outbox).await;
    let quote = submit(&submission).await;
    let request = ClaimRequest {
        destination: &FEE_SERVER,
        worker: "worker",
        limit: 1,
        lease: TestOutbox::LEASE,
        lanes: &[],
        turn: outbox::Turn::default(),
    };
    let claimed = outbox::claim(&ahead, &request).await.unwrap().events;
    let there = TestOutbox { db: ahead, submission, ..outbox };
    there.settle_one("worker", &claimed[0], delivered()).await;
    let here = there.database.open().await;
    let prune_now = async || {
        let mut pruned = 0;
        // A tick goes no further than six hours.
        for _ in 0..30 {
            let now = here.now(here.connection()).await.unwrap();
            pruned += prune(&here, now - DELIVERED_FOR).await.unwrap();
        }
        pruned
    };
    assert_eq!(prune_now().await, 0);
    here.clock().advance(DELIVERED_FOR.saturating_sub(HOUR));
    assert_eq!((prune_now().await, there.events_of(quote).await.len()), (0, 1));
    here.clock().advance(2 * HOUR);
    assert_eq!(prune_now().await, 1);
}

async fn what_a_clock_an_hour_ahead_has_put_off_is_due_again(outbox: TestOutbox) {
    let ahead = outbox.database.open().await;
    ahead.clock().advance(HOUR);
    let events = outbox.submit(2).await;
    let there = TestOutbox { db: ahead, ..outbox };
    let claimed = there.claim("worker", 2).await;
    let wait = Outcome::RetryAfter("429".into(), Duration::from_secs(2));
    there.settle_one("worker", &claimed[0], Outcome::Retry("503".into())).await;
    there.settle_one("worker", &claimed[1], wait).await;

    let here = there.database.open().await;
    let now = here.now(here.connection()).await.unwrap();
    assert_eq!(hold(here.connection(), &FEE_SERVER, now).await.unwrap(), None, "a hold of a time that is not yet");
    assert_eq!(there.fee_server().await.not_before.map(|until| until > now), Some(true));
    let found = repair_future_times(&here).await.unwrap();
    assert_eq!(found, Repaired { due: 2, leases: 0, destinations: vec![FEE_SERVER.to_string()] });
    for event in events {
        assert!(there.event(event).await.due_at <= here.now(here.connection()).await.unwrap());
    }
    assert!(repair_future_times(&here).await.unwrap().is_nothing());
}

async fn a_clock_a_year_ahead_deletes_nothing_that_is_young(outbox: TestOutbox) {
    let key = ClientKey { scope: "ada".into(), key: "one".into() };
    let submitted = outbox.submission.submit(&[new_quote()], Some(&key), None).await.unwrap();
    let claimed = outbox.claim("worker", 1).await;
    outbox.settle_one("worker", &claimed[0], delivered()).await;
    let tick = async |db: &Database| {
        let now = db.now(db.connection()).await.unwrap();
        (prune(db, now - DELIVERED_FOR).await.unwrap(), prune_keys(db, now - DELIVERED_FOR).await.unwrap())
    };
    assert_eq!(tick(&outbox.db).await, (0, 0));
    let (ahead, _) = a_year_ahead(&outbox).await;
    assert_eq!(tick(&ahead).await, (0, 0));
    assert_eq!(tick(&outbox.db).await, (0, 0));
    let again = outbox.submission.submit(&[new_quote()], Some(&key), None).await.unwrap();
    assert_eq!(again.quotes[0].id, submitted.quotes[0].id, "the key is still known");
}

async fn an_audit_names_what_is_dated_in_the_future(outbox: TestOutbox) {
    let (_, submission) = a_year_ahead(&outbox).await;
    outbox.submit(1).await;
    let tick = schedule::ActiveModel {
        name: Set("retention".into()),
        last_tick_at: Set(outbox.now().await + YEAR),
        taken_by: Set("a process".into()),
        last_count: Set(None),
    };
    schedule::Entity::insert(tick).exec_without_returning(outbox.db.connection()).await.unwrap();
    let audited = async || {
        let mut found: Vec<Violation> = vec![];
        let report = audit(&outbox.db, DELIVERED_FOR, |violation| found.push(violation)).await.unwrap();
        (report.ahead, found.into_iter().map(|found| (found.promise, found.quote_id)).collect::<Vec<_>>())
    };
    let (ahead, violations) = audited().await;
    assert_eq!((ahead.rows, ahead.named.len(), violations.len()), (1, 1, 0));
    assert!(ahead.named[0].starts_with("retention ran at "), "{ahead:?}");
    let quote = submit(&submission).await;
    let (ahead, violations) = audited().await;
    assert_eq!((ahead.rows, violations), (3, vec![(10, quote)]), "no worker has made its event due");
    let named = ahead.named.iter().filter(|row| row.contains(&quote.to_string())).count();
    assert_eq!(named, 2, "{ahead:?}");
    repair_future_times(&outbox.db).await.unwrap();
    let (ahead, violations) = audited().await;
    assert_eq!((ahead.rows, violations), (3, vec![]), "it is dated in the future still, and waits no longer");
}

async fn a_list_follows_the_clock_of_the_database(outbox: TestOutbox) {
    // What decides is the clock that stamps, and not the one of the host on which an id is made.
    let (_, ahead) = a_year_ahead(&outbox).await;
    let of_next_year = [submit(&ahead).await, submit(&ahead).await];
    let of_now = [submit(&outbox.submission).await, submit(&outbox.submission).await];
    let db = outbox.db.connection();
    let mut listed = vec![];
    let mut before = None;
    while let Some(found) =
        quotes::list(db, &QuoteFilter { before, ..QuoteFilter::default() }, 1).await.unwrap().rows.pop()
    {
        let found = found.read().unwrap();
        before = Some(found.quote.id);
        listed.push((found.quote.submitted_at, found.quote.id));
    }
    assert!(listed.iter().map(|(at, _)| at).is_sorted_by(|newer, older| newer > older), "{listed:?}");
    let ids: Vec<Uuid> = listed.into_iter().map(|(_, id)| id).collect();
    assert_eq!(ids, [of_next_year[1], of_next_year[0], of_now[1], of_now[0]]);
}

/// Where `faketime` keeps what makes a process believe in another time.
const FAKETIME: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn processes_that_ran_a_year_ahead_hold_nothing_up() {
    let stage = Stage::new(Engine::Sqlite, Faults::default()).await;
    let ahead = [("LD_PRELOAD", FAKETIME), ("FAKETIME", "+366d"), ("FAKETIME_DONT_FAKE_MONOTONIC", "1")];
    let upkeep = [("retention.schedule", "* * * * * *"), ("audit.schedule", "* * * * * *")];
    let worker = stage.worker_with(&upkeep, &ahead).await;
    // More jobs than these tick by the time they have, because some tick together.
    let jobs = ["audit", "clock", "parking", "retention"].map(String::from);
    let have_ticked = async || {
        let ticked =
            schedule::Entity::find().filter(schedule::Column::Name.is_in(&jobs)).all(stage.db.connection()).await;
        (ticked.unwrap().len() == jobs.len()).then_some(())
    };
    eventually("upkeep a year ahead", LIMIT, have_ticked).await;
    drop(worker);
    let now = Utc::now();
    assert!(last_ticks(&stage).await.iter().all(|tick| *tick > now + HOUR));
    let (serve, base_url) = stage.serve(&[], &ahead).await;
    let quote = submit_to(&base_url).await;
    stage.accept(&[quote]);
    assert!(stage.event_of(quote).await.due_at > now + HOUR);
    drop(serve);

    let worker = stage.worker(&upkeep).await;
    stage.drained().await;
    eventually("upkeep", LIMIT, async || last_ticks(&stage).await.iter().all(|tick| *tick < now + HOUR).then_some(()))
        .await;
    worker.wait_for_line(LIMIT, |line| line.contains("a clock ran ahead") && line.contains(&quote.to_string())).await;
    let audit = stage.process(&["audit"], &[], &[]);
    assert_eq!(audit.wait(LIMIT).await.code(), Some(0), "no promise is broken any more: {:?}", audit.lines());
    assert!(audit.lines().iter().any(|line| line.contains(&format!("quote {quote} was submitted at"))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_is_set_back_stops_no_ticks() {
    let stage = Stage::new(Engine::Postgres, Faults::default()).await;
    let directory = tempfile::tempdir().unwrap();
    let time = directory.path().join("time");
    fs::write(&time, "+0").unwrap();
    let clock = [
        ("LD_PRELOAD", FAKETIME),
        ("FAKETIME_TIMESTAMP_FILE", time.to_str().unwrap()),
        ("FAKETIME_NO_CACHE", "1"),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
    ];
    let worker = stage.worker_with(&[("worker.wakeup", "false")], &clock).await;
    stage.submit(1).await;
    stage.drained().await;
    fs::write(&time, "-600").unwrap();
    worker.wait_for_line(LIMIT, |line| line.contains("the wall clock brought no tick in time")).await;
    for _ in 0..3 {
        stage.submit(1).await;
        stage.drained().await;
    }
    stage.books().await.assert_sound();
}

async fn last_ticks(stage: &Stage) -> Vec<DateTime<Utc>> {
    let all = schedule::Entity::find().all(stage.db.connection()).await.unwrap();
    all.into_iter().map(|schedule| schedule.last_tick_at).collect()
}

async fn submit_to(base_url: &str) -> Uuid {
    let call = crate::support::http_client().post(format!("{base_url}/v1/quotes")).json(&crate::support::a_quote());
    let answer = call.send().await.unwrap();
    assert_eq!(answer.status(), 201);
    let quote: serde_json::Value = answer.json().await.unwrap();
    quote["id"].as_str().unwrap().parse().unwrap()
}
