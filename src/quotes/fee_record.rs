//! The fee record: stored once per quote.

use chrono::{DateTime, Datelike, Timelike, Utc};
use sea_orm::DbErr;
use uuid::Uuid;

use super::money::AMOUNT_MINOR_MAX;
use crate::database::{
    DatabaseTransaction,
    insert_each::{IfTaken, InsertEach},
    update_each::{Cell, Column, Type},
};

pub use entity::fee_record::Model as FeeRecord;

const FEE_RECORDS: InsertEach = InsertEach {
    table: "fee_record",
    columns: &[
        Column("id", Type::Uuid),
        Column("quote_id", Type::Uuid),
        Column("event_id", Type::Uuid),
        Column("fee_id", Type::Text),
        Column("currency", Type::Text),
        Column("amount_minor", Type::BigInteger),
        Column("rate_bps", Type::Integer),
        Column("calculated_at", Type::Time),
        Column("created_at", Type::Time),
    ],
    also: &[],
    if_taken: IfTaken::Skip,
};

/// A fee that the fee server made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fee {
    /// The fee server's own id, 1 to 128 characters.
    pub fee_id: String,
    /// The quote.
    pub quote_id: Uuid,
    /// The quote's currency.
    pub currency: String,
    /// In minor units, 0 to 2^53 - 1.
    pub amount_minor: i64,
    /// In basis points.
    pub rate_bps: i32,
    /// By the fee server's clock.
    pub calculated_at: DateTime<Utc>,
}

impl Fee {
    /// Why some database cannot store it, if so; names the field. `MariaDB` would store a year of five digits or a leap second
    /// as zero, and `PostgreSQL` refuses a NUL.
    #[must_use]
    pub fn unstorable(&self) -> Option<&'static str> {
        let text = |text: &str, most| (1..=most).contains(&text.chars().count()) && !text.chars().any(char::is_control);
        if !text(&self.fee_id, 128) {
            return Some("fee_id is not 1 to 128 printable characters");
        }
        if !text(&self.currency, 3) {
            return Some("currency is not 3 printable characters");
        }
        if !(1970..=9999).contains(&self.calculated_at.year()) || self.calculated_at.nanosecond() >= 1_000_000_000 {
            return Some("calculated_at is a leap second or outside of the years 1970 to 9999");
        }
        let is_amount = (0..=AMOUNT_MINOR_MAX).contains(&self.amount_minor);
        (!is_amount).then_some("amount_minor is not 0 to 2^53 - 1")
    }
}

/// Stores fees, each with the id of the event that brought it. A quote that has a fee record keeps it: the unique key makes a
/// second delivery harmless.
pub(super) async fn store<'a>(
    txn: &DatabaseTransaction,
    fees: impl Iterator<Item = (Uuid, &'a Fee)>,
    now: DateTime<Utc>,
) -> Result<(), DbErr> {
    let fees = fees.map(|(event_id, fee)| match fee.unstorable() {
        None => Ok((event_id, fee)),
        Some(why) => Err(DbErr::Type(format!("{why}, in the fee of quote {}", fee.quote_id))),
    });
    let fees = fees.collect::<Result<Vec<_>, _>>()?;
    let rows = fees.into_iter().map(|(event_id, fee)| {
        vec![
            Cell::Uuid(Uuid::now_v7()),
            Cell::Uuid(fee.quote_id),
            Cell::Uuid(event_id),
            Cell::Text(fee.fee_id.clone()),
            Cell::Text(fee.currency.clone()),
            Cell::BigInteger(fee.amount_minor),
            Cell::Integer(fee.rate_bps),
            Cell::Time(fee.calculated_at),
            Cell::Time(now),
        ]
    });
    FEE_RECORDS.run(txn, rows).await.map(drop)
}
