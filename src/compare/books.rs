//! Counting: what the clients were told, what the database holds, and what the fee server has made.

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, Utc};
use entity::{
    fee_record,
    outbox_event::{self, Status as EventStatus},
    quote,
};
use sea_orm::{ColumnTrait, ConnectionTrait, DbErr, EntityTrait, PaginatorTrait, QueryFilter, QuerySelect};
use uuid::Uuid;

use crate::{quotes::Status, sample_fee_server::SampleFeeServer};

/// What became of the quotes.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Books {
    /// Accepted, and neither a fee record nor a cancellation.
    pub(super) lost: usize,
    /// Fees in force at the fee server whose quote is not stored, or cancelled.
    pub(super) ghosts: usize,
    /// Accepted, and cancelled by a compensation or the sweeper.
    pub(super) cancelled: usize,
    /// From submission to fee record, in milliseconds.
    pub(super) fee_lags_ms: Vec<f64>,
}

/// What is still to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unsettled {
    pub(super) quotes: u64,
    pub(super) events: u64,
}

/// How much is not settled yet.
pub(super) async fn unsettled(db: &impl ConnectionTrait) -> Result<Unsettled, DbErr> {
    let live = [EventStatus::Pending, EventStatus::Leased];
    let events = outbox_event::Entity::find().filter(outbox_event::Column::Status.is_in(live)).count(db).await?;
    let quotes = quote::Entity::find().filter(quote::Column::Status.eq(Status::Pending)).count(db).await?;
    Ok(Unsettled { quotes, events })
}

/// Counts, once all is settled that ever will be.
pub(super) async fn count(
    db: &impl ConnectionTrait,
    fee_server: &SampleFeeServer,
    accepted: &HashSet<Uuid>,
) -> Result<Books, DbErr> {
    let quotes = quotes(db).await?;
    let fees = fee_records(db).await?;
    let mut books = Books::default();
    for id in accepted {
        match (quotes.get(id), fees.get(id)) {
            (Some((Status::Cancelled, _)), _) => books.cancelled += 1,
            (Some((_, submitted_at)), Some(stored_at)) => {
                books.fee_lags_ms.push((*stored_at - *submitted_at).as_seconds_f64() * 1_000.0);
            }
            (Some((Status::Rejected, _)), None) => {}
            _ => books.lost += 1,
        }
    }
    let in_force: HashSet<Uuid> = fee_server.fees_in_force().into_iter().map(|fee| fee.quote_id).collect();
    let is_ghost = |id: &&Uuid| quotes.get(id).is_none_or(|(status, _)| *status == Status::Cancelled);
    books.ghosts = in_force.iter().filter(is_ghost).count();
    Ok(books)
}

async fn quotes(db: &impl ConnectionTrait) -> Result<HashMap<Uuid, (Status, DateTime<Utc>)>, DbErr> {
    let columns = [quote::Column::Id, quote::Column::Status, quote::Column::SubmittedAt];
    let rows: Vec<(Uuid, Status, DateTime<Utc>)> =
        quote::Entity::find().select_only().columns(columns).into_tuple().all(db).await?;
    Ok(rows.into_iter().map(|(id, status, at)| (id, (status, at))).collect())
}

async fn fee_records(db: &impl ConnectionTrait) -> Result<HashMap<Uuid, DateTime<Utc>>, DbErr> {
    let columns = [fee_record::Column::QuoteId, fee_record::Column::CreatedAt];
    let rows: Vec<(Uuid, DateTime<Utc>)> =
        fee_record::Entity::find().select_only().columns(columns).into_tuple().all(db).await?;
    Ok(rows.into_iter().collect())
}
