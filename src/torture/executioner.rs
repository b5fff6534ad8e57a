//! Who does what to the fleet, and when: dice with a seed.

use std::time::Duration;

use rand::{RngExt, SeedableRng, rngs::StdRng};
use serde::Serialize;
use tokio::time::{Instant, sleep, sleep_until};

use super::{LEASE, Torture};
use crate::{
    sample_fee_server::SampleFeeServer,
    trial::{Fleet, Role},
};

/// The pause between two torments.
const PAUSE_MS: std::ops::Range<u64> = 200..1_200;
/// How long the fee server is away.
const OUTAGE_MS: std::ops::Range<u64> = 500..4_000;

/// What was done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Torments {
    /// Processes that were killed (SIGKILL) and started again.
    pub kills: u32,
    /// Workers that were frozen (SIGSTOP) until their leases had ended, and went on as if nothing had been.
    pub freezes: u32,
    /// Times at which the fee server went away.
    pub outages: u32,
}

/// Torments `fleet` for as long as it is to be, and leaves all of it running.
pub(super) async fn torment(
    plan: &Torture,
    fleet: &mut Fleet,
    fee_server: &SampleFeeServer,
    tell: &impl Fn(&str),
) -> anyhow::Result<Torments> {
    let end = Instant::now() + plan.time;
    let mut dice = StdRng::seed_from_u64(plan.seed);
    let mut torments = Torments::default();
    // Who thaws when. A frozen one may be killed meanwhile: then there is nobody to thaw.
    let mut frozen: Vec<(Instant, usize)> = Vec::new();
    let mut back_at = None;
    while Instant::now() < end {
        sleep(Duration::from_millis(dice.random_range(PAUSE_MS))).await;
        let now = Instant::now();
        for (_, place) in frozen.extract_if(.., |(until, _)| *until <= now) {
            fleet.thaw(place)?;
        }
        if back_at.take_if(|at| *at <= now).is_some() {
            fee_server.up().await?;
        }
        fleet.revive()?;
        let place = dice.random_range(0..fleet.size());
        match dice.random_range(0..10) {
            0..4 => {
                tell(&format!("kills {}", named(fleet, place)));
                fleet.kill_one(place)?;
                torments.kills += 1;
                fleet.start()?;
            }
            4..7 if fleet.role(place) == Role::Worker => {
                tell(&format!("freezes {}", named(fleet, place)));
                fleet.freeze(place)?;
                frozen.push((now + LEASE + Duration::from_secs(1), place));
                torments.freezes += 1;
            }
            7 => {
                tell("kills them all");
                torments.kills += u32::try_from(fleet.size())?;
                fleet.kill()?;
                fleet.start()?;
            }
            8 if back_at.is_none() => {
                tell("takes the fee server away");
                fee_server.down().await?;
                back_at = Some(now + Duration::from_millis(dice.random_range(OUTAGE_MS)));
                torments.outages += 1;
            }
            _ => {}
        }
    }
    // Also those whose lease has not ended: they wake up with answers in their hands that came too late.
    frozen.sort_unstable();
    for (until, place) in frozen {
        sleep_until(until).await;
        fleet.thaw(place)?;
    }
    if back_at.is_some() {
        fee_server.up().await?;
    }
    fleet.start()?;
    Ok(torments)
}

fn named(fleet: &Fleet, place: usize) -> String {
    match fleet.role(place) {
        Role::Serve => "the service".to_owned(),
        Role::Worker => format!("worker {place}"),
    }
}
