//! Quotes as clients see them.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{
    http::{access::Caller, problem::Problem},
    quotes::{self, QuoteWithFee, money::minor_unit_digits},
};

/// A quote.
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!({
    "id": "0197a3f2-6c1e-7c55-9d0e-3b6f1d2a4c11",
    "customer_id": "cust-42",
    "currency": "EUR",
    "minor_unit_digits": 2,
    "amount_minor": 25_000,
    "lines": [{ "description": "Freight Hamburg - Oslo", "quantity": 2, "unit_price_minor": 12_500 }],
    "status": "confirmed",
    "submitted_at": "2026-11-22T10:15:30.123456Z",
    "fee": {
        "fee_id": "fee-7f3a",
        "amount_minor": 625,
        "currency": "EUR",
        "minor_unit_digits": 2,
        "rate_bps": 250,
        "calculated_at": "2026-11-22T10:15:32.005Z"
    },
}))]
pub(super) struct Quote {
    /// UUIDv7.
    id: Uuid,
    /// The customer's id.
    customer_id: String,
    /// ISO 4217 code.
    currency: String,
    /// Digits of the currency's minor unit (ISO 4217): `amount_minor` / 10^`minor_unit_digits` is the amount.
    minor_unit_digits: u16,
    /// The sum of the lines, in minor units.
    #[schema(minimum = 0, maximum = 9_007_199_254_740_991_i64)]
    amount_minor: i64,
    /// The items.
    lines: Vec<Line>,
    /// The quote's status.
    status: Status,
    /// Why the quote was rejected or cancelled, if a reason was given.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    status_reason: Option<String>,
    /// The name of the token that submitted the quote; only viewers and operators see it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    #[expect(clippy::option_option, reason = "left out for submitters, null where it is nobody's")]
    submitted_by: Option<Option<String>>,
    /// When the quote was stored.
    submitted_at: DateTime<Utc>,
    /// The fee; null until there is one.
    #[schema(required)]
    fee: Option<Fee>,
    /// The delivery of the quote, until it is settled.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    delivery: Option<Delivery>,
}

/// A line of a quote.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub(super) struct Line {
    /// What is bought.
    description: String,
    /// How many units.
    quantity: i64,
    /// The price of one unit, in minor units.
    unit_price_minor: i64,
}

/// A quote's status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = QuoteStatus)]
pub(super) enum Status {
    /// The quote waits for its fee.
    Pending,
    /// The fee is stored.
    Confirmed,
    /// The fee server refused the quote for good.
    Rejected,
    /// The quote was cancelled.
    Cancelled,
}

/// The fee of a quote.
#[derive(Debug, Serialize, ToSchema)]
#[expect(clippy::struct_field_names, reason = "the API calls it `fee_id`")]
pub(super) struct Fee {
    /// The fee server's id of the fee.
    fee_id: String,
    /// The fee in minor units.
    #[schema(minimum = 0, maximum = 9_007_199_254_740_991_i64)]
    amount_minor: i64,
    /// The quote's currency.
    currency: String,
    /// Digits of the currency's minor unit.
    minor_unit_digits: u16,
    /// The rate in basis points.
    rate_bps: i32,
    /// When the fee was calculated, by the fee server's clock.
    calculated_at: DateTime<Utc>,
}

/// The delivery of a quote.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Delivery {
    /// Attempts so far, with the current one.
    attempts: i32,
    /// The next attempt begins at this time or later.
    due_at: DateTime<Utc>,
    /// The error of the last failed attempt.
    last_error: Option<String>,
}

/// The quotes of a batch.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Quotes {
    /// In the order of the request.
    pub quotes: Vec<Quote>,
}

/// A page of quotes.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct QuotePage {
    /// Newest first.
    pub quotes: Vec<Quote>,
    /// Quotes of this page that are stored but cannot be read; the log says why.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub unreadable: Vec<Uuid>,
    /// The `cursor` of the next page; null on the last page. Other pages can have fewer rows than `limit`.
    #[schema(required)]
    pub next: Option<String>,
    /// Read from a replica whose state has what was committed by then; the header `Age` says how long ago that is. Left out if all was
    /// read from the primary.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false)]
    pub as_of: Option<DateTime<Utc>>,
}

impl Quote {
    /// A quote that was just stored.
    pub fn submitted(quote: quotes::Quote) -> Result<Self, Problem> {
        Self::with_fee(QuoteWithFee { quote, fee: None, event: None })
    }

    /// A quote as `caller` sees it.
    pub fn seen_by(caller: &Caller, found: QuoteWithFee) -> Result<Self, Problem> {
        let submitted_by = caller.sees_only().is_none().then(|| found.quote.submitted_by.clone());
        Ok(Self { submitted_by, ..Self::with_fee(found)? })
    }

    /// A quote with its fee and its delivery.
    fn with_fee(found: QuoteWithFee) -> Result<Self, Problem> {
        let QuoteWithFee { quote, fee, event } = found;
        let lines = serde_json::from_value(quote.lines);
        let delivery = event.filter(|event| event.settled_at.is_none()).map(|event| Delivery {
            attempts: event.attempts,
            due_at: event.due_at,
            last_error: event.last_error,
        });
        let fee = fee.map(|fee| Fee {
            fee_id: fee.fee_id,
            amount_minor: fee.amount_minor,
            minor_unit_digits: minor_unit_digits(&fee.currency),
            currency: fee.currency,
            rate_bps: fee.rate_bps,
            calculated_at: fee.calculated_at,
        });
        Ok(Self {
            id: quote.id,
            customer_id: quote.customer_id,
            minor_unit_digits: minor_unit_digits(&quote.currency),
            currency: quote.currency,
            amount_minor: quote.amount_minor,
            lines: lines.map_err(|error| Problem::internal(&format!("lines of quote {}: {error}", quote.id)))?,
            status: quote.status.into(),
            status_reason: quote.status_reason,
            submitted_by: None,
            submitted_at: quote.submitted_at,
            fee,
            delivery,
        })
    }
}

impl From<quotes::Status> for Status {
    fn from(status: quotes::Status) -> Self {
        match status {
            quotes::Status::Pending => Self::Pending,
            quotes::Status::Confirmed => Self::Confirmed,
            quotes::Status::Rejected => Self::Rejected,
            quotes::Status::Cancelled => Self::Cancelled,
        }
    }
}
