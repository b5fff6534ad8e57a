//! What lists of events show of their quotes.

use std::collections::HashMap;

use entity::quote::{Column, Entity};
use sea_orm::{ColumnTrait, ConnectionTrait, DbErr, EntityTrait, QueryFilter, QuerySelect};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::money::minor_unit_digits;
use crate::database::padded;

/// An amount.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Money {
    /// ISO 4217.
    pub currency: String,
    /// Digits of the currency's minor unit.
    pub minor_unit_digits: u16,
    /// In minor units.
    pub amount_minor: i64,
}

impl Money {
    /// So many minor units of a currency.
    #[must_use]
    pub fn new(currency: String, amount_minor: i64) -> Self {
        Self { minor_unit_digits: minor_unit_digits(&currency), currency, amount_minor }
    }
}

/// Whose quote, and about how much.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// The customer.
    pub customer_id: String,
    /// The sum of its lines.
    pub money: Money,
}

/// The quotes `ids` in short; unknown ones are left out.
///
/// # Errors
/// Any database error.
pub async fn summaries(
    db: &impl ConnectionTrait,
    ids: impl IntoIterator<Item = Uuid>,
) -> Result<HashMap<Uuid, Summary>, DbErr> {
    let ids = padded(ids);
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    let rows: Vec<(Uuid, String, String, i64)> = Entity::find()
        .select_only()
        .columns([Column::Id, Column::CustomerId, Column::Currency, Column::AmountMinor])
        .filter(Column::Id.is_in(ids))
        .into_tuple()
        .all(db)
        .await?;
    let summary = |(id, customer_id, currency, amount_minor)| {
        (id, Summary { customer_id, money: Money::new(currency, amount_minor) })
    };
    Ok(rows.into_iter().map(summary).collect())
}

/// The first and the last id that begin with these hexadecimal digits, with or without dashes.
///
/// # Errors
/// What is wrong, to follow the name of a field or parameter.
pub fn ids_with_prefix(text: &str) -> Result<(Uuid, Uuid), String> {
    let digits: String = text.chars().filter(|c| *c != '-').collect();
    let id = |filled: String| Uuid::try_parse(&filled).ok();
    let fits = (1..=32).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    let ends = (id(format!("{digits:0<32}")), id(format!("{digits:f<32}")));
    match ends {
        (Some(first), Some(last)) if fits => Ok((first, last)),
        _ => Err(format!("is {text:?}; send the first digits of an id")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_of_an_id_is_a_range_of_ids() {
        let id = Uuid::now_v7();
        for length in 1..=36 {
            let (first, last) = ids_with_prefix(&id.to_string()[..length]).expect("a prefix");
            assert!(first <= id && id <= last, "{length}");
        }
        let (first, last) = ids_with_prefix("0190c2f4-7").expect("a prefix");
        assert_eq!(first.to_string(), "0190c2f4-7000-0000-0000-000000000000");
        assert_eq!(last.to_string(), "0190c2f4-7fff-ffff-ffff-ffffffffffff");
        for wrong in ["", "-", "x", "0190c2f4-7é", &"0".repeat(33)] {
            assert!(ids_with_prefix(wrong).is_err(), "{wrong}");
        }
    }
}
