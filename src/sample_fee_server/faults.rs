//! What goes wrong at the server, and how often.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::http::StatusCode;
use clap::Args;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use secrecy::SecretString;

use super::locked;

/// How the server misbehaves; by default not at all.
///
/// Latency and faults befall the calls that change something (`POST`). Look-ups and lists answer at once and truly, so
/// that what a fault has left behind can be seen. The four rates are parts of one whole: at 0.2 and 0.1 three calls in
/// ten go wrong.
#[derive(Clone, Debug, Args)]
pub struct Faults {
    /// Time that an answer takes, for example 2s or 250ms
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = humantime::parse_duration)]
    pub latency: Duration,
    /// Spread of the latency: each answer takes up to this much longer or shorter
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = humantime::parse_duration)]
    pub jitter: Duration,
    /// Share of calls (0 to 1) answered with --fail-status, without making a fee
    #[arg(long, value_name = "RATE", default_value_t = 0.0, value_parser = parse_rate)]
    pub fail_rate: f64,
    /// HTTP status of the answer to a call that fails (200 to 599)
    #[arg(long, value_name = "STATUS", default_value = "503", value_parser = parse_status)]
    pub fail_status: StatusCode,
    /// Retry-After of the answer to a call that fails, in whole seconds (a part counts as a whole one)
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub retry_after: Option<Duration>,
    /// Share of calls (0 to 1) whose connection is cut before a fee is made
    #[arg(long, value_name = "RATE", default_value_t = 0.0, value_parser = parse_rate)]
    pub reset_rate: f64,
    /// Share of calls (0 to 1) whose connection is cut after the fee was made, in place of the answer
    #[arg(long, value_name = "RATE", default_value_t = 0.0, value_parser = parse_rate)]
    pub commit_reset_rate: f64,
    /// Share of calls (0 to 1) that make no fee and are never answered
    #[arg(long, value_name = "RATE", default_value_t = 0.0, value_parser = parse_rate)]
    pub hang_rate: f64,
    /// Makes the dice reproducible: the n-th call meets the same fate in every run
    #[arg(long, value_name = "NUMBER")]
    pub seed: Option<u64>,
    /// Ignore the Idempotency-Key: every call makes a new fee
    #[arg(long)]
    pub no_idempotency: bool,
    /// Know no look-up: asking for a quote's fees answers 404
    #[arg(long)]
    pub no_lookup: bool,
    /// Bearer token that every call must carry; 401 otherwise
    #[arg(long, value_name = "TOKEN")]
    pub token: Option<SecretString>,
}

impl Default for Faults {
    fn default() -> Self {
        Self {
            latency: Duration::ZERO,
            jitter: Duration::ZERO,
            fail_rate: 0.0,
            fail_status: StatusCode::SERVICE_UNAVAILABLE,
            retry_after: None,
            reset_rate: 0.0,
            commit_reset_rate: 0.0,
            hang_rate: 0.0,
            seed: None,
            no_idempotency: false,
            no_lookup: false,
            token: None,
        }
    }
}

impl Faults {
    /// The seconds of the Retry-After header. Rounded up, since asking earlier than was meant would be in vain.
    pub(super) fn retry_after_seconds(&self) -> Option<u64> {
        self.retry_after.map(|wait| wait.as_secs() + u64::from(wait.subsec_nanos() > 0))
    }

    /// Which fault a number out of 0..1 stands for. If the rates add up to more than 1, the last ones come off badly.
    fn fault_at(&self, mut point: f64) -> Option<Fault> {
        let shares = [
            (self.hang_rate, Fault::Hang),
            (self.reset_rate, Fault::Reset),
            (self.commit_reset_rate, Fault::CommitReset),
            (self.fail_rate, Fault::Fail),
        ];
        for (rate, fault) in shares {
            if point < rate {
                return Some(fault);
            }
            point -= rate;
        }
        None
    }
}

/// One way in which a call goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    Hang,
    Reset,
    CommitReset,
    Fail,
}

/// What the dice say about one call.
pub(super) struct Fate {
    /// How long the call takes.
    pub wait: Duration,
    pub fault: Option<Fault>,
}

/// The faults in force, which can change while the server runs.
pub(super) struct Weather(Mutex<Now>);

struct Now {
    faults: Arc<Faults>,
    dice: StdRng,
}

impl Weather {
    pub fn new(faults: Faults) -> Self {
        Self(Mutex::new(Now::from(faults)))
    }

    /// Puts other faults in force, with fresh dice.
    pub fn change(&self, faults: Faults) {
        *locked(&self.0) = Now::from(faults);
    }

    pub fn faults(&self) -> Arc<Faults> {
        Arc::clone(&locked(&self.0).faults)
    }

    /// Rolls the dice for one call: always twice, so that changing one rate leaves the rest of the sequence alone.
    pub fn roll(&self) -> Fate {
        let mut now = locked(&self.0);
        let (fault_point, jitter_point): (f64, f64) = (now.dice.random(), now.dice.random());
        let Faults { latency, jitter, .. } = *now.faults;
        let wait = latency.saturating_add(jitter).saturating_sub(jitter.mul_f64(2.0 * jitter_point));
        Fate { wait, fault: now.faults.fault_at(fault_point) }
    }
}

impl From<Faults> for Now {
    fn from(faults: Faults) -> Self {
        let dice = StdRng::seed_from_u64(faults.seed.unwrap_or_else(rand::random));
        Self { faults: Arc::new(faults), dice }
    }
}

fn parse_rate(text: &str) -> Result<f64, String> {
    let rate = text.parse().ok().filter(|rate| (0.0..=1.0).contains(rate));
    rate.ok_or_else(|| "a rate is a number from 0 (never) to 1 (always), for example 0.2".to_owned())
}

fn parse_status(text: &str) -> Result<StatusCode, String> {
    let status = text.parse::<StatusCode>().ok().filter(|status| (200..600).contains(&status.as_u16()));
    status.ok_or_else(|| "an HTTP status lies between 200 and 599".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        faults: Faults,
    }

    fn parse(line: &str) -> Result<Faults, clap::Error> {
        Line::try_parse_from(line.split(' ')).map(|line| line.faults)
    }

    #[test]
    fn every_flag_of_the_contract_is_understood() {
        let faults = parse(
            "x --latency 2s --jitter 100ms --fail-rate 0.2 --fail-status 500 --retry-after 1500ms --reset-rate 0.1 \
             --commit-reset-rate 0.1 --hang-rate 0.1 --seed 7 --no-idempotency --no-lookup --token secret",
        )
        .expect("understood");
        assert_eq!((faults.latency, faults.jitter), (Duration::from_secs(2), Duration::from_millis(100)));
        assert_eq!(faults.retry_after_seconds(), Some(2));
        assert!(!format!("{faults:?}").contains("secret"), "the token is never printed");
    }

    #[test]
    fn without_flags_nothing_goes_wrong() {
        assert_eq!(format!("{:?}", parse("x").expect("understood")), format!("{:?}", Faults::default()));
    }

    #[test]
    fn a_rate_or_status_out_of_range_is_refused_with_its_range() {
        for wrong in ["1.01", "-0.1", "NaN", "often"] {
            let error = parse(&format!("x --fail-rate={wrong}")).expect_err("refused").to_string();
            assert!(error.contains("from 0 (never) to 1 (always)"), "{error}");
        }
        assert!(parse("x --fail-status 100").expect_err("refused").to_string().contains("between 200 and 599"));
    }

    #[test]
    fn the_same_seed_gives_the_same_fates() {
        let faults = Faults { fail_rate: 0.3, reset_rate: 0.3, seed: Some(7), ..Faults::default() };
        let fates = || {
            let weather = Weather::new(faults.clone());
            (0..200).map(|_| weather.roll().fault).collect::<Vec<_>>()
        };
        assert_eq!(fates(), fates());
        let wrong = fates().iter().flatten().count();
        assert!((90..150).contains(&wrong), "six in ten go wrong, not {wrong} of 200");
    }

    #[test]
    fn the_wait_stays_within_the_jitter() {
        let second = Duration::from_secs(1);
        let weather = Weather::new(Faults { latency: 2 * second, jitter: second, ..Faults::default() });
        assert!((0..200).map(|_| weather.roll().wait).all(|wait| wait >= second && wait <= 3 * second));
    }
}
