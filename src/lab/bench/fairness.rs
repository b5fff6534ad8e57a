//! One partner with a long backlog, and others with a quote now and then: how long the others wait for their fees.

use std::time::Duration;

use tokio::{task::JoinSet, time::Instant};

use super::{
    Bench,
    caller::{Accepted, Caller},
    partners::{name_of, tokens},
    question::waits,
    sample::Sample,
    stage::Stage,
};
use crate::lab::sample_fee_server::{Faults, SampleFeeServer};

/// Partners beside the one with the backlog.
const OTHERS: u32 = 20;
/// How many quotes they submit together.
const PER_SECOND: f64 = 10.0;
/// The quotes of the backlog are submitted by so many at a time.
const BATCH: usize = 500;
const BACKLOG: &str = "backlog";

/// Stores a backlog of `bench.events`, each of which takes `bench.fee_time`, and submits quotes of others for `bench.time` while a
/// worker delivers. Their waits count from the answer to the fee.
pub(super) async fn fairness(stage: &Stage, bench: &Bench) -> anyhow::Result<Sample> {
    let faults = Faults { latency: bench.fee_time, ..Faults::default() };
    let fee_server = SampleFeeServer::start(([127, 0, 0, 1], 0).into(), faults).await?;
    let settings = [
        format!("fee_server.base_url={}", fee_server.base_url()),
        format!("worker.concurrency={}", bench.concurrency),
        tokens((0..OTHERS).map(name_of).chain([BACKLOG.to_owned()])),
    ];
    let serve = stage.start("serve", &settings).await?;
    let mut caller = Caller::connect(serve.address).await?.with_token(BACKLOG);
    for _ in 0..bench.events.div_ceil(BATCH) {
        caller.submit_batch(BATCH).await?;
    }
    stage.tidy().await?;
    let worker = stage.start("worker", &settings).await?;
    // Until the backlog has taken all places.
    tokio::time::sleep(bench.fee_time).await;
    let (begun, mut tasks) = (Instant::now(), JoinSet::new());
    for number in 0..OTHERS {
        let (address, time) = (serve.address, bench.time);
        tasks.spawn(async move {
            let (name, mut accepted) = (name_of(number), Vec::<Accepted>::new());
            let mut caller = Caller::connect(address).await?.with_token(&name);
            for turn in 0.. {
                let after = Duration::from_secs_f64(f64::from(turn * OTHERS + number) / PER_SECOND);
                if after >= time {
                    break;
                }
                tokio::time::sleep_until(begun + after).await;
                accepted.push(caller.submit(&name).await?);
            }
            anyhow::Ok(accepted)
        });
    }
    let accepted: Result<Vec<_>, _> = tasks.join_all().await.into_iter().collect();
    let mut sample = Sample::of_durations(waits(&fee_server, &accepted?.concat()).await?.into_iter());
    sample.per_second(fee_server.fees().len(), begun.elapsed() + bench.fee_time);
    drop((serve, worker));
    Ok(sample)
}
