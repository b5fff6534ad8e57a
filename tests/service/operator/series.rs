//! How submissions and deliveries went: each process adds what it counts, and charts read it.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use entity::series::{ActiveModel, Entity};
use feebox::lab::sample_fee_server::Faults;
use feebox::series::{self, FeeLag, Point, Step};
use reqwest::StatusCode;
use sea_orm::{ActiveValue::Set, EntityTrait};
use serde_json::Value;

use crate::support::{Api, Desk, Engine, Signal, Stage, desk_tests, eventually, http_client};

desk_tests!(
    numbers_are_shown_by_the_minute_and_by_the_hour,
    what_waits_is_counted_and_what_is_old_is_forgotten,
    wrong_and_too_wide_spans_are_refused,
);

const LIMIT: Duration = Duration::from_mins(1);

async fn store(desk: &Desk, step: Step, at: DateTime<Utc>, name: &str, number: i64) {
    let row = ActiveModel {
        step_seconds: Set(i32::try_from(step.length().num_seconds()).unwrap()),
        at: Set(step.of(at)),
        name: Set(name.into()),
        number: Set(number),
    };
    Entity::insert(row).exec_without_returning(desk.db.connection()).await.unwrap();
}

async fn numbers_are_shown_by_the_minute_and_by_the_hour(desk: Desk) {
    let now = desk.now().await;
    for step in [Step::Minute, Step::Hour] {
        for (name, number) in [("submitted", 7), ("delivered", 5), ("refused", 2), ("fee_lag_040", 5), ("waiting", 9)] {
            store(&desk, step, now, name, number).await;
        }
        let shown = series::read(&desk.db, now - step.length() * 2, now + step.length(), step).await.unwrap();
        assert_eq!(i64::from(shown.step_seconds), step.length().num_seconds());
        assert!(shown.points.len() >= 3 && shown.points.windows(2).all(|two| two[0].at + step.length() == two[1].at));
        let Point { submitted, delivered, failed, died, fee_lag_ms, waiting, .. } =
            shown.points.iter().find(|point| point.at == step.of(now)).unwrap();
        assert_eq!((*submitted, *delivered, failed.refused, failed.retry, *died, *waiting), (7, 5, 2, 0, 0, Some(9)));
        assert!(matches!(fee_lag_ms, Some(FeeLag { p50: 1_024..1_218, p99: 1_024..1_218 })), "{fee_lag_ms:?}");
        let empty = &shown.points[0];
        assert_eq!((empty.submitted, empty.fee_lag_ms, empty.waiting), (0, None, None));
    }
}

async fn what_waits_is_counted_and_what_is_old_is_forgotten(desk: Desk) {
    let now = desk.now().await;
    desk.submit_many(3).await;
    for step in [Step::Minute, Step::Hour] {
        let (old, young) = (step.kept_for() + step.length(), step.kept_for() - step.length());
        for age in [old, young, step.kept_for() * -2] {
            store(&desk, step, now - age, "submitted", 1).await;
        }
    }
    assert_eq!(series::upkeep(&desk.db).await.unwrap(), 4, "two are old, two are dated far ahead");
    desk.deliver().await;
    series::upkeep(&desk.db).await.unwrap();
    for step in [Step::Minute, Step::Hour] {
        let shown = series::read(&desk.db, now - step.length(), now + step.length(), step).await.unwrap();
        let most = shown.points.iter().filter_map(|point| point.waiting).max();
        assert_eq!(most, Some(3), "the most within it");
    }
}

async fn wrong_and_too_wide_spans_are_refused(desk: Desk) {
    let api = Api::start(&desk.database).await;
    let now = desk.now().await;
    let ago = |hours: i64| (now - TimeDelta::hours(hours)).format("%Y-%m-%dT%H:%M:%SZ").to_string();
    for (query, says) in [
        (format!("from={}&step=1m", ago(49)), "48 hours"),
        (format!("from={}", ago(24 * 91)), "90 days"),
        (format!("from={}&to={}", ago(1), ago(2)), "not before"),
        ("step=5m".to_owned(), "1m or 1h"),
        ("from=yesterday".to_owned(), "send a time"),
        ("span=1h".to_owned(), "unknown"),
    ] {
        let answer = api.get(&format!("/v1/stats/series?{query}")).await;
        assert_eq!(answer.status(), StatusCode::BAD_REQUEST, "{query}");
        let problem: Value = answer.json().await.unwrap();
        assert!(problem["detail"].as_str().unwrap().contains(says), "{problem}");
    }
    let shown: Value = api.get("/v1/stats/series").await.json().await.unwrap();
    assert_eq!(shown["step_seconds"], 60);
    assert!((60..=61).contains(&shown["points"].as_array().unwrap().len()), "an hour");
    let wide: Value = api.get(&format!("/v1/stats/series?from={}", ago(24 * 7))).await.json().await.unwrap();
    assert_eq!(wide["step_seconds"], 3_600);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_processes_count_is_added_up_while_they_run_and_when_they_stop_on_postgres() {
    what_processes_count_is_added_up_while_they_run_and_when_they_stop(Engine::Postgres).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_processes_count_is_added_up_while_they_run_and_when_they_stop_on_mariadb() {
    what_processes_count_is_added_up_while_they_run_and_when_they_stop(Engine::MariaDb).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_processes_count_is_added_up_while_they_run_and_when_they_stop_on_sqlite() {
    what_processes_count_is_added_up_while_they_run_and_when_they_stop(Engine::Sqlite).await;
}

async fn what_processes_count_is_added_up_while_they_run_and_when_they_stop(engine: Engine) {
    let stage = Stage::new(engine, Faults::default()).await;
    let (serve, base_url) = stage.serve(&[("server.drain", "0s")], &[]).await;
    let workers = stage.workers::<2>(&[]).await;
    let begun = stage.db.now(stage.db.connection()).await.unwrap();
    for _ in 0..30 {
        let quote = crate::support::a_quote();
        assert_eq!(
            http_client().post(format!("{base_url}/v1/quotes")).json(&quote).send().await.unwrap().status(),
            201
        );
    }
    stage.drained().await;
    let counted = async || {
        let to = stage.db.now(stage.db.connection()).await.unwrap() + TimeDelta::minutes(1);
        let shown = series::read(&stage.db, begun, to, Step::Hour).await.unwrap();
        let sum = |number: fn(&Point) -> u64| shown.points.iter().map(number).sum::<u64>();
        let lag = shown.points.iter().any(|point| point.fee_lag_ms.is_some());
        (sum(|point| point.submitted), sum(|point| point.delivered), lag)
    };
    eventually("all is added", LIMIT, async || (counted().await == (30, 30, true)).then_some(())).await;
    stage.submit(10).await;
    stage.drained().await;
    for process in workers.iter().chain([&serve]) {
        process.signal(Signal::Terminate);
        assert!(process.wait(LIMIT).await.success());
    }
    assert_eq!(counted().await.1, 40, "{engine:?}: what was counted last is added at the stop");
}
