//! Which events a list shows.

use chrono::{DateTime, Utc};
use entity::{
    outbox_event::{Column, Entity},
    quote,
};
use sea_orm::{
    ActiveEnum, Condition, EntityTrait, QueryFilter, QuerySelect, Select,
    sea_query::{Expr, ExprTrait, Query},
};
use uuid::Uuid;

use crate::{
    clock::first_id,
    outbox::{self, EventStatus},
};

/// Which events a list shows. Of those that failed, if it names a cause or an error but no status: the events that failed and
/// are neither delivered nor cancelled.
#[derive(Clone, Debug, Default)]
pub struct EventFilter {
    /// Only these.
    pub status: Option<EventStatus>,
    /// Only those for this destination.
    pub destination: Option<String>,
    /// Only these, for example `quote.submitted`.
    pub event_type: Option<String>,
    /// Only those of this quote.
    pub quote_id: Option<Uuid>,
    /// Only those of this customer's quotes.
    pub customer_id: Option<String>,
    /// Only those that failed last for this cause.
    pub cause: Option<String>,
    /// Only those whose last error contains this text, in upper or lower case.
    pub error_contains: Option<String>,
    /// Only those stored after this time.
    pub created_after: Option<DateTime<Utc>>,
    /// Only those stored before this time.
    pub created_before: Option<DateTime<Utc>>,
    /// Only those settled after this time.
    pub settled_after: Option<DateTime<Utc>>,
    /// Only those settled before this time.
    pub settled_before: Option<DateTime<Utc>>,
    /// Only those older than this one.
    pub before: Option<Uuid>,
}

impl EventFilter {
    /// Whether it is about failures.
    pub(super) fn is_about_failures(&self) -> bool {
        self.error_contains.is_some() || self.cause.is_some()
    }

    /// Every event has been stored before it was settled, and its id begins with the time at which it was stored: with these bounds
    /// a list reads no more than the time that it is about.
    pub(super) fn bounds(&self) -> (Option<Uuid>, Option<Uuid>) {
        let ends =
            [self.created_before, self.settled_before].into_iter().flatten().map(after_millisecond).map(first_id);
        (self.created_after.map(first_id), ends.chain(self.before).min())
    }

    /// What the conditions below need.
    pub(super) fn selected(&self) -> Select<Entity> {
        let columns = [Column::Id, Column::AggregateId, Column::Destination, Column::EventType, Column::Status];
        let times = [self.created_after, self.created_before].iter().any(Option::is_some);
        let settled = [self.settled_after, self.settled_before].iter().any(Option::is_some);
        Entity::find()
            .select_only()
            .columns(columns)
            .columns(self.error_contains.as_ref().map(|_| Column::LastError))
            .columns(self.cause.as_ref().map(|_| Column::Cause))
            .columns(times.then_some(Column::CreatedAt))
            .columns(settled.then_some(Column::SettledAt))
    }

    /// `rows` within the bounds.
    pub(super) fn bounded(&self, mut rows: Select<Entity>) -> Select<Entity> {
        let (first, before) = self.bounds();
        if let Some(first) = first {
            rows = rows.filter(Expr::col((Entity, Column::Id)).gte(first));
        }
        if let Some(before) = before {
            rows = rows.filter(Expr::col((Entity, Column::Id)).lt(before));
        }
        rows
    }

    /// The bounds as a condition on selected columns.
    pub(super) fn within_bounds(&self) -> Condition {
        let (first, before) = self.bounds();
        Condition::all()
            .add_option(first.map(|first| Expr::col(Column::Id).gte(first)))
            .add_option(before.map(|before| Expr::col(Column::Id).lt(before)))
    }

    /// What no index tells, as a condition on selected columns.
    pub(super) fn kept(&self) -> Condition {
        let created_at = || Expr::col(Column::CreatedAt);
        let settled_at = || Expr::col(Column::SettledAt);
        Condition::all()
            .add_option(self.event_type.as_ref().map(|event_type| Expr::col(Column::EventType).eq(event_type)))
            .add_option(self.error_contains.as_ref().map(|text| outbox::error_contains(text)))
            .add_option(self.cause.as_ref().map(|cause| Expr::col(Column::Cause).eq(cause)))
            .add_option(self.customer_id.as_ref().map(|id| is_of_customer(id)))
            .add_option(self.created_after.map(|time| created_at().gt(time)))
            .add_option(self.created_before.map(|time| created_at().lt(time)))
            .add_option(self.settled_after.map(|time| settled_at().gt(time)))
            .add_option(self.settled_before.map(|time| settled_at().lt(time)))
    }

    /// The same along an index over events of any status and destination.
    pub(super) fn kept_where_the_index_has_all(&self) -> Condition {
        let status = match self.status {
            Some(status) => Some(Expr::col(Column::Status).eq(status.to_value())),
            None if self.is_about_failures() => {
                let failed = [EventStatus::Dead, EventStatus::Pending, EventStatus::Leased];
                Some(Expr::col(Column::Status).is_in(failed.map(|status| status.to_value())))
            }
            None => None,
        };
        let destination = self.destination.as_ref().map(|name| Expr::col(Column::Destination).eq(name));
        self.kept().add_option(status).add_option(destination)
    }
}

/// One look-up by the primary key for each row that is scanned.
fn is_of_customer(customer_id: &str) -> Expr {
    let quote = Query::select()
        .expr(Expr::val(1))
        .from(quote::Entity)
        .and_where(Expr::col((quote::Entity, quote::Column::Id)).equals(Column::AggregateId))
        .and_where(Expr::col((quote::Entity, quote::Column::CustomerId)).eq(customer_id))
        .limit(1)
        .offset(0)
        .take();
    Expr::exists(quote)
}

/// Ids have milliseconds: those of this one belong to it.
fn after_millisecond(time: DateTime<Utc>) -> DateTime<Utc> {
    time + chrono::TimeDelta::milliseconds(1)
}
