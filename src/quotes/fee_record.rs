//! The fee record: stored once per quote.

use chrono::{DateTime, Datelike, Timelike, Utc};
use entity::fee_record::{ActiveModel, Column, Entity};
use sea_orm::{ActiveValue::Set, DbErr, EntityTrait, sea_query::OnConflict};
use uuid::Uuid;

use super::row::ROWS_MAX;
use crate::database::{self, DatabaseTransaction};

pub use entity::fee_record::Model as FeeRecord;

/// A fee that the fee server made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fee {
    /// The fee server's own id, 1 to 128 characters.
    pub fee_id: String,
    /// The quote.
    pub quote_id: Uuid,
    /// The quote's currency.
    pub currency: String,
    /// In minor units, not negative.
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
        (self.amount_minor < 0).then_some("amount_minor is negative")
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
    for some in database::runs(fees, ROWS_MAX, txn.statement_bytes(), |(_, fee)| 200 + fee.fee_id.len()) {
        let rows = some.into_iter().map(|(event_id, fee)| row(event_id, fee, now));
        let once = OnConflict::new().do_nothing_on([Column::Id]).to_owned();
        Entity::insert_many(rows).on_conflict(once).exec_without_returning(txn).await?;
    }
    Ok(())
}

fn row(event_id: Uuid, fee: &Fee, now: DateTime<Utc>) -> ActiveModel {
    ActiveModel {
        id: Set(Uuid::now_v7()),
        quote_id: Set(fee.quote_id),
        event_id: Set(event_id),
        fee_id: Set(fee.fee_id.clone()),
        currency: Set(fee.currency.clone()),
        amount_minor: Set(fee.amount_minor),
        rate_bps: Set(fee.rate_bps),
        calculated_at: Set(fee.calculated_at),
        created_at: Set(now),
    }
}
