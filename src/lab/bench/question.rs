//! What is asked of each contestant.

use std::{
    collections::HashMap,
    time::{Duration, SystemTime},
};

use anyhow::Context;
use clap::ValueEnum;
use serde::Serialize;

use super::{
    Bench,
    by_hand::{self, Sharing},
    caller::{self, Accepted, Caller},
    contestant::Contestant,
    fairness::fairness,
    kafka,
    overload::overload,
    partners::{name_of, tokens},
    sample::{Figure, Sample},
    stage::Stage,
    workers,
};
use crate::lab::sample_fee_server::{Faults, SampleFeeServer};

/// How many quotes are submitted while wake-ups are measured.
const WAKE_UPS_PER_SECOND: f64 = 100.0;

/// A question.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Question {
    /// Submissions a second of many callers, each with an Idempotency-Key
    Submissions,
    /// How long a lone caller waits for its answer
    LoneCaller,
    /// How soon after the answer the fee server is asked, the worker being another process
    WakeUp,
    /// Fees a second that one worker makes of a backlog
    Drain,
    /// The same while 2 % of the calls are answered with 503
    DrainWithFailures,
    /// What a worker asks of the database when there is nothing to do
    Idle,
    /// What happens when twice as much is submitted as a slow database stores
    Overload,
    /// How long the quotes of others wait beside one partner's backlog, with --events of it
    Fairness,
    /// How long each call of the lists and statistics takes beside a long history (not on SQLite)
    Tables,
    /// Fees a second that 1, 2, 4 and 8 workers make of a backlog, where a fee takes 200 ms (only PostgreSQL)
    Workers,
    /// Events a second that a cold worker tells the brokers of --kafka-brokers of a backlog, beside a bare idempotent producer
    Kafka,
    /// The same where the database's statistics are older than the backlog (only PostgreSQL)
    KafkaStale,
    /// Whether a fleet of --workers stampedes a fee server that comes back: a simulation, without database and network
    Fleet,
    /// How long the calls of 20 open dashboards take beside a long history with 50,000 dead events, and what submissions beside them
    /// take (not on SQLite)
    Dashboards,
}

impl Question {
    /// Those that are asked if none is named, in this order. What takes long, and what is simulated, is asked only if it is named.
    pub const ALL: [Self; 7] = [
        Self::Submissions,
        Self::LoneCaller,
        Self::WakeUp,
        Self::Drain,
        Self::DrainWithFailures,
        Self::Idle,
        Self::Overload,
    ];

    /// What `contestant` does on a new database, or `None` where the question does not concern it.
    pub(super) async fn ask(
        self,
        bench: &Bench,
        callers: usize,
        contestant: &Contestant,
        stage: &Stage,
    ) -> anyhow::Result<Option<Sample>> {
        if matches!(self, Self::Kafka | Self::KafkaStale) {
            return kafka::backlog(stage, bench, contestant, self == Self::KafkaStale).await;
        }
        let by_hand = contestant.is_by_hand();
        if by_hand && !stage.is_postgres() {
            return Ok(None);
        }
        match (self, by_hand) {
            (Self::Submissions, false) => submissions(stage, callers, bench.time).await.map(Some),
            (Self::Submissions, true) => submissions_by_hand(stage, contestant, callers, bench.time).await,
            (Self::LoneCaller, false) => lone_caller(stage, bench.time).await.map(Some),
            (Self::LoneCaller, true) => submissions_by_hand(stage, contestant, 1, bench.time).await,
            (Self::WakeUp, false) => wake_up(stage, bench.time).await.map(Some),
            (Self::Drain | Self::DrainWithFailures, _) => {
                let fail_rate = if self == Self::Drain { 0.0 } else { 0.02 };
                if by_hand && (fail_rate > 0.0 || *contestant != Contestant::ByHandTogether) {
                    return Ok(None);
                }
                drain(stage, bench, fail_rate, by_hand).await.map(Some)
            }
            (Self::Idle, false) => idle(stage, bench.time).await,
            (Self::Overload, false) => overload(stage, callers, bench.time).await.map(Some),
            (Self::Fairness, false) => fairness(stage, bench).await.map(Some),
            (Self::WakeUp, true) => wake_up_by_hand(stage, contestant, bench.time).await,
            (Self::Workers, false) => workers::workers(stage, bench).await,
            // These are about this Feebox alone.
            (Self::Tables | Self::Dashboards | Self::Fleet | Self::Kafka | Self::KafkaStale, _)
            | (Self::Idle | Self::Overload | Self::Fairness | Self::Workers, true) => Ok(None),
        }
    }
}

async fn submissions(stage: &Stage, callers: usize, time: Duration) -> anyhow::Result<Sample> {
    let serve = stage.start("serve", &[]).await?;
    // Connections and caches that a running service has.
    caller::submit_side_by_side(serve.address, callers, Duration::from_secs(1)).await?;
    stage.tidy().await?;
    let (own_cpu, server_cpu) = (serve.cpu_seconds(), stage.server().cpu_seconds());
    let log = stage.log_bytes().await?;
    let accepted = caller::submit_side_by_side(serve.address, callers, time).await?;
    let count = accepted.len();
    let mut sample = Sample::of_durations(accepted.iter().map(|it| it.took));
    sample.per_second(count, time);
    sample.each(Figure::FeeboxCpuMs, (serve.cpu_seconds() - own_cpu) * 1e3, count);
    sample.each_if(Figure::DatabaseCpuMs, server_cpu, stage.server().cpu_seconds(), 1e3, count);
    sample.each_if(Figure::LogBytes, log, stage.log_bytes().await?, 1.0, count);
    // What was answered is stored.
    let stored = stage.number("SELECT count(*) AS number FROM quote").await?;
    anyhow::ensure!(stored >= as_f64(count), "{count} quotes were accepted and {stored} are stored");
    Ok(sample)
}

async fn submissions_by_hand(
    stage: &Stage,
    contestant: &Contestant,
    callers: usize,
    time: Duration,
) -> anyhow::Result<Option<Sample>> {
    let sharing = match contestant {
        Contestant::ByHand => Sharing::None,
        Contestant::ByHandInSteps if callers == 1 => Sharing::Steps,
        Contestant::ByHandTogether if callers > 1 => Sharing::Whole,
        _ => return Ok(None),
    };
    by_hand::submit(stage.url(), callers, Duration::from_secs(1), sharing).await?;
    stage.tidy().await?;
    let server_cpu = stage.server().cpu_seconds();
    let log = stage.log_bytes().await?;
    let took = by_hand::submit(stage.url(), callers, time, sharing).await?;
    let count = took.len();
    let mut sample = Sample::of_durations(took.into_iter());
    sample.per_second(count, time);
    sample.each_if(Figure::DatabaseCpuMs, server_cpu, stage.server().cpu_seconds(), 1e3, count);
    sample.each_if(Figure::LogBytes, log, stage.log_bytes().await?, 1.0, count);
    Ok(Some(sample))
}

async fn lone_caller(stage: &Stage, time: Duration) -> anyhow::Result<Sample> {
    let serve = stage.start("serve", &[]).await?;
    caller::submit_side_by_side(serve.address, 1, Duration::from_secs(1)).await?;
    let accepted = caller::submit_side_by_side(serve.address, 1, time).await?;
    Ok(Sample::of_durations(accepted.iter().map(|it| it.took)))
}

/// The time between an answer and the call for its fee, both by this machine's clock. A call that comes before the answer
/// has arrived counts as 0.
async fn wake_up(stage: &Stage, time: Duration) -> anyhow::Result<Sample> {
    let fee_server = at_once().await?;
    let settings = [format!("fee_server.base_url={}", fee_server.base_url())];
    let serve = stage.start("serve", &settings).await?;
    let worker = stage.start("worker", &settings).await?;
    caller::submit_steadily(serve.address, WAKE_UPS_PER_SECOND, Duration::from_secs(2)).await?;
    let accepted = caller::submit_steadily(serve.address, WAKE_UPS_PER_SECOND, time).await?;
    let waits = waits(&fee_server, &accepted).await?;
    drop((serve, worker));
    Ok(Sample::of_durations(waits.into_iter()))
}

async fn wake_up_by_hand(stage: &Stage, contestant: &Contestant, time: Duration) -> anyhow::Result<Option<Sample>> {
    if *contestant != Contestant::ByHand {
        return Ok(None);
    }
    let fee_server = at_once().await?;
    let worker = tokio::spawn(by_hand::deliver_when_notified(stage.url().to_owned(), fee_server.base_url()));
    by_hand::submit_steadily(stage.url(), WAKE_UPS_PER_SECOND, Duration::from_secs(2)).await?;
    let accepted = by_hand::submit_steadily(stage.url(), WAKE_UPS_PER_SECOND, time).await?;
    let waits = waits(&fee_server, &accepted).await?;
    worker.abort();
    Ok(Some(Sample::of_durations(waits.into_iter())))
}

/// A fee server that answers at once.
async fn at_once() -> anyhow::Result<SampleFeeServer> {
    let faults = Faults { latency: Duration::ZERO, ..Faults::default() };
    Ok(SampleFeeServer::start(([127, 0, 0, 1], 0).into(), faults).await?)
}

/// From each answer to the request for the fee.
pub(super) async fn waits(fee_server: &SampleFeeServer, accepted: &[Accepted]) -> anyhow::Result<Vec<Duration>> {
    let mut made = HashMap::new();
    for _ in 0..1_000 {
        made = fee_server.fees().into_iter().map(|fee| (fee.quote_id, SystemTime::from(fee.calculated_at))).collect();
        if accepted.iter().all(|it| made.contains_key(&it.quote_id)) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let wait_of = |it: &Accepted| -> anyhow::Result<Duration> {
        let asked = made.get(&it.quote_id).context("a quote without a fee")?;
        Ok(asked.duration_since(it.at).unwrap_or_default())
    };
    anyhow::ensure!(!accepted.is_empty(), "nothing was submitted");
    accepted.iter().map(wait_of).collect()
}

/// Stores the events, an equal share of each partner.
pub(super) async fn store_backlog(stage: &Stage, bench: &Bench, events: usize) -> anyhow::Result<()> {
    store_backlog_with(stage, bench, events, &[]).await
}

/// The same by a process with these settings.
pub(super) async fn store_backlog_with(
    stage: &Stage,
    bench: &Bench,
    events: usize,
    settings: &[String],
) -> anyhow::Result<()> {
    const BATCH: usize = 500;
    let mut settings = [settings, &["worker.wakeup=false".to_owned()]].concat();
    if bench.partners > 1 {
        settings.push(tokens((0..bench.partners).map(name_of)));
    }
    let serve = stage.start("serve", &settings).await?;
    let (partners, mut left) = (bench.partners.max(1), events);
    for number in 0..partners {
        let mut caller = Caller::connect(serve.address).await?;
        if partners > 1 {
            caller = caller.with_token(&name_of(number));
        }
        let mut share = left.div_ceil((partners - number) as usize);
        left -= share;
        while share > 0 {
            let count = share.min(BATCH);
            caller.submit_batch(count).await?;
            share -= count;
        }
    }
    Ok(())
}

async fn drain(stage: &Stage, bench: &Bench, fail_rate: f64, by_hand: bool) -> anyhow::Result<Sample> {
    store_backlog(stage, bench, bench.events).await?;
    stage.put_off_audit().await?;
    stage.tidy().await?;
    let faults = Faults { latency: Duration::from_millis(20), fail_rate, ..Faults::default() };
    let fee_server = SampleFeeServer::start(([127, 0, 0, 1], 0).into(), faults).await?;
    let (begun, server_cpu) = (std::time::Instant::now(), stage.server().cpu_seconds());
    let mut sample = Sample::default();
    let own_cpu = super::usage::cpu_seconds(std::process::id());
    if by_hand {
        by_hand::drain(stage.url(), &fee_server.base_url(), bench.concurrency).await?;
        // The fee server's share is in it: it runs in this process, too.
        sample.each(Figure::FeeboxCpuMs, (super::usage::cpu_seconds(std::process::id()) - own_cpu) * 1e3, bench.events);
    } else {
        let settings = [
            format!("fee_server.base_url={}", fee_server.base_url()),
            format!("worker.concurrency={}", bench.concurrency),
        ];
        let (cpu, memory) = stage.drain(&settings).await?;
        sample.each(Figure::FeeboxCpuMs, cpu * 1e3, bench.events);
        sample.note_if(Figure::ResidentMib, memory);
    }
    let took = begun.elapsed();
    let fees = stage.number("SELECT count(*) AS number FROM fee_record").await?;
    sample.note(Figure::PerSecond, fees / took.as_secs_f64());
    sample.each_if(Figure::DatabaseCpuMs, server_cpu, stage.server().cpu_seconds(), 1e3, bench.events);
    anyhow::ensure!(fail_rate > 0.0 || fees >= as_f64(bench.events), "{fees} fees of {} events", bench.events);
    Ok(sample)
}

/// Transactions a second that the server counts; the others do not count them.
async fn idle(stage: &Stage, time: Duration) -> anyhow::Result<Option<Sample>> {
    const COUNTED: &str =
        "SELECT xact_commit + xact_rollback AS number FROM pg_stat_database WHERE datname = current_database()";
    if !stage.is_postgres() {
        return Ok(None);
    }
    // Ticks are not counted: there is one an hour.
    let worker = stage.start("worker", &["worker.schedule=0 0 * * * *".to_owned()]).await?;
    // Sessions hand their counts in when they have been idle for ten seconds: those of the start are not counted.
    tokio::time::sleep(Duration::from_secs(20)).await;
    let (before, cpu) = (stage.number(COUNTED).await?, worker.cpu_seconds());
    // Some jobs run every 20 seconds, others every minute.
    let time = time.max(Duration::from_mins(1));
    tokio::time::sleep(time).await;
    let counted = stage.number(COUNTED).await? - before - 1.0;
    let mut sample = Sample::default();
    sample.note(Figure::TransactionsPerSecond, counted.max(0.0) / time.as_secs_f64());
    sample.note(Figure::FeeboxCpuMs, (worker.cpu_seconds() - cpu) * 1e3 / time.as_secs_f64());
    Ok(Some(sample))
}

#[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
fn as_f64(count: usize) -> f64 {
    count as f64
}
