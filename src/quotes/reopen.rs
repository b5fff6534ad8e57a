//! `rejected → pending`: an operator revived the event that hands the quote over.

use chrono::{DateTime, Utc};
use sea_orm::{ColumnTrait, DbErr, QueryFilter};

use super::{
    DESTINATIONS, Status, is_handover,
    row::{Column, change},
};
use crate::{database::DatabaseTransaction, outbox::Event};

/// Reopens the rejected quotes whose handover is among the `revived` events. There is no news of it: the next
/// attempt decides.
///
/// # Errors
/// Any database error.
pub async fn reopen(
    txn: &DatabaseTransaction,
    revived: impl IntoIterator<Item = &Event>,
    now: DateTime<Utc>,
) -> Result<(), DbErr> {
    let handovers: Vec<_> = revived.into_iter().filter(|event| is_handover(&event.event_type)).collect();
    for destination in DESTINATIONS {
        let those = handovers.iter().filter(|event| event.destination == *destination);
        let quotes: Vec<_> = those.map(|event| event.aggregate_id).collect();
        if !quotes.is_empty() {
            let reopened = change(quotes, &[Status::Rejected], Status::Pending, None, now);
            reopened.filter(Column::Destination.eq(destination.as_str())).exec(txn).await?;
        }
    }
    Ok(())
}
