//! `pending → rejected`: the quote's destination refused it for good.

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, Utc};
use sea_orm::{ActiveEnum, ColumnTrait, DbErr, EntityTrait, QueryFilter, QueryOrder, QuerySelect};
use uuid::Uuid;

use super::{
    Change, News, QuoteDestination, Relay, Status,
    row::{Column, Entity},
};
use crate::{
    database::{
        DatabaseTransaction, found_status, padded,
        update_each::{Cell, Column as UpdateColumn, Type, UpdateEach},
    },
    printable::printable,
};

/// How much of a reason is kept, in characters.
const REASON_LENGTH_MAX: usize = 2_000;

/// A quote that its destination refused.
#[derive(Clone, Copy, Debug)]
pub struct Refused<'a> {
    /// The quote.
    pub quote_id: Uuid,
    /// Why, in the destination's words.
    pub reason: &'a str,
    /// Whose quote it is; empty if it is nobody's.
    pub partner: &'a str,
    /// W3C `traceparent` of the submission.
    pub trace_context: Option<&'a str>,
}

/// Rejects those of `refused` that are pending and are for `destination`, each for its reason, and stores the news of these.
/// The number of statements does not depend on the number of quotes.
///
/// # Errors
/// Any database error.
pub async fn reject(
    txn: &DatabaseTransaction,
    relay: Relay,
    destination: QuoteDestination,
    refused: &[Refused<'_>],
    now: DateTime<Utc>,
) -> Result<(), DbErr> {
    if refused.is_empty() {
        return Ok(());
    }
    let pending = lock_pending(txn, destination, refused).await?;
    let update = UpdateEach {
        table: "quote",
        to_all: &[("status", Status::Rejected.to_value().into()), ("updated_at", now.into())],
        by_row: &[UpdateColumn("status_reason", Type::Text)],
    };
    let reasons: HashMap<_, _> = refused.iter().map(|refused| (refused.quote_id, refused.reason)).collect();
    let reason = |id| reasons.get(id).map_or(Cell::Keep, |why| Cell::Text(printable(why, REASON_LENGTH_MAX)));
    update.run(txn, pending.iter().map(|id| (*id, vec![reason(id)])).collect()).await?;
    let rejected = refused.iter().filter(|refused| pending.contains(&refused.quote_id));
    let news = rejected.map(|refused| News {
        change: Change::Rejected(refused.quote_id, refused.reason),
        partner: refused.partner,
        trace_context: refused.trace_context,
    });
    relay.record(txn, destination, now, &news.collect::<Vec<_>>()).await
}

/// Which of them are pending: not every database says which rows an update has changed.
async fn lock_pending(
    txn: &DatabaseTransaction,
    destination: QuoteDestination,
    refused: &[Refused<'_>],
) -> Result<HashSet<Uuid>, DbErr> {
    let pending = Entity::find()
        .select_only()
        .column(Column::Id)
        .filter(Column::Id.is_in(padded(refused.iter().map(|refused| refused.quote_id))))
        .filter(found_status((Entity, Column::Status), [Status::Pending]))
        .filter(Column::Destination.eq(destination.name().as_str()))
        .order_by_asc(Column::Id)
        .lock_exclusive();
    Ok(pending.into_tuple().all(txn).await?.into_iter().collect())
}
