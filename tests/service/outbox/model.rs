//! The life cycle of events, played at random against a model that is small enough to be seen to be right.
//!
//! Each play has a seed, which a failure names; the variable `FEEBOX_SEED` plays that one again.

mod event;
mod gate;
mod play;

use std::{collections::BTreeSet, time::Duration};

use chrono::{DateTime, Utc};
use entity::outbox_event::Status;
use feebox::outbox::{self, Disposition, Outcome};
use feebox::quotes::FEE_SERVER;
use rand::RngExt;
use uuid::Uuid;

use crate::support::{TestOutbox, attempt, on_each_engine};
use event::{Event, delay, delivered_after, failed};
use gate::Others;
use play::{Play, story};

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

impl Play {
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

        let (due, most, probe) = self.claimable(before, limit);
        let ids: BTreeSet<_> = claimed.iter().map(|event| event.id).collect();
        assert!(ids.len() == claimed.len() && ids.iter().all(|id| due.contains(id)), "{ids:?} {}", self.story());
        // Of events that are due at the same time either may come first: the index of turns knows no ids.
        let due_at = |id: Uuid| self.events[&id].due_at;
        let taken: Vec<_> = claimed.iter().map(|event| due_at(event.id)).collect();
        let first: Vec<_> = due.iter().take(most).map(|id| due_at(*id)).collect();
        assert_eq!(taken, first, "{}", self.story());
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

    /// What a claim may take, the longest due first, how many of them, and whether that is a probe.
    fn claimable(&self, now: DateTime<Utc>, limit: usize) -> (Vec<Uuid>, usize, bool) {
        let probe = self.gate.open;
        let held = self.gate.not_before.is_some_and(|until| until > now);
        if held || probe && self.gate.probe_at.is_some_and(|probe_at| probe_at > now) {
            return (vec![], 0, probe);
        }
        let unfinished = |event: &Event| matches!(event.status, Status::Pending | Status::Leased | Status::Dead);
        let held_back = |event: &Event| {
            let mut others = self.events.values().filter(|other| other.quote == event.quote);
            others.any(|other| other.sequence < event.sequence && unfinished(other))
        };
        let due = self.events.iter().filter(|(_, event)| event.status == Status::Pending && event.due_at <= now);
        let mut due: Vec<_> = due.filter(|(_, event)| !held_back(event)).collect();
        due.sort_by_key(|(id, event)| (event.due_at, **id));
        (due.into_iter().map(|(id, _)| *id).collect(), if probe { 1 } else { limit }, probe)
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
        let in_time = event.lease.is_some_and(|(_, until)| until > now);
        let forbidden_at = event.failed.last().filter(|(_, outcome)| outcome == "unauthorised").map(|(at, _)| *at);
        let is_in_flight = |(id, event): &(&Uuid, &Event)| {
            **id != leased.id && event.lease.is_some_and(|(_, until)| event.status == Status::Leased && until > now)
        };
        let others = Others {
            forbidden_at,
            delivered_lately: delivered_after(&self.events, now - COOL_DOWN),
            delivered_now: delivered_after(&self.events, now - Duration::from_secs(5)),
            in_flight: self.events.iter().filter(is_in_flight).count(),
        };
        let blames = self.gate.learn(&leased, &outcome, in_time, others, now);
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
}
