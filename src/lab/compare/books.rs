//! Counting: what the clients saw, what the database holds, and the destination's own books.

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, Utc};
use entity::{
    outbox_event::{self, Status as EventStatus},
    quote,
};
use sea_orm::{ColumnTrait, ConnectionTrait, DbErr, EntityTrait, PaginatorTrait, QueryFilter, QuerySelect};
use uuid::Uuid;

use super::test_destination::Tally;
use crate::quotes::Status;

/// The results for the accepted quotes.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Books {
    /// Accepted, but neither confirmed (with a fee or record to show for it) nor cancelled.
    pub(super) lost: usize,
    /// In force at the destination, but not stored, or cancelled.
    pub(super) ghosts: usize,
    /// Accepted, and cancelled by a compensation or the sweeper.
    pub(super) cancelled: usize,
    /// From submission to confirmation, in milliseconds.
    pub(super) lags_ms: Vec<f64>,
    /// Confirmed quotes a second, from the first submission to the last confirmation.
    pub(super) confirmed_per_second: f64,
}

/// What is not settled yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unsettled {
    pub(super) quotes: u64,
    pub(super) events: u64,
}

struct Row {
    status: Status,
    submitted_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

pub(super) async fn unsettled(db: &impl ConnectionTrait) -> Result<Unsettled, DbErr> {
    let live = [EventStatus::Pending, EventStatus::Leased];
    let events = outbox_event::Entity::find().filter(outbox_event::Column::Status.is_in(live)).count(db).await?;
    let quotes = quote::Entity::find().filter(quote::Column::Status.eq(Status::Pending)).count(db).await?;
    Ok(Unsettled { quotes, events })
}

/// Counts the results. Everything that can settle must have settled.
pub(super) async fn count(db: &impl ConnectionTrait, tally: &Tally, accepted: &HashSet<Uuid>) -> Result<Books, DbErr> {
    let quotes = quotes(db).await?;
    let mut books = Books::default();
    let mut confirmed = Vec::new();
    for id in accepted {
        match quotes.get(id) {
            Some(Row { status: Status::Cancelled, .. }) => books.cancelled += 1,
            Some(row) if row.status == Status::Confirmed && tally.in_force.contains(id) => confirmed.push(row),
            _ => books.lost += 1,
        }
    }
    let seconds = |from: DateTime<Utc>, to: DateTime<Utc>| (to - from).as_seconds_f64();
    let took = |row: &&Row| seconds(row.submitted_at, row.updated_at) * 1_000.0;
    books.lags_ms = confirmed.iter().map(took).collect();
    let first = confirmed.iter().map(|row| row.submitted_at).min();
    let last = confirmed.iter().map(|row| row.updated_at).max();
    if let (Some(first), Some(last), Ok(count)) = (first, last, u32::try_from(confirmed.len())) {
        books.confirmed_per_second = f64::from(count) / seconds(first, last).max(0.001);
    }
    let is_ghost = |id: &&Uuid| quotes.get(id).is_none_or(|row| row.status == Status::Cancelled);
    books.ghosts = tally.in_force.iter().filter(is_ghost).count();
    Ok(books)
}

async fn quotes(db: &impl ConnectionTrait) -> Result<HashMap<Uuid, Row>, DbErr> {
    let columns = [quote::Column::Id, quote::Column::Status, quote::Column::SubmittedAt, quote::Column::UpdatedAt];
    let rows: Vec<(Uuid, Status, DateTime<Utc>, DateTime<Utc>)> =
        quote::Entity::find().select_only().columns(columns).into_tuple().all(db).await?;
    let row = |(id, status, submitted_at, updated_at)| (id, Row { status, submitted_at, updated_at });
    Ok(rows.into_iter().map(row).collect())
}
