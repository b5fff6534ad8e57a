//! Answers that violate the contract. The customer's name selects the answer; no other quote may suffer from it.

use serde_json::{Value, json};
use uuid::Uuid;

use super::{
    call::Content,
    reply::{Ending, Reply},
};

/// The prefix of poison customers' names.
pub(in crate::lab::torture) const POISON: &str = "poison-";

/// The kinds: a customer is called `poison-KIND-…`.
pub(in crate::lab::torture) const KINDS: [&str; 14] = [
    "nul",
    "nulquote",
    "zerotime",
    "fartime",
    "leap",
    "otherquote",
    "currency",
    "negative",
    "huge",
    "long",
    "empty",
    "refused",
    "denied",
    "broken",
];

/// The answer that a poison quote gets each time.
pub(super) fn answer(content: &Content) -> Option<Reply> {
    let kind = content.customer_id.strip_prefix(POISON)?.split('-').next()?;
    let mut fee = json!({
        "fee_id": Uuid::now_v7(),
        "quote_id": content.quote_id,
        "currency": content.currency,
        "amount_minor": 1,
        "rate_bps": 250,
        "calculated_at": "2026-01-01T00:00:00Z",
    });
    let (field, value): (&str, Value) = match kind {
        "nul" => ("fee_id", "fee\0\u{202e}".into()),
        "nulquote" => ("quote_id", "\0".into()),
        "zerotime" => ("calculated_at", "0001-01-01T00:00:00Z".into()),
        "fartime" => ("calculated_at", "+10000-01-01T00:00:00Z".into()),
        "leap" => ("calculated_at", "2016-12-31T23:59:60Z".into()),
        "otherquote" => ("quote_id", Uuid::now_v7().to_string().into()),
        "currency" => ("currency", "XTS".into()),
        "negative" => ("amount_minor", (-1).into()),
        "huge" => ("amount_minor", i64::MAX.into()),
        "long" => ("fee_id", "f".repeat(300).into()),
        "empty" => ("fee_id", "".into()),
        // A final refusal by the fee server itself.
        "refused" => return Some(Reply::json(422, json!({ "detail": "not\0 with us" }).to_string())),
        // As from a firewall.
        "denied" => return Some(Reply::page(403, "Forbidden")),
        "broken" => return Some(Reply::json(500, json!({ "detail": "a bug" }).to_string())),
        _ => return None,
    };
    fee[field] = value;
    Some(Reply::json(201, fee.to_string()).ending(Ending::Whole))
}
