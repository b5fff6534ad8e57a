//! A fee server with so many places.

use super::agenda::{Micros, SECOND, scaled};
use crate::outbox::Outcome;

/// How long a refusal takes.
const REFUSES_AFTER: Micros = 5_000;
/// `fee_server.timeout`.
const TIMES_OUT_AFTER: Micros = 10 * SECOND;

/// How the fee server fails in an outage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outage {
    /// Nobody listens: connections are refused at once.
    Refuses,
    /// Connections are accepted and nothing is answered: each call times out.
    Hangs,
}

/// A fee server.
#[derive(Debug)]
pub(super) struct Server {
    pub places: usize,
    pub latency: Micros,
    pub outage: Option<Outage>,
    /// Calls that it works on.
    pub busy: usize,
}

/// What becomes of a call.
pub(super) struct Answer {
    pub outcome: Outcome<()>,
    pub after: Micros,
    /// It takes one of the places until then.
    pub is_worked_on: bool,
}

impl Server {
    /// A call arrives; `chance` is between 0 and 1.
    pub(super) fn call(&mut self, chance: f64) -> Answer {
        let failed = |outcome, after| Answer { outcome, after, is_worked_on: false };
        match self.outage {
            Some(Outage::Refuses) => failed(Outcome::Unreachable("refused".into()), REFUSES_AFTER),
            Some(Outage::Hangs) => failed(Outcome::Unknown("no answer".into()), TIMES_OUT_AFTER),
            None if self.busy >= self.places => failed(Outcome::Unknown("503".into()), REFUSES_AFTER),
            None => {
                self.busy += 1;
                let after = scaled(self.latency, 0.9 + 0.2 * chance);
                Answer { outcome: Outcome::Delivered(()), after, is_worked_on: true }
            }
        }
    }
}
