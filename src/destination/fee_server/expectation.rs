//! What a fee must be about to be taken.

use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::Value;
use uuid::Uuid;

use super::answer::Answer;
use crate::{fees::Fee, outbox::Outcome};

/// What a look-up tells.
pub(super) enum LookUp<R> {
    /// The fee exists.
    Found(Fee),
    /// It does not, or the server has no look-up.
    None,
    /// It stays unknown.
    Failed(Outcome<R>),
}

/// What the answer must be about.
#[derive(Deserialize)]
pub(super) struct Expectation {
    pub(super) quote_id: Uuid,
    currency: String,
}

/// A fee as the fee server writes it.
#[derive(Deserialize)]
pub(super) struct FeeAnswer {
    fee_id: String,
    quote_id: Uuid,
    currency: String,
    amount_minor: i64,
    rate_bps: i32,
    calculated_at: DateTime<Utc>,
}

impl Expectation {
    pub(super) fn of(payload: &Value) -> Result<Self, serde_json::Error> {
        Self::deserialize(payload)
    }

    pub(super) fn fee(&self, body: Option<&[u8]>) -> Result<Fee, String> {
        let body = body.ok_or("a body that is too long")?;
        let fee = serde_json::from_slice(body).map_err(|error| format!("a body that is no fee ({error})"))?;
        self.check(fee)
    }

    pub(super) fn found<R>(&self, answer: &Answer) -> LookUp<R> {
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
        Ok(fee.into())
    }
}

impl From<FeeAnswer> for Fee {
    fn from(fee: FeeAnswer) -> Self {
        let FeeAnswer { fee_id, quote_id, currency, amount_minor, rate_bps, calculated_at } = fee;
        Self { fee_id, quote_id, currency, amount_minor, rate_bps, calculated_at }
    }
}
