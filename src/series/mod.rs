//! How submissions and deliveries went, by the minute for two days and by the hour for ninety: the numbers behind charts.
//!
//! Each process counts in memory (`telemetry::tally`) and adds what it has counted to the rows of the minute and of the hour, every
//! [`EVERY`] and when it stops. Failed attempts are counted by their cause, too, in steps of ten minutes. So nothing is written for a quote, and no row that is delivered enters another index. A process that dies
//! loses what it has counted since: charts may miss that. Nothing else is derived from these numbers.

mod causes;
mod read;
mod write;

use std::time::Duration;

use chrono::{DateTime, DurationRound, TimeDelta, Utc};
use sea_orm::DbErr;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::{
    database::{Database, within},
    inspection,
    telemetry::tally,
};

pub use causes::{STEP as TREND_STEP, Trends, trends};
pub use read::{Failed, FeeLag, Point, Series, read};

/// How often a process adds what it has counted.
pub const EVERY: Duration = Duration::from_secs(10);
/// How long the database is given.
const WAIT: Duration = Duration::from_secs(5);
/// How long a process that stops waits for it.
const LEAVE_WAIT: Duration = Duration::from_secs(1);

/// The name of the fleet's job that counts what waits, and forgets what is old.
pub const JOB: &str = "series";

/// What a number is about: a minute or an hour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Kept for 48 hours.
    Minute,
    /// Kept for 90 days.
    Hour,
}

impl Step {
    const ALL: [Self; 2] = [Self::Minute, Self::Hour];

    /// How long it is.
    #[must_use]
    pub fn length(self) -> TimeDelta {
        match self {
            Self::Minute => TimeDelta::minutes(1),
            Self::Hour => TimeDelta::hours(1),
        }
    }

    /// For how long its numbers are kept.
    #[must_use]
    pub fn kept_for(self) -> TimeDelta {
        match self {
            Self::Minute => TimeDelta::hours(48),
            Self::Hour => TimeDelta::days(90),
        }
    }

    /// The beginning of the one that `at` lies in.
    #[must_use]
    pub fn of(self, at: DateTime<Utc>) -> DateTime<Utc> {
        at.duration_trunc(self.length()).unwrap_or(at)
    }

    fn seconds(self) -> i32 {
        match self {
            Self::Minute => 60,
            Self::Hour => 3_600,
        }
    }
}

/// Adds what this process counts until `drain`. What could not be added is added later.
pub async fn keep(db: Database, drain: CancellationToken) {
    while !drain.is_cancelled() {
        tokio::select! {
            () = drain.cancelled() => return,
            () = sleep(EVERY) => {}
        }
        if let Err(error) = within(WAIT, flush(&db)).await {
            tracing::debug!(%error, "could not add to the series, trying again");
        }
    }
}

/// Adds what this process has counted, before it ends.
pub async fn leave(db: &Database) {
    // If the database is unavailable the charts miss a few seconds.
    let _ = timeout(LEAVE_WAIT, flush(db)).await;
}

/// Adds what this process has counted since the last call. A commit whose answer is lost may be added twice.
///
/// # Errors
/// Any database error; then it is added by the next call.
pub async fn flush(db: &Database) -> Result<(), DbErr> {
    let counted = Counted(tally::take());
    if counted.0.is_empty() {
        return Ok(());
    }
    write::add(db, &counted.0).await?;
    counted.told();
    Ok(())
}

/// Counts what waits, and forgets what is old; once a minute in the fleet. Returns how many numbers were forgotten.
///
/// # Errors
/// Any database error.
pub async fn upkeep(db: &Database) -> Result<u64, DbErr> {
    let waiting = inspection::number_waiting(db.connection()).await?;
    write::set_waiting(db, waiting).await?;
    let now = db.now(db.connection()).await?;
    Ok(write::forget(db, now).await? + causes::forget(db, now).await?)
}

/// What was counted: it is given back unless it is told, also if the future that tells it is dropped.
struct Counted(tally::Tally);

impl Counted {
    fn told(mut self) {
        self.0 = tally::Tally::new();
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        tally::give_back(std::mem::take(&mut self.0));
    }
}
