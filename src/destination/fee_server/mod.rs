//! The fee server: quotes go out, fees come back.
//!
//! It retries only a call that died on a connection that had been used before; everything else is left to the outbox.

mod answer;
mod connections;
mod credentials;
mod expectation;
mod ledger;
mod look_up;
mod look_ups;
mod retry_after;
mod tls;
mod wire;

use std::{sync::Arc, time::Instant};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use reqwest::Method;
use sea_orm::DbErr;
use serde_json::{Map, Value};
use url::Url;

use super::{Delivery, Destination, pass_on::pass_on};
use crate::{
    database::{Database, DatabaseTransaction},
    outbox::{self, DestinationName, Disposition, LeasedEvent, Outcome, Settled},
    quotes::{FEE_SERVER, Fee, QUOTE_SUBMITTED, QuoteDestination, QuoteEvent, Relay},
    settings,
    telemetry::metrics,
};
use answer::{ANSWER_LENGTH_MAX, Answer, Kind};
use expectation::Expectation;
use look_up::Decision;
use look_ups::LookUps;
use wire::{Call, Lost, Via, Wire};

pub use ledger::{FeePage, LedgerError, ListedFee};
pub use tls::TlsError;

/// Calls the fee server.
#[derive(Clone, Debug)]
pub struct FeeServer {
    wire: Arc<Wire>,
    fees: Url,
    voids: Url,
    lookup: bool,
    look_ups: Arc<LookUps>,
    fleet: Option<Database>,
    relay: Relay,
}

/// What a delivery to the fee server hands back: the HTTP status of its answer, and what it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FeeServerReceipt {
    /// The fee that it made, or had made.
    Fee(u16, Fee),
    /// The fee was voided.
    Voided(u16),
}

impl FeeServerReceipt {
    fn fee(&self) -> Option<&Fee> {
        match self {
            Self::Fee(_, fee) => Some(fee),
            Self::Voided(_) => None,
        }
    }
}

impl outbox::Receipt for FeeServerReceipt {
    fn kept(&self) -> Map<String, Value> {
        let (Self::Fee(status, _) | Self::Voided(status)) = *self;
        Map::from_iter([("status".to_owned(), status.into())])
    }

    fn unstorable(&self) -> Option<&'static str> {
        self.fee()?.unstorable()
    }
}

/// Why the client can't be built.
#[derive(Debug, thiserror::Error)]
pub enum FeeServerError {
    /// The token holds characters that no header takes.
    #[error("fee_server.token holds characters that an HTTP header does not take")]
    Token,
    /// TLS could not be set up.
    #[error("TLS to the fee server could not be set up")]
    Tls(#[from] TlsError),
    /// The HTTP client could not be set up.
    #[error("the HTTP client could not be set up")]
    Client(#[from] reqwest::Error),
}

impl FeeServer {
    /// A client for the fee server of `settings`.
    ///
    /// # Errors
    /// See [`FeeServerError`].
    pub fn new(settings: &settings::FeeServer, concurrency: usize) -> Result<Self, FeeServerError> {
        let base = settings.base_url.as_str().trim_end_matches('/');
        let at = |path: &str| Url::parse(&format!("{base}{path}")).unwrap_or_else(|_| settings.base_url.clone());
        Ok(Self {
            wire: Arc::new(Wire::new(settings, concurrency)?),
            fees: at("/v1/fees"),
            voids: at("/v1/fees/void"),
            lookup: settings.lookup,
            look_ups: Arc::new(LookUps::at(base)),
            fleet: None,
            relay: Relay::default(),
        })
    }

    /// Stores the news of what deliveries brought.
    #[must_use]
    pub fn relaying(self, relay: Relay) -> Self {
        Self { relay, ..self }
    }

    /// Shares what this process learns about the fee server with the other processes of `db`.
    #[must_use]
    pub fn sharing(self, db: &Database) -> Self {
        Self { fleet: Some(db.clone()), ..self }
    }

    /// Hands `delivery` over, once.
    pub async fn hand_over(&self, delivery: Delivery<'_>) -> Outcome<FeeServerReceipt> {
        match QuoteEvent::of(delivery.event_type) {
            Some(QuoteEvent::Submitted) => {
                self.make_fee(delivery).await.map(|(status, fee)| FeeServerReceipt::Fee(status, fee))
            }
            Some(QuoteEvent::Cancelled) => self.void_fee(delivery).await,
            _ => Outcome::Broken(format!("the fee server takes no events of type {}", delivery.event_type)),
        }
    }

    /// Has a fee made for a submitted quote, once. Returns the HTTP status of the answer, too.
    pub async fn make_fee(&self, delivery: Delivery<'_>) -> Outcome<(u16, Fee)> {
        let expected = match Expectation::of(delivery.payload) {
            Ok(expected) => expected,
            Err(error) => return Outcome::Broken(format!("the event's payload is unusable: {error}")),
        };
        let outcome = self.look_up_and_ask(delivery, &expected).await;
        self.wire.connections().learn(is_failure(&outcome));
        outcome
    }

    async fn look_up_and_ask(&self, delivery: Delivery<'_>, expected: &Expectation) -> Outcome<(u16, Fee)> {
        if delivery.outcome_unknown
            && let Some(outcome) = self.decided_before(delivery, expected, self.wire.deadline()).await
        {
            return outcome;
        }
        let deadline = self.wire.deadline();
        match self.ask(delivery, expected, Via::Kept, deadline).await {
            Err(Lost::Stale(_)) => may_have_been_sent(self.ask_again(delivery, expected, deadline).await),
            Err(lost) => lost.outcome(),
            Ok(outcome) => outcome,
        }
    }

    /// Asks once more on a connection of its own, within the time of the attempt. The connection before died without an answer,
    /// maybe because of the request, so the fee is looked up first.
    async fn ask_again(
        &self,
        delivery: Delivery<'_>,
        expected: &Expectation,
        deadline: Instant,
    ) -> Outcome<(u16, Fee)> {
        match self.decided_before(delivery, expected, deadline).await {
            Some(outcome) => outcome,
            None => self.ask(delivery, expected, Via::Fresh, deadline).await.unwrap_or_else(Lost::outcome),
        }
    }

    /// Looks up whether the fee exists already: then nothing needs to be sent, and while that is unknown, nothing must be.
    async fn decided_before(&self, delivery: Delivery<'_>, expected: &Expectation, deadline: Instant) -> Decision {
        if !self.lookup {
            return None;
        }
        let decision = self.look_up(delivery, expected, deadline).await;
        if decision.is_none() {
            // The worker checks the lease whenever it polls this, so it gets a turn here: a process that froze while the
            // answer arrived would otherwise send long after its lease.
            tokio::task::yield_now().await;
        }
        decision
    }

    async fn ask(
        &self,
        delivery: Delivery<'_>,
        expected: &Expectation,
        via: Via,
        deadline: Instant,
    ) -> Result<Outcome<(u16, Fee)>, Lost> {
        let call = post(&self.fees, delivery);
        let answer = Answer::read(self.wire.send(&call, via, deadline).await?, ANSWER_LENGTH_MAX).await;
        if !answer.status.is_success() {
            return Ok(answer.failure());
        }
        Ok(match expected.fee(&answer) {
            Ok(fee) => Outcome::Delivered((answer.status.as_u16(), fee)),
            Err(outcome) => outcome,
        })
    }

    async fn void_fee(&self, delivery: Delivery<'_>) -> Outcome<FeeServerReceipt> {
        let outcome = match self.wire.send_harmless(&post(&self.voids, delivery), self.wire.deadline()).await {
            Ok(response) => voided(&Answer::read(response, ANSWER_LENGTH_MAX).await),
            Err(lost) => lost.outcome(),
        };
        self.wire.connections().learn(is_failure(&outcome));
        outcome
    }
}

fn post<'a>(url: &'a Url, delivery: Delivery<'a>) -> Call<'a> {
    Call { method: Method::POST, url, query: &[], body: Some(delivery.payload), delivery: Some(delivery) }
}

fn voided(answer: &Answer) -> Outcome<FeeServerReceipt> {
    let is_voided = match answer.status.as_u16() {
        204 => true,
        200 => answer.kind() == Kind::Json,
        404 => answer.is_labelled_json(),
        _ => false,
    };
    if is_voided { Outcome::Delivered(FeeServerReceipt::Voided(answer.status.as_u16())) } else { answer.failure() }
}

/// Whether it counts against the connections in use.
fn is_failure<R>(outcome: &Outcome<R>) -> bool {
    match outcome {
        Outcome::Delivered(_) | Outcome::Refused(_) | Outcome::Broken(_) | Outcome::RetryAfter(..) => false,
        Outcome::Retry(_)
        | Outcome::Unreachable(_)
        | Outcome::Unknown(_)
        | Outcome::Misdirected { .. }
        | Outcome::Unauthorised(_)
        | Outcome::Forbidden(_)
        | Outcome::OutOfResources(_)
        | Outcome::LaneUnusable(_)
        | Outcome::PutOff(..)
        | Outcome::NotSent(_) => true,
    }
}

/// The outcome of an attempt whose first call died without an answer. Whatever the second one met, the first may have made
/// a fee.
fn may_have_been_sent<R>(outcome: Outcome<R>) -> Outcome<R> {
    match outcome {
        Outcome::Misdirected { error, .. } => Outcome::Misdirected { error, unknown: true },
        Outcome::Delivered(_) | Outcome::Refused(_) | Outcome::Broken(_) | Outcome::Unknown(_) => outcome,
        Outcome::Retry(error)
        | Outcome::Unreachable(error)
        | Outcome::RetryAfter(error, _)
        | Outcome::Unauthorised(error)
        | Outcome::Forbidden(error)
        | Outcome::OutOfResources(error)
        | Outcome::LaneUnusable(error)
        | Outcome::PutOff(error, _)
        | Outcome::NotSent(error) => Outcome::Unknown(format!("no answer on a used connection, then {error}")),
    }
}

#[async_trait]
impl Destination for FeeServer {
    type Receipt = FeeServerReceipt;

    fn name(&self) -> &'static DestinationName {
        &FEE_SERVER
    }

    async fn deliver(&self, event: &LeasedEvent) -> Outcome<FeeServerReceipt> {
        if event.probe {
            // It asks whether the fee server is available again: where its name points now.
            self.wire.connections().give_up();
        }
        self.hand_over(event.into()).await
    }

    async fn apply(
        &self,
        txn: &DatabaseTransaction,
        settled: &[Settled<'_, FeeServerReceipt>],
        now: DateTime<Utc>,
    ) -> Result<(), DbErr> {
        pass_on(txn, self.relay, QuoteDestination::FeeServer, settled, FeeServerReceipt::fee, now).await
    }

    fn committed(&self, settled: &[Settled<'_, FeeServerReceipt>], at: DateTime<Utc>) {
        for (attempt, became) in settled {
            if **became == Disposition::Delivered && attempt.event.event_type == QUOTE_SUBMITTED {
                let (lag, trace) = (at - attempt.event.created_at, attempt.event.trace_context.as_deref());
                metrics::fee_lag_seconds(lag.as_seconds_f64(), trace);
            }
        }
    }
}
