//! A process dies at the worst moments, as by `kill -9`, and another takes over: nothing is lost, nothing is doubled.

use feebox::lab::sample_fee_server::Faults;
use reqwest::{Response, StatusCode};
use serde_json::{Value, json};

use crate::support::{Engine, LIMIT, Stage, http_client};

/// Leases are short, so that the other worker takes over soon.
const SETTINGS: [(&str, &str); 2] = [("worker.lease", "1500ms"), ("fee_server.timeout", "1s")];

/// A fee server that honours idempotency keys and knows no look-up, so that the key alone prevents a second fee.
fn keys_alone() -> Faults {
    Faults { no_lookup: true, ..Faults::default() }
}

/// One that ignores keys, so that the look-up alone does.
fn look_ups_alone() -> Faults {
    Faults { no_idempotency: true, ..Faults::default() }
}

/// Tests of each named moment on each engine.
macro_rules! at_each_moment {
    ($what:ident: $($moment:ident),+) => {
        $(mod $moment {
            use crate::support::Engine;

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn on_sqlite() {
                super::$what(Engine::Sqlite, stringify!($moment)).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn on_postgres() {
                super::$what(Engine::Postgres, stringify!($moment)).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn on_mariadb() {
                super::$what(Engine::MariaDb, stringify!($moment)).await;
            }
        })+
    };
}

at_each_moment!(a_worker_dies: after_claim, after_delivery, before_settle_commit);
at_each_moment!(the_submission_service_dies: before_commit, after_commit);

async fn a_worker_dies(engine: Engine, moment: &str) {
    // Both at once: each waits for a lease most of the time.
    tokio::join!(
        a_worker_dies_before(engine, moment, keys_alone()),
        a_worker_dies_before(engine, moment, look_ups_alone()),
    );
}

async fn a_worker_dies_before(engine: Engine, moment: &str, faults: Faults) {
    let protection = if faults.no_lookup { "keys alone" } else { "look-ups alone" };
    let stage = Stage::new(engine, faults).await;
    let quote = stage.submit(1).await[0];
    // It may die before it says that it has started.
    let dead = stage.process(&["worker"], &SETTINGS, &[("FEEBOX_CRASH_AT", &moment.replace('_', "-"))]);
    assert_killed(dead.wait(LIMIT).await);
    let fees = usize::from(moment != "after_claim");
    assert_eq!(stage.fee_server.fees().len(), fees, "fees made by the worker that died");
    assert_eq!(stage.leases_of(&dead).await, 1);
    assert_eq!(stage.books().await.fee_records, 0);

    let _other = stage.worker(&SETTINGS).await;
    stage.drained().await;
    let books = stage.books().await;
    println!("worker killed at {moment}, {engine:?}, {protection}: {books}");
    books.assert_sound();
    let event = stage.event_of(quote).await;
    assert_eq!(event.attempts, 2);
    assert_eq!(event.failures.as_array().unwrap().len(), 1, "what happened can be read: {:?}", event.failures);
}

async fn the_submission_service_dies(engine: Engine, moment: &str) {
    let stage = Stage::new(engine, look_ups_alone()).await;
    let (dead, base_url) = stage.serve(&[], &[("FEEBOX_CRASH_AT", &moment.replace('_', "-"))]).await;
    let unanswered = submit(&base_url).await;
    assert!(unanswered.is_err(), "{unanswered:?}");
    assert_killed(dead.wait(LIMIT).await);
    let stored = stage.books().await;
    let was_committed = moment == "after_commit";
    assert_eq!((stored.quotes, stored.events), if was_committed { (1, 1) } else { (0, 0) });

    let (_alive, base_url) = stage.serve(&[], &[]).await;
    let answer = submit(&base_url).await.unwrap();
    assert_eq!(answer.status(), StatusCode::CREATED);
    let replayed = answer.headers().get("idempotency-replayed").is_some_and(|value| value == "true");
    assert_eq!(replayed, was_committed);
    let first: Value = answer.json().await.unwrap();
    // And once more, as a client may that lost this answer too.
    let again: Value = submit(&base_url).await.unwrap().json().await.unwrap();
    assert_eq!(again["id"], first["id"]);

    stage.accept(&[first["id"].as_str().unwrap().parse().unwrap()]);
    let _worker = stage.worker(&SETTINGS).await;
    stage.drained().await;
    let books = stage.books().await;
    println!("service killed at {moment}, {engine:?}: {books}");
    books.assert_sound();
    books.assert_each_sent_once();
}

/// The same call each time.
async fn submit(base_url: &str) -> reqwest::Result<Response> {
    let line = json!({ "description": "freight", "quantity": 1, "unit_price_minor": 5_000 });
    let quote = json!({ "customer_id": "customer", "currency": "EUR", "lines": [line] });
    let call = http_client().post(format!("{base_url}/v1/quotes")).header("Idempotency-Key", "order-1");
    call.json(&quote).send().await
}

fn assert_killed(status: std::process::ExitStatus) {
    use std::os::unix::process::ExitStatusExt;
    assert_eq!(status.signal(), Some(9), "{status}");
}
