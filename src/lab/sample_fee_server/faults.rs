//! The faults of the server and their rates: the flags of `feebox fee-server`.

use std::time::Duration;

use axum::http::StatusCode;
use clap::{Args, Command, FromArgMatches};
use secrecy::SecretString;

/// The server's faults; none by default.
///
/// Latency and faults apply to calls that change something (`POST`). Look-ups and lists answer at once and correctly,
/// so that the results of a fault can be seen. The rates add up: with 0.2 and 0.1 three calls in ten go wrong.
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
    /// Retry-After of the answer to a call that fails, rounded up to whole seconds
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub retry_after: Option<Duration>,
    /// Share of calls (0 to 1) whose connection is cut before a fee is made
    #[arg(long, value_name = "RATE", default_value_t = 0.0, value_parser = parse_rate)]
    pub reset_rate: f64,
    /// Share of calls (0 to 1) whose connection is cut after the fee was made, instead of an answer
    #[arg(long, value_name = "RATE", default_value_t = 0.0, value_parser = parse_rate)]
    pub commit_reset_rate: f64,
    /// Share of calls (0 to 1) that make no fee and are never answered
    #[arg(long, value_name = "RATE", default_value_t = 0.0, value_parser = parse_rate)]
    pub hang_rate: f64,
    /// Share of calls (0 to 1) whose fee is made and that are answered with --commit-fail-status, as by a gateway
    #[arg(long, value_name = "RATE", default_value_t = 0.0, value_parser = parse_rate)]
    pub commit_fail_rate: f64,
    /// HTTP status of the answer to a call that fails after its fee was made (200 to 599)
    #[arg(long, value_name = "STATUS", default_value = "502", value_parser = parse_status)]
    pub commit_fail_status: StatusCode,
    /// Share of calls (0 to 1) whose fee is made and whose answer is unusable: at random a NUL in its id, Go's zero
    /// time, the year 10000, another quote, another currency or a negative amount
    #[arg(long, value_name = "RATE", default_value_t = 0.0, value_parser = parse_rate)]
    pub poison_rate: f64,
    /// Share of calls (0 to 1) that are answered with an HTML page, at random 404, 200, 302 or 503, and make no fee
    #[arg(long, value_name = "RATE", default_value_t = 0.0, value_parser = parse_rate)]
    pub page_rate: f64,
    /// Share of calls (0 to 1) that are answered with an HTML page with status 403, as by a firewall, and make no fee
    #[arg(long, value_name = "RATE", default_value_t = 0.0, value_parser = parse_rate)]
    pub forbid_rate: f64,
    /// Share of calls (0 to 1) whose fee is made and whose answer is cut: at random without a length, without its last
    /// byte, or with a matching length but incomplete JSON
    #[arg(long, value_name = "RATE", default_value_t = 0.0, value_parser = parse_rate)]
    pub cut_rate: f64,
    /// Share of calls (0 to 1) whose fee is made and whose answer comes in two halves, --slow-body apart
    #[arg(long, value_name = "RATE", default_value_t = 0.0, value_parser = parse_rate)]
    pub slow_body_rate: f64,
    /// Time between the halves of a slow answer
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = humantime::parse_duration)]
    pub slow_body: Duration,
    /// Share of calls (0 to 1) that begin a storm: until it is over, each call is answered with 429 and the remaining
    /// time as Retry-After, rounded up to whole seconds
    #[arg(long, value_name = "RATE", default_value_t = 0.0, value_parser = parse_rate)]
    pub storm_rate: f64,
    /// Duration of a storm
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = humantime::parse_duration)]
    pub storm: Duration,
    /// Fees that it works on at a time; a call beyond them is refused at once, with 503
    #[arg(long, value_name = "NUMBER")]
    pub places: Option<usize>,
    /// Makes the faults reproducible: the n-th call gets the same fault in every run
    #[arg(long, value_name = "NUMBER")]
    pub seed: Option<u64>,
    /// Ignore the Idempotency-Key: every call makes a new fee
    #[arg(long)]
    pub no_idempotency: bool,
    /// Have no look-up: a request for a quote's fees is answered with 404
    #[arg(long)]
    pub no_lookup: bool,
    /// Bearer token that every call must carry; otherwise the answer is 401
    #[arg(long, value_name = "TOKEN")]
    pub token: Option<SecretString>,
}

/// The defaults of the flags.
impl Default for Faults {
    fn default() -> Self {
        let flags = Self::augment_args(Command::new("faults")).try_get_matches_from([""]);
        flags.and_then(|flags| Self::from_arg_matches(&flags)).expect("every flag has a default")
    }
}

impl Faults {
    /// The seconds of the Retry-After header, rounded up, because an earlier call would be refused.
    pub(super) fn retry_after_seconds(&self) -> Option<u64> {
        self.retry_after.map(whole_seconds)
    }
}

/// Rounded up.
pub(super) fn whole_seconds(wait: Duration) -> u64 {
    wait.as_secs() + u64::from(wait.subsec_nanos() > 0)
}

pub(in crate::lab) fn parse_rate(text: &str) -> Result<f64, String> {
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
    fn flags_of_further_faults_are_understood() {
        let faults = parse(
            "x --commit-fail-rate 0.1 --commit-fail-status 504 --poison-rate 0.1 --page-rate 0.1 --forbid-rate 0.1 \
             --cut-rate 0.1 --slow-body-rate 0.1 --slow-body 2s --storm-rate 0.1 --storm 3s --places 4",
        )
        .expect("understood");
        assert_eq!(
            (faults.commit_fail_status, faults.slow_body),
            (StatusCode::GATEWAY_TIMEOUT, Duration::from_secs(2))
        );
        assert_eq!((faults.storm, faults.places), (Duration::from_secs(3), Some(4)));
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
}
