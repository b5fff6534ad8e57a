//! Whether a cause of failures grows or goes away.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use entity::{cause_count, outbox_event};
use feebox::inspection::{CauseGroup, causes};
use feebox::lab::sample_fee_server::Faults;
use feebox::outbox::Outcome;
use feebox::series;
use sea_orm::{ActiveValue::Set, EntityTrait, PaginatorTrait};
use serde_json::Value;

use crate::support::{Api, Desk, Engine, Signal, Stage, desk_tests, eventually};

desk_tests!(
    a_cause_has_its_failed_attempts_of_the_last_day_by_ten_minutes,
    of_many_causes_the_most_frequent_are_kept_and_the_old_are_forgotten,
);

const LIMIT: Duration = Duration::from_mins(1);
const CAUSE: &str = "refused 422: Unprocessable Entity: no";

async fn store(desk: &Desk, at: DateTime<Utc>, destination: &str, cause: &str, number: i64) {
    let row = cause_count::ActiveModel {
        at: Set(at),
        destination: Set(destination.into()),
        cause: Set(cause.into()),
        number: Set(number),
    };
    cause_count::Entity::insert(row).exec_without_returning(desk.db.connection()).await.unwrap();
}

/// When the ten minutes of now began, so long ago.
fn step(now: DateTime<Utc>, ago: TimeDelta) -> DateTime<Utc> {
    DateTime::from_timestamp((now - ago).timestamp() / 600 * 600, 0).unwrap()
}

async fn a_cause_has_its_failed_attempts_of_the_last_day_by_ten_minutes(desk: Desk) {
    desk.submit_refused().await;
    let now = desk.now().await;
    let ago = |minutes| step(now, TimeDelta::minutes(minutes));
    for (at, destination, number) in [
        (ago(0), "fee-server", 3),
        (ago(20), "fee-server", 5),
        (ago(20), "kafka", 7),
        (ago(23 * 60 + 50), "fee-server", 2),
        (ago(24 * 60 + 10), "fee-server", 100),
    ] {
        store(&desk, at, destination, CAUSE, number).await;
    }
    store(&desk, ago(0), "fee-server", "retry: another", 9).await;
    let found = causes(&desk.db, None, None).await.unwrap();
    let [CauseGroup { cause, trend, .. }] = &found.causes[..] else { panic!("one cause: {found:?}") };
    assert_eq!((cause.as_str(), trend.len(), found.trend_step_seconds), (CAUSE, 144, 600));
    // The next ten minutes may have begun meanwhile.
    let at = |minutes| usize::try_from((ago(minutes) - found.trend_from).num_minutes() / 10).unwrap();
    let oldest = if ago(23 * 60 + 50) >= found.trend_from { 2 } else { 0 };
    assert_eq!((trend[at(0)], trend[at(20)], trend.iter().sum::<u64>()), (3, 12, 15 + oldest));
    let fees = causes(&desk.db, None, Some("fee-server")).await.unwrap();
    assert_eq!(fees.causes[0].trend[at(20)], 5, "of this destination alone");

    let api = Api::start(&desk.database).await;
    let shown: Value = api.get("/v1/causes?destination=fee-server").await.json().await.unwrap();
    assert_eq!((&shown["trend_step_seconds"], &shown["causes"][0]["trend"][at(20)]), (&600.into(), &5.into()));
    // One that never failed here has no trend, and is shown all the same.
    desk.submit().await;
    desk.fail(Outcome::Broken("200 OK without a fee".into())).await;
    let found = causes(&desk.db, None, None).await.unwrap();
    assert!(found.causes.iter().any(|it| it.outcome == "broken" && it.trend == vec![0; 144]), "{found:?}");
}

async fn of_many_causes_the_most_frequent_are_kept_and_the_old_are_forgotten(desk: Desk) {
    let now = desk.now().await;
    let before = step(now, TimeDelta::minutes(10));
    for number in 0..250 {
        store(&desk, before, "fee-server", &format!("retry: {number}"), number).await;
        store(&desk, step(now, TimeDelta::zero()), "fee-server", &format!("retry: {number}"), 1).await;
    }
    for ago in [TimeDelta::hours(49), TimeDelta::hours(47), -TimeDelta::hours(49)] {
        store(&desk, step(now, ago), "fee-server", CAUSE, 1).await;
    }
    assert_eq!(series::upkeep(&desk.db).await.unwrap(), 50 + 2);
    let left = cause_count::Entity::find().all(desk.db.connection()).await.unwrap();
    let of_before: Vec<_> = left.iter().filter(|row| row.at == before).map(|row| row.number).collect();
    assert_eq!((of_before.len(), of_before.iter().min()), (200, Some(&50)));
    assert_eq!(left.len(), 200 + 250 + 1, "the ten minutes that are not over are left alone");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_failed_attempt_is_counted_once_by_its_cause_on_postgres() {
    each_failed_attempt_is_counted_once_by_its_cause(Engine::Postgres).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_failed_attempt_is_counted_once_by_its_cause_on_mariadb() {
    each_failed_attempt_is_counted_once_by_its_cause(Engine::MariaDb).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_failed_attempt_is_counted_once_by_its_cause_on_sqlite() {
    each_failed_attempt_is_counted_once_by_its_cause(Engine::Sqlite).await;
}

async fn each_failed_attempt_is_counted_once_by_its_cause(engine: Engine) {
    let stage = Stage::new(engine, Faults { fail_rate: 1.0, ..Faults::default() }).await;
    stage.submit(6).await;
    let settings = [("circuit.failures", "1000"), ("retry.initial_interval", "500ms")];
    let workers = stage.workers::<2>(&settings).await;
    let failures = async || {
        let events = outbox_event::Entity::find().all(stage.db.connection()).await.unwrap();
        events.iter().map(|event| event.failures.as_array().unwrap().len()).collect::<Vec<_>>()
    };
    eventually("each has failed twice", LIMIT, async || {
        failures().await.into_iter().all(|failures| failures >= 2).then_some(())
    })
    .await;
    for worker in &workers {
        worker.signal(Signal::Terminate);
        assert!(worker.wait(LIMIT).await.success());
    }
    let failed: usize = failures().await.into_iter().sum();
    let found = causes(&stage.db, None, None).await.unwrap();
    let counted: u64 = found.causes.iter().flat_map(|cause| &cause.trend).sum();
    assert_eq!(counted, failed as u64, "{engine:?}: {found:?}");
    let rows = cause_count::Entity::find().count(stage.db.connection()).await.unwrap();
    assert!(rows <= 2 * found.causes.len() as u64, "{rows} rows for {failed} failures");
}
