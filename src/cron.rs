//! Cron expressions, read as the scheduler reads them: six fields, of which the first is seconds, in UTC.

use chrono::{DateTime, Timelike, Utc};
use croner::{
    Cron,
    errors::CronError,
    parser::{CronParser, Seconds, Year},
};

/// Reads a cron expression that fires at some time.
///
/// # Errors
/// The expression is invalid, or never fires.
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
