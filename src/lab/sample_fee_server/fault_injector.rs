//! Decides by chance which delay and fault each call gets.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::answers::{Cut, Page, Poison};
use super::faults::Faults;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CallFault {
    Hang,
    Reset,
    CommitReset,
    Fail,
    CommitFail,
    Poison(Poison),
    Page(Page),
    Cut(Cut),
    SlowBody,
    /// With the remaining time of the storm.
    Storm(Duration),
}

pub(super) struct CallPlan {
    pub wait: Duration,
    pub fault: Option<CallFault>,
}

/// The faults in force; they can change while the server runs.
pub(super) struct FaultInjector(Mutex<Now>);

struct Now {
    faults: Arc<Faults>,
    rng: StdRng,
    storm_until: Instant,
}

impl FaultInjector {
    pub fn new(faults: Faults) -> Self {
        Self(Mutex::new(Now::from(faults)))
    }

    /// Replaces the faults and reseeds.
    pub fn change(&self, faults: Faults) {
        *self.0.lock() = Now::from(faults);
    }

    pub fn faults(&self) -> Arc<Faults> {
        Arc::clone(&self.0.lock().faults)
    }

    /// Plans one call. It always draws two numbers, so that changing one rate leaves the rest of the sequence alone.
    pub fn next_call(&self) -> CallPlan {
        let mut now = self.0.lock();
        let (fault_point, jitter_point): (f64, f64) = (now.rng.random(), now.rng.random());
        let Faults { latency, jitter, storm, .. } = *now.faults;
        let wait = latency.saturating_add(jitter).saturating_sub(jitter.mul_f64(2.0 * jitter_point));
        let fault = fault_at(&now.faults, fault_point);
        let instant = Instant::now();
        if matches!(fault, Some(CallFault::Storm(_))) && now.storm_until <= instant {
            now.storm_until = instant + storm;
        }
        let left = now.storm_until.saturating_duration_since(instant);
        if left.is_zero() {
            return CallPlan { wait, fault };
        }
        // A call in a storm is refused at once.
        CallPlan { wait: Duration::ZERO, fault: Some(CallFault::Storm(left)) }
    }
}

impl From<Faults> for Now {
    fn from(faults: Faults) -> Self {
        let rng = StdRng::seed_from_u64(faults.seed.unwrap_or_else(rand::random));
        Self { faults: Arc::new(faults), rng, storm_until: Instant::now() }
    }
}

/// Makes a fault; a number from 0 to 1 selects its variant.
type Kind = fn(f64) -> CallFault;

/// The fault that a number from 0 to 1 stands for. If the rates add up to more than 1, the last ones get less.
fn fault_at(faults: &Faults, mut point: f64) -> Option<CallFault> {
    let shares: [(f64, Kind); 11] = [
        (faults.hang_rate, |_| CallFault::Hang),
        (faults.reset_rate, |_| CallFault::Reset),
        (faults.commit_reset_rate, |_| CallFault::CommitReset),
        (faults.fail_rate, |_| CallFault::Fail),
        (faults.commit_fail_rate, |_| CallFault::CommitFail),
        (faults.poison_rate, |part| CallFault::Poison(one_of(&Poison::ALL, part))),
        (faults.page_rate, |part| CallFault::Page(one_of(&Page::ALL, part))),
        (faults.forbid_rate, |_| CallFault::Page(Page::Forbidden)),
        (faults.cut_rate, |part| CallFault::Cut(one_of(&Cut::ALL, part))),
        (faults.slow_body_rate, |_| CallFault::SlowBody),
        (faults.storm_rate, |_| CallFault::Storm(Duration::ZERO)),
    ];
    for (rate, fault) in shares {
        if point < rate {
            return Some(fault(point / rate));
        }
        point -= rate;
    }
    None
}

/// The kind that a part (0 to 1) of a share stands for.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a small index"
)]
fn one_of<T: Copy>(kinds: &[T], part: f64) -> T {
    let index = (part * kinds.len() as f64) as usize;
    kinds[index.min(kinds.len() - 1)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_faults() {
        let faults = Faults { fail_rate: 0.3, reset_rate: 0.3, seed: Some(7), ..Faults::default() };
        let plans = || {
            let injector = FaultInjector::new(faults.clone());
            (0..200).map(|_| injector.next_call().fault).collect::<Vec<_>>()
        };
        assert_eq!(plans(), plans());
        let wrong = plans().iter().flatten().count();
        assert!((90..150).contains(&wrong), "six in ten go wrong, not {wrong} of 200");
    }

    #[test]
    fn the_wait_stays_within_the_jitter() {
        let second = Duration::from_secs(1);
        let injector = FaultInjector::new(Faults { latency: 2 * second, jitter: second, ..Faults::default() });
        assert!((0..200).map(|_| injector.next_call().wait).all(|wait| wait >= second && wait <= 3 * second));
    }

    #[test]
    fn every_kind_of_a_fault_comes_up() {
        let injector =
            FaultInjector::new(Faults { poison_rate: 0.5, cut_rate: 0.5, seed: Some(7), ..Faults::default() });
        let plans: Vec<_> = (0..400).filter_map(|_| injector.next_call().fault).collect();
        assert!(Poison::ALL.iter().all(|kind| plans.contains(&CallFault::Poison(*kind))), "{plans:?}");
        assert!(Cut::ALL.iter().all(|kind| plans.contains(&CallFault::Cut(*kind))), "{plans:?}");
    }

    #[test]
    fn a_storm_refuses_every_call_until_it_is_over() {
        let injector = FaultInjector::new(Faults { storm_rate: 0.5, seed: Some(7), ..Faults::default() });
        let plans: Vec<_> = (0..50).map(|_| injector.next_call().fault).collect();
        let begun = plans.iter().position(Option::is_some).expect("a storm begins");
        assert!(plans[begun..].iter().all(|fault| matches!(fault, Some(CallFault::Storm(left)) if !left.is_zero())));
    }
}
