//! What the designs without an outbox have instead of a worker: calls that live in this process's memory, and die with
//! it.

use std::{sync::Arc, time::Instant};

use chrono::{DateTime, Utc};
use sea_orm::{ConnectionTrait, DatabaseTransaction, DbErr};
use serde_json::Value;
use tokio::{
    sync::{Notify, Semaphore},
    time::sleep,
};
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::{
    database::Database,
    destination::{Delivery, FeeServer, Receipt},
    fees::{self, Fee},
    outbox::{Outcome, RetryPolicy},
    quotes::{self, FEE_SERVER, Status},
    relay::{News, Relay, What},
    submission::{self, Submitted, fee_request},
    telemetry::metrics,
};

/// How often a call is made, and a fee stored, before it is given up: what a client library does by itself.
const ATTEMPTS_MAX: i32 = 3;

/// Calls the fee server and stores what it answers.
#[derive(Clone)]
pub struct Sender {
    db: Database,
    fee_server: FeeServer,
    retry: RetryPolicy,
    /// Told to everybody who waits after a quote was settled.
    settled: Arc<Notify>,
    calls: Arc<Semaphore>,
    in_flight: TaskTracker,
    relay: Relay,
}

/// One quote on its way to the fee server.
#[derive(Clone, Debug)]
pub(super) struct Sending {
    pub(super) quote_id: Uuid,
    /// The idempotency key of every attempt; stands in the fee record where the event's id would.
    pub(super) key: Uuid,
    pub(super) trace_context: Option<String>,
    payload: Value,
}

/// What sending came to after all attempts.
#[derive(Debug)]
pub(super) enum Sent {
    Fee(Fee),
    /// No fee came of it.
    Failed {
        why: String,
        /// Nobody knows whether the fee was made.
        may_have_reached: bool,
    },
}

/// What became of a fee that came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stored {
    /// The quote is confirmed.
    Confirmed,
    /// The quote had been cancelled: an event that voids the fee is stored.
    Voided,
    /// There is no such quote: its transaction was rolled back, or is not committed yet.
    NoQuote,
}

impl Sending {
    /// One for each submitted quote.
    pub(super) fn each_of(submitted: &Submitted) -> impl Iterator<Item = Self> {
        submitted.quotes.iter().map(|quote| Self {
            quote_id: quote.id,
            key: Uuid::now_v7(),
            trace_context: submitted.trace_context.clone(),
            payload: fee_request(quote),
        })
    }
}

impl Sender {
    /// A sender with at most `calls_max` calls open at a time; what is sent beyond that waits in memory.
    #[must_use]
    pub fn new(
        db: Database,
        fee_server: FeeServer,
        retry: RetryPolicy,
        calls_max: usize,
        settled: Arc<Notify>,
    ) -> Self {
        let (calls, in_flight) = (Arc::new(Semaphore::new(calls_max)), TaskTracker::new());
        Self { db, fee_server, retry, settled, calls, in_flight, relay: Relay::default() }
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

    /// Does `work` beside the submission, which does not wait for it; [`drain`](Self::drain) does.
    pub(super) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.in_flight.spawn(work);
    }

    pub(super) async fn now(&self, db: &impl ConnectionTrait) -> Result<DateTime<Utc>, DbErr> {
        self.db.now(db).await
    }

    pub(super) async fn tell(
        &self,
        txn: &DatabaseTransaction,
        now: DateTime<Utc>,
        sending: &Sending,
        what: What<'_>,
    ) -> Result<(), DbErr> {
        self.relay.tell(txn, now, &[News { what, trace_context: sending.trace_context.clone() }]).await
    }

    /// Makes one call.
    pub(super) async fn attempt(&self, sending: &Sending, outcome_unknown: bool) -> Outcome<Receipt> {
        let delivery = Delivery {
            id: sending.key,
            event_type: "quote.submitted",
            payload: &sending.payload,
            trace_context: sending.trace_context.as_deref(),
            outcome_unknown,
        };
        let _place = self.calls.acquire().await;
        let begun = Instant::now();
        let outcome = self.fee_server.hand_over(delivery).await;
        metrics::delivery(FEE_SERVER, outcome.name());
        metrics::delivery_seconds(FEE_SERVER, begun.elapsed());
        outcome
    }

    /// Calls until there is a fee, a refusal, or an end of patience.
    pub(super) async fn send(&self, sending: &Sending) -> Sent {
        let mut may_have_reached = false;
        let mut attempt = 1;
        loop {
            let outcome = self.attempt(sending, may_have_reached).await;
            let why = match outcome {
                Outcome::Delivered(Receipt::Fee(fee)) => return Sent::Fee(fee),
                Outcome::Delivered(Receipt::Voided) => "the fee server answered a call that was not made".to_owned(),
                Outcome::Refused(why) => return Sent::Failed { why, may_have_reached },
                Outcome::Broken(why) => return Sent::Failed { why, may_have_reached: true },
                Outcome::Unknown(why) => {
                    may_have_reached = true;
                    why
                }
                Outcome::Retry(why)
                | Outcome::RetryAfter(why, _)
                | Outcome::Unauthorised(why)
                | Outcome::NotSent(why) => why,
            };
            if attempt == ATTEMPTS_MAX {
                return Sent::Failed { why, may_have_reached };
            }
            tracing::warn!(quote = %sending.quote_id, attempt, error = why, "no fee yet, calling again");
            sleep(self.retry.delay(attempt)).await;
            attempt += 1;
        }
    }

    /// Stores the fee record and confirms the quote, in a transaction of their own.
    pub(super) async fn store(&self, sending: &Sending, fee: &Fee) -> Result<Stored, DbErr> {
        let mut attempt = 1;
        loop {
            match self.store_once(sending, fee).await {
                Err(error) if attempt < ATTEMPTS_MAX => {
                    tracing::warn!(quote = %sending.quote_id, %error, "could not store the fee, trying again");
                    sleep(self.retry.delay(attempt)).await;
                    attempt += 1;
                }
                stored => return stored,
            }
        }
    }

    async fn store_once(&self, sending: &Sending, fee: &Fee) -> Result<Stored, DbErr> {
        let txn = self.db.begin().await?;
        let now = self.db.now(&*txn).await?;
        let (id, confirmed) = (sending.quote_id, Status::Confirmed);
        let moved = quotes::advance(&*txn, [id], &[Status::Pending], confirmed, None, now).await?;
        let stored = if moved == 1 {
            Stored::Confirmed
        } else if quotes::status(&*txn, id).await? == Some(Status::Cancelled) {
            submission::void(&txn, id, sending.trace_context.clone(), now).await?;
            Stored::Voided
        } else {
            return Ok(Stored::NoQuote);
        };
        fees::store(&txn, std::iter::once((sending.key, fee)), now).await?;
        self.tell(&txn, now, sending, What::FeeCreated(fee)).await?;
        txn.commit().await?;
        self.settled.notify_waiters();
        Ok(stored)
    }
}
