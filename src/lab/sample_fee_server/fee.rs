//! A fee, and the request for one.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The rate of every fee, in basis points (hundredths of a per cent) of the quote's amount.
pub const RATE_BPS: u32 = 250;

const BPS_PER_WHOLE: i128 = 10_000;

/// A fee as this server returns it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fee {
    /// This server's id of the fee.
    pub fee_id: Uuid,
    /// The quote that the fee belongs to.
    pub quote_id: Uuid,
    /// ISO 4217 code, the quote's own.
    pub currency: String,
    /// The fee in minor units of the currency.
    pub amount_minor: i64,
    /// The rate that the fee was calculated with, in basis points.
    pub rate_bps: u32,
    /// When the fee was made, in whole microseconds; never earlier than an earlier fee.
    pub calculated_at: DateTime<Utc>,
}

/// The body of `POST /v1/fees`. Two bodies that differ only in layout are the same request.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(super) struct FeeRequest {
    pub quote_id: Uuid,
    pub customer_id: String,
    pub currency: String,
    pub amount_minor: i64,
    pub submitted_at: DateTime<Utc>,
}

impl FeeRequest {
    /// Parses a request, or returns what is wrong with it.
    pub fn parse(body: &[u8]) -> Result<Self, String> {
        let request: Self = serde_json::from_slice(body).map_err(|error| error.to_string())?;
        if request.currency.len() != 3 || !request.currency.bytes().all(|byte| byte.is_ascii_uppercase()) {
            return Err("currency must be three capital letters".to_owned());
        }
        if request.amount_minor < 0 {
            return Err("amount_minor must not be negative".to_owned());
        }
        if request.customer_id.is_empty() {
            return Err("customer_id must not be empty".to_owned());
        }
        Ok(request)
    }
}

/// The fee on an amount: [`RATE_BPS`] of it. Halves are rounded to even, so that many small fees don't drift.
pub(super) fn fee_on(amount_minor: i64) -> i64 {
    let share = i128::from(amount_minor) * i128::from(RATE_BPS);
    let (whole, rest) = (share.div_euclid(BPS_PER_WHOLE), share.rem_euclid(BPS_PER_WHOLE));
    let up = rest * 2 > BPS_PER_WHOLE || (rest * 2 == BPS_PER_WHOLE && whole % 2 == 1);
    i64::try_from(whole + i128::from(up)).expect("a fee is a small part of an amount that fits")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_half_goes_to_the_even_neighbour() {
        assert_eq!(fee_on(10_000), 250);
        assert_eq!(fee_on(20), 0, "0.5 goes down to 0");
        assert_eq!(fee_on(60), 2, "1.5 goes up to 2");
        assert_eq!(fee_on(100), 2, "2.5 goes down to 2");
        assert_eq!(fee_on(101), 3, "2.525 goes to the nearest");
        assert_eq!(fee_on(0), 0);
    }

    #[test]
    fn the_largest_amount_does_not_overflow() {
        assert_eq!(fee_on(i64::MAX), 230_584_300_921_369_395);
    }

    #[test]
    fn a_float_is_no_amount() {
        let body = br#"{"quote_id":"01890000-0000-7000-8000-000000000000","customer_id":"c","currency":"EUR",
            "amount_minor":1.5,"submitted_at":"2026-01-01T00:00:00Z"}"#;
        assert!(FeeRequest::parse(body).expect_err("refused").contains("floating point"));
    }
}
