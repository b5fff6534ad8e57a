//! Sessions with the database are clean or gone, whatever a caller, a server or a network did to them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use entity::quote;
use feebox::database::{Database, DatabaseTransaction, Kind, kind};
use feebox::quotes::statements::change;
use feebox::quotes::{self, Status};
use feebox::submission::{OutboxRecorder, Submission};
use futures_util::future::join_all;
use sea_orm::{ConnectionTrait, DbErr, EntityTrait, PaginatorTrait, Statement};
use tokio::time::timeout;
use uuid::Uuid;

use crate::support::{
    Api, Engine, Proxy, Server, TestDatabase, TestOutbox, a_quote, new_quote, on_each_engine, on_servers, open,
};

on_each_engine!(
    a_transaction_with_a_failed_statement_stores_nothing,
    a_commit_whose_last_statement_fails_stores_nothing_and_keeps_the_session,
    a_caller_that_is_dropped_leaves_no_session_in_a_transaction,
    a_commit_whose_caller_is_dropped_is_done_as_a_whole_or_not_at_all,
);

async fn a_transaction_with_a_failed_statement_stores_nothing(outbox: TestOutbox) {
    outbox.submit(1).await;
    let stored = outbox.events().await.remove(0);
    let txn = outbox.db.begin().await.unwrap();
    let now = outbox.db.now(&*txn).await.unwrap();
    let change = change([stored.aggregate_id], &[Status::Pending], Status::Cancelled, None, now);
    change.exec(&*txn).await.unwrap();
    // It may wait for the next statement, which then fails in its place.
    quotes::insert(&txn, [outbox.quote(stored.aggregate_id).await].iter()).await.ok();
    let failed = quotes::status(&*txn, stored.aggregate_id, None).await.unwrap_err();
    assert!(quotes::status(&*txn, stored.aggregate_id, None).await.is_err(), "no statement follows one that failed");
    let committed = txn.commit().await.unwrap_err();
    assert_eq!(committed.to_string(), failed.to_string());
    assert_eq!(outbox.quote(stored.aggregate_id).await.status, Status::Pending);
}

async fn a_commit_whose_last_statement_fails_stores_nothing_and_keeps_the_session(outbox: TestOutbox) {
    outbox.submit(1).await;
    let stored = outbox.quote(outbox.events().await.remove(0).aggregate_id).await;
    for _ in 0..5 {
        let txn = outbox.db.begin().await.unwrap();
        let another = a_stored_quote(outbox.db.now(&*txn).await.unwrap());
        quotes::insert(&txn, [another].iter()).await.unwrap();
        quotes::insert(&txn, [stored.clone()].iter()).await.ok();
        assert_eq!(kind(&txn.commit().await.unwrap_err()), Kind::Internal);
        assert_eq!(count(&outbox.db).await, 1);
    }
    every_call_is_stored(&outbox.db, &outbox.db).await;
}

async fn a_caller_that_is_dropped_leaves_no_session_in_a_transaction(outbox: TestOutbox) {
    let db = open(outbox.database.url()).await;
    // They are dropped after 0 to 12 ms, at any point between waiting for a session and the commit.
    for round in 0..15_u64 {
        let hang_ups = (0..8_u64).map(|caller| {
            let patience = Duration::from_micros((round * 8 + caller) * 100);
            timeout(patience, async { submit_one(&db).await.map(drop) })
        });
        join_all(hang_ups).await;
    }
    fail_in_a_burst(&db).await;
    every_call_is_stored(&db, &outbox.db).await;
}

async fn a_commit_whose_caller_is_dropped_is_done_as_a_whole_or_not_at_all(outbox: TestOutbox) {
    let db = open(outbox.database.url()).await;
    for patience in (0..60_u64).map(|n| Duration::from_micros(n * 50)) {
        let txn = db.begin().await.unwrap();
        let now = db.now(&*txn).await.unwrap();
        quotes::insert(&txn, [a_stored_quote(now)].iter()).await.unwrap();
        quotes::insert(&txn, [a_stored_quote(now)].iter()).await.unwrap();
        timeout(patience, txn.commit()).await.ok();
        let stored = count(&outbox.db).await;
        assert!(stored.is_multiple_of(2), "{stored} are stored of quotes that came in twos");
    }
    every_call_is_stored(&db, &outbox.db).await;
}

on_servers!(
    a_client_that_hangs_up_during_a_begin_disturbs_no_later_request,
    a_transaction_is_retried_if_its_session_is_cut_before_the_commit,
    a_read_is_retried_if_its_session_was_cut,
    sessions_that_a_router_dropped_delay_callers_by_seconds_only,
    a_statement_on_a_dropped_connection_fails_within_seconds_and_one_that_waits_for_a_lock_does_not,
);

/// 120 of them, then statements that fail, then 500 calls: each is answered, and what is answered is stored.
async fn a_client_that_hangs_up_during_a_begin_disturbs_no_later_request(engine: Engine) {
    let (database, proxy, db) = behind_proxy(engine).await;
    let straight = database.open().await;
    for _ in 0..15 {
        join_all((0..8).map(|_| db.now(db.connection()))).await;
        proxy.pause();
        let begins = join_all((0..8).map(|_| timeout(Duration::from_millis(30), db.begin()))).await;
        assert!(begins.iter().all(Result::is_err), "none was answered in time");
        proxy.resume();
    }
    fail_in_a_burst(&db).await;
    every_call_is_stored(&db, &straight).await;
}

async fn a_transaction_is_retried_if_its_session_is_cut_before_the_commit(engine: Engine) {
    let (database, proxy, db) = behind_proxy(engine).await;
    let (runs, proxy) = (&AtomicU32::new(0), &proxy);
    let done: Result<(), DbErr> = db
        .transaction(|txn| {
            let db = &db;
            Box::pin(async move {
                let now = db.now(&*txn).await?;
                quotes::insert(&txn, [a_stored_quote(now)].iter()).await?;
                if runs.fetch_add(1, Ordering::Relaxed) == 0 {
                    proxy.cut();
                }
                quotes::insert(&txn, [a_stored_quote(now)].iter()).await?;
                // Sends what waits: a session that is lost with the commit leaves it unknown whether that was done.
                db.now(&*txn).await.map(drop)
            })
        })
        .await;
    done.unwrap();
    assert_eq!(runs.load(Ordering::Relaxed), 2);
    assert_eq!(count(&database.open().await).await, 2, "the run that was cut stored nothing");
}

async fn a_read_is_retried_if_its_session_was_cut(engine: Engine) {
    let (_database, proxy, db) = behind_proxy(engine).await;
    for _ in 0..5 {
        join_all((0..8).map(|_| count(&db))).await;
        proxy.cut();
        assert!(join_all((0..8).map(|_| db.now(db.connection()))).await.iter().all(Result::is_ok));
    }
}

async fn sessions_that_a_router_dropped_delay_callers_by_seconds_only(engine: Engine) {
    let (_database, proxy, db) = behind_proxy(engine).await;
    join_all((0..8).map(|_| count(&db))).await;
    proxy.forget();
    // They were just used, so they are not pinged: the begin gets no answer.
    let begun = Instant::now();
    let served = join_all((0..16).map(|_| submit_one(&db))).await;
    println!("{engine:?}: 16 callers served after {:?}", begun.elapsed());
    assert!(served.iter().all(Result::is_ok), "{served:?}");
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}

async fn a_statement_on_a_dropped_connection_fails_within_seconds_and_one_that_waits_for_a_lock_does_not(
    engine: Engine,
) {
    let (database, proxy, db) = behind_proxy(engine).await;
    let id = submit_one(&db).await.unwrap();
    let holder = database.open().await.begin().await.unwrap();
    touch(&holder, id).await.unwrap();
    let txn = db.begin().await.unwrap();
    // Longer than the wait before the server is asked about the statement.
    assert!(timeout(Duration::from_secs(4), touch(&txn, id)).await.is_err(), "it waits, and nobody gave it up");
    drop(txn);
    holder.commit().await.unwrap();

    let txn = db.begin().await.unwrap();
    touch(&txn, id).await.unwrap();
    proxy.forget();
    let asked = Instant::now();
    let lost = touch(&txn, id).await.unwrap_err();
    println!("{engine:?}: a dead session noticed after {:?}", asked.elapsed());
    assert_eq!(kind(&lost), Kind::Unavailable);
    assert!(asked.elapsed() < Duration::from_secs(6), "{:?}", asked.elapsed());
}

async fn touch(txn: &DatabaseTransaction, id: Uuid) -> Result<(), DbErr> {
    let now = chrono::Utc::now();
    change([id], &[Status::Pending], Status::Pending, Some("touched"), now).exec(txn).await.map(drop)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_sessions_that_postgres_closed_fail_no_request() {
    let database = TestDatabase::migrated(Engine::Postgres).await;
    sql(&database, &format!("ALTER DATABASE {} SET idle_session_timeout = '1200ms'", name(&database))).await;
    every_call_after_a_pause_is_served(&database).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_sessions_that_mariadb_closed_fail_no_request() {
    let server = Server::own_mariadb();
    let database = migrated_on(&server, Engine::MariaDb).await;
    sql(&database, "SET GLOBAL wait_timeout = 1").await;
    every_call_after_a_pause_is_served(&database).await;
}

async fn every_call_after_a_pause_is_served(database: &TestDatabase) {
    let api = Api::start(database).await;
    for _ in 0..3 {
        let quote = a_quote();
        let answers = join_all((0..8).map(|_| api.post("/v1/quotes", &quote))).await;
        assert!(answers.iter().all(|answer| answer.status() == 201), "{answers:?}");
        // The pause is under test: the server closes idle sessions.
        tokio::time::sleep(Duration::from_millis(1_500)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_promises_do_not_depend_on_the_defaults_of_postgres() {
    let database = TestDatabase::migrated(Engine::Postgres).await;
    let alter = format!("ALTER DATABASE {}", name(&database));
    for default in [
        "default_transaction_isolation = 'serializable'",
        "synchronous_commit = off",
        "default_transaction_read_only = on",
    ] {
        sql(&database, &format!("{alter} SET {default}")).await;
    }
    let pooler = Server::pgbouncer(Server::shared_postgres().url());
    let pooler: SocketAddr = url::Url::parse(pooler.url()).unwrap().socket_addrs(|| None).unwrap()[0];
    let through = format!("{}?statement-cache-capacity=0", database.url_through(pooler));
    for url in [database.url(), &through] {
        let db = open(url).await;
        let txn = db.begin().await.unwrap();
        assert_eq!(setting(&*txn, "transaction_isolation").await, "read committed", "{url}");
        assert_eq!(setting(&*txn, "synchronous_commit").await, "on", "{url}");
        drop(txn);
        submit_one(&db).await.unwrap();
        let snapshot = db.snapshot().await.unwrap();
        assert_eq!(setting(&*snapshot, "transaction_isolation").await, "repeatable read", "{url}");
    }
    // It is not lowered either.
    let admin = sea_orm::Database::connect(Server::shared_postgres().url()).await.unwrap();
    admin.execute_unprepared(&format!("{alter} SET synchronous_commit = remote_apply")).await.unwrap();
    let txn = open(database.url()).await.begin().await.unwrap();
    assert_eq!(setting(&*txn, "synchronous_commit").await, "remote_apply");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_promises_do_not_depend_on_the_defaults_of_mariadb() {
    let server = Server::own_mariadb();
    let database = migrated_on(&server, Engine::MariaDb).await;
    for default in ["autocommit = 0", "completion_type = 'CHAIN'", "tx_isolation = 'SERIALIZABLE'", "sql_mode = ''"] {
        sql(&database, &format!("SET GLOBAL {default}")).await;
    }
    let api = Api::start(&database).await;
    let quote = api.submit().await;
    let id = quote["id"].as_str().unwrap();
    for path in ["/readyz", &format!("/v1/quotes/{id}/timeline"), "/v1/quotes"] {
        assert_eq!(api.get(path).await.status(), 200, "{path}");
    }
    let straight = database.open().await;
    every_call_is_stored(&api.db, &straight).await;
    let no_time =
        api.db.connection().execute_unprepared("UPDATE quote SET submitted_at = '10000-01-01 00:00:00'").await;
    assert_eq!(
        kind(&no_time.unwrap_err()),
        Kind::Internal,
        "a time that does not fit is refused and not stored as zero"
    );
}

/// Opens a fresh database through a proxy, with as many sessions as there may be.
async fn behind_proxy(engine: Engine) -> (TestDatabase, Proxy, Database) {
    let database = TestDatabase::migrated(engine).await;
    let proxy = Proxy::start(database.server_addr()).await;
    let db = open(&database.url_through(proxy.addr())).await;
    (database, proxy, db)
}

async fn migrated_on(server: &Server, engine: Engine) -> TestDatabase {
    use migration::MigratorTrait;
    let database = TestDatabase::create_on(server, engine).await;
    migration::Migrator::up(&database.connect().await, None).await.unwrap();
    database
}

/// Statements that fail, as many as there are sessions and more: on a session that is in a transaction unnoticed, all later
/// ones would.
async fn fail_in_a_burst(db: &Database) {
    let failed = join_all((0..40).map(|_| db.connection().execute_unprepared("SELECT nothing FROM nowhere"))).await;
    assert!(failed.iter().all(Result::is_err));
}

async fn every_call_is_stored(db: &Database, other: &Database) {
    for _ in 0..25 {
        let stored = join_all((0..20).map(|_| submit_one(db))).await;
        let ids: Vec<Uuid> = stored.into_iter().map(|id| id.expect("the database is fine")).collect();
        assert_eq!(quotes::by_ids(other.connection(), &ids).await.unwrap().len(), 20, "another session finds all");
    }
}

async fn submit_one(db: &Database) -> Result<Uuid, String> {
    let submission = Submission::new(db.clone(), Arc::new(OutboxRecorder::default()), vec![]);
    let receipt = submission.submit(&[new_quote()], None, None).await;
    receipt.map(|receipt| receipt.quotes[0].id).map_err(|error| format!("{error:?}"))
}

fn a_stored_quote(at: chrono::DateTime<chrono::Utc>) -> quotes::Quote {
    quotes::Quote {
        id: Uuid::now_v7(),
        customer_id: "customer".into(),
        currency: "EUR".into(),
        amount_minor: 1,
        lines: serde_json::json!([]),
        destination: quotes::FEE_SERVER.to_string(),
        status: Status::Pending,
        status_reason: None,
        cancelled_by: None,
        submitted_by: None,
        submitted_at: at,
        updated_at: at,
    }
}

async fn count(db: &Database) -> u64 {
    quote::Entity::find().count(db.connection()).await.unwrap()
}

async fn sql(database: &TestDatabase, statement: &str) {
    let admin = database.connect().await;
    admin.execute_unprepared(statement).await.unwrap();
    admin.close().await.unwrap();
}

fn name(database: &TestDatabase) -> String {
    url::Url::parse(database.url()).unwrap().path().trim_start_matches('/').to_owned()
}

async fn setting(db: &impl ConnectionTrait, setting: &str) -> String {
    let show = Statement::from_string(db.get_database_backend(), format!("SELECT current_setting('{setting}') AS it"));
    db.query_one_raw(show).await.unwrap().unwrap().try_get("", "it").unwrap()
}
