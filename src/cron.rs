//! Cron expressions, read the way the scheduler reads them: six fields, the first are seconds, in UTC.

use chrono::{DateTime, Timelike, Utc};
use croner::{
    Cron,
    errors::CronError,
    parser::{CronParser, Seconds, Year},
};

/// Reads a cron expression that fires some day.
///
/// # Errors
/// What is wrong with it.
pub fn parse(expression: &str) -> Result<Cron, CronError> {
    let parser = CronParser::builder().seconds(Seconds::Required).year(Year::Disallowed).dom_and_dow(true).build();
    let cron = parser.parse(expression)?;
    cron.find_next_occurrence(&Utc::now(), false)?;
    Ok(cron)
}

/// The latest tick that is not after `now`: a whole second.
///
/// # Errors
/// If there was none.
pub fn latest_tick(cron: &Cron, now: DateTime<Utc>) -> Result<DateTime<Utc>, CronError> {
    // The search keeps the fraction of the second that it starts from.
    cron.find_previous_occurrence(&now.with_nanosecond(0).unwrap_or(now), true)
}
