//! What the designs without an outbox have instead of a worker: calls that live in this process's memory, and die with
//! it.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use chrono::{DateTime, Utc};
use sea_orm::{ConnectionTrait, DbErr};
use serde_json::Value;
use tokio::{sync::Semaphore, time::sleep};
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use super::target::{Taken, Target};
use crate::{
    database::{Database, DatabaseTransaction},
    destination::Delivery,
    fees,
    outbox::{DestinationName, Outcome, RetryPolicy},
    quotes::{self, QUOTE_SUBMITTED, Status},
    relay::{News, Relay, What},
    submission::{self, Submitted},
    telemetry::metrics,
    worker::Signal,
};

/// How often a call is made, and its answer stored, before it is given up: what a client library does by itself.
const ATTEMPTS_MAX: i32 = 3;
/// The longest that a call waits for the end of a `Retry-After`. One that is longer fails it.
const WAIT_MAX: Duration = Duration::from_secs(5);

/// Calls a destination and stores what it answers.
#[derive(Clone)]
pub struct Sender {
    db: Database,
    target: Target,
    retry: RetryPolicy,
    /// Sent after a quote was settled.
    settled: Signal,
    calls: Arc<Semaphore>,
    in_flight: TaskTracker,
    relay: Relay,
    /// Until when the destination asked to be left alone.
    held_until: Arc<Mutex<Option<Instant>>>,
    retry_after_max: Duration,
}

/// One quote on its way to its destination.
#[derive(Clone, Debug)]
pub(super) struct Sending {
    pub(super) quote_id: Uuid,
    /// The idempotency key of every attempt; stands in the fee record where the event's id would.
    key: Uuid,
    pub(super) trace_context: Option<String>,
    submitted_at: DateTime<Utc>,
    payload: Value,
}

/// What sending came to after all attempts.
#[derive(Debug)]
pub(super) enum Sent {
    Taken(Taken),
    /// The destination has not taken it, as far as is known.
    Failed {
        why: String,
        /// Nobody knows whether it did.
        may_have_reached: bool,
    },
}

/// What became of an answer that came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stored {
    /// The quote is confirmed.
    Confirmed,
    /// The quote had been cancelled: an event that takes back what the destination did is stored.
    Voided,
    /// There is no such quote: its transaction was rolled back, or is not committed yet.
    NoQuote,
}

impl Sender {
    /// A sender with at most `calls_max` calls open at a time; what is sent beyond that waits in memory.
    #[must_use]
    pub fn new(db: Database, target: Target, retry: RetryPolicy, calls_max: usize, settled: Signal) -> Self {
        let (calls, in_flight) = (Arc::new(Semaphore::new(calls_max)), TaskTracker::new());
        let (relay, held_until) = (Relay::default(), Arc::default());
        let retry_after_max = Duration::from_hours(1);
        Self { db, target, retry, settled, calls, in_flight, relay, held_until, retry_after_max }
    }

    /// Leaves the destination alone for at most `retry_after_max` when it asks for it; an hour if this is not set.
    #[must_use]
    pub fn capping_retry_after(self, retry_after_max: Duration) -> Self {
        Self { retry_after_max, ..self }
    }

    /// Has others told of the fees that it stores.
    #[must_use]
    pub fn relaying(self, relay: Relay) -> Self {
        Self { relay, ..self }
    }

    /// Returns when nothing is in flight any more. Call it when nothing new is submitted.
    pub async fn drain(&self) {
        self.in_flight.close();
        self.in_flight.wait().await;
    }

    /// How many quotes are on their way.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// Whom it calls.
    pub(super) fn destination(&self) -> &'static DestinationName {
        self.target.name()
    }

    /// One for each submitted quote.
    pub(super) fn sendings(&self, submitted: &Submitted) -> impl Iterator<Item = Sending> {
        submitted.quotes.iter().map(|quote| Sending {
            quote_id: quote.id,
            key: Uuid::now_v7(),
            trace_context: submitted.trace_context.clone(),
            submitted_at: submitted.at,
            payload: self.target.payload(quote),
        })
    }

    /// Does `work` beside the submission, which does not wait for it; [`drain`](Self::drain) does.
    pub(super) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.in_flight.spawn(work);
    }

    pub(super) async fn now(&self, db: &impl ConnectionTrait) -> Result<DateTime<Utc>, DbErr> {
        self.db.now(db).await
    }

    /// Makes one call.
    pub(super) async fn attempt(&self, sending: &Sending, outcome_unknown: bool) -> Outcome<Taken> {
        let delivery = Delivery {
            id: sending.key,
            quote_id: sending.quote_id,
            created_at: sending.submitted_at,
            event_type: &QUOTE_SUBMITTED,
            payload: &sending.payload,
            trace_context: sending.trace_context.as_deref(),
            outcome_unknown,
        };
        let _place = self.calls.acquire().await;
        if let Some(left) = self.held_for() {
            return Outcome::RetryAfter("not called: the destination asked to be left alone".into(), left);
        }
        let begun = Instant::now();
        let outcome = self.target.hand_over(delivery).await;
        if let Outcome::RetryAfter(_, wait) = &outcome {
            let until = Instant::now() + (*wait).min(self.retry_after_max);
            let mut held_until = self.held_until.lock().unwrap_or_else(PoisonError::into_inner);
            *held_until = (*held_until).max(Some(until));
        }
        metrics::delivery(self.destination().as_str(), outcome.name());
        metrics::delivery_seconds(self.destination().as_str(), begun.elapsed());
        outcome
    }

    /// For how long the destination wants to be left alone yet.
    fn held_for(&self) -> Option<Duration> {
        let held_until = *self.held_until.lock().unwrap_or_else(PoisonError::into_inner);
        held_until.map(|until| until.saturating_duration_since(Instant::now())).filter(|left| !left.is_zero())
    }

    /// Calls until the destination has taken the quote or refused it, or patience ends.
    pub(super) async fn send(&self, sending: &Sending) -> Sent {
        let mut may_have_reached = false;
        let mut attempt = 1;
        loop {
            let outcome = self.attempt(sending, may_have_reached).await;
            let why = match outcome {
                Outcome::Delivered(taken) => return Sent::Taken(taken),
                Outcome::Refused(why) => return Sent::Failed { why, may_have_reached },
                Outcome::Broken(why) => return Sent::Failed { why, may_have_reached: true },
                Outcome::Unknown(why) | Outcome::Misdirected { error: why, unknown: true } => {
                    may_have_reached = true;
                    why
                }
                // To Kafka it may have been sent before the log-in was refused: its client goes on trying.
                Outcome::Unauthorised(why) => {
                    may_have_reached |= !self.target.may_be_called_again();
                    why
                }
                Outcome::Retry(why)
                | Outcome::RetryAfter(why, _)
                | Outcome::Misdirected { error: why, unknown: false }
                | Outcome::Forbidden(why)
                | Outcome::Unreachable(why)
                | Outcome::OutOfResources(why)
                | Outcome::NotSent(why) => why,
            };
            if attempt == ATTEMPTS_MAX || (may_have_reached && !self.target.may_be_called_again()) {
                return Sent::Failed { why, may_have_reached };
            }
            tracing::warn!(quote = %sending.quote_id, attempt, error = why, "not taken yet, calling again");
            let held_for = self.held_for().unwrap_or_default();
            if held_for > WAIT_MAX {
                return Sent::Failed { why, may_have_reached };
            }
            sleep(self.retry.delay(attempt).max(held_for)).await;
            attempt += 1;
        }
    }

    /// Stores what came back and confirms the quote, in a transaction of their own.
    pub(super) async fn store(&self, sending: &Sending, taken: &Taken) -> Result<Stored, DbErr> {
        let mut attempt = 1;
        loop {
            match self.store_once(sending, taken).await {
                Err(error) if attempt < ATTEMPTS_MAX => {
                    tracing::warn!(quote = %sending.quote_id, %error, "could not store the answer, trying again");
                    sleep(self.retry.delay(attempt)).await;
                    attempt += 1;
                }
                stored => return stored,
            }
        }
    }

    async fn store_once(&self, sending: &Sending, taken: &Taken) -> Result<Stored, DbErr> {
        let stored = self.db.transaction(|txn| {
            Box::pin(async move {
                let now = self.db.now(&*txn).await?;
                let id = sending.quote_id;
                if self.confirm(&txn, sending, taken, now).await? {
                    return Ok::<_, DbErr>((Stored::Confirmed, now));
                }
                if quotes::status(&*txn, id).await? != Some(Status::Cancelled) {
                    return Ok((Stored::NoQuote, now));
                }
                submission::void(&txn, self.destination(), id, sending.trace_context.clone(), now).await?;
                self.keep(&txn, sending, taken, now).await?;
                Ok((Stored::Voided, now))
            })
        });
        let (stored, now) = stored.await?;
        if stored == Stored::NoQuote {
            return Ok(stored);
        }
        if stored == Stored::Confirmed && taken.fee().is_some() {
            metrics::fee_lag_seconds((now - sending.submitted_at).as_seconds_f64());
        }
        self.settled.send();
        Ok(stored)
    }

    /// Confirms the quote and stores what its destination handed back, if the quote is still pending.
    pub(super) async fn confirm(
        &self,
        txn: &DatabaseTransaction,
        sending: &Sending,
        taken: &Taken,
        now: DateTime<Utc>,
    ) -> Result<bool, DbErr> {
        let (id, from, to) = ([sending.quote_id], [Status::Pending], Status::Confirmed);
        let confirmed = quotes::advance(txn, id, &from, to, None, now).await? == 1;
        if confirmed {
            self.keep(txn, sending, taken, now).await?;
        }
        Ok(confirmed)
    }

    async fn keep(
        &self,
        txn: &DatabaseTransaction,
        sending: &Sending,
        taken: &Taken,
        now: DateTime<Utc>,
    ) -> Result<(), DbErr> {
        let Some(fee) = taken.fee() else { return Ok(()) };
        fees::store(txn, std::iter::once((sending.key, fee)), now).await?;
        let news = News { what: What::FeeCreated(fee), trace_context: sending.trace_context.clone() };
        self.relay.tell(txn, now, &[news]).await
    }
}
