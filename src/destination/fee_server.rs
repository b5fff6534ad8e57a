//! The fee server: quotes go out, fees come back. The meanings of its answers are those of the contract, section 3.
//!
//! The only file of the worker's side that knows `reqwest`. It retries nothing: the outbox does.

use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use reqwest::{
    Client, RequestBuilder, Response, StatusCode,
    header::{AUTHORIZATION, HeaderValue, RETRY_AFTER},
    redirect,
};
use sea_orm::{DatabaseTransaction, DbErr};
use secrecy::ExposeSecret;
use serde::Deserialize;
use url::Url;
use uuid::Uuid;

use super::Destination;
use crate::{
    fees::{self, Fee},
    outbox::{Became, LeasedEvent, Outcome, Settled},
    quotes::{self, FEE_SERVER, Status},
    settings,
    telemetry::trace_context::TraceContext,
};

/// The longest answer that is read, in bytes.
const ANSWER_LENGTH_MAX: usize = 64 * 1024;
/// How much of an answer is kept in an error, in characters.
const EXCERPT_LENGTH_MAX: usize = 200;

/// Calls the fee server.
#[derive(Clone, Debug)]
pub struct FeeServer {
    client: Client,
    fees: Url,
    voids: Url,
    authorization: Option<HeaderValue>,
    lookup: bool,
}

/// What a delivery to the fee server hands back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Receipt {
    /// The fee that it made, or had made.
    Fee(Fee),
    /// There is no fee any more.
    Voided,
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
        Ok(Self { client, fees: at("/v1/fees"), voids: at("/v1/fees/void"), authorization, lookup: settings.lookup })
    }

    async fn make_fee(&self, event: &LeasedEvent) -> Outcome<Receipt> {
        let expected = match Expected::of(event) {
            Ok(expected) => expected,
            Err(error) => return Outcome::Broken(format!("the event's payload is unusable: {error}")),
        };
        if event.outcome_unknown && self.lookup {
            match self.look_up(event, &expected).await {
                LookUp::Found(fee) => return Outcome::Delivered(Receipt::Fee(fee)),
                LookUp::None => {}
                LookUp::Failed(outcome) => return outcome,
            }
        }
        match self.send(self.client.post(self.fees.clone()).json(&event.payload), event).await {
            Ok(answer) if answer.status.is_success() => match expected.fee(&answer.body) {
                Ok(fee) => Outcome::Delivered(Receipt::Fee(fee)),
                Err(why) => Outcome::Broken(format!("{} with {why}: {}", answer.status, answer.excerpt())),
            },
            Ok(answer) => answer.failure(),
            Err(outcome) => outcome,
        }
    }

    async fn look_up(&self, event: &LeasedEvent, expected: &Expected) -> LookUp {
        let request = self.client.get(self.fees.clone()).query(&[("quote_id", expected.quote_id)]);
        match self.send(request, event).await {
            Ok(answer) if answer.status.is_success() => expected.found(&answer),
            Ok(answer) if matches!(answer.status.as_u16(), 404 | 405 | 501) => LookUp::None,
            Ok(answer) => LookUp::Failed(still_unknown(answer.failure())),
            Err(outcome) => LookUp::Failed(still_unknown(outcome)),
        }
    }

    async fn void_fee(&self, event: &LeasedEvent) -> Outcome<Receipt> {
        match self.send(self.client.post(self.voids.clone()).json(&event.payload), event).await {
            Ok(answer) if answer.status.is_success() || answer.status == StatusCode::NOT_FOUND => {
                Outcome::Delivered(Receipt::Voided)
            }
            Ok(answer) => answer.failure(),
            Err(outcome) => outcome,
        }
    }

    async fn send(&self, request: RequestBuilder, event: &LeasedEvent) -> Result<Answer, Outcome<Receipt>> {
        let mut request = request.header("idempotency-key", event.id.to_string());
        if let Some(trace) = event.trace_context.as_deref().and_then(TraceContext::parse) {
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
        match event.event_type.as_str() {
            "quote.submitted" => self.make_fee(event).await,
            "quote.cancelled" => self.void_fee(event).await,
            other => Outcome::Broken(format!("the fee server takes no events of type {other}")),
        }
    }

    async fn apply(
        &self,
        txn: &DatabaseTransaction,
        settled: &[Settled<'_, Receipt>],
        now: DateTime<Utc>,
    ) -> Result<(), DbErr> {
        let fees: Vec<_> = settled.iter().copied().filter_map(delivered_fee).collect();
        fees::store(txn, fees.iter().copied(), now).await?;
        let confirmed = fees.iter().map(|(_, fee)| fee.quote_id);
        if !fees.is_empty() {
            quotes::advance(txn, confirmed, &[Status::Pending], Status::Confirmed, None, now).await?;
        }
        for (quote_id, why) in settled.iter().copied().filter_map(refused_quote) {
            quotes::advance(txn, [quote_id], &[Status::Pending], Status::Rejected, Some(why), now).await?;
        }
        Ok(())
    }
}

fn delivered_fee<'a>((attempt, became): Settled<'a, Receipt>) -> Option<(Uuid, &'a Fee)> {
    match (became, &attempt.outcome) {
        (Became::Delivered, Outcome::Delivered(Receipt::Fee(fee))) => Some((attempt.event.id, fee)),
        _ => None,
    }
}

fn refused_quote<'a>((attempt, became): Settled<'a, Receipt>) -> Option<(Uuid, &'a str)> {
    match (became, &attempt.outcome) {
        (Became::Dead(_), Outcome::Refused(why)) => Some((attempt.event.aggregate_id, why)),
        _ => None,
    }
}

enum LookUp {
    Found(Fee),
    None,
    Failed(Outcome<Receipt>),
}

/// A look-up that failed tells nothing about the fee: what it is about stays unknown.
fn still_unknown(outcome: Outcome<Receipt>) -> Outcome<Receipt> {
    match outcome {
        Outcome::Retry(error) | Outcome::Refused(error) | Outcome::Broken(error) => {
            Outcome::Unknown(format!("look-up: {error}"))
        }
        other => other,
    }
}

/// No answer came. Before the connection stood nothing can have been sent; after that nobody knows.
fn not_answered(error: &reqwest::Error) -> Outcome<Receipt> {
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

/// An answer that was read whole.
struct Answer {
    status: StatusCode,
    retry_after: Option<Duration>,
    /// `None` if it was longer than [`ANSWER_LENGTH_MAX`].
    body: Option<Vec<u8>>,
}

impl Answer {
    async fn read(mut response: Response) -> Result<Self, Outcome<Receipt>> {
        let status = response.status();
        let retry_after = response.headers().get(RETRY_AFTER).and_then(retry_after);
        let mut body = Some(Vec::new());
        while let Some(chunk) = response.chunk().await.map_err(|error| Outcome::Unknown(chain(&error)))? {
            body = body.filter(|body| body.len() + chunk.len() <= ANSWER_LENGTH_MAX);
            match &mut body {
                Some(body) => body.extend_from_slice(&chunk),
                None => break,
            }
        }
        Ok(Self { status, retry_after, body })
    }

    /// What an answer other than 2xx means.
    fn failure(&self) -> Outcome<Receipt> {
        let error = format!("{}: {}", self.status, self.excerpt());
        match (self.status.as_u16(), self.retry_after) {
            (429 | 503, Some(wait)) => Outcome::RetryAfter(error, wait),
            (401 | 403 | 407, _) => Outcome::Unauthorised(error),
            (408, _) => Outcome::Unknown(error),
            (409 | 425 | 429 | 500..=599, _) => Outcome::Retry(error),
            (400..=499, _) => Outcome::Refused(error),
            _ => Outcome::Broken(error),
        }
    }

    fn excerpt(&self) -> String {
        let Some(body) = &self.body else {
            return format!("more than {ANSWER_LENGTH_MAX} bytes");
        };
        let text = String::from_utf8_lossy(body);
        text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(EXCERPT_LENGTH_MAX).collect()
    }
}

/// Seconds or an HTTP date (RFC 9110, section 10.2.3).
fn retry_after(value: &HeaderValue) -> Option<Duration> {
    let value = value.to_str().ok()?.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = DateTime::parse_from_rfc2822(value).ok()?;
    Some((date.with_timezone(&Utc) - Utc::now()).to_std().unwrap_or_default())
}

/// What the answer must be about.
#[derive(Deserialize)]
struct Expected {
    quote_id: Uuid,
    currency: String,
}

/// A fee as the fee server writes it.
#[derive(Deserialize)]
struct FeeAnswer {
    fee_id: String,
    quote_id: Uuid,
    currency: String,
    amount_minor: i64,
    rate_bps: i32,
    calculated_at: DateTime<Utc>,
}

impl Expected {
    fn of(event: &LeasedEvent) -> Result<Self, serde_json::Error> {
        Self::deserialize(&event.payload)
    }

    fn fee(&self, body: &Option<Vec<u8>>) -> Result<Fee, String> {
        let body = body.as_deref().ok_or("a body that is too long")?;
        let fee = serde_json::from_slice(body).map_err(|error| format!("a body that is no fee ({error})"))?;
        self.check(fee)
    }

    fn found(&self, answer: &Answer) -> LookUp {
        #[derive(Deserialize)]
        struct Fees {
            fees: Vec<FeeAnswer>,
        }
        let body = answer.body.as_deref().unwrap_or_default();
        let fees = match serde_json::from_slice::<Fees>(body) {
            Ok(found) => found.fees,
            Err(error) => return LookUp::Failed(Outcome::Unknown(format!("look-up: no list of fees ({error})"))),
        };
        match fees.into_iter().next().map(|fee| self.check(fee)) {
            None => LookUp::None,
            Some(Ok(fee)) => LookUp::Found(fee),
            Some(Err(why)) => LookUp::Failed(Outcome::Broken(format!("look-up: {why}: {}", answer.excerpt()))),
        }
    }

    fn check(&self, fee: FeeAnswer) -> Result<Fee, String> {
        if fee.quote_id != self.quote_id {
            return Err(format!("a fee for quote {}", fee.quote_id));
        }
        if fee.currency != self.currency {
            return Err(format!("a fee in {:?} for a quote in {:?}", fee.currency, self.currency));
        }
        if fee.amount_minor < 0 {
            return Err(format!("a negative fee, {}", fee.amount_minor));
        }
        if fee.fee_id.is_empty() || fee.fee_id.chars().count() > 128 {
            return Err("a fee_id that is not 1 to 128 characters long".into());
        }
        let FeeAnswer { fee_id, quote_id, currency, amount_minor, rate_bps, calculated_at } = fee;
        Ok(Fee { fee_id, quote_id, currency, amount_minor, rate_bps, calculated_at })
    }
}
