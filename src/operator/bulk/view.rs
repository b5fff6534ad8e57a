//! A bulk as outsiders see it.

use chrono::{DateTime, Utc};
use entity::bulk::{Model, Status};
use sea_orm::ActiveEnum;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

use super::{Kind, LEFT_AFTER, NewBulk, filter};
use crate::operator::Operator;

/// How far a bulk is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = Bulk)]
pub struct BulkView {
    /// `UUIDv7`; null for a dry run.
    #[schema(required)]
    pub bulk_id: Option<Uuid>,
    /// `retry` or `cancel`.
    pub kind: String,
    /// `collecting`, `running`, `finished` or `aborted`; for a dry run `dry_run`. `interrupted` if its process has left it: a worker
    /// goes on with it.
    pub status: String,
    /// Events that it is about, as far as they are collected.
    pub matched: u64,
    /// Events that were revived, or are due earlier than before; of a retry.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revived: Option<u64>,
    /// Events that were cancelled; of a cancellation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cancelled: Option<u64>,
    /// Events that were passed over, because their state had changed or did not allow it.
    pub skipped: u64,
    /// Which events.
    pub filter: Value,
    /// At most so many a second.
    pub per_second: Option<i32>,
    /// Who began it.
    pub actor: String,
    /// Why.
    pub reason: Option<String>,
    /// When it was begun.
    pub created_at: DateTime<Utc>,
    /// When it last went on.
    pub updated_at: DateTime<Utc>,
    /// When it ended.
    pub ended_at: Option<DateTime<Utc>>,
}

impl BulkView {
    pub(super) fn of(row: Model, now: DateTime<Utc>) -> Self {
        let kind = Kind::of(&row);
        let unsigned = |count: i64| u64::try_from(count).unwrap_or(0);
        let is_unfinished = matches!(row.status, Status::Collecting | Status::Running);
        let is_left = is_unfinished && row.updated_at < now - LEFT_AFTER;
        let changed = |of: Kind| (kind == of).then(|| unsigned(row.changed));
        Self {
            bulk_id: Some(row.id),
            status: if is_left { "interrupted".into() } else { row.status.to_value() },
            matched: unsigned(row.matched),
            revived: changed(Kind::Retry),
            cancelled: changed(Kind::Cancel),
            skipped: unsigned(row.skipped),
            kind: row.kind,
            filter: row.filter,
            per_second: row.per_second,
            actor: row.actor,
            reason: row.reason,
            created_at: row.created_at,
            updated_at: row.updated_at,
            ended_at: row.ended_at,
        }
    }

    pub(super) fn of_dry_run(new: &NewBulk, operator: Operator<'_>, matched: u64, now: DateTime<Utc>) -> Self {
        let none = |of: Kind| (new.kind == of).then_some(0);
        Self {
            bulk_id: None,
            kind: new.kind.name().into(),
            status: "dry_run".into(),
            matched,
            revived: none(Kind::Retry),
            cancelled: none(Kind::Cancel),
            skipped: 0,
            filter: filter::to_json(&new.which),
            per_second: new.per_second.and_then(|number| i32::try_from(number).ok()),
            actor: operator.name.into(),
            reason: operator.reason.map(str::to_owned),
            created_at: now,
            updated_at: now,
            ended_at: None,
        }
    }

    /// Whether it is over.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.ended_at.is_some()
    }
}
