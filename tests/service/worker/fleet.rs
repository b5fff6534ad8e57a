//! Several workers on one database while things break: nothing is lost, nothing is doubled, and it goes on soon.
//!
//! Where a fee server ignores idempotency keys, look-ups alone stand between a quote and its second fee.

use std::time::{Duration, Instant};

use feebox::lab::sample_fee_server::Faults;

use crate::support::{Engine, LIMIT, Process, Proxy, Server, Signal, Stage, TestDatabase, name_of};

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const LEASE: Duration = Duration::from_secs(3);
const TICK: Duration = SECOND;
/// The longest that what a worker left may wait for another.
const RESCUE_MAX: Duration = LEASE.saturating_add(TICK).saturating_add(SECOND);
/// What one of three workers has under way at full load.
const FULL: usize = 32;

/// Nothing goes wrong, and calls take their time: all places fill.
fn slow() -> Faults {
    Faults { latency: Duration::from_millis(500), ..Faults::default() }
}

/// Makes a fee and loses its answer in 20 of 100 calls, fails in 20 and never answers 5; ignores keys.
fn bad_weather() -> Faults {
    Faults {
        latency: Duration::from_millis(20),
        commit_reset_rate: 0.2,
        fail_rate: 0.2,
        hang_rate: 0.05,
        no_idempotency: true,
        ..Faults::default()
    }
}

/// Fills all places of three workers, then lets the weather turn.
async fn three_workers_under_load(stage: &Stage) -> [Process; 3] {
    let workers = stage.workers(&[]).await;
    stage.under_load(3 * FULL).await;
    stage.fee_server.set_faults(bad_weather());
    workers
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_worker_is_replaced_on_postgres() {
    a_killed_worker_is_replaced(Engine::Postgres).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_worker_is_replaced_on_mariadb() {
    a_killed_worker_is_replaced(Engine::MariaDb).await;
}

async fn a_killed_worker_is_replaced(engine: Engine) {
    let stage = Stage::new(engine, Faults { no_idempotency: true, ..slow() }).await;
    stage.submit(400).await;
    let [worker, ..] = &three_workers_under_load(&stage).await;
    worker.signal(Signal::Kill);
    let death = Instant::now();
    let held = stage.leases_of(worker).await;
    assert!(held > 0, "it died with work in its hands");
    let rescue = stage.rescued_from(worker, death).await;
    stage.drained().await;
    let books = stage.books().await;
    println!(
        "kill, {engine:?}: {books}, leases left {held}, rescued after {rescue:.1?}, drained {:.1?}",
        death.elapsed()
    );
    books.assert_sound();
    assert!(rescue <= RESCUE_MAX, "{rescue:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_worker_is_replaced_and_changes_nothing_later_on_postgres() {
    a_frozen_worker_is_replaced_and_changes_nothing_later(Engine::Postgres).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_worker_is_replaced_and_changes_nothing_later_on_mariadb() {
    a_frozen_worker_is_replaced_and_changes_nothing_later(Engine::MariaDb).await;
}

async fn a_frozen_worker_is_replaced_and_changes_nothing_later(engine: Engine) {
    let stage = Stage::new(engine, Faults { no_idempotency: true, ..slow() }).await;
    stage.submit(300).await;
    let [worker, ..] = &three_workers_under_load(&stage).await;
    worker.signal(Signal::Stop);
    let freeze = Instant::now();
    let held = stage.leases_of(worker).await;
    assert!(held > 0, "it froze with work in its hands");
    let rescue = stage.rescued_from(worker, freeze).await;
    stage.drained().await;
    let (books, rows) = (stage.books().await, stage.rows().await);

    worker.signal(Signal::Continue);
    worker.wait_for_line(LIMIT, is_lost_lease).await;
    worker.signal(Signal::Terminate);
    assert!(worker.wait(LIMIT).await.success());
    let lost_leases = worker.lines().iter().filter(|line| is_lost_lease(line)).count();
    println!("freeze, {engine:?}: {books}, leases left {held}, rescued after {rescue:.1?}, late results {lost_leases}");
    books.assert_sound();
    stage.books().await.assert_sound();
    assert_eq!(stage.rows().await, rows, "the late results changed something");
    assert!(rescue <= RESCUE_MAX, "{rescue:?}");
    // What it had claimed and not yet sent is not sent any more, and a result may have been on its way to the database.
    assert!(lost_leases as u64 <= held, "{lost_leases} late results of {held} leases");
}

fn is_lost_lease(line: &str) -> bool {
    line.contains("came after its lease had ended and changed nothing")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_clocks_steal_no_lease_on_postgres() {
    wrong_clocks_steal_no_lease(Engine::Postgres).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_clocks_steal_no_lease_on_mariadb() {
    wrong_clocks_steal_no_lease(Engine::MariaDb).await;
}

async fn wrong_clocks_steal_no_lease(engine: Engine) {
    // Each call spans a tick or two, at which a worker that trusts its clock would take the others' leases for old.
    let faults = Faults { latency: Duration::from_millis(1_500), no_idempotency: true, ..Faults::default() };
    let stage = Stage::new(engine, faults).await;
    stage.submit(200).await;
    let settings = [("worker.lease", "6s"), ("fee_server.timeout", "4s")];
    let library = faketime_library();
    let mut workers = vec![stage.worker(&settings).await];
    for shift in ["+1h", "-1h"] {
        let env = [("LD_PRELOAD", library.as_str()), ("FAKETIME", shift), ("FAKETIME_DONT_FAKE_MONOTONIC", "1")];
        let worker = stage.worker_with(&settings, &env).await;
        let line = worker.wait_for_line(LIMIT, |line| line.contains("started")).await;
        let told: serde_json::Value = serde_json::from_str(&line).unwrap();
        let told: chrono::DateTime<chrono::Utc> = told["timestamp"].as_str().unwrap().parse().unwrap();
        assert!((told - chrono::Utc::now()).num_minutes().abs() > 50, "its clock is right: {line}");
        workers.push(worker);
    }
    stage.drained().await;
    // Their ticks come at their own times, and what is due is due by the database's.
    let second_batch = Instant::now();
    stage.submit(200).await;
    stage.drained().await;
    let books = stage.books().await;
    println!("clocks ±1 h, {engine:?}: {books}, second batch drained {:.1?}", second_batch.elapsed());
    books.assert_sound();
    books.assert_each_sent_once();
    for worker in &workers {
        assert!(!worker.lines().iter().any(|line| is_lost_lease(line)));
        let name = name_of(worker);
        assert!(stage.events().await.iter().any(|event| event.leased_by.as_ref() == Some(&name)), "{name} was idle");
    }
}

/// What the program `faketime` puts before a process.
fn faketime_library() -> String {
    let output = std::process::Command::new("faketime").args(["-f", "+1h", "sh", "-c", "echo $LD_PRELOAD"]).output();
    let output = output.expect("faketime is not to be had here: run `tests/servers/install faketime`");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_of_postgres_is_survived() {
    a_restart_of_the_database_is_survived(Server::own_postgres(), Engine::Postgres).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_of_mariadb_is_survived() {
    a_restart_of_the_database_is_survived(Server::own_mariadb(), Engine::MariaDb).await;
}

async fn a_restart_of_the_database_is_survived(server: Server, engine: Engine) {
    let stage =
        Stage::on(TestDatabase::create_on(&server, engine).await, Faults { no_idempotency: true, ..slow() }).await;
    stage.submit(300).await;
    let _workers = three_workers_under_load(&stage).await;
    let server = tokio::task::spawn_blocking(move || {
        server.crash();
        server.start();
        server
    });
    let _server = server.await.unwrap();
    let back = Instant::now();
    stage.drained().await;
    let books = stage.books().await;
    println!("database restart, {engine:?}: {books}, drained {:.1?} after it was back", back.elapsed());
    books.assert_sound();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_seconds_without_the_database_are_survived_on_postgres() {
    a_while_without_the_database_is_survived(Engine::Postgres, 20 * SECOND).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_while_without_the_database_is_survived_on_mariadb() {
    a_while_without_the_database_is_survived(Engine::MariaDb, 5 * SECOND).await;
}

async fn a_while_without_the_database_is_survived(engine: Engine, while_: Duration) {
    let stage = Stage::new(engine, Faults { no_idempotency: true, ..slow() }).await;
    stage.submit(600).await;
    let network = Proxy::start(stage.database.server_addr()).await;
    let url = stage.database.url_through(network.addr());
    let _workers: [Process; 3] = stage.workers(&[("database.url", &url)]).await;
    stage.under_load(3 * FULL).await;
    stage.fee_server.set_faults(bad_weather());
    network.black_hole();
    tokio::time::sleep(while_).await;
    // A swallowed request is gone for good: it is never answered.
    network.resume();
    let back = Instant::now();
    stage.drained().await;
    let books = stage.books().await;
    println!("{while_:?} without the database, {engine:?}: {books}, drained {:.1?} after it was back", back.elapsed());
    books.assert_sound();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn eight_workers_share_a_backlog_on_postgres() {
    let stage =
        Stage::new(Engine::Postgres, Faults { latency: 50 * MS, no_idempotency: true, ..Faults::default() }).await;
    stage.submit(1_000).await;
    let begun = Instant::now();
    // Nobody's lease ends here: who sends an event twice has no excuse.
    let _workers: [Process; 8] = stage.workers(&[("worker.lease", "60s"), ("fee_server.timeout", "20s")]).await;
    stage.drained().await;
    let books = stage.books().await;
    println!("8 workers, PostgreSQL: {books}, drained {:.1?}", begun.elapsed());
    books.assert_sound();
    books.assert_each_sent_once();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_workers_share_a_backlog_on_sqlite() {
    let stage =
        Stage::new(Engine::Sqlite, Faults { latency: 50 * MS, no_idempotency: true, ..Faults::default() }).await;
    stage.submit(300).await;
    let begun = Instant::now();
    let _workers: [Process; 2] = stage.workers(&[("worker.lease", "60s"), ("fee_server.timeout", "20s")]).await;
    stage.drained().await;
    let books = stage.books().await;
    println!("2 workers, SQLite: {books}, drained {:.1?}", begun.elapsed());
    books.assert_sound();
    books.assert_each_sent_once();
}
