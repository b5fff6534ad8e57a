//! What the database asks to be run again is run again: nobody gets an error for another one's transaction.

use std::sync::atomic::{AtomicU32, Ordering};

use feebox::database::Database;
use feebox::quotes::Status;
use feebox::quotes::statements::change;
use futures_util::future::{join_all, try_join_all};
use sea_orm::{ConnectionTrait, DbBackend, DbErr};
use serde_json::Value;
use tokio::sync::Barrier;
use uuid::Uuid;

use crate::support::{Api, Engine, TestDatabase, TestOutbox, a_quote, on_servers};

on_servers!(
    transactions_that_deadlock_both_succeed,
    a_submission_with_conflicts_is_stored_once,
    a_submission_with_a_key_and_conflicts_is_stored_once,
    a_cancellation_with_conflicts_succeeds,
    a_persistent_conflict_is_answered_as_busy_within_seconds,
);

/// Each holds one quote's row and wants the other's.
async fn transactions_that_deadlock_both_succeed(engine: Engine) {
    let outbox = TestOutbox::open(engine).await;
    outbox.submit(2).await;
    let ids: Vec<Uuid> = outbox.events().await.iter().map(|event| event.aggregate_id).collect();
    let (runs, both_hold_one) = (&AtomicU32::new(0), &Barrier::new(2));
    let cross = |first: Uuid, second: Uuid| {
        let db = &outbox.db;
        async move {
            let run = AtomicU32::new(0);
            let run = &run;
            db.transaction(|txn| {
                Box::pin(async move {
                    runs.fetch_add(1, Ordering::Relaxed);
                    let now = db.now(&*txn).await?;
                    touch(&*txn, first, now).await?;
                    if run.fetch_add(1, Ordering::Relaxed) == 0 {
                        both_hold_one.wait().await;
                    }
                    touch(&*txn, second, now).await
                })
            })
            .await
        }
    };
    try_join_all([cross(ids[0], ids[1]), cross(ids[1], ids[0])]).await.unwrap();
    assert!(runs.load(Ordering::Relaxed) >= 3, "one of them was run again");
}

async fn touch(db: &impl ConnectionTrait, id: Uuid, now: chrono::DateTime<chrono::Utc>) -> Result<(), DbErr> {
    let (from, to) = ([Status::Pending], Status::Pending);
    change([id], &from, to, Some("touched"), now).exec(db).await.map(drop)
}

async fn a_submission_with_conflicts_is_stored_once(engine: Engine) {
    let (_database, api) = conflicting(engine, "INSERT", 3).await;
    let answers = join_all((0..4).map(|_| api.submit())).await;
    assert_eq!(answers.len(), 4);
    assert_eq!(api.stored().await, (4, 4));
}

async fn a_submission_with_a_key_and_conflicts_is_stored_once(engine: Engine) {
    let (_database, api) = conflicting(engine, "INSERT", 3).await;
    let quote = a_quote();
    let first = api.post_with_key("/v1/quotes", &quote, "one-key").await;
    assert_eq!(first.status(), 201);
    let again = api.post_with_key("/v1/quotes", &quote, "one-key").await;
    assert_eq!(again.headers()["Idempotency-Replayed"], "true");
    let [first, again]: [Value; 2] = [first.json().await.unwrap(), again.json().await.unwrap()];
    assert_eq!(first, again);
    assert_eq!(api.stored().await, (1, 1));
}

async fn a_cancellation_with_conflicts_succeeds(engine: Engine) {
    let (_database, api) = conflicting(engine, "UPDATE", 3).await;
    let quote = api.submit().await;
    let cancel = format!("/v1/quotes/{}/cancel", quote["id"].as_str().unwrap());
    let answer = api.request(reqwest::Method::POST, &cancel).send().await.unwrap();
    assert_eq!(answer.status(), 200);
}

async fn a_persistent_conflict_is_answered_as_busy_within_seconds(engine: Engine) {
    let (_database, api) = conflicting(engine, "INSERT", 1_000_000).await;
    let begun = std::time::Instant::now();
    let answer = api.post("/v1/quotes", &a_quote()).await;
    assert_eq!(answer.status(), 503);
    assert!(begun.elapsed().as_secs() < 10, "{:?}", begun.elapsed());
    let problem: Value = answer.json().await.unwrap();
    assert_eq!(problem["type"], "/problems/database-busy");
    assert_eq!(api.stored().await, (0, 0));
}

/// Where the default is serializable, readers and writers would fail for each other's sake all the time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cancelling_works_if_the_default_isolation_is_serializable() {
    let database = TestDatabase::migrated(Engine::Postgres).await;
    let name = url::Url::parse(database.url()).unwrap().path().trim_start_matches('/').to_owned();
    let alter = format!("ALTER DATABASE {name} SET default_transaction_isolation = 'serializable'");
    database.connect().await.execute_unprepared(&alter).await.unwrap();
    let api = Api::start(&database).await;
    let ids = join_all((0..60).map(|_| async { api.submit().await["id"].as_str().unwrap().to_owned() })).await;
    let cancels = ids.iter().map(|id| {
        let call = api.request(reqwest::Method::POST, &format!("/v1/quotes/{id}/cancel"));
        async { call.send().await.unwrap().status() }
    });
    assert!(join_all(cancels).await.iter().all(|status| *status == 200));
}

/// A database that takes back `times` transactions that want to change a quote, as if for another one's sake: on
/// `PostgreSQL` by a serialization failure at the commit, on `MariaDB` by a deadlock.
async fn conflicting(engine: Engine, change: &str, times: u32) -> (TestDatabase, Api) {
    let database = TestDatabase::migrated(engine).await;
    let api = Api::start(&database).await;
    for statement in conflict_makers(&api.db, change, times) {
        api.execute(&statement).await;
    }
    (database, api)
}

fn conflict_makers(db: &Database, change: &str, times: u32) -> Vec<String> {
    // Neither a sequence nor a MyISAM table is rolled back.
    if db.connection().get_database_backend() == DbBackend::Postgres {
        return vec![
            "CREATE SEQUENCE conflicts".into(),
            format!(
                "CREATE FUNCTION conflict() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
                 IF nextval('conflicts') <= {times} THEN RAISE 'not serializable' USING ERRCODE = '40001'; END IF; \
                 RETURN NULL; END $$"
            ),
            format!(
                "CREATE CONSTRAINT TRIGGER conflict AFTER {change} ON quote DEFERRABLE INITIALLY DEFERRED \
                 FOR EACH ROW EXECUTE FUNCTION conflict()"
            ),
        ];
    }
    vec![
        "CREATE TABLE conflicts (n int) ENGINE = MyISAM".into(),
        "INSERT INTO conflicts VALUES (0)".into(),
        format!(
            "CREATE TRIGGER conflict BEFORE {change} ON quote FOR EACH ROW BEGIN UPDATE conflicts SET n = n + 1; \
             IF (SELECT n FROM conflicts) <= {times} THEN SIGNAL SQLSTATE '40001' SET MYSQL_ERRNO = 1213; END IF; END"
        ),
    ]
}
