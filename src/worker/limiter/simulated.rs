//! Workers with an endless backlog before simulated servers. Time is a number, chance has a seed.
#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "a simulation: small counts, and seconds from 0 to some hundred"
)]

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    time::{Duration, Instant},
};

use super::{control::Control, sign::Sign};

/// How a server treats a call.
pub(super) enum Server {
    /// Takes any number; each takes `latency`, and a part of them fails, after `fails_after`.
    Chance { latency: f64, share: f64, fails_after: f64 },
    /// Has so many places, and refuses the rest after `refuses_after`.
    Sheds { places: usize, latency: f64, refuses_after: f64 },
    /// Has so many places; who comes waits for one, and hangs up after `timeout`.
    Queues { places: usize, latency: f64, timeout: f64 },
    /// A part takes `slow`, the others `fast`.
    TwoSpeeds { fast: f64, slow: f64, slow_share: f64 },
    /// Takes so many calls a second, and refuses the rest at once.
    Rations { per_second: f64, latency: f64 },
}

/// When it ends, in nanoseconds; whose it is; when it began; whether it succeeds, or none for a place that has rested.
type Call = (u64, usize, u64, Option<bool>);

/// A simulation of one server and a fleet.
pub(super) struct Simulation {
    pub server: Server,
    pub fleet: Vec<Control>,
    in_flight: Vec<usize>,
    pub now: f64,
    zero: Instant,
    chance: u64,
    places: BinaryHeap<Reverse<u64>>,
    calls: BinaryHeap<Reverse<Call>>,
    tokens: (f64, f64),
    pub slot: f64,
}

/// The calls of a time.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    pub successes: f64,
    pub failures: f64,
    pub seconds: f64,
}

impl Counts {
    pub(super) fn per_second(self) -> f64 {
        self.successes / self.seconds
    }

    pub(super) fn refused_a_fee(self) -> f64 {
        self.failures / self.successes
    }
}

const NANOS: f64 = 1e9;

fn nanos(seconds: f64) -> u64 {
    (seconds * NANOS) as u64
}

impl Simulation {
    pub(super) fn new(server: Server, max: usize, workers: usize, seed: u64) -> Self {
        Self {
            server,
            fleet: (0..workers).map(|_| Control::new(max as f64)).collect(),
            in_flight: vec![0; workers],
            now: 0.0,
            zero: Instant::now(),
            chance: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
            places: BinaryHeap::new(),
            calls: BinaryHeap::new(),
            tokens: (0.0, 0.0),
            slot: 30.0,
        }
    }

    pub(super) fn limit(&self) -> f64 {
        self.fleet[0].limit(self.instant(self.now))
    }

    /// Simulates `seconds`.
    pub(super) fn run_for(&mut self, seconds: f64) -> Counts {
        let end = self.now + seconds;
        let mut counts = Counts { seconds, ..Counts::default() };
        for worker in 0..self.fleet.len() {
            self.begin(worker);
        }
        while let Some(Reverse((at, worker, begun, succeeded))) = self.calls.peek().copied() {
            if at > nanos(end) {
                break;
            }
            self.calls.pop();
            self.now = at as f64 / NANOS;
            let Some(succeeded) = succeeded else {
                self.begin(worker);
                self.wake_rested(worker);
                continue;
            };
            self.in_flight[worker] -= 1;
            let sign = if succeeded { Sign::Success } else { Sign::Failure };
            *(if succeeded { &mut counts.successes } else { &mut counts.failures }) += 1.0;
            let (begun, now) = (self.instant(begun as f64 / NANOS), self.instant(self.now));
            self.fleet[worker].call_ended(sign, begun, now, (self.now / self.slot) as u64);
            self.begin(worker);
            if self.in_flight[worker] == 0 {
                self.wake_rested(worker);
            }
        }
        self.now = end;
        counts
    }

    fn wake_rested(&mut self, worker: usize) {
        if let Some(at) = self.fleet[worker].rested() {
            let at = at.duration_since(self.zero).as_nanos() as u64 + 1;
            self.calls.push(Reverse((at, worker, 0, None)));
        }
    }

    fn begin(&mut self, worker: usize) {
        let now = self.instant(self.now);
        let resting = self.fleet[worker].resting(now, (self.now / self.slot) as u64);
        while ((self.in_flight[worker] + resting) as f64) < self.fleet[worker].limit(now).floor() {
            let (took, succeeded) = self.call();
            let at = self.now + took * (0.95 + 0.1 * self.draw());
            self.calls.push(Reverse((nanos(at), worker, nanos(self.now), Some(succeeded))));
            self.in_flight[worker] += 1;
            let now = self.instant(self.now);
            self.fleet[worker].call_began(now);
        }
    }

    fn call(&mut self) -> (f64, bool) {
        let (draw, now) = (self.draw(), self.now);
        while self.places.peek().is_some_and(|Reverse(free)| *free <= nanos(now)) {
            self.places.pop();
        }
        match self.server {
            Server::Chance { share, fails_after, .. } if draw < share => (fails_after, false),
            Server::Chance { latency, .. } => (latency, true),
            Server::Sheds { places, latency, refuses_after } => {
                if self.places.len() >= places {
                    return (refuses_after, false);
                }
                self.places.push(Reverse(nanos(now + latency)));
                (latency, true)
            }
            Server::Queues { places, latency, timeout } => {
                let free = if self.places.len() < places {
                    now
                } else {
                    let mut busy: Vec<_> = self.places.iter().map(|Reverse(it)| *it).collect();
                    busy.sort_unstable();
                    busy[busy.len() - places] as f64 / NANOS
                };
                self.places.push(Reverse(nanos(free + latency)));
                let took = free + latency - now;
                if took > timeout { (timeout, false) } else { (took, true) }
            }
            Server::TwoSpeeds { fast, slow, slow_share } => (if draw < slow_share { slow } else { fast }, true),
            Server::Rations { per_second, latency } => {
                let (tokens, last) = self.tokens;
                let tokens = (tokens + (now - last) * per_second).min(per_second / 10.0);
                self.tokens = if tokens >= 1.0 { (tokens - 1.0, now) } else { (tokens, now) };
                if tokens >= 1.0 { (latency, true) } else { (0.001, false) }
            }
        }
    }

    fn draw(&mut self) -> f64 {
        self.chance ^= self.chance << 13;
        self.chance ^= self.chance >> 7;
        self.chance ^= self.chance << 17;
        (self.chance >> 11) as f64 / (1_u64 << 53) as f64
    }

    pub(super) fn instant(&self, seconds: f64) -> Instant {
        self.zero + Duration::from_secs_f64(seconds)
    }
}
