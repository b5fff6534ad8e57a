//! A worker that stands still, as on a machine that is paused, and later goes on as if nothing had been.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use axum::routing::post;
use axum::{Json, Router};
use entity::destination;
use entity::outbox_event::{self, Status};
use feebox::lab::sample_fee_server::Faults;
use sea_orm::{ConnectionTrait, EntityTrait, QuerySelect, Statement};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::Notify;

use crate::support::{Engine, LIMIT, Signal, Stage, eventually};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_frozen_between_look_up_and_call_does_not_call_after_its_lease() {
    let stage = Stage::new(Engine::Postgres, Faults { no_idempotency: true, ..Faults::default() }).await;
    let quote = stage.submit(1).await[0];
    outbox_event::Entity::update_many()
        .set(outbox_event::ActiveModel { outcome_unknown: sea_orm::Set(true), ..Default::default() })
        .exec(stage.db.connection())
        .await
        .unwrap();

    let way = SlowLookUp::start().await;
    // Time enough to freeze it before it gives up.
    let settings =
        [("fee_server.base_url", way.base_url.as_str()), ("worker.lease", "8s"), ("fee_server.timeout", "7s")];
    let frozen = stage.worker(&settings).await;
    way.asked.notified().await;
    frozen.signal(Signal::Stop);
    let freeze = Instant::now();
    // The answer reaches the frozen worker's machine while its lease still holds.
    way.answer.notify_one();
    let _other = stage.worker(&[]).await;
    stage.drained().await;
    let rescue = freeze.elapsed();
    frozen.signal(Signal::Continue);
    frozen.wait_for_line(LIMIT, |line| line.contains("came after its lease had ended")).await;
    frozen.signal(Signal::Terminate);
    assert!(frozen.wait(LIMIT).await.success());
    println!("freeze after a look-up: delivered by another after {rescue:.1?}, calls after the lease {}", way.calls());
    assert_eq!(way.calls(), 0, "a second fee would have been made");
    assert_eq!(stage.event_of(quote).await.status, Status::Delivered);
    stage.books().await.assert_sound();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_frozen_inside_a_transaction_does_not_hold_up_others_for_long_on_postgres() {
    a_worker_frozen_inside_a_transaction_does_not_hold_up_others_for_long(Engine::Postgres).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_frozen_inside_a_transaction_does_not_hold_up_others_for_long_on_mariadb() {
    a_worker_frozen_inside_a_transaction_does_not_hold_up_others_for_long(Engine::MariaDb).await;
}

async fn a_worker_frozen_inside_a_transaction_does_not_hold_up_others_for_long(engine: Engine) {
    // Its failure makes the worker write to the destination's row, for which everybody whose delivery fails must wait.
    let failing = Faults { fail_rate: 1.0, no_idempotency: true, ..Faults::default() };
    let stage = Stage::new(engine, failing.clone()).await;
    // A third of it is how long the worker waits for the database: it is to be frozen before that has passed.
    let frozen = stage.worker(&[("worker.lease", "30s")]).await;
    eventually("the worker has registered", LIMIT, async || stage.destination().await.map(drop)).await;
    // Ready beforehand: a process may take longer to start than the database leaves rows to one that is frozen.
    let other = stage.worker(&[]).await;
    other.signal(Signal::Stop);
    let ours = stage.db.begin().await.unwrap();
    destination::Entity::find().lock_exclusive().one(&*ours).await.unwrap();
    stage.submit(1).await;
    a_session_waits_for_a_row(&stage).await;
    frozen.signal(Signal::Stop);
    ours.rollback().await.unwrap();
    let freeze = Instant::now();

    // Now the row is locked for a worker that stands still, and another's failures wait for it.
    stage.submit(20).await;
    other.signal(Signal::Continue);
    a_session_waits_for_a_row(&stage).await;
    stage.fee_server.set_faults(Faults { no_idempotency: true, ..Faults::default() });
    let free = eventually("the rows are free", LIMIT, async || {
        let delivered = stage.events().await.iter().filter(|event| event.status == Status::Delivered).count();
        (delivered >= 20).then(|| freeze.elapsed())
    })
    .await;
    println!("freeze inside a transaction, {engine:?}: the others go on after {free:.1?}");
    assert!(free > Duration::from_secs(5), "nothing was held up: {free:?}");
    assert!(free < Duration::from_secs(25), "{free:?}");

    frozen.signal(Signal::Continue);
    stage.drained().await;
    stage.books().await.assert_sound();
}

async fn a_session_waits_for_a_row(stage: &Stage) {
    let waiting = match stage.database.engine() {
        Engine::Postgres => {
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        }
        _ => {
            // Its own view of locks is a snapshot that is not renewed for frequent readers.
            "SELECT count(*) FROM information_schema.processlist \
             WHERE db = DATABASE() AND info LIKE '%destination%FOR UPDATE' AND id <> CONNECTION_ID()"
        }
    };
    eventually("somebody waits for a row", LIMIT, async || {
        let connection = stage.db.connection();
        let question = Statement::from_string(connection.get_database_backend(), waiting);
        let row = connection.query_one_raw(question).await.unwrap().unwrap();
        (row.try_get_by_index::<i64>(0).unwrap() > 0).then_some(())
    })
    .await;
}

/// A fee server that finds no fee, when the test lets it say so, and counts who then asks for one.
struct SlowLookUp {
    base_url: String,
    asked: Arc<Notify>,
    answer: Arc<Notify>,
    calls: Arc<AtomicUsize>,
}

impl SlowLookUp {
    async fn start() -> SlowLookUp {
        let (asked, answer, calls) =
            (Arc::<Notify>::default(), Arc::<Notify>::default(), Arc::<AtomicUsize>::default());
        let look_up = {
            let (asked, answer) = (Arc::clone(&asked), Arc::clone(&answer));
            async move || {
                asked.notify_one();
                answer.notified().await;
                Json(json!({ "fees": [] }))
            }
        };
        let make_fee = {
            let calls = Arc::clone(&calls);
            async move || {
                calls.fetch_add(1, Ordering::SeqCst);
                "no fee"
            }
        };
        let router = Router::new().route("/v1/fees", post(make_fee).get(look_up));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base_url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        SlowLookUp { base_url, asked, answer, calls }
    }

    fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }
}
