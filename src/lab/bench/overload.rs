//! Twice as many submissions as the database stores: what is accepted, what is refused, and how soon.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use sea_orm::DbBackend;
use tokio::task::JoinSet;

use super::{
    caller::Caller,
    sample::{Figure, Sample, percentile_ms},
    stage::Stage,
    usage,
};

/// How long the database takes for each quote, beside what it takes anyway, in milliseconds.
const DELAY_MS: u32 = 10;
/// How long a caller waits after a refusal while the capacity is measured.
const PAUSE: Duration = Duration::from_millis(20);
/// The most time for measuring the capacity, and for calming down after the flood.
const ASIDE: Duration = Duration::from_secs(10);
/// Accepted submissions are counted in windows of this length, of which the worst is shown.
const WINDOW: Duration = Duration::from_secs(5);
/// An answer that took longer is not as usual.
const SLOW: Duration = Duration::from_secs(1);
const PROBE_INTERVAL: Duration = Duration::from_millis(200);

/// One call, from the beginning of the flood on.
#[derive(Clone, Copy, Debug)]
struct Call {
    ended: Duration,
    took: Duration,
    /// None if there was no answer.
    status: Option<u16>,
}

/// Makes the database slow, measures what it stores for `callers` side by side, and offers twice as much for `time`.
pub(super) async fn overload(stage: &Stage, callers: usize, time: Duration) -> anyhow::Result<Sample> {
    slow_down(stage).await?;
    let serve = stage.start("serve", &[]).await?;
    accepted_side_by_side(serve.address, callers, Duration::from_secs(2)).await?;
    let aside = ASIDE.min(time);
    let capacity = per_second(accepted_side_by_side(serve.address, callers, aside).await?, aside);
    anyhow::ensure!(capacity > 0.0, "nothing was accepted");
    let memory_before = serve.resident_mib_now();
    let is_over = Arc::new(AtomicBool::new(false));
    let probes = tokio::spawn(probe(serve.address, Arc::clone(&is_over)));
    let flood = offer(serve.address, capacity * 2.0, time).await;
    let memory_after = serve.resident_mib_now();
    is_over.store(true, Ordering::Relaxed);
    let probes = probes.await??;
    let calm = offer(serve.address, capacity / 2.0, aside).await;

    let with = |status| flood.iter().filter(move |call| call.status == Some(status));
    let mut sample = Sample::of_durations(with(201).map(|call| call.took));
    sample.note(Figure::Capacity, capacity);
    sample.note(Figure::PerSecond, per_second(with(201).count(), time));
    // From the first answers on.
    let windows = (0..).map(|number| SLOW + WINDOW * number).take_while(|from| *from + WINDOW <= time);
    let accepted = windows.map(|from| {
        let range = from..from + WINDOW;
        per_second(with(201).filter(|call| range.contains(&call.ended)).count(), WINDOW)
    });
    let worst = accepted.min_by(f64::total_cmp);
    sample.note_if(Figure::WorstPerSecond, worst);
    sample.note_if(Figure::WorstOfCapacity, worst.map(|worst| worst / capacity));
    sample.note_if(Figure::RefusedP99Ms, percentile_ms(with(503).map(|call| call.took), 99));
    let failed = flood.iter().filter(|call| !matches!(call.status, Some(201 | 503)));
    sample.note(Figure::Failed, count(failed.count()));
    sample.note_if(Figure::HealthMaxMs, percentile_ms(probes.iter().map(|call| call.took), 100));
    sample.note(Figure::NotReady, count(probes.iter().filter(|call| call.status != Some(200)).count()));
    sample.note_if(Figure::ResidentMib, memory_after);
    sample.note_if(Figure::GrowthMib, memory_before.zip(memory_after).map(|(before, after)| after - before));
    let unusual = calm.iter().filter(|call| call.status != Some(201) || call.took > SLOW);
    sample.note(Figure::RecoverySeconds, unusual.map(|call| call.ended.as_secs_f64()).fold(0.0, f64::max));
    Ok(sample)
}

/// Makes each stored quote take [`DELAY_MS`], of a database that stores one transaction at a time: what it stores a second does not
/// depend on how many come at once, so that it can be measured, and be exceeded.
async fn slow_down(stage: &Stage) -> anyhow::Result<()> {
    match stage.backend() {
        DbBackend::Postgres => {
            let function = format!(
                "CREATE FUNCTION bench_slow() RETURNS trigger LANGUAGE plpgsql AS \
                 'BEGIN PERFORM pg_advisory_xact_lock(0), pg_sleep({DELAY_MS} / 1000.0); RETURN NEW; END'"
            );
            stage.execute(&function).await?;
            stage
                .execute("CREATE TRIGGER bench_slow BEFORE INSERT ON quote FOR EACH ROW EXECUTE FUNCTION bench_slow()")
                .await
        }
        DbBackend::MySql => {
            // The row stays locked until the commit.
            stage.execute("CREATE TABLE bench_slow (stored INT PRIMARY KEY) AS SELECT 0 AS stored").await?;
            let sleep = format!("UPDATE bench_slow SET stored = SLEEP({DELAY_MS} / 1000.0)");
            stage.execute(&format!("CREATE TRIGGER bench_slow BEFORE INSERT ON quote FOR EACH ROW {sleep}")).await
        }
        // It has one writer anyway, and no function that sleeps: this one computes.
        _ => {
            let work = format!("SELECT length(hex(randomblob({DELAY_MS} * 150000)))");
            stage.execute(&format!("CREATE TRIGGER bench_slow BEFORE INSERT ON quote BEGIN {work}; END")).await
        }
    }
}

/// How many submissions of `callers` side by side are accepted within `time`.
async fn accepted_side_by_side(address: SocketAddr, callers: usize, time: Duration) -> anyhow::Result<usize> {
    let (mut tasks, end) = (JoinSet::new(), Instant::now() + time);
    for number in 0..callers {
        tasks.spawn(async move {
            let (mut caller, mut accepted) = (Caller::connect(address).await?, 0);
            while Instant::now() < end {
                match caller.try_submit(&format!("customer-{number}")).await? {
                    201 => accepted += usize::from(Instant::now() < end),
                    _ => tokio::time::sleep(PAUSE).await,
                }
            }
            anyhow::Ok(accepted)
        });
    }
    tasks.join_all().await.into_iter().sum()
}

/// Calls at a steady rate for `time`, however slow the answers are; returns when all are answered.
async fn offer(address: SocketAddr, rate: f64, time: Duration) -> Vec<Call> {
    let idle: Arc<Mutex<Vec<Caller>>> = Arc::default();
    let (mut tasks, begun) = (JoinSet::new(), Instant::now());
    for number in 0_u32.. {
        let after = Duration::from_secs_f64(f64::from(number) / rate);
        if after >= time {
            break;
        }
        tokio::time::sleep_until((begun + after).into()).await;
        let idle = Arc::clone(&idle);
        tasks.spawn(async move {
            let sent = Instant::now();
            let free = idle.lock().pop();
            let status = match free {
                Some(caller) => submit(caller, number, &idle).await,
                None => match Caller::connect(address).await {
                    Ok(caller) => submit(caller, number, &idle).await,
                    Err(_) => None,
                },
            };
            Call { ended: begun.elapsed(), took: sent.elapsed(), status }
        });
    }
    tasks.join_all().await
}

async fn submit(mut caller: Caller, number: u32, idle: &Mutex<Vec<Caller>>) -> Option<u16> {
    let status = caller.try_submit(&format!("customer-{}", number % 1_000)).await.ok()?;
    idle.lock().push(caller);
    Some(status)
}

/// Asks for health and for a page of quotes until it is over.
async fn probe(address: SocketAddr, is_over: Arc<AtomicBool>) -> anyhow::Result<Vec<Call>> {
    let (client, begun, mut calls) = (reqwest::Client::builder().no_proxy().build()?, Instant::now(), Vec::new());
    while !is_over.load(Ordering::Relaxed) {
        for path in ["readyz", "healthz", "v1/quotes?limit=10"] {
            let sent = Instant::now();
            let answer = client.get(format!("http://{address}/{path}")).send().await;
            let status = answer.ok().map(|answer| answer.status().as_u16());
            calls.push(Call { ended: begun.elapsed(), took: sent.elapsed(), status });
        }
        tokio::time::sleep(PROBE_INTERVAL).await;
    }
    Ok(calls)
}

fn per_second(calls: usize, time: Duration) -> f64 {
    count(calls) / time.as_secs_f64()
}

fn count(calls: usize) -> f64 {
    super::sample::count_as_f64(calls)
}

impl super::stage::Process {
    /// The memory that is resident now, in MiB.
    fn resident_mib_now(&self) -> Option<f64> {
        usage::resident_mib_now(self.id())
    }
}
