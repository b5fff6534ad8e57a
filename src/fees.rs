//! The fee record: stored once, read by quote.

use chrono::{DateTime, Utc};
use entity::fee_record::{ActiveModel, Column, Entity};
use sea_orm::{ActiveValue::Set, DbErr, EntityTrait, sea_query::OnConflict};
use uuid::Uuid;

use crate::database::{self, DatabaseTransaction};

pub use entity::fee_record::Model as FeeRecord;

/// Rows a statement: below the 32,766 parameters that `SQLite` takes.
const ROWS_MAX: usize = 1_000;

/// A fee that the fee server made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fee {
    /// The fee server's own id, 1 to 128 characters.
    pub fee_id: String,
    /// Whose fee it is.
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

/// Stores the fees that deliveries brought, each with its event's id. A quote that has a fee record keeps it: the unique
/// key makes a second delivery harmless.
///
/// # Errors
/// What the database answers.
pub async fn store<'a>(
    txn: &DatabaseTransaction,
    fees: impl Iterator<Item = (Uuid, &'a Fee)>,
    now: DateTime<Utc>,
) -> Result<(), DbErr> {
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
