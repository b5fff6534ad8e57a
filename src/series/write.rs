//! Adding to the numbers of the fleet.

use entity::series::{Column, Entity};
use sea_orm::{ColumnTrait, ConnectionTrait, DbBackend, DbErr, EntityTrait, QueryFilter, Statement, Value};

use super::Step;
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
    merge(db, &counts.chain(lags).collect::<Vec<_>>(), Merge::Add).await
}

/// So many events wait.
pub(super) async fn set_waiting(db: &Database, waiting: u64) -> Result<(), DbErr> {
    merge(db, &[(WAITING.to_owned(), waiting)], Merge::Greatest).await
}

async fn merge(db: &Database, numbers: &[(String, u64)], how: Merge) -> Result<(), DbErr> {
    db.transaction(|txn| {
        Box::pin(async move {
            let (now, backend) = (db.now(&*txn).await?, txn.get_database_backend());
            // In one order, so that no two processes wait for each other.
            let mut values: Vec<Value> = Vec::with_capacity(8 * numbers.len());
            for step in Step::ALL {
                for (name, number) in numbers {
                    let number = i64::try_from(*number).unwrap_or(i64::MAX);
                    values.extend([step.seconds().into(), step.of(now).into(), name.clone().into(), number.into()]);
                }
            }
            let statement = Statement::from_sql_and_values(backend, upsert(backend, values.len() / 4, how), values);
            txn.execute_raw(statement).await?;
            Ok::<_, DbErr>(())
        })
    })
    .await
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
pub(super) async fn forget(db: &Database) -> Result<u64, DbErr> {
    let (now, mut forgotten) = (db.now(db.connection()).await?, 0);
    for step in Step::ALL {
        let of_step = || Entity::delete_many().filter(Column::StepSeconds.eq(step.seconds()));
        let old = of_step().filter(Column::At.lt(now - step.kept_for())).exec(db.connection()).await?;
        let ahead = of_step().filter(Column::At.gt(now + step.kept_for())).exec(db.connection()).await?;
        forgotten += old.rows_affected + ahead.rows_affected;
    }
    Ok(forgotten)
}
