//! Adding to the numbers of the fleet.

use chrono::{DateTime, Utc};
use entity::series::{Column, Entity};
use sea_orm::{ColumnTrait, ConnectionTrait, DbBackend, DbErr, EntityTrait, QueryFilter, Statement, Value};

use super::{Step, causes};
use crate::{database::Database, telemetry::tally::Tally};

/// What waits, the most within the step.
pub(super) const WAITING: &str = "waiting";
/// The bucket's number follows.
pub(super) const FEE_LAG: &str = "fee_lag_";

/// How a number that is there becomes another one.
#[derive(Clone, Copy)]
enum Merge {
    Add,
    Greatest,
}

/// Adds `tally` to this minute and this hour.
pub(super) async fn add(db: &Database, tally: &Tally) -> Result<(), DbErr> {
    let counts = tally.counts.iter().map(|(name, count)| ((*name).to_owned(), *count));
    let lags = tally.fee_lag.iter().map(|(bucket, count)| (format!("{FEE_LAG}{bucket:03}"), *count));
    let numbers: Vec<_> = counts.chain(lags).collect();
    let (numbers, causes) = (&numbers, &tally.causes);
    db.transaction(|txn| {
        Box::pin(async move {
            let now = db.now(&*txn).await?;
            merge(&*txn, numbers, Merge::Add, now).await?;
            causes::add(&*txn, causes, now).await
        })
    })
    .await
}

/// So many events wait.
pub(super) async fn set_waiting(db: &Database, waiting: u64) -> Result<(), DbErr> {
    db.transaction(|txn| {
        Box::pin(async move {
            let now = db.now(&*txn).await?;
            merge(&*txn, &[(WAITING.to_owned(), waiting)], Merge::Greatest, now).await
        })
    })
    .await
}

async fn merge(
    db: &impl ConnectionTrait,
    numbers: &[(String, u64)],
    how: Merge,
    now: DateTime<Utc>,
) -> Result<(), DbErr> {
    if numbers.is_empty() {
        return Ok(());
    }
    let backend = db.get_database_backend();
    // In one order, so that no two processes wait for each other.
    let mut values: Vec<Value> = Vec::with_capacity(8 * numbers.len());
    for step in Step::ALL {
        for (name, number) in numbers {
            let number = i64::try_from(*number).unwrap_or(i64::MAX);
            values.extend([step.seconds().into(), step.of(now).into(), name.clone().into(), number.into()]);
        }
    }
    let statement = Statement::from_sql_and_values(backend, upsert(backend, values.len() / 4, how), values);
    db.execute_raw(statement).await.map(drop)
}

fn upsert(backend: DbBackend, rows: usize, how: Merge) -> String {
    let row = |n: usize| match backend {
        DbBackend::MySql => "(?, ?, ?, ?)".to_owned(),
        _ => format!("(${}, ${}, ${}, ${})", 4 * n + 1, 4 * n + 2, 4 * n + 3, 4 * n + 4),
    };
    let rows = (0..rows).map(row).collect::<Vec<_>>().join(", ");
    let (there, new) = match backend {
        DbBackend::MySql => ("number", "VALUES(number)"),
        _ => ("series.number", "excluded.number"),
    };
    let merged = match (how, backend) {
        (Merge::Add, _) => format!("{there} + {new}"),
        (Merge::Greatest, DbBackend::Sqlite) => format!("max({there}, {new})"),
        (Merge::Greatest, _) => format!("greatest({there}, {new})"),
    };
    let conflict = match backend {
        DbBackend::MySql => "ON DUPLICATE KEY UPDATE",
        _ => "ON CONFLICT (step_seconds, at, name) DO UPDATE SET",
    };
    format!("INSERT INTO series (step_seconds, at, name, number) VALUES {rows} {conflict} number = {merged}")
}

/// Forgets what is older than it is kept for, or dated further ahead than clocks differ: it would stay for ever.
pub(super) async fn forget(db: &Database, now: DateTime<Utc>) -> Result<u64, DbErr> {
    let mut forgotten = 0;
    for step in Step::ALL {
        let of_step = || Entity::delete_many().filter(Column::StepSeconds.eq(step.seconds()));
        let old = of_step().filter(Column::At.lt(now - step.kept_for())).exec(db.connection()).await?;
        let ahead = of_step().filter(Column::At.gt(now + step.kept_for())).exec(db.connection()).await?;
        forgotten += old.rows_affected + ahead.rows_affected;
    }
    Ok(forgotten)
}
