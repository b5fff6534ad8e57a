//! Which faults are injected, and when: a seeded shuffle of all faults, and a recovery after each round.

use std::{ops::Range, time::Duration};

use clap::ValueEnum;
use rand::{RngExt, SeedableRng, rngs::StdRng, seq::SliceRandom};
use tokio::time::{Instant, sleep_until};

use super::{
    fault::{Counts, Fault},
    recovery::{self, Recovery},
    setup::{Incident, Setup},
};

/// The pause between two faults, in milliseconds.
const PAUSE_MS: Range<u64> = 400..2_400;
/// The length of a round of faults. After it all faults end, and the fleet must recover.
const ROUND: Duration = Duration::from_secs(45);

/// The faults that were injected, and the recovery after each round.
#[derive(Clone, Debug, Default)]
pub(super) struct Injected {
    pub faults: Counts,
    pub recoveries: Vec<Recovery>,
}

/// Injects faults for `time`, in rounds. At the end no fault is left and all processes run.
///
/// # Errors
/// If a fault could not be injected or ended: there is no verdict.
pub(super) async fn inject(
    setup: &mut Setup<'_>,
    time: Duration,
    progress: &impl Fn(&str),
) -> anyhow::Result<Injected> {
    let end = Instant::now() + time;
    let mut rng = StdRng::seed_from_u64(setup.plan.seed);
    let mut deck = Deck::new(setup);
    let mut done = Injected::default();
    loop {
        let left = end.saturating_duration_since(Instant::now());
        // Extend the last round rather than add a short one.
        let round = if left < ROUND * 2 { left } else { ROUND };
        round_of_faults(setup, Instant::now() + round, &mut deck, &mut rng, &mut done.faults, progress).await?;
        progress("all faults have ended");
        let recovery = recovery::wait(setup).await?;
        progress(&recovery.to_string());
        done.recoveries.push(recovery);
        if Instant::now() >= end {
            return Ok(done);
        }
    }
}

async fn round_of_faults(
    setup: &mut Setup<'_>,
    end: Instant,
    deck: &mut Deck,
    rng: &mut StdRng,
    counts: &mut Counts,
    progress: &impl Fn(&str),
) -> anyhow::Result<()> {
    setup.start_background_faults();
    let mut under_way: Vec<Incident> = Vec::new();
    loop {
        let next = Instant::now() + Duration::from_millis(rng.random_range(PAUSE_MS));
        let next = next.min(end);
        // In the order of their ends.
        under_way.sort_unstable();
        for incident in under_way.extract_if(.., |incident| incident.until <= next) {
            sleep_until(incident.until).await;
            setup.end(incident).await?;
        }
        sleep_until(next).await;
        if next >= end {
            break;
        }
        setup.fleet.restart_ended()?;
        let Some(fault) = deck.draw(rng) else { continue };
        if under_way.iter().any(|incident| incident.fault == fault && fault != Fault::Freeze) {
            continue;
        }
        if let Some((what, incident)) = setup.begin(fault, rng).await? {
            progress(&what);
            *counts.entry(fault).or_default() += 1;
            under_way.extend(incident);
        }
    }
    for incident in under_way {
        // Frozen processes stay frozen until their leases have ended: they must wake up with results that are too late.
        if incident.fault == Fault::Freeze {
            sleep_until(incident.until).await;
        }
        setup.end(incident).await?;
    }
    setup.end_all_faults().await
}

/// Deals each fault once before any fault again, so that a short run has all of them.
struct Deck {
    all: Vec<Fault>,
    left: Vec<Fault>,
}

impl Deck {
    fn new(setup: &Setup<'_>) -> Self {
        let concerns =
            |fault: &Fault| fault.is_incident() && fault.concerns(setup.engine) && setup.plan.injects(*fault);
        let all = Fault::value_variants().iter().copied().filter(concerns).collect();
        Self { all, left: Vec::new() }
    }

    fn draw(&mut self, rng: &mut StdRng) -> Option<Fault> {
        if self.left.is_empty() {
            self.left.clone_from(&self.all);
            self.left.shuffle(rng);
        }
        self.left.pop()
    }
}
