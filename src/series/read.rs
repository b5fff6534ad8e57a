//! The numbers as charts show them.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use entity::series::{Column, Entity};
use sea_orm::{ColumnTrait, DbErr, EntityTrait, QueryFilter, QueryOrder, QuerySelect};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    Step,
    write::{FEE_LAG, WAITING},
};
use crate::{database::Database, telemetry::tally};

/// How submissions and deliveries went.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Series {
    /// When the first point begins.
    pub from: DateTime<Utc>,
    /// When the last point ends.
    pub to: DateTime<Utc>,
    /// How long a point is: 60 or 3,600 seconds.
    pub step_seconds: u32,
    /// A point for each step, the oldest first.
    pub points: Vec<Point>,
    /// Read from a replica whose state has what was committed by then; the header `Age` says how long ago that is. Left out if all was
    /// read from the primary.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false)]
    pub as_of: Option<DateTime<Utc>>,
}

/// A minute or an hour.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = SeriesPoint)]
pub struct Point {
    /// When it begins.
    pub at: DateTime<Utc>,
    /// Quotes that were submitted.
    pub submitted: u64,
    /// Events that were delivered, to all destinations.
    pub delivered: u64,
    /// Attempts that failed.
    pub failed: Failed,
    /// Events that went dead.
    pub died: u64,
    /// How long fees took; null if there was none.
    pub fee_lag_ms: Option<FeeLag>,
    /// The most events that waited, pending or leased, as counted once a minute, up to 10,000 for each destination and status; null
    /// if no worker counted.
    pub waiting: Option<u64>,
}

/// Attempts that failed, by outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct Failed {
    /// They are retried: unavailable, overloaded, credentials refused.
    pub retry: u64,
    /// Refused for good, or answered against the contract.
    pub refused: u64,
    /// The destination may or may not have acted.
    pub unknown: u64,
}

/// From a quote's submission to its fee record, in milliseconds, to a tenth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct FeeLag {
    /// Half of the fees took no longer.
    pub p50: u64,
    /// 99 of 100 fees took no longer.
    pub p99: u64,
}

/// The steps from the one that `from` lies in to the one that `to` ends in.
///
/// # Errors
/// Any database error.
pub async fn read(db: &Database, from: DateTime<Utc>, to: DateTime<Utc>, step: Step) -> Result<Series, DbErr> {
    let from = step.of(from);
    let end = step.of(to);
    let to = if end < to { end + step.length() } else { end };
    let numbers = Entity::find()
        .select_only()
        .columns([Column::At, Column::Name, Column::Number])
        .filter(Column::StepSeconds.eq(step.seconds()))
        .filter(Column::At.gte(from))
        .filter(Column::At.lt(to))
        .order_by_asc(Column::At);
    let mut steps: BTreeMap<DateTime<Utc>, BTreeMap<String, u64>> = BTreeMap::new();
    for (at, name, number) in numbers.into_tuple::<(DateTime<Utc>, String, i64)>().all(db.connection()).await? {
        steps.entry(at).or_default().insert(name, u64::try_from(number).unwrap_or(0));
    }
    let mut points = Vec::new();
    let mut at = from;
    while at < to {
        points.push(Point::of(at, &steps.remove(&at).unwrap_or_default()));
        at += step.length();
    }
    Ok(Series { from, to, step_seconds: step.seconds().unsigned_abs(), points, as_of: None })
}

impl Point {
    fn of(at: DateTime<Utc>, numbers: &BTreeMap<String, u64>) -> Self {
        let number = |name: &str| numbers.get(name).copied().unwrap_or(0);
        Self {
            at,
            submitted: number("submitted"),
            delivered: number("delivered"),
            failed: Failed { retry: number("retry"), refused: number("refused"), unknown: number("unknown") },
            died: number("died"),
            fee_lag_ms: FeeLag::of(numbers),
            waiting: numbers.get(WAITING).copied(),
        }
    }
}

impl FeeLag {
    fn of(numbers: &BTreeMap<String, u64>) -> Option<Self> {
        // Names have the buckets' order.
        let bucket = |name: &str| name.strip_prefix(FEE_LAG)?.parse::<u8>().ok();
        let buckets: Vec<_> = numbers.iter().filter_map(|(name, count)| Some((bucket(name)?, *count))).collect();
        let all: u64 = buckets.iter().map(|(_, count)| count).sum();
        // The smallest bucket up to which there are so many of a hundred.
        let percentile = |hundredths: u64| {
            let mut up_to = 0;
            let mut counted = buckets.iter().map(|(bucket, count)| {
                up_to += count;
                (*bucket, up_to)
            });
            counted.find(|(_, up_to)| up_to * 100 >= all * hundredths).map(|(bucket, _)| tally::milliseconds_of(bucket))
        };
        Some(Self { p50: percentile(50)?, p99: percentile(99)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_all_fees() {
        assert_eq!(FeeLag::of(&BTreeMap::from([("submitted".to_owned(), 3)])), None);
        let lag = |bucket: u8, count| (format!("{FEE_LAG}{bucket:03}"), count);
        // 98 took about 1 s, two took a minute.
        let lag = FeeLag::of(&BTreeMap::from([lag(40, 98), lag(64, 2)])).expect("lags");
        assert!((1_000..1_200).contains(&lag.p50) && (60_000..80_000).contains(&lag.p99), "{lag:?}");
    }
}
