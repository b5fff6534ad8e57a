//! Quotes as clients see them.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{
    http::problem::Problem,
    quotes::{self, QuoteWithFee},
};

/// A quote.
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!({
    "id": "0197a3f2-6c1e-7c55-9d0e-3b6f1d2a4c11",
    "customer_id": "cust-42",
    "currency": "EUR",
    "amount_minor": 25_000,
    "lines": [{ "description": "Freight Hamburg - Oslo", "quantity": 2, "unit_price_minor": 12_500 }],
    "status": "confirmed",
    "submitted_at": "2026-11-22T10:15:30.123456Z",
    "fee": {
        "fee_id": "fee-7f3a",
        "amount_minor": 625,
        "currency": "EUR",
        "rate_bps": 250,
        "calculated_at": "2026-11-22T10:15:32.005Z"
    },
}))]
pub(super) struct Quote {
    /// `UUIDv7`.
    id: Uuid,
    /// Who asked.
    customer_id: String,
    /// ISO 4217 code.
    currency: String,
    /// The sum of the lines, in minor units.
    amount_minor: i64,
    /// What is bought.
    lines: Vec<Line>,
    /// Where it stands.
    status: Status,
    /// Why it was rejected or cancelled, if somebody said so.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    status_reason: Option<String>,
    /// When it was stored.
    submitted_at: DateTime<Utc>,
    /// Its fee, once there is one.
    #[schema(required)]
    fee: Option<Fee>,
    /// How far its fee is, until that is settled.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    delivery: Option<Delivery>,
}

/// A line of a quote.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub(super) struct Line {
    /// What it is.
    description: String,
    /// How many.
    quantity: i64,
    /// The price of one, in minor units.
    unit_price_minor: i64,
}

/// Where a quote stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = QuoteStatus)]
pub(super) enum Status {
    /// No fee yet.
    Pending,
    /// The fee is known.
    Confirmed,
    /// The fee server refused it for good.
    Rejected,
    /// It was taken back.
    Cancelled,
}

/// The fee of a quote.
#[derive(Debug, Serialize, ToSchema)]
#[expect(clippy::struct_field_names, reason = "so it is called by all who see it")]
pub(super) struct Fee {
    /// The fee server's id of it.
    fee_id: String,
    /// In minor units.
    amount_minor: i64,
    /// The quote's.
    currency: String,
    /// In basis points.
    rate_bps: i32,
    /// By the fee server's clock.
    calculated_at: DateTime<Utc>,
}

/// How far the fee of a quote is.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Delivery {
    /// Attempts begun.
    attempts: i32,
    /// No attempt begins before this time.
    due_at: DateTime<Utc>,
    /// What the last failed attempt came to.
    last_error: Option<String>,
}

/// Quotes that were stored together.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Quotes {
    /// In the order of the call.
    pub quotes: Vec<Quote>,
}

/// A page of a list.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct QuotePage {
    /// Newest first.
    pub quotes: Vec<Quote>,
    /// Quotes of this page that are in the database and cannot be read: a case for the operator.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub unreadable: Vec<Uuid>,
    /// The `cursor` of the next page; null on the last one. A page before the last may have fewer rows than `limit`.
    #[schema(required)]
    pub next: Option<String>,
}

impl Quote {
    /// A quote that was just stored: nothing has become of it yet.
    pub fn submitted(quote: quotes::Quote) -> Result<Self, Problem> {
        Self::with_fee(QuoteWithFee { quote, fee: None, event: None })
    }

    /// A quote with what has become of it.
    pub fn with_fee(found: QuoteWithFee) -> Result<Self, Problem> {
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
            currency: fee.currency,
            rate_bps: fee.rate_bps,
            calculated_at: fee.calculated_at,
        });
        Ok(Self {
            id: quote.id,
            customer_id: quote.customer_id,
            currency: quote.currency,
            amount_minor: quote.amount_minor,
            lines: lines.map_err(|error| Problem::internal(&format!("lines of quote {}: {error}", quote.id)))?,
            status: quote.status.into(),
            status_reason: quote.status_reason,
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
