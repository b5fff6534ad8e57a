//! The fee server is unavailable for long, beside the times that retries and the circuit go by: quotes are taken as ever, nothing
//! dies, the dead server is left alone, and when it comes back it is not trampled down.
//!
//! Ten minutes of the default settings, in seconds: cool-down 15 s as 500 ms, waits of 1 s to 10 min as 200 ms to 2 s.

use std::time::{Duration, Instant};

use entity::destination::Circuit;
use entity::outbox_event::Status;
use feebox::lab::sample_fee_server::Faults;

use crate::support::{Engine, LIMIT, Process, Stage, eventually};

const OUTAGE: Duration = Duration::from_secs(6);
const COOL_DOWN: Duration = Duration::from_millis(500);
/// Calls take so long once the server is back; a round trip.
const LATENCY: Duration = Duration::from_millis(100);
const WORKERS: usize = 2;
const CONCURRENCY: usize = 32;
const FAILURES: usize = 10;
const QUOTES: usize = 600;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outage {
    /// Every call is answered 503.
    Failing,
    /// Nobody listens.
    Refused,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_outage_with_503s_is_sat_out_on_postgres() {
    a_long_outage_is_sat_out(Engine::Postgres, Outage::Failing).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_outage_with_refused_calls_is_sat_out_on_postgres() {
    a_long_outage_is_sat_out(Engine::Postgres, Outage::Refused).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_outage_with_503s_is_sat_out_on_mariadb() {
    a_long_outage_is_sat_out(Engine::MariaDb, Outage::Failing).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_outage_with_refused_calls_is_sat_out_on_sqlite() {
    a_long_outage_is_sat_out(Engine::Sqlite, Outage::Refused).await;
}

async fn a_long_outage_is_sat_out(engine: Engine, outage: Outage) {
    let healthy = Faults { latency: LATENCY, ..Faults::default() };
    let failing = Faults { latency: LATENCY / 5, fail_rate: 1.0, ..Faults::default() };
    let stage = Stage::new(engine, if outage == Outage::Failing { failing } else { healthy.clone() }).await;
    if outage == Outage::Refused {
        stage.fee_server.down().await.unwrap();
    }
    stage.submit(QUOTES / 2).await;
    let settings = [
        ("worker.concurrency", &*CONCURRENCY.to_string()),
        ("fee_server.timeout", "2s"),
        ("circuit.failures", &FAILURES.to_string()),
        ("circuit.cool_down", "500ms"),
        ("retry.initial_interval", "200ms"),
        ("retry.max_interval", "2s"),
    ];
    let workers: [Process; WORKERS] = stage.workers(&settings).await;
    let opened = eventually("the circuit is open", LIMIT, async || {
        stage.destination().await.filter(|it| it.circuit == Circuit::Open).map(|_| Instant::now())
    })
    .await;
    let sent_before = calls(&stage, &workers, outage);
    stage.submit(QUOTES / 2).await;
    tokio::time::sleep(OUTAGE.saturating_sub(opened.elapsed())).await;

    let (sent, events) = (calls(&stage, &workers, outage), stage.events().await);
    let open_for = opened.elapsed();
    let attempts: i32 = events.iter().map(|event| event.attempts).sum();
    let dead = events.iter().filter(|event| event.status == Status::Dead).count();
    stage.fee_server.set_faults(healthy);
    if outage == Outage::Refused {
        stage.fee_server.up().await.unwrap();
    }
    let (back, arrivals_before) = (Instant::now(), stage.fee_server.arrivals().len());
    stage.drained().await;
    let drained = back.elapsed();
    let arrivals: Vec<Instant> = stage.fee_server.arrivals().split_off(arrivals_before);
    let per_round_trip = per_round_trip(&arrivals);
    let books = stage.books().await;
    println!(
        "outage of {OUTAGE:?} ({outage:?}), {engine:?}: {books}, dead {dead}, attempts spent meanwhile {attempts}, calls to \
         the dead server {sent}, of them {} after the circuit opened, drained {drained:.1?} after it was back, calls in \
         its first round trips {:?}, at most {}",
        sent - sent_before,
        &per_round_trip[..per_round_trip.len().min(12)],
        per_round_trip.iter().max().unwrap(),
    );

    assert_eq!(dead, 0);
    books.assert_sound();
    // What was in the air when the circuit opened, and one probe after each cool-down.
    let probes = usize::try_from(open_for.as_millis() / COOL_DOWN.as_millis()).unwrap() + 1;
    let in_the_air = WORKERS * CONCURRENCY + FAILURES;
    // Those that are refused are counted by their log lines, which come later than the circuit's opening.
    let late = if outage == Outage::Refused { 2 * in_the_air } else { 0 };
    assert!(sent - sent_before <= in_the_air + probes + late, "{sent_before} and then {sent}");
    // Fast failures make room for others until the first of them is written down.
    assert!(sent <= 3 * in_the_air + probes, "{sent}");
    // Only what was sent before the circuit opened counts against events.
    assert!(usize::try_from(attempts).unwrap() <= 3 * in_the_air, "{attempts}");
    // One probe, then at most twice as many calls in each round trip: no stampede.
    for (trip, count) in per_round_trip.iter().enumerate().take(8) {
        // Round trips are told by the clock, not by the calls: one of them may hold the calls of two.
        let most = 2 * WORKERS * 2_usize.pow(u32::try_from(trip).unwrap() + 1);
        assert!(*count <= most, "{count} calls in round trip {trip}: {per_round_trip:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fee_server_that_asks_to_be_left_alone_is_left_alone() {
    const WAIT: Duration = Duration::from_secs(5);
    let asks = Faults { fail_rate: 1.0, retry_after: Some(WAIT), latency: LATENCY, ..Faults::default() };
    let stage = Stage::new(Engine::Postgres, asks).await;
    stage.submit(QUOTES).await;
    let patient = [("worker.lease", "60s"), ("fee_server.timeout", "20s")];
    let workers: [Process; WORKERS] = stage.workers(&patient).await;
    let until = eventually("the fleet knows of the wish", LIMIT, async || stage.destination().await?.not_before).await;
    eventually("all is handed back", LIMIT, async || {
        stage.events().await.iter().all(|event| event.status == Status::Pending).then_some(())
    })
    .await;
    stage.fee_server.set_faults(Faults { latency: LATENCY, ..Faults::default() });
    stage.drained().await;
    let books = stage.books().await;
    let mut calls = stage.fee_server.arrivals();
    calls.sort();
    let pauses = calls.windows(2).map(|two| two[1].duration_since(two[0]));
    let (pause, before) = pauses.zip(1..).max().unwrap();
    println!(
        "Retry-After of {WAIT:?}: {books}, {before} calls before it was known until {until}, then none for {pause:.1?}"
    );
    books.assert_sound();
    // What was in the air when the first answer was written down is no disobedience.
    assert!(pause + Duration::from_secs(1) > WAIT, "{pause:?}");
    assert!(before <= 2 * WORKERS * CONCURRENCY, "{before}");
    assert_eq!(books.attempts, i64::try_from(QUOTES).unwrap(), "waits spend no attempt");
    drop(workers);
}

/// Calls that were made for the fee server, whether or not anybody took them.
fn calls(stage: &Stage, workers: &[Process], outage: Outage) -> usize {
    match outage {
        Outage::Failing => stage.fee_server.arrivals().len(),
        Outage::Refused => {
            let failed = |line: &&String| line.contains(r#""outcome":"retry""#);
            workers.iter().map(|worker| worker.lines().iter().filter(failed).count()).sum()
        }
    }
}

/// How many of `arrivals` fell into each round trip since the first.
fn per_round_trip(arrivals: &[Instant]) -> Vec<usize> {
    let mut counts = vec![];
    for arrival in arrivals {
        let trip = arrival.duration_since(arrivals[0]).as_millis() / LATENCY.as_millis();
        let trip = usize::try_from(trip).unwrap();
        counts.resize(counts.len().max(trip + 1), 0);
        counts[trip] += 1;
    }
    counts
}
