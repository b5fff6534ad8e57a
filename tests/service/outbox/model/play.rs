//! A play: the database and the model of it, and the dice.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, Utc};
use entity::destination::Circuit;
use entity::outbox_event::Status;
use feebox::outbox::{self, LeasedEvent, Outcome, RetryPolicy};
use feebox::settings;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use uuid::Uuid;

use super::event::{Event, failed};
use super::gate::Gate;
use super::{CIRCUIT_FAILURES, COOL_DOWN, GIVE_UP_AFTER, MAX_ATTEMPTS, RETRY_AFTER_MAX};
use crate::support::TestOutbox;

pub struct Play {
    pub outbox: TestOutbox,
    pub dice: StdRng,
    pub seed: u64,
    pub story: Vec<String>,
    pub events: BTreeMap<Uuid, Event>,
    pub gate: Gate,
    /// Whether each quote is cancelled.
    pub quotes: BTreeMap<Uuid, bool>,
    /// Leases in the hands of workers, also those that are over.
    pub held: Vec<LeasedEvent>,
}

impl Play {
    pub fn new(mut outbox: TestOutbox) -> Play {
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
    pub async fn begin(&mut self, seed: u64) {
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

    /// Every event and the destination are as the model has them.
    pub async fn compare(&self) {
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

    pub fn store(&mut self, id: Uuid, quote: Uuid, sequence: i32, now: DateTime<Utc>) {
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

    pub fn next_sequence(&self, quote: Uuid) -> i32 {
        let sequences = self.events.values().filter(|event| event.quote == quote).map(|event| event.sequence);
        sequences.max().unwrap_or(0) + 1
    }

    pub fn any_quote(&mut self) -> Option<Uuid> {
        let index = self.dice.random_range(0..self.quotes.len().max(1));
        self.quotes.keys().nth(index).copied()
    }

    pub fn any_outcome(&mut self) -> Outcome<()> {
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

    pub fn tell(&mut self, what: String) {
        self.story.push(what);
    }

    pub fn story(&self) -> String {
        story(self.seed, &self.story)
    }
}

pub fn story(seed: u64, story: &[String]) -> String {
    format!("FEEBOX_SEED={seed} after {} steps:\n{}", story.len(), story.join("\n"))
}
