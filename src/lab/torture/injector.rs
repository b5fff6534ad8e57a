//! What is done, and when: a deck of faults that is shuffled by dice with a seed, and a rest after each round.

use std::{ops::Range, time::Duration};

use rand::{RngExt, SeedableRng, rngs::StdRng, seq::SliceRandom};
use tokio::time::{Instant, sleep_until};

use super::{
    fault::{Counts, Fault},
    rest::{self, Rest},
    scene::{Incident, Scene},
};

/// The pause between two faults.
const PAUSE_MS: Range<u64> = 400..2_400;
/// How long a round of faults is. Then all of them end, and the fleet has to come to rest.
const ROUND: Duration = Duration::from_secs(45);

/// What was done, and how the fleet came to rest each time.
#[derive(Clone, Debug, Default)]
pub(super) struct Done {
    pub faults: Counts,
    pub rests: Vec<Rest>,
}

/// Torments the fleet for `time`, in rounds. Afterwards all of it runs, and nothing is wrong any more.
///
/// # Errors
/// Something could not be done or undone: no verdict.
pub(super) async fn torment(scene: &mut Scene<'_>, time: Duration, tell: &impl Fn(&str)) -> anyhow::Result<Done> {
    let end = Instant::now() + time;
    let mut dice = StdRng::seed_from_u64(scene.plan.seed);
    let mut deck = Deck::new(scene);
    let mut done = Done::default();
    loop {
        let left = end.saturating_duration_since(Instant::now());
        // The last round is not a short one.
        let round = if left < ROUND * 2 { left } else { ROUND };
        round_of_faults(scene, Instant::now() + round, &mut deck, &mut dice, &mut done.faults, tell).await?;
        tell("rests");
        let rest = rest::come(scene).await?;
        tell(&rest.to_string());
        done.rests.push(rest);
        if Instant::now() >= end {
            return Ok(done);
        }
    }
}

async fn round_of_faults(
    scene: &mut Scene<'_>,
    end: Instant,
    deck: &mut Deck,
    dice: &mut StdRng,
    counts: &mut Counts,
    tell: &impl Fn(&str),
) -> anyhow::Result<()> {
    scene.unsettle();
    let mut under_way: Vec<Incident> = Vec::new();
    loop {
        let next = Instant::now() + Duration::from_millis(dice.random_range(PAUSE_MS));
        let next = next.min(end);
        // In the order in which they end.
        under_way.sort_unstable();
        for incident in under_way.extract_if(.., |incident| incident.until <= next) {
            sleep_until(incident.until).await;
            scene.end(incident).await?;
        }
        sleep_until(next).await;
        if next >= end {
            break;
        }
        scene.fleet.revive()?;
        let Some(fault) = deck.draw(dice) else { continue };
        if under_way.iter().any(|incident| incident.fault == fault && fault != Fault::Freeze) {
            continue;
        }
        if let Some((told, incident)) = scene.begin(fault, dice).await? {
            tell(&told);
            *counts.entry(fault).or_default() += 1;
            under_way.extend(incident);
        }
    }
    for incident in under_way {
        // Also those frozen whose lease has not ended: they wake up with answers in their hands that came too late.
        if incident.fault == Fault::Freeze {
            sleep_until(incident.until).await;
        }
        scene.end(incident).await?;
    }
    scene.calm_down().await
}

/// Each fault comes up once before any comes up again, so that a short run meets all of them.
struct Deck {
    all: Vec<Fault>,
    left: Vec<Fault>,
}

impl Deck {
    fn new(scene: &Scene<'_>) -> Self {
        let faults = scene.plan.faults.iter().copied();
        let all = faults.filter(|fault| fault.is_incident() && fault.concerns(scene.engine)).collect();
        Self { all, left: Vec::new() }
    }

    fn draw(&mut self, dice: &mut StdRng) -> Option<Fault> {
        if self.left.is_empty() {
            self.left.clone_from(&self.all);
            self.left.shuffle(dice);
        }
        self.left.pop()
    }
}
