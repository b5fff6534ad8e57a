//! The life cycle of events, played at random against a model that is small enough to be seen to be right.
//!
//! Each play has a seed, which a failure names; the variable `FEEBOX_SEED` plays that one again.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, Utc};
use entity::destination::Circuit;
use entity::outbox_event::Status;
use feebox::clock::after;
use feebox::outbox::{self, Disposition, LeasedEvent, Outcome, RetryPolicy};
use feebox::quotes::FEE_SERVER;
use feebox::settings;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use uuid::Uuid;

use crate::support::{TestOutbox, attempt, on_each_engine};

on_each_engine!(the_database_follows_the_model);

const PLAYS: u64 = 3;
const STEPS: usize = 130;
const MAX_ATTEMPTS: u32 = 7;
const GIVE_UP_AFTER: Duration = Duration::from_mins(15);
const CIRCUIT_FAILURES: i32 = 6;
const COOL_DOWN: Duration = Duration::from_secs(15);
const RETRY_AFTER_MAX: Duration = Duration::from_secs(40);
/// No step takes so long: what happens at a time further away happens in another step.
const MARGIN: Duration = Duration::from_secs(3);

async fn the_database_follows_the_model(outbox: TestOutbox) {
    let given = std::env::var("FEEBOX_SEED").ok().map(|seed| seed.parse().unwrap());
    let first: u64 = given.unwrap_or_else(rand::random);
    let plays = if given.is_some() { 1 } else { PLAYS };
    let mut play = Play::new(outbox);
    for seed in (0..plays).map(|play| first.wrapping_add(play)) {
        play.begin(seed).await;
        for _ in 0..STEPS {
            play.step().await;
            play.compare().await;
        }
    }
}

/// What the model knows of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Event {
    quote: Uuid,
    sequence: i32,
    status: Status,
    attempts: i32,
    due_at: DateTime<Utc>,
    live_since: DateTime<Utc>,
    lease: Option<(Uuid, DateTime<Utc>)>,
    outcome_unknown: bool,
    withdrawn: bool,
    /// When attempts failed, and how: the last 20.
    failed: Vec<(DateTime<Utc>, String)>,
    settled_at: Option<DateTime<Utc>>,
}

/// What the model knows of the destination.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Gate {
    open: bool,
    failures: i32,
    failing: Option<Uuid>,
    failing_since: Option<DateTime<Utc>>,
    probe_at: Option<DateTime<Utc>>,
    not_before: Option<DateTime<Utc>>,
    callable_since: Option<DateTime<Utc>>,
}

struct Play {
    outbox: TestOutbox,
    dice: StdRng,
    seed: u64,
    story: Vec<String>,
    events: BTreeMap<Uuid, Event>,
    gate: Gate,
    /// Whether each quote is cancelled.
    quotes: BTreeMap<Uuid, bool>,
    /// Leases in the hands of workers, also those that are over.
    held: Vec<LeasedEvent>,
}

impl Play {
    fn new(mut outbox: TestOutbox) -> Play {
        outbox.policy = outbox::Policy {
            retry: RetryPolicy::new(settings::Retry {
                initial_interval: Duration::from_secs(10),
                multiplier: 2.0,
                randomization_factor: 0.0,
                max_interval: Duration::from_secs(30),
                max_attempts: MAX_ATTEMPTS,
                give_up_after: GIVE_UP_AFTER,
            }),
            circuit: settings::Circuit { failures: CIRCUIT_FAILURES.unsigned_abs(), cool_down: COOL_DOWN },
            retry_after_max: RETRY_AFTER_MAX,
        };
        Play {
            outbox,
            dice: StdRng::seed_from_u64(0),
            seed: 0,
            story: vec![],
            events: BTreeMap::new(),
            gate: Gate::default(),
            quotes: BTreeMap::new(),
            held: vec![],
        }
    }

    /// Empties the tables.
    async fn begin(&mut self, seed: u64) {
        use sea_orm::{ActiveValue::Set, EntityTrait};
        let connection = self.outbox.db.connection();
        entity::outbox_event::Entity::delete_many().exec(connection).await.unwrap();
        let closed = entity::destination::ActiveModel {
            circuit: Set(Circuit::Closed),
            consecutive_failures: Set(0),
            probe_at: Set(None),
            not_before: Set(None),
            failing_event: Set(None),
            failing_since: Set(None),
            callable_since: Set(None),
            ..Default::default()
        };
        entity::destination::Entity::update_many().set(closed).exec(connection).await.unwrap();
        (self.seed, self.dice) = (seed, StdRng::seed_from_u64(seed));
        self.story.clear();
        self.events.clear();
        self.quotes.clear();
        self.held.clear();
        self.gate = Gate::default();
    }

    async fn step(&mut self) {
        self.away_from_every_boundary().await;
        match self.dice.random_range(0..100) {
            0..14 => self.submit().await,
            14..20 => self.record_a_later_event().await,
            20..45 => self.claim().await,
            45..75 => self.settle().await,
            75..85 => self.let_time_pass(),
            85..92 => self.rescue().await,
            92..97 => self.cancel().await,
            _ => self.prune().await,
        }
    }

    /// Travels on until nothing falls due within the next moments, so that it is known what a step will see.
    async fn away_from_every_boundary(&mut self) {
        loop {
            let now = self.outbox.now().await;
            let of_events = self.events.values().flat_map(|event| {
                [Some(event.due_at), event.lease.map(|(_, until)| until), Some(event.live_since + GIVE_UP_AFTER)]
            });
            let failures = self.events.values().flat_map(|event| &event.failed);
            let ages = failures.map(|(at, _)| *at).chain(self.gate.callable_since).chain(self.gate.not_before);
            let of_ages = ages.map(|since| Some(since + GIVE_UP_AFTER));
            let all = of_events.chain(of_ages).chain([self.gate.probe_at, self.gate.not_before]).flatten();
            if !all.into_iter().any(|boundary| boundary > now && boundary <= now + MARGIN) {
                return;
            }
            self.outbox.advance(MARGIN);
        }
    }

    async fn submit(&mut self) {
        let count = self.dice.random_range(1..=3);
        self.tell(format!("submit {count}"));
        for id in self.outbox.submit(count).await {
            let row = self.outbox.event(id).await;
            self.quotes.insert(row.aggregate_id, false);
            self.store(id, row.aggregate_id, 1, row.created_at);
        }
    }

    async fn record_a_later_event(&mut self) {
        let Some(quote) = self.any_quote() else { return };
        let sequence = self.next_sequence(quote);
        self.tell(format!("record event {sequence} of {quote}"));
        let id = self.outbox.record(quote, &FEE_SERVER, sequence).await;
        let stored_at = self.outbox.event(id).await.created_at;
        self.store(id, quote, sequence, stored_at);
    }

    async fn claim(&mut self) {
        let (limit, lease) = (self.dice.random_range(1..=4), Duration::from_secs(self.dice.random_range(10..=60)));
        let worker = if self.dice.random() { "a" } else { "b" };
        self.tell(format!("{worker} claims {limit} for {lease:?}"));
        let before = self.outbox.now().await;
        let claimed = self.outbox.claim_of(&FEE_SERVER, worker, limit, lease).await.events;
        let now = before..=self.outbox.now().await;

        let (expected, probe) = self.claimable(before, limit);
        let ids: Vec<_> = claimed.iter().map(|event| event.id).collect();
        assert_eq!(ids, expected, "{}", self.story());
        for leased in claimed {
            let leased_until = self.outbox.event(leased.id).await.leased_until.unwrap();
            assert!(now.contains(&(leased_until - lease)), "{}", self.story());
            let event = self.events.get_mut(&leased.id).unwrap();
            if probe {
                assert!(now.contains(&leased.live_since), "{}", self.story());
            } else {
                let since = Some(event.live_since).max(self.gate.callable_since).max(self.gate.not_before);
                assert_eq!(Some(leased.live_since), since, "{}", story(self.seed, &self.story));
            }
            event.status = Status::Leased;
            event.attempts += 1;
            event.lease = Some((leased.lease_token, leased_until));
            let seen = (leased.attempt, leased.outcome_unknown, leased.probe);
            let expected = (event.attempts, event.outcome_unknown, probe);
            assert_eq!(seen, expected, "{}", self.story());
            if probe {
                self.gate.probe_at = Some(leased_until);
            }
            self.held.push(leased);
        }
    }

    /// What a claim may take, and whether that is a probe.
    fn claimable(&self, now: DateTime<Utc>, limit: usize) -> (Vec<Uuid>, bool) {
        let probe = self.gate.open;
        let held = self.gate.not_before.is_some_and(|until| until > now);
        if held || probe && self.gate.probe_at.is_some_and(|probe_at| probe_at > now) {
            return (vec![], probe);
        }
        let unfinished = |event: &Event| matches!(event.status, Status::Pending | Status::Leased | Status::Dead);
        let held_back = |event: &Event| {
            let mut others = self.events.values().filter(|other| other.quote == event.quote);
            others.any(|other| other.sequence < event.sequence && unfinished(other))
        };
        let due = self.events.iter().filter(|(_, event)| event.status == Status::Pending && event.due_at <= now);
        let mut due: Vec<_> = due.filter(|(_, event)| !held_back(event)).collect();
        due.sort_by_key(|(id, event)| (event.due_at, **id));
        let due = due.into_iter().map(|(id, _)| *id).take(if probe { 1 } else { limit });
        (due.collect(), probe)
    }

    async fn settle(&mut self) {
        if self.held.is_empty() {
            return;
        }
        let leased = self.held.swap_remove(self.dice.random_range(0..self.held.len()));
        let outcome = self.any_outcome();
        self.tell(format!("attempt {} of {} comes to {outcome:?}", leased.attempt, leased.id));
        let txn = self.outbox.db.begin().await.unwrap();
        let attempts = [attempt(&leased, outcome.clone())];
        let (clock, policy) = (self.outbox.db.clock(), &self.outbox.policy);
        let settling = outbox::settle(&txn, clock, &FEE_SERVER, "a", policy, &attempts).await.unwrap();
        let (became, now) = (settling.dispositions, settling.at);
        txn.commit().await.unwrap();

        let holds = |event: &Event| event.lease.is_some_and(|(token, _)| token == leased.lease_token);
        let Some(event) = self.events.get(&leased.id).filter(|event| holds(event)) else {
            assert!(matches!(became[0], Disposition::LeaseLost(_)), "{}", self.story());
            return;
        };
        let forbidden_at = event.failed.last().filter(|(_, outcome)| outcome == "unauthorised").map(|(at, _)| *at);
        let blames = self.gate.learn(&leased, &outcome, (forbidden_at, delivered_lately(&self.events, now)), now);
        let event = self.events.get_mut(&leased.id).unwrap();
        event.end_attempt(&outcome, leased.probe, blames, leased.live_since, now);
        let (status, due_at) = (event.status, event.due_at);
        let became = match &became[0] {
            Disposition::Delivered => Status::Delivered,
            Disposition::Pending(at) if *at == due_at || outcome.is_unsent() => Status::Pending,
            Disposition::Dead(_) => Status::Dead,
            Disposition::Cancelled => Status::Cancelled,
            Disposition::Pending(_) | Disposition::AlreadySettled(_) | Disposition::LeaseLost(_) => Status::Leased,
        };
        assert_eq!(became, status, "{}", self.story());
    }

    fn let_time_pass(&mut self) {
        let seconds = self.dice.random_range(1..=40);
        self.tell(format!("{seconds} s pass"));
        self.outbox.advance(Duration::from_secs(seconds));
    }

    async fn rescue(&mut self) {
        self.tell("rescue".into());
        let before = self.outbox.now().await;
        let mut rescued: Vec<_> = self.outbox.rescue("b").await.iter().map(|(attempt, _)| attempt.event.id).collect();
        let now = before..=self.outbox.now().await;
        rescued.sort_unstable();
        let over = |event: &Event| event.lease.is_some_and(|(_, until)| until < before);
        let expected: Vec<_> = self.events.iter().filter(|(_, event)| over(event)).map(|(id, _)| *id).collect();
        assert_eq!(rescued, expected, "{}", self.story());
        for id in rescued {
            let row = self.outbox.event(id).await;
            let event = self.events.get_mut(&id).unwrap();
            let wait = if event.attempts == 1 { Duration::ZERO } else { delay(event.attempts - 1) };
            let live_since = self.gate.callable(before).into_iter().fold(event.live_since, Ord::max);
            event.end_attempt(&Outcome::Unknown(String::new()), false, true, live_since, before);
            // The time of the rescue is known to lie in a span only.
            event.failed = failed(&row);
            assert!(event.failed.last().is_some_and(|(at, _)| now.contains(at)), "{}", story(self.seed, &self.story));
            if event.status == Status::Pending {
                event.due_at = row.due_at;
                assert!(now.contains(&(row.due_at - wait)), "{}", self.story());
            } else {
                event.settled_at = row.settled_at;
                assert!(now.contains(&row.settled_at.unwrap()), "{}", self.story());
            }
        }
    }

    async fn cancel(&mut self) {
        let Some(quote) = self.any_quote() else { return };
        self.tell(format!("cancel {quote}"));
        let cancelled = self.outbox.submission.cancel(quote, None, None).await.unwrap();
        if self.quotes.insert(quote, true) == Some(true) {
            return;
        }
        let (now, sequence) = (cancelled.updated_at, self.next_sequence(quote));
        // Of a quote whose events are pruned nothing is known any more.
        let mut may_have_reached = !self.events.values().any(|event| event.quote == quote);
        for event in self.events.values_mut().filter(|event| event.quote == quote) {
            may_have_reached |= matches!(event.status, Status::Leased | Status::Delivered)
                || event.attempts > 0
                || event.outcome_unknown
                || !event.failed.is_empty();
            match event.status {
                Status::Leased => event.withdrawn = true,
                Status::Pending | Status::Dead => {
                    (event.status, event.settled_at) = (Status::Cancelled, Some(now));
                }
                Status::Delivered | Status::Cancelled => {}
            }
        }
        let void = self.outbox.events_of(quote).await.into_iter().find(|event| event.event_type == "quote.cancelled");
        assert_eq!(void.is_some(), may_have_reached, "{}", self.story());
        if let Some(void) = void {
            self.store(void.id, quote, sequence, now);
        }
    }

    async fn prune(&mut self) {
        let age = Duration::from_secs(self.dice.random_range(0..300));
        self.tell(format!("prune what was settled {age:?} ago"));
        let limit = self.outbox.now().await - age;
        let before = self.events.len();
        let prunable = |event: &Event| matches!(event.status, Status::Delivered | Status::Cancelled);
        self.events.retain(|_, event| !(prunable(event) && event.settled_at.is_some_and(|at| at < limit)));
        let pruned = outbox::prune(&self.outbox.db, limit).await.unwrap();
        assert_eq!(usize::try_from(pruned).unwrap(), before - self.events.len(), "{}", self.story());
    }

    /// Every event and the destination are as the model has them.
    async fn compare(&self) {
        let rows = self.outbox.events().await.into_iter().map(|row| {
            let event = Event {
                quote: row.aggregate_id,
                sequence: row.sequence,
                status: row.status,
                attempts: row.attempts,
                due_at: row.due_at,
                live_since: row.live_since,
                lease: row.lease_token.zip(row.leased_until),
                outcome_unknown: row.outcome_unknown,
                withdrawn: row.withdrawn,
                failed: failed(&row),
                settled_at: row.settled_at,
            };
            (row.id, event)
        });
        let rows: BTreeMap<_, _> = rows.collect();
        let differing: Vec<_> = self.events.iter().filter(|(id, event)| rows.get(*id) != Some(*event)).collect();
        let stored: Vec<_> = differing.iter().map(|(id, _)| rows.get(*id)).collect();
        assert!(differing.is_empty(), "the model has {differing:#?}, the database {stored:#?}, {}", self.story());
        assert_eq!(rows.len(), self.events.len(), "{}", self.story());
        let row = self.outbox.fee_server().await;
        let gate = Gate {
            open: row.circuit == Circuit::Open,
            failures: row.consecutive_failures,
            failing: row.failing_event,
            failing_since: row.failing_since,
            probe_at: row.probe_at,
            not_before: row.not_before,
            callable_since: row.callable_since,
        };
        assert_eq!(gate, self.gate, "{}", self.story());
    }

    fn store(&mut self, id: Uuid, quote: Uuid, sequence: i32, now: DateTime<Utc>) {
        let event = Event {
            quote,
            sequence,
            status: Status::Pending,
            attempts: 0,
            due_at: now,
            live_since: now,
            lease: None,
            outcome_unknown: false,
            withdrawn: false,
            failed: vec![],
            settled_at: None,
        };
        self.events.insert(id, event);
    }

    fn next_sequence(&self, quote: Uuid) -> i32 {
        let sequences = self.events.values().filter(|event| event.quote == quote).map(|event| event.sequence);
        sequences.max().unwrap_or(0) + 1
    }

    fn any_quote(&mut self) -> Option<Uuid> {
        let index = self.dice.random_range(0..self.quotes.len().max(1));
        self.quotes.keys().nth(index).copied()
    }

    fn any_outcome(&mut self) -> Outcome<()> {
        let error = String::from("scripted");
        match self.dice.random_range(0..20) {
            0..4 => Outcome::Delivered(()),
            4..7 => Outcome::Retry(error),
            7..9 => Outcome::Unknown(error),
            9 => Outcome::RetryAfter(error, Duration::from_secs(self.dice.random_range(0..60))),
            10 => Outcome::Refused(error),
            11 => Outcome::Broken(error),
            12 => Outcome::Unauthorised(error),
            13..16 => Outcome::Forbidden(error),
            16 => Outcome::Unreachable(error),
            17 => Outcome::Misdirected { error, unknown: self.dice.random() },
            18 => Outcome::OutOfResources(error),
            _ => Outcome::NotSent(error),
        }
    }

    fn tell(&mut self, what: String) {
        self.story.push(what);
    }

    fn story(&self) -> String {
        story(self.seed, &self.story)
    }
}

impl Event {
    /// `blames` tells whether the failure is held against the event, `live_since` from when its age counts.
    fn end_attempt(
        &mut self,
        outcome: &Outcome<()>,
        probe: bool,
        blames: bool,
        live_since: DateTime<Utc>,
        now: DateTime<Utc>,
    ) {
        self.lease = None;
        if *outcome == Outcome::Delivered(()) {
            (self.status, self.settled_at) = (Status::Delivered, Some(now));
            return;
        }
        let failed: Vec<_> = self.failed.iter().map(|(at, _)| *at).filter(|at| *at >= live_since).collect();
        let failing_since = if failed.len() == 20 { live_since } else { failed.first().copied().unwrap_or(now) };
        let attempt = self.attempts;
        let given_up = attempt.unsigned_abs() >= MAX_ATTEMPTS || attempt >= 5 && now >= failing_since + GIVE_UP_AFTER;
        self.attempts -= i32::from(!blames);
        if !outcome.is_unsent() {
            self.failed.push((now, outcome.name().into()));
            self.failed.drain(..self.failed.len().saturating_sub(20));
        }
        self.outcome_unknown |= outcome.name() == "unknown" || matches!(outcome, Outcome::Broken(_));
        let number = i32::try_from(failed.len()).unwrap() + 1;
        let at_least = if probe { COOL_DOWN } else { Duration::ZERO };
        let wait = match outcome {
            _ if self.withdrawn => None,
            Outcome::Refused(_) | Outcome::Broken(_) => None,
            _ if outcome.is_unsent() => Some(None),
            Outcome::RetryAfter(_, wait) => Some(Some((*wait).clamp(delay(1), RETRY_AFTER_MAX))),
            Outcome::Misdirected { .. } => Some(Some(delay(attempt.max(number)).max(at_least))),
            _ if !blames => Some(Some(COOL_DOWN)),
            _ if given_up => None,
            _ => Some(Some(delay(attempt).max(at_least))),
        };
        if let Some(wait) = wait {
            self.status = Status::Pending;
            self.due_at = wait.map_or(self.due_at, |wait| after(now, wait));
        } else {
            self.status = if self.withdrawn { Status::Cancelled } else { Status::Dead };
            self.settled_at = Some(now);
        }
    }
}

impl Gate {
    /// Answers whether a failure is held against its event. `others` tells when this event was last forbidden, and whether an
    /// event was delivered within the last cool-down.
    fn learn(
        &mut self,
        leased: &LeasedEvent,
        outcome: &Outcome<()>,
        others: (Option<DateTime<Utc>>, bool),
        now: DateTime<Utc>,
    ) -> bool {
        let is_probe = self.open && leased.probe;
        let cooled_down = Some(after(now, COOL_DOWN));
        match outcome {
            Outcome::Delivered(()) | Outcome::Refused(_) => {
                if is_probe {
                    (self.open, self.probe_at, self.callable_since) = (false, None, Some(now));
                }
                if !self.open {
                    (self.failures, self.failing, self.failing_since) = (0, None, None);
                }
                return true;
            }
            Outcome::NotSent(_) | Outcome::OutOfResources(_) => {
                self.probe_at = if is_probe { Some(now) } else { self.probe_at };
                return false;
            }
            Outcome::RetryAfter(_, wait) => {
                self.not_before = self.not_before.max(Some(after(now, (*wait).min(RETRY_AFTER_MAX))));
                self.probe_at = if is_probe { cooled_down } else { self.probe_at };
                return false;
            }
            _ => {}
        }
        let (forbidden_at, delivered_lately) = others;
        let succeeded_since = |at| self.failures == 0 || self.failing_since.is_some_and(|since| at < since);
        let known = forbidden_at.is_some_and(succeeded_since);
        self.count((!matches!(outcome, Outcome::Unauthorised(_) | Outcome::Unreachable(_))).then_some(leased.id), now);
        let forbidden = matches!(outcome, Outcome::Forbidden(_));
        let its_own = forbidden && (known || delivered_lately && self.failures < 3);
        let refused = matches!(outcome, Outcome::Unauthorised(_)) || forbidden && !its_own;
        // As long as one event alone is forbidden, another one may show at once what is to blame.
        let at_once = forbidden && self.alone().is_some();
        if is_probe {
            self.probe_at = if at_once || its_own { Some(now) } else { cooled_down };
        } else if !self.open && (refused || self.failures >= CIRCUIT_FAILURES) {
            self.open = true;
            self.probe_at = if at_once && refused { Some(now) } else { cooled_down };
        }
        match outcome {
            Outcome::Forbidden(_) => its_own,
            Outcome::Unauthorised(_) | Outcome::Misdirected { .. } => false,
            Outcome::Unreachable(_) => !leased.probe,
            Outcome::Retry(_) | Outcome::Unknown(_) => {
                !leased.probe || self.alone() == Some(leased.id) || delivered_lately
            }
            _ => true,
        }
    }

    /// The only event that has failed since the last success.
    fn alone(&self) -> Option<Uuid> {
        self.failing.filter(|_| self.failures == 1)
    }

    /// One event that fails again and again counts once.
    fn count(&mut self, cause: Option<Uuid>, now: DateTime<Utc>) {
        if self.failures == 0 {
            (self.failures, self.failing, self.failing_since) = (1, cause, Some(now));
        } else if cause.is_none() || self.failing != cause {
            (self.failures, self.failing) = (self.failures + 1, cause);
        }
    }

    /// From when the age of events counts at the earliest.
    fn callable(&self, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let held = self.open || self.not_before.is_some_and(|until| until > now);
        if held { Some(now) } else { self.callable_since.max(self.not_before) }
    }
}

fn delivered_lately(events: &BTreeMap<Uuid, Event>, now: DateTime<Utc>) -> bool {
    let mut delivered = events.values().filter(|event| event.status == Status::Delivered);
    delivered.any(|event| event.settled_at.is_some_and(|at| at > now - COOL_DOWN))
}

/// What `row` remembers of its failures.
fn failed(row: &entity::outbox_event::Model) -> Vec<(DateTime<Utc>, String)> {
    let of = |failure: &serde_json::Value| {
        let at = failure["at"].as_str().unwrap().parse().unwrap();
        (at, failure["outcome"].as_str().unwrap().to_owned())
    };
    row.failures.as_array().unwrap().iter().map(of).collect()
}

fn story(seed: u64, story: &[String]) -> String {
    format!("FEEBOX_SEED={seed} after {} steps:\n{}", story.len(), story.join("\n"))
}

/// 10 s, 20 s, then 30 s.
fn delay(attempt: i32) -> Duration {
    Duration::from_secs(10 * u64::from(attempt.unsigned_abs().min(3)))
}
