//! How often attempts failed for each cause, by ten minutes.

use std::collections::BTreeMap;

use chrono::{DateTime, DurationRound, TimeDelta, Utc};
use entity::cause_count::{Column, Entity};
use sea_orm::{
    ColumnTrait, ConnectionTrait, DbBackend, DbErr, EntityTrait, QueryFilter, QueryOrder, QuerySelect, Statement, Value,
};

use crate::database::Database;

/// How long a number counts.
pub const STEP: TimeDelta = TimeDelta::minutes(10);
/// The time that is shown.
pub const SHOWN: TimeDelta = TimeDelta::hours(24);
/// How long numbers are kept.
const KEPT_FOR: TimeDelta = TimeDelta::hours(48);
/// So many causes of ten minutes that are over are kept: those for which most attempts failed.
const CAUSES_MAX: u64 = 200;

/// How often attempts failed, by cause: a number for each ten minutes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trends {
    /// When the first number begins.
    pub from: DateTime<Utc>,
    numbers: BTreeMap<String, Vec<u64>>,
}

impl Trends {
    /// The numbers of `cause`, the oldest first.
    #[must_use]
    pub fn of(&self, cause: &str) -> Vec<u64> {
        self.numbers.get(cause).cloned().unwrap_or_else(|| vec![0; steps()])
    }
}

fn steps() -> usize {
    usize::try_from(SHOWN.num_seconds() / STEP.num_seconds()).unwrap_or_default()
}

fn step_of(at: DateTime<Utc>) -> DateTime<Utc> {
    at.duration_trunc(STEP).unwrap_or(at)
}

/// The last day, up to now, of one destination or of all.
///
/// # Errors
/// Any database error.
pub async fn trends(db: &Database, destination: Option<&str>) -> Result<Trends, DbErr> {
    let from = step_of(db.now(db.connection()).await?) + STEP - SHOWN;
    let rows = Entity::find()
        .select_only()
        .columns([Column::At, Column::Cause, Column::Number])
        .filter(Column::At.gte(from))
        .filter(Column::At.lt(from + SHOWN));
    let rows = match destination {
        Some(name) => rows.filter(Column::Destination.eq(name)),
        None => rows,
    };
    let mut numbers: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for (at, cause, number) in rows.into_tuple::<(DateTime<Utc>, String, i64)>().all(db.connection()).await? {
        let step = usize::try_from((at - from).num_seconds() / STEP.num_seconds()).unwrap_or(usize::MAX);
        if let Some(sum) = numbers.entry(cause).or_insert_with(|| vec![0; steps()]).get_mut(step) {
            *sum += u64::try_from(number).unwrap_or(0);
        }
    }
    Ok(Trends { from, numbers })
}

/// Adds counts by destination and cause to the ten minutes of `now`.
pub(super) async fn add(
    txn: &impl ConnectionTrait,
    causes: &BTreeMap<(String, String), u64>,
    now: DateTime<Utc>,
) -> Result<(), DbErr> {
    if causes.is_empty() {
        return Ok(());
    }
    let backend = txn.get_database_backend();
    let mut values: Vec<Value> = Vec::with_capacity(4 * causes.len());
    for ((destination, cause), number) in causes {
        let number = i64::try_from(*number).unwrap_or(i64::MAX);
        values.extend([step_of(now).into(), destination.clone().into(), cause.clone().into(), number.into()]);
    }
    txn.execute_raw(Statement::from_sql_and_values(backend, upsert(backend, causes.len()), values)).await.map(drop)
}

fn upsert(backend: DbBackend, rows: usize) -> String {
    let row = |n: usize| match backend {
        DbBackend::MySql => "(?, ?, ?, ?)".to_owned(),
        _ => format!("(${}, ${}, ${}, ${})", 4 * n + 1, 4 * n + 2, 4 * n + 3, 4 * n + 4),
    };
    let rows = (0..rows).map(row).collect::<Vec<_>>().join(", ");
    let conflict = match backend {
        DbBackend::MySql => "ON DUPLICATE KEY UPDATE number = number + VALUES(number)",
        _ => "ON CONFLICT (at, destination, cause) DO UPDATE SET number = cause_count.number + excluded.number",
    };
    format!("INSERT INTO cause_count (at, destination, cause, number) VALUES {rows} {conflict}")
}

/// Forgets what is older than it is kept for, dated further ahead than clocks differ, or rare in ten minutes with many causes.
pub(super) async fn forget(db: &Database, now: DateTime<Utc>) -> Result<u64, DbErr> {
    let connection = db.connection();
    let old = Entity::delete_many().filter(Column::At.lt(now - KEPT_FOR)).exec(connection).await?;
    let ahead = Entity::delete_many().filter(Column::At.gt(now + KEPT_FOR)).exec(connection).await?;
    let before = step_of(now) - STEP;
    let of_step = Entity::find().select_only().column(Column::Number).filter(Column::At.eq(before));
    let number: Option<i64> =
        of_step.order_by_desc(Column::Number).offset(CAUSES_MAX).limit(1).into_tuple().one(connection).await?;
    let Some(number) = number else { return Ok(old.rows_affected + ahead.rows_affected) };
    let rare = Entity::delete_many().filter(Column::At.eq(before)).filter(Column::Number.lte(number));
    Ok(old.rows_affected + ahead.rows_affected + rare.exec(connection).await?.rows_affected)
}
