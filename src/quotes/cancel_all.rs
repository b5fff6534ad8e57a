//! Many quotes are cancelled together, each as [`super::cancel()`] does it.

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, Utc};
use entity::fee_record;
use sea_orm::{ColumnTrait, DbErr, EntityTrait, QueryFilter, QueryOrder, QuerySelect, sea_query::Expr};
use uuid::Uuid;

use super::{
    Change, DESTINATIONS, News, QuoteDestination, Relay, Status,
    cancel::taking_back,
    row::{Column, Entity, change},
};
use crate::{
    database::{DatabaseTransaction, padded},
    outbox::{self, Withdrawn},
};

/// A quote, locked.
#[derive(Clone, Debug)]
pub struct LockedQuote {
    /// Its id.
    pub id: Uuid,
    /// Who has to accept it.
    pub destination: QuoteDestination,
    /// Its state.
    pub status: Status,
    /// Whose it is; empty if it is nobody's.
    pub partner: String,
}

/// Locks quotes `ids`, in the order of their ids.
///
/// # Errors
/// Any database error; a destination that no quote has.
pub async fn lock_all(
    txn: &DatabaseTransaction,
    ids: impl IntoIterator<Item = Uuid>,
) -> Result<HashMap<Uuid, LockedQuote>, DbErr> {
    let ids = padded(ids);
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    let rows: Vec<(Uuid, String, Status, Option<String>)> = Entity::find()
        .select_only()
        .columns([Column::Id, Column::Destination, Column::Status, Column::SubmittedBy])
        .filter(Column::Id.is_in(ids))
        .order_by_asc(Column::Id)
        .lock_exclusive()
        .into_tuple()
        .all(txn)
        .await?;
    let locked = rows.into_iter().map(|(id, name, status, submitted_by)| {
        let destination = QuoteDestination::of(&name)
            .ok_or_else(|| DbErr::Type(format!("quote {id} has the unknown destination {name:?}")))?;
        Ok((id, LockedQuote { id, destination, status, partner: submitted_by.unwrap_or_default() }))
    });
    locked.collect()
}

/// Cancels `quotes`, none of which is cancelled, for one reason. Each comes with what was found when its events were withdrawn. What
/// takes them back, and their news, are stored. The number of statements does not depend on the number of quotes.
///
/// # Errors
/// Any database error.
pub async fn cancel_all(
    txn: &DatabaseTransaction,
    relay: Relay,
    quotes: &[(&LockedQuote, Withdrawn)],
    by: &str,
    reason: &str,
    now: DateTime<Utc>,
) -> Result<(), DbErr> {
    if quotes.is_empty() {
        return Ok(());
    }
    let ids = || quotes.iter().map(|(quote, _)| quote.id);
    let from = &[Status::Pending, Status::Confirmed, Status::Rejected];
    let cancelled = change(ids(), from, Status::Cancelled, Some(reason), now);
    cancelled.col_expr(Column::CancelledBy, Expr::val(by)).exec(txn).await?;
    let with_fee: HashSet<Uuid> = fee_record::Entity::find()
        .select_only()
        .column(fee_record::Column::QuoteId)
        .filter(fee_record::Column::QuoteId.is_in(padded(ids())))
        .into_tuple::<Uuid>()
        .all(txn)
        .await?
        .into_iter()
        .collect();
    let news_of = |quote: &'_ LockedQuote| Change::Cancelled(quote.id, Some(reason));
    let mut taking = Vec::new();
    for (quote, withdrawn) in quotes {
        if withdrawn.may_have_reached || with_fee.contains(&quote.id) {
            let news = News { change: news_of(quote), partner: &quote.partner, trace_context: None };
            taking.push(taking_back(quote.destination, quote.id, news, withdrawn.next_sequence, now));
        }
    }
    outbox::record(txn, now, taking).await?;
    for destination in DESTINATIONS.iter().filter_map(|name| QuoteDestination::of(name.as_str())) {
        let those = quotes.iter().filter(|(quote, _)| quote.destination == destination);
        let news =
            those.map(|(quote, _)| News { change: news_of(quote), partner: &quote.partner, trace_context: None });
        relay.record(txn, destination, now, &news.collect::<Vec<_>>()).await?;
    }
    Ok(())
}
