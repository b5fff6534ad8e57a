//! Whether a destination takes other calls than those that have failed in a row.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sea_orm::{ConnectionTrait, DbErr};

use crate::{
    database::DatabaseTransaction,
    outbox::destinations::{delivered::delivered_lately, limits::in_flight_up_to},
};

/// A destination that is up but takes few calls delivers one this often.
pub(super) const MOMENT: Duration = Duration::from_secs(5);

/// Whether, after so many failures in a row, calls of the fleet are likely to succeed: more than these are in flight, and one was
/// delivered a moment ago. The leases of a dead worker count as calls until they end, which is what the moment bounds.
pub(super) async fn takes_others(
    txn: &DatabaseTransaction,
    name: &str,
    failed: i32,
    now: DateTime<Utc>,
) -> Result<bool, DbErr> {
    let failed = u64::try_from(failed).unwrap_or(0);
    if in_flight_up_to(txn, name, now, failed.saturating_add(1)).await? <= failed {
        return Ok(false);
    }
    let lately = delivered_lately(txn.get_database_backend(), name, now - MOMENT, now);
    Ok(txn.query_one(&lately).await?.is_some())
}
