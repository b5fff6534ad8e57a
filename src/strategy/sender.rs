//! What the designs without an outbox have instead of a worker: calls that exist in this process's memory only.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use chrono::{DateTime, Utc};
use parking_lot::Mutex;
use sea_orm::{ConnectionTrait, DbErr};
use serde_json::Value;
use tokio::{sync::Semaphore, time::sleep};
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use super::target::{Acceptance, Target};
use crate::{
    database::{Database, DatabaseTransaction},
    destination::Delivery,
    outbox::{Outcome, RetryPolicy},
    quotes::{self, Accepted, CallConfirmation, Change, News, QUOTE_SUBMITTED, Quote, QuoteDestination, Relay},
    submission::Submitted,
    telemetry::metrics,
    worker::Signal,
};

/// How often a call is tried, and storing its answer, before it fails: what a client library does by itself.
const ATTEMPTS_MAX: i32 = 3;
/// The longest `Retry-After` that a call waits for. A longer one fails it.
const WAIT_MAX: Duration = Duration::from_secs(5);

/// Calls a destination and stores its answers.
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
    /// Until when the destination asked not to be called.
    held_until: Arc<Mutex<Option<Instant>>>,
    retry_after_max: Duration,
}

/// One quote on its way to its destination.
#[derive(Clone, Debug)]
pub(super) struct Sending {
    pub(super) quote_id: Uuid,
    /// Whose quote it is; empty if it is nobody's.
    partner: String,
    /// The idempotency key of every attempt, and in the fee record in place of the event's id.
    key: Uuid,
    pub(super) trace_context: Option<String>,
    submitted_at: DateTime<Utc>,
    payload: Value,
}

/// The result of all attempts.
#[derive(Debug)]
pub(super) enum Sent {
    Accepted(Acceptance),
    /// The destination has not accepted it, as far as is known.
    Failed {
        why: String,
        /// It may have accepted it all the same.
        may_have_reached: bool,
    },
}

impl Sender {
    /// A sender with at most `calls_max` calls open at a time; what is sent beyond that waits in memory. It believes a
    /// `Retry-After` of up to `retry_after_max`.
    pub(super) fn new(
        db: Database,
        target: Target,
        retry: RetryPolicy,
        retry_after_max: Duration,
        calls_max: usize,
        settled: Signal,
        relay: Relay,
    ) -> Self {
        let (calls, in_flight) = (Arc::new(Semaphore::new(calls_max)), TaskTracker::new());
        Self { db, target, retry, settled, calls, in_flight, relay, held_until: Arc::default(), retry_after_max }
    }

    /// Returns when nothing is in flight any more. Call it when nothing new is submitted.
    pub async fn drain(&self) {
        self.in_flight.close();
        self.in_flight.wait().await;
    }

    /// How many calls are in flight.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// What it calls.
    pub(super) fn destination(&self) -> QuoteDestination {
        self.target.destination()
    }

    /// What stores the news.
    pub(super) fn relay(&self) -> Relay {
        self.relay
    }

    /// Stores the news that the quotes were submitted.
    pub(super) async fn record_news(&self, txn: &DatabaseTransaction, submissions: &[Submitted]) -> Result<(), DbErr> {
        let Some(Submitted { at, .. }) = submissions.first() else { return Ok(()) };
        let news = each_quote(submissions).map(|(submitted, quote)| News {
            change: Change::Submitted(quote),
            partner: quotes::partner(quote),
            trace_context: submitted.trace_context.as_deref(),
        });
        self.relay.record(txn, self.destination(), *at, &news.collect::<Vec<_>>()).await
    }

    /// One for each submitted quote.
    pub(super) fn sendings(&self, submissions: &[Submitted]) -> impl Iterator<Item = Sending> {
        each_quote(submissions).map(|(submitted, quote)| Sending {
            quote_id: quote.id,
            partner: quotes::partner(quote).to_owned(),
            key: Uuid::now_v7(),
            trace_context: submitted.trace_context.clone(),
            submitted_at: submitted.at,
            payload: self.target.payload(quote),
        })
    }

    /// Does `work` in the background; [`drain`](Self::drain) waits for it.
    pub(super) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.in_flight.spawn(work);
    }

    pub(super) async fn now(&self, db: &impl ConnectionTrait) -> Result<DateTime<Utc>, DbErr> {
        self.db.now(db).await
    }

    /// Makes one call.
    pub(super) async fn attempt(&self, sending: &Sending, outcome_unknown: bool) -> Outcome<Acceptance> {
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
            return Outcome::RetryAfter("not called: the destination asked to wait".into(), left);
        }
        let begun = Instant::now();
        let outcome = self.target.hand_over(delivery).await;
        if let Outcome::RetryAfter(_, wait) = &outcome {
            let until = Instant::now() + (*wait).min(self.retry_after_max);
            let mut held_until = self.held_until.lock();
            *held_until = (*held_until).max(Some(until));
        }
        let destination = self.destination().name().as_str();
        metrics::delivery(destination, outcome.name());
        metrics::delivery_seconds(destination, begun.elapsed(), sending.trace_context.as_deref());
        outcome
    }

    /// How much of the destination's `Retry-After` is left.
    fn held_for(&self) -> Option<Duration> {
        let held_until = *self.held_until.lock();
        held_until.map(|until| until.saturating_duration_since(Instant::now())).filter(|left| !left.is_zero())
    }

    /// Calls until the destination has accepted or refused the quote, or [`ATTEMPTS_MAX`] attempts have failed.
    pub(super) async fn send(&self, sending: &Sending) -> Sent {
        let mut may_have_reached = false;
        let mut attempt = 1;
        loop {
            let outcome = self.attempt(sending, may_have_reached).await;
            let why = match outcome {
                Outcome::Delivered(acceptance) => return Sent::Accepted(acceptance),
                Outcome::Refused(why) | Outcome::LaneUnusable(why) => return Sent::Failed { why, may_have_reached },
                Outcome::Broken(why) => return Sent::Failed { why, may_have_reached: true },
                Outcome::Unknown(why) | Outcome::Misdirected { error: why, unknown: true } => {
                    may_have_reached = true;
                    why
                }
                // The Kafka client goes on trying after a refused log-in, so the record may have been sent.
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
                | Outcome::PutOff(why, _)
                | Outcome::NotSent(why) => why,
            };
            if attempt == ATTEMPTS_MAX || (may_have_reached && !self.target.may_be_called_again()) {
                return Sent::Failed { why, may_have_reached };
            }
            tracing::warn!(quote = %sending.quote_id, attempt, error = why, "call failed, calling again");
            let held_for = self.held_for().unwrap_or_default();
            if held_for > WAIT_MAX {
                return Sent::Failed { why, may_have_reached };
            }
            sleep(self.retry.delay(attempt).max(held_for)).await;
            attempt += 1;
        }
    }

    /// Stores what came back and confirms the quote, in a transaction of their own.
    pub(super) async fn store(&self, sending: &Sending, acceptance: &Acceptance) -> Result<CallConfirmation, DbErr> {
        let mut attempt = 1;
        loop {
            match self.store_once(sending, acceptance).await {
                Err(error) if attempt < ATTEMPTS_MAX => {
                    tracing::warn!(quote = %sending.quote_id, %error, "storing the answer failed, trying again");
                    sleep(self.retry.delay(attempt)).await;
                    attempt += 1;
                }
                stored => return stored,
            }
        }
    }

    async fn store_once(&self, sending: &Sending, acceptance: &Acceptance) -> Result<CallConfirmation, DbErr> {
        let stored = self.db.transaction(|txn| {
            Box::pin(async move {
                let now = self.db.now(&*txn).await?;
                let accepted = sending.accepted(acceptance);
                let stored = quotes::confirm_call(&txn, self.relay, self.destination(), accepted, now).await?;
                Ok::<_, DbErr>((stored, now))
            })
        });
        let (stored, now) = stored.await?;
        if stored == CallConfirmation::NotPending {
            return Ok(stored);
        }
        if stored == CallConfirmation::Confirmed && acceptance.fee().is_some() {
            let (lag, trace) = (now - sending.submitted_at, sending.trace_context.as_deref());
            metrics::fee_lag_seconds(lag.as_seconds_f64(), trace);
        }
        self.settled.send();
        Ok(stored)
    }
}

impl Sending {
    /// The quote with the answer of its destination.
    pub(super) fn accepted<'a>(&'a self, acceptance: &'a Acceptance) -> Accepted<'a> {
        Accepted {
            quote_id: self.quote_id,
            key: self.key,
            fee: acceptance.fee(),
            partner: &self.partner,
            trace_context: self.trace_context.as_deref(),
        }
    }
}

fn each_quote(submissions: &[Submitted]) -> impl Iterator<Item = (&Submitted, &Quote)> {
    submissions.iter().flat_map(|submitted| submitted.quotes.iter().map(move |quote| (submitted, quote)))
}
