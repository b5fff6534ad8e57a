//! An operator has the promises checked now: once, by whichever process delivers, and everybody sees what came of it.

use std::time::Duration;

use entity::{audit_run, process};
use feebox::audit::{self, Limits, Occasion, Watched};
use feebox::inspection;
use feebox::operator::{self, ActionFilter, actions};
use feebox::settings::Role;
use reqwest::Method;
use sea_orm::{ActiveValue::Set, EntityTrait};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::support::{ANN, Api, Desk, Engine, Stage, desk_tests, eventually};

desk_tests!(
    a_check_that_an_operator_asks_for_is_done_once_and_its_result_is_shown,
    without_a_request_no_check_is_done,
    a_check_that_is_under_way_is_not_begun_twice_and_one_that_was_left_is_done_again,
    a_check_that_is_stopped_stays_asked_for,
    a_check_that_an_operator_asks_for_reads_all_quotes_wherever_the_pass_is,
    violations_are_shown_with_their_quotes_until_they_are_repaired,
    where_nobody_delivers_the_answer_says_so,
);

const WEEK: Duration = Duration::from_hours(7 * 24);
const LIMIT: Duration = Duration::from_mins(1);

async fn run(desk: &Desk, occasion: Occasion) -> Option<Watched> {
    audit::run(&desk.db, "worker-1", occasion, WEEK, &CancellationToken::new(), |_| ()).await.unwrap()
}

async fn asked_for(desk: &Desk) -> usize {
    let done = actions::list(desk.db.connection(), &ActionFilter::default(), 10).await.unwrap().rows;
    done.iter().filter(|action| action.action == "audit.run" && action.actor == "ann").count()
}

/// A run of another process.
async fn is_under_way(desk: &Desk) {
    let now = desk.now().await;
    let run = audit_run::ActiveModel {
        began_at: Set(Some(now)),
        seen_at: Set(Some(now)),
        run_by: Set(Some("worker-2".into())),
        ..Default::default()
    };
    audit_run::Entity::update_many().set(run).exec(desk.db.connection()).await.unwrap();
}

async fn a_check_that_an_operator_asks_for_is_done_once_and_its_result_is_shown(desk: Desk) {
    desk.submit_many(3).await;
    assert_eq!(audit::status(&desk.db).await.unwrap().last_audit, None);
    operator::request_audit(&desk.db, ANN).await.unwrap();
    operator::request_audit(&desk.db, ANN).await.unwrap();
    assert_eq!(asked_for(&desk).await, 1, "it was asked for already");
    let status = audit::status(&desk.db).await.unwrap();
    assert!(status.running && status.note.is_none(), "{status:?}");
    assert!(audit::is_requested(&desk.db).await.unwrap());

    let before = desk.now().await;
    assert!(run(&desk, Occasion::Request).await.unwrap().is_whole);
    assert!(!audit::is_requested(&desk.db).await.unwrap());
    assert_eq!(run(&desk, Occasion::Request).await, None, "it is done");
    let status = audit::status(&desk.db).await.unwrap();
    let last = status.last_audit.unwrap();
    assert!(
        !status.running && last.at >= before && (last.changed, last.quotes, last.violations) == (3, 3, 0),
        "{status:?}"
    );
    assert!(status.all_checked_at.is_some());
    assert_eq!(status.promises.iter().map(|promise| promise.number).collect::<Vec<_>>(), (1..=10).collect::<Vec<_>>());
    let checked = status.promises.iter().filter(|promise| promise.checked_at == Some(last.at));
    assert_eq!(checked.map(|promise| promise.number).collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6, 10]);
    assert_eq!(inspection::stats(&desk.db).await.unwrap().last_audit, Some(last), "when it ran, not a tick");
}

async fn without_a_request_no_check_is_done(desk: Desk) {
    assert_eq!(run(&desk, Occasion::Request).await, None);
    assert!(run(&desk, Occasion::Schedule).await.is_some());
    assert!(audit::status(&desk.db).await.unwrap().last_audit.is_some());
}

async fn a_check_that_is_under_way_is_not_begun_twice_and_one_that_was_left_is_done_again(desk: Desk) {
    is_under_way(&desk).await;
    operator::request_audit(&desk.db, ANN).await.unwrap();
    assert_eq!((asked_for(&desk).await, audit::is_requested(&desk.db).await.unwrap()), (0, false));
    assert!(audit::status(&desk.db).await.unwrap().running);
    assert_eq!(run(&desk, Occasion::Schedule).await, None);
    // Its process has died.
    desk.advance(61);
    assert!(!audit::status(&desk.db).await.unwrap().running);
    operator::request_audit(&desk.db, ANN).await.unwrap();
    is_under_way(&desk).await;
    assert!(!audit::is_requested(&desk.db).await.unwrap());
    desk.advance(61);
    assert!(audit::is_requested(&desk.db).await.unwrap());
    assert!(run(&desk, Occasion::Request).await.is_some());
    assert!(!audit::status(&desk.db).await.unwrap().running);
}

async fn a_check_that_is_stopped_stays_asked_for(desk: Desk) {
    operator::request_audit(&desk.db, ANN).await.unwrap();
    let drain = CancellationToken::new();
    drain.cancel();
    // It may come to its end before it sees the signal.
    let stopped = audit::run(&desk.db, "worker-1", Occasion::Request, WEEK, &drain, |_| ()).await.unwrap();
    assert_eq!(audit::is_requested(&desk.db).await.unwrap(), stopped.is_none());
}

async fn a_check_that_an_operator_asks_for_reads_all_quotes_wherever_the_pass_is(desk: Desk) {
    let quotes = desk.submit_many(20).await;
    desk.advance(3_600);
    let few = Limits { rows: 4, changed: Duration::ZERO, all: Duration::ZERO, round: false };
    for _ in 0..2 {
        audit::watch(&desk.db, WEEK, few, |_| ()).await.unwrap();
    }
    desk.sql(&format!("UPDATE outbox_event SET status = 'cancelled' WHERE id = {}", desk.quoted(quotes[0].1))).await;
    operator::request_audit(&desk.db, ANN).await.unwrap();
    let watched = run(&desk, Occasion::Request).await.unwrap();
    assert!(watched.is_whole && watched.violations == 1, "the pass was behind it already: {watched:?}");
}

async fn violations_are_shown_with_their_quotes_until_they_are_repaired(desk: Desk) {
    let api = Api::start_at(desk.database.url(), &TOKENS).await;
    let (lost, event) = desk.submit().await;
    let is = |status: &str| format!("UPDATE outbox_event SET status = '{status}' WHERE id = {}", desk.quoted(event));
    desk.sql(&is("cancelled")).await;
    let (status, asked) = call(&api, Method::POST, "boss-token").await;
    assert_eq!((status, &asked["running"], &asked["total"]), (202, &json!(true), &json!(0)), "{asked}");
    run(&desk, Occasion::Request).await.unwrap();
    let (status, shown) = call(&api, Method::GET, "eye-token").await;
    assert_eq!((status, &shown["running"], &shown["total"]), (200, &json!(false), &json!(1)), "{shown}");
    let violation = &shown["violations"][0];
    assert_eq!((&violation["promise"], &violation["check"]), (&json!(2), &json!("lost")));
    assert_eq!((&violation["quote_id"], &violation["event_id"]), (&json!(lost), &json!(null)));
    assert!(violation["detail"].as_str().unwrap().contains("it is lost") && violation["found_at"].is_string());
    assert_eq!((&shown["promises"][1]["violations"], &shown["last_audit"]["violations"]), (&json!(1), &json!(1)));
    desk.sql(&is("pending")).await;
    run(&desk, Occasion::Schedule).await.unwrap();
    let (_, shown) = call(&api, Method::GET, "eye-token").await;
    assert_eq!((&shown["total"], &shown["violations"]), (&json!(0), &json!([])));
    for (method, token, status) in
        [(Method::GET, "", 401), (Method::GET, "shop-token", 403), (Method::POST, "eye-token", 403)]
    {
        assert_eq!(call(&api, method, token).await.0, status, "{token}");
    }
}

async fn where_nobody_delivers_the_answer_says_so(desk: Desk) {
    process::Entity::delete_many().exec(desk.db.connection()).await.unwrap();
    assert_eq!(audit::status(&desk.db).await.unwrap().note, None, "nobody asked");
    operator::request_audit(&desk.db, ANN).await.unwrap();
    let note = audit::status(&desk.db).await.unwrap().note.unwrap();
    assert!(note.contains("No worker is alive") && note.contains("feebox worker"), "{note}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_answers_a_request_that_came_to_another_process() {
    for engine in [Engine::Postgres, Engine::Sqlite] {
        let stage = Stage::new(engine, feebox::lab::sample_fee_server::Faults::default()).await;
        let (_serve, base_url) = stage.serve(&[], &[]).await;
        // It has done the audit of its start.
        let _worker = stage.worker(&[("audit.schedule", "0 0 0 1 1 *")]).await;
        eventually("the first audit has ended", LIMIT, async || {
            audit::last_audit(stage.db.connection()).await.unwrap()
        })
        .await;
        stage.submit(3).await;
        stage.drained().await;
        let url = format!("{base_url}/v1/audit");
        let asked = crate::support::http_client().post(&url).send().await.unwrap();
        assert_eq!(asked.status(), 202);
        let last = eventually("the request is answered", LIMIT, async || {
            let row = audit_run::Entity::find_by_id("audit").one(stage.db.connection()).await.unwrap().unwrap();
            (row.requested_at.is_none() && row.began_at.is_none()).then_some(row)
        })
        .await;
        assert_eq!(last.last_quotes, Some(3), "{engine:?}: {last:?}");
    }
}

const TOKENS: [(&str, &str, Role); 3] = [
    ("shop", "shop-token", Role::Submitter),
    ("eye", "eye-token", Role::Viewer),
    ("boss", "boss-token", Role::Operator),
];

async fn call(api: &Api, method: Method, token: &str) -> (u16, Value) {
    let answer = api.request(method, "/v1/audit").bearer_auth(token).send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}
