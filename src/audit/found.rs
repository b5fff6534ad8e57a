//! The violations that the fleet's audits have found, kept until a later check of their quotes no longer finds them.

use std::collections::{BTreeMap, HashSet};

use chrono::{DateTime, Utc};
use entity::{
    audit_violation::{ActiveModel, Column, Entity, Model},
    schedule,
};
use sea_orm::{
    ActiveValue::Set, ColumnTrait, Condition, ConnectionTrait, DbErr, EntityTrait, PaginatorTrait, QueryFilter,
    QueryOrder, QuerySelect,
};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::{JOB, Violation, scope::Scope};
use crate::{clock, database::DatabaseTransaction};

/// Rows a statement: below the 32,766 parameters that `SQLite` takes.
const ROWS_MAX: usize = 1_000;
/// The promise whose violations are found by the times of events, and not by a check of their quotes.
const BY_TIMES: i32 = 10;

/// A violation that is known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct KnownViolation {
    /// The promise's number.
    pub promise: u8,
    /// The name of the check that found it.
    #[schema(example = "no_fee_record")]
    pub check: String,
    /// Whose fee is at stake.
    pub quote_id: Uuid,
    /// The event that it is about, if it is about one.
    pub event_id: Option<Uuid>,
    /// What is wrong, in a sentence.
    pub detail: String,
    /// When it was first found.
    pub found_at: DateTime<Utc>,
}

/// Those that a check of these quotes would find.
pub(super) fn of_quotes(scope: &Scope) -> Condition {
    Condition::all().add(scope.condition(Column::QuoteId)).add(Column::Promise.ne(BY_TIMES))
}

/// Those of events that wait for a time in the future.
pub(super) fn of_times() -> Condition {
    Condition::all().add(Column::Promise.eq(BY_TIMES))
}

/// What becomes of violations that were known and are not found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Known {
    Go,
    Stay,
}

/// Keeps `found` instead of what `before` selects, or beside it, and returns those that are new. All processes count them from then on.
pub(super) async fn replace(
    txn: &DatabaseTransaction,
    before: Condition,
    not_found: Known,
    found: &[Violation],
    now: DateTime<Utc>,
) -> Result<Vec<Violation>, DbErr> {
    let before = Entity::find().filter(before).all(txn).await?;
    let key = |violation: &Violation| (violation.quote_id, violation.sentence.clone());
    let (mut known, mut healed): (HashSet<_>, Vec<_>) = (HashSet::new(), Vec::new());
    let still: HashSet<_> = found.iter().map(key).collect();
    for row in before {
        let key = (row.quote_id, row.sentence);
        // A second row of the same violation goes as well.
        let is_healed = not_found == Known::Go && !still.contains(&key);
        if is_healed || !known.insert(key) {
            healed.push(row.id);
        }
    }
    let new: Vec<_> = found.iter().filter(|violation| !known.contains(&key(violation))).cloned().collect();
    for ids in healed.chunks(ROWS_MAX) {
        Entity::delete_many().filter(Column::Id.is_in(ids.iter().copied())).exec(txn).await?;
    }
    let mut ids = clock::ids(now);
    for some in new.chunks(ROWS_MAX) {
        let rows = some.iter().map(|Violation { promise, check, quote_id, sentence }| ActiveModel {
            id: Set(ids()),
            quote_id: Set(*quote_id),
            promise: Set(i32::from(*promise)),
            sentence: Set(sentence.clone()),
            found_at: Set(now),
            check_name: Set(Some((*check).into())),
        });
        Entity::insert_many(rows).exec_without_returning(txn).await?;
    }
    if !(new.is_empty() && healed.is_empty()) {
        let count = i64::try_from(count(txn).await?).unwrap_or(i64::MAX);
        let shown = schedule::ActiveModel { last_count: Set(Some(count)), ..Default::default() };
        schedule::Entity::update_many().set(shown).filter(schedule::Column::Name.eq(JOB)).exec(txn).await?;
    }
    Ok(new)
}

/// How many there are.
pub(super) async fn count(db: &impl ConnectionTrait) -> Result<u64, DbErr> {
    Entity::find().count(db).await
}

/// The quotes after id `after` that have some, up to `limit`, in the order of their ids.
pub(super) async fn quotes(db: &impl ConnectionTrait, after: Uuid, limit: u64) -> Result<Vec<Uuid>, DbErr> {
    let found = Entity::find()
        .select_only()
        .column(Column::QuoteId)
        .distinct()
        .filter(Column::QuoteId.gt(after))
        .filter(Column::Promise.ne(BY_TIMES))
        .order_by_asc(Column::QuoteId)
        .limit(limit);
    found.into_tuple().all(db).await
}

/// The last ones that were found, newest first, at most `limit`.
pub(super) async fn newest(db: &impl ConnectionTrait, limit: u64) -> Result<Vec<KnownViolation>, DbErr> {
    // Ids are in the order of time.
    let rows = Entity::find().order_by_desc(Column::Id).limit(limit).all(db).await?;
    Ok(rows.into_iter().map(KnownViolation::from).collect())
}

/// How many there are, by promise.
pub(super) async fn by_promise(db: &impl ConnectionTrait) -> Result<BTreeMap<u8, u64>, DbErr> {
    let counts = Entity::find().select_only().column(Column::Promise).column_as(Column::Id.count(), "violations");
    let counts: Vec<(i32, i64)> = counts.group_by(Column::Promise).into_tuple().all(db).await?;
    let unsigned =
        |(promise, count): (i32, i64)| (u8::try_from(promise).unwrap_or(0), u64::try_from(count).unwrap_or(0));
    Ok(counts.into_iter().map(unsigned).collect())
}

impl From<Model> for KnownViolation {
    fn from(row: Model) -> Self {
        let check = row.check_name.unwrap_or_else(|| "unnamed".into());
        let promise = u8::try_from(row.promise).unwrap_or(0);
        // Sentences are our own: those about an event begin with it.
        let event_id =
            row.sentence.strip_prefix("event ").and_then(|rest| Uuid::try_parse(rest.split(' ').next()?).ok());
        Self { promise, check, quote_id: row.quote_id, event_id, detail: row.sentence, found_at: row.found_at }
    }
}
