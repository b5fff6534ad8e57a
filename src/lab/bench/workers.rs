//! How the speed of a fleet grows with its workers, where the fee server takes its time.

use std::time::{Duration, Instant};

use super::{
    Bench,
    question::store_backlog,
    sample::{Figure, Sample, count_as_f64},
    stage::Stage,
};
use crate::lab::sample_fee_server::{Faults, SampleFeeServer};

/// `worker.concurrency` of each.
const CONCURRENCY: usize = 32;
/// How long a fee takes.
const FEE_TIME: Duration = Duration::from_millis(200);
/// How long each fleet runs before it is measured.
const STARTING: Duration = Duration::from_secs(3);
/// How many workers, and the figures of their speed and of that relative to so many times one.
const FLEETS: [(usize, Figure, Option<Figure>); 4] = [
    (1, Figure::OneWorker, None),
    (2, Figure::TwoWorkers, Some(Figure::TwoOfLinear)),
    (4, Figure::FourWorkers, Some(Figure::FourOfLinear)),
    (8, Figure::EightWorkers, Some(Figure::EightOfLinear)),
];

/// Fees a second of fleets of 1, 2, 4 and 8 workers, which are started anew for each count.
pub(super) async fn workers(stage: &Stage, bench: &Bench) -> anyhow::Result<Option<Sample>> {
    if !stage.is_postgres() {
        return Ok(None);
    }
    let faults = Faults { latency: FEE_TIME, ..Faults::default() };
    let fee_server = SampleFeeServer::start(([127, 0, 0, 1], 0).into(), faults).await?;
    let settings = [
        format!("fee_server.base_url={}", fee_server.base_url()),
        format!("worker.concurrency={CONCURRENCY}"),
        "worker.schedule=* * * * * *".to_owned(),
    ];
    let most = count_as_f64(CONCURRENCY) / FEE_TIME.as_secs_f64();
    let time = 2 * STARTING + bench.time;
    let (mut sample, mut alone) = (Sample::default(), None);
    for (count, figure, of_linear) in FLEETS {
        // More than it can deliver meanwhile, and no rest of the fleet before.
        let enough = most * time.as_secs_f64() * count_as_f64(count);
        let waiting = stage.number("SELECT count(*) AS number FROM outbox_event WHERE status = 'pending'").await?;
        store_backlog(stage, bench, ceil((enough - waiting).max(0.0))).await?;
        stage.tidy().await?;
        let mut fleet = Vec::new();
        for _ in 0..count {
            fleet.push(stage.start("worker", &settings).await?);
        }
        tokio::time::sleep(STARTING).await;
        let (before, begun) = (fee_server.fees().len(), Instant::now());
        tokio::time::sleep(bench.time).await;
        let made = fee_server.fees().len() - before;
        let per_second = count_as_f64(made) / begun.elapsed().as_secs_f64();
        drop(fleet);
        let alone = *alone.get_or_insert(per_second);
        sample.note(figure, per_second);
        if count == 8 {
            sample.note(Figure::OfPlaces, per_second / (most * count_as_f64(count)));
        }
        if let Some(figure) = of_linear {
            sample.note(figure, per_second / (alone * count_as_f64(count)));
        }
    }
    Ok(Some(sample))
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "some ten thousand events")]
fn ceil(count: f64) -> usize {
    count.ceil() as usize
}
