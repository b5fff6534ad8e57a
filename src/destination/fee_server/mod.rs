//! The fee server: quotes go out, fees come back. The meanings of its answers are those of the contract, section 3.
//!
//! It and its `ledger` alone know `reqwest`. It retries nothing: the outbox does.

mod answer;
mod expectation;
mod ledger;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use reqwest::{
    Client, RequestBuilder, StatusCode,
    header::{AUTHORIZATION, HeaderValue},
    redirect,
};
use sea_orm::DbErr;
use secrecy::ExposeSecret;
use serde_json::{Map, Value};
use url::Url;

use super::{Delivery, Destination};
use crate::{
    database::DatabaseTransaction,
    fees::{self, Fee},
    outbox::{self, Became, LeasedEvent, Outcome, Settled},
    quotes::{self, FEE_SERVER, Status},
    relay::{News, Relay, What},
    settings,
    telemetry::trace_context::TraceContext,
};
use answer::Answer;
use expectation::{Expectation, LookUp};

pub use ledger::{FeePage, LedgerError};

/// Calls the fee server.
#[derive(Clone, Debug)]
pub struct FeeServer {
    client: Client,
    fees: Url,
    voids: Url,
    authorization: Option<HeaderValue>,
    lookup: bool,
    relay: Relay,
}

/// What a delivery to the fee server hands back: the HTTP status of its answer, and what it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Receipt {
    /// The fee that it made, or had made.
    Fee(u16, Fee),
    /// There is no fee any more.
    Voided(u16),
}

impl outbox::Receipt for Receipt {
    fn kept(&self) -> Map<String, Value> {
        let (Self::Fee(status, _) | Self::Voided(status)) = *self;
        Map::from_iter([("status".to_owned(), status.into())])
    }
}

/// Why the client can't be built.
#[derive(Debug, thiserror::Error)]
pub enum FeeServerError {
    /// The token holds characters that no header takes.
    #[error("fee_server.token holds characters that an HTTP header does not take")]
    Token,
    /// TLS could not be set up.
    #[error("the HTTP client could not be set up")]
    Client(#[from] reqwest::Error),
}

impl FeeServer {
    /// A client for the fee server of `settings`.
    ///
    /// # Errors
    /// See [`FeeServerError`].
    pub fn new(settings: &settings::FeeServer, concurrency: usize) -> Result<Self, FeeServerError> {
        let authorization = match &settings.token {
            Some(token) => {
                let mut value = HeaderValue::from_str(&format!("Bearer {}", token.expose_secret()))
                    .map_err(|_| FeeServerError::Token)?;
                value.set_sensitive(true);
                Some(value)
            }
            None => None,
        };
        let client = Client::builder()
            .timeout(settings.timeout)
            .connect_timeout(settings.connect_timeout)
            .redirect(redirect::Policy::none())
            .pool_max_idle_per_host(concurrency)
            .no_proxy()
            .tcp_nodelay(true)
            .user_agent(concat!("feebox/", env!("CARGO_PKG_VERSION")))
            .build()?;
        let base = settings.base_url.as_str().trim_end_matches('/');
        let at = |path: &str| Url::parse(&format!("{base}{path}")).unwrap_or_else(|_| settings.base_url.clone());
        Ok(Self {
            client,
            fees: at("/v1/fees"),
            voids: at("/v1/fees/void"),
            authorization,
            lookup: settings.lookup,
            relay: Relay::default(),
        })
    }

    /// Has others told what deliveries brought.
    #[must_use]
    pub fn relaying(self, relay: Relay) -> Self {
        Self { relay, ..self }
    }

    /// Hands `delivery` over, once.
    pub async fn hand_over(&self, delivery: Delivery<'_>) -> Outcome<Receipt> {
        match delivery.event_type {
            "quote.submitted" => self.make_fee(delivery).await.map(|(status, fee)| Receipt::Fee(status, fee)),
            "quote.cancelled" => self.void_fee(delivery).await,
            other => Outcome::Broken(format!("the fee server takes no events of type {other}")),
        }
    }

    /// Has a fee made for a submitted quote, once. Hands back the HTTP status of the answer that told of the fee, too.
    pub async fn make_fee(&self, delivery: Delivery<'_>) -> Outcome<(u16, Fee)> {
        let expected = match Expectation::of(delivery.payload) {
            Ok(expected) => expected,
            Err(error) => return Outcome::Broken(format!("the event's payload is unusable: {error}")),
        };
        if delivery.outcome_unknown && self.lookup {
            match self.look_up(delivery, &expected).await {
                LookUp::Found(fee) => return Outcome::Delivered((StatusCode::OK.as_u16(), fee)),
                // The worker looks at the clock whenever it polls this. It gets a turn here, too: a process that froze while
                // the answer was taken would else go on and send, long after its lease.
                LookUp::None => tokio::task::yield_now().await,
                LookUp::Failed(outcome) => return outcome,
            }
        }
        match self.send(self.client.post(self.fees.clone()).json(delivery.payload), delivery).await {
            Ok(answer) if answer.status.is_success() => match expected.fee(answer.body.as_deref()) {
                Ok(fee) => Outcome::Delivered((answer.status.as_u16(), fee)),
                Err(why) => Outcome::Broken(format!("{} with {why}: {}", answer.status, answer.excerpt())),
            },
            Ok(answer) => answer.failure(),
            Err(outcome) => outcome,
        }
    }

    async fn look_up(&self, delivery: Delivery<'_>, expected: &Expectation) -> LookUp<(u16, Fee)> {
        let request = self.client.get(self.fees.clone()).query(&[("quote_id", expected.quote_id)]);
        match self.send(request, delivery).await {
            Ok(answer) if answer.status.is_success() => expected.found(&answer),
            Ok(answer) if matches!(answer.status.as_u16(), 404 | 405 | 501) => LookUp::None,
            Ok(answer) => LookUp::Failed(still_unknown(answer.failure())),
            Err(outcome) => LookUp::Failed(still_unknown(outcome)),
        }
    }

    async fn void_fee(&self, delivery: Delivery<'_>) -> Outcome<Receipt> {
        match self.send(self.client.post(self.voids.clone()).json(delivery.payload), delivery).await {
            Ok(answer) if answer.status.is_success() || answer.status == StatusCode::NOT_FOUND => {
                Outcome::Delivered(Receipt::Voided(answer.status.as_u16()))
            }
            Ok(answer) => answer.failure(),
            Err(outcome) => outcome,
        }
    }

    async fn send<R>(&self, request: RequestBuilder, delivery: Delivery<'_>) -> Result<Answer, Outcome<R>> {
        let mut request = request.header("idempotency-key", delivery.id.to_string());
        if let Some(trace) = delivery.trace_context.and_then(TraceContext::parse) {
            request = request.header("traceparent", trace.child().header());
        }
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization.clone());
        }
        let response = request.send().await.map_err(|error| not_answered(&error))?;
        Answer::read(response).await
    }
}

#[async_trait]
impl Destination for FeeServer {
    type Receipt = Receipt;

    fn name(&self) -> &'static str {
        FEE_SERVER
    }

    async fn deliver(&self, event: &LeasedEvent) -> Outcome<Receipt> {
        self.hand_over(event.into()).await
    }

    async fn apply(
        &self,
        txn: &DatabaseTransaction,
        settled: &[Settled<'_, Receipt>],
        now: DateTime<Utc>,
    ) -> Result<(), DbErr> {
        let fees: Vec<_> = settled.iter().copied().filter_map(delivered_fee).collect();
        fees::store(txn, fees.iter().map(|(event, fee)| (event.id, *fee)), now).await?;
        let confirmed = fees.iter().map(|(_, fee)| fee.quote_id);
        if !fees.is_empty() {
            quotes::advance(txn, confirmed, &[Status::Pending], Status::Confirmed, None, now).await?;
        }
        let mut news: Vec<_> = fees.into_iter().map(|(event, fee)| news(event, What::FeeCreated(fee))).collect();
        for (event, why) in settled.iter().copied().filter_map(refused_quote) {
            let id = event.aggregate_id;
            let moved = quotes::advance(txn, [id], &[Status::Pending], Status::Rejected, Some(why), now).await?;
            if moved == 1 {
                news.push(self::news(event, What::Rejected(id, why)));
            }
        }
        self.relay.tell(txn, now, &news).await
    }
}

fn news<'a>(event: &LeasedEvent, what: What<'a>) -> News<'a> {
    News { what, trace_context: event.trace_context.clone() }
}

fn delivered_fee((attempt, became): Settled<'_, Receipt>) -> Option<(&LeasedEvent, &Fee)> {
    match (became, &attempt.outcome) {
        (Became::Delivered, Outcome::Delivered(Receipt::Fee(_, fee))) => Some((&attempt.event, fee)),
        _ => None,
    }
}

fn refused_quote((attempt, became): Settled<'_, Receipt>) -> Option<(&LeasedEvent, &str)> {
    match (became, &attempt.outcome) {
        (Became::Dead(_), Outcome::Refused(why)) => Some((&attempt.event, why)),
        _ => None,
    }
}

/// A look-up that failed tells nothing about the fee: what it is about stays unknown.
fn still_unknown<R>(outcome: Outcome<R>) -> Outcome<R> {
    match outcome {
        Outcome::Retry(error) | Outcome::Refused(error) | Outcome::Broken(error) => {
            Outcome::Unknown(format!("look-up: {error}"))
        }
        other => other,
    }
}

/// No answer came. Before the connection stood nothing can have been sent; after that nobody knows.
fn not_answered<R>(error: &reqwest::Error) -> Outcome<R> {
    let text = chain(error);
    if error.is_connect() || error.is_builder() { Outcome::Retry(text) } else { Outcome::Unknown(text) }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
