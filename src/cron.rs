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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_is_configured_as_a_schedule_has_ticks_or_is_refused() {
        crate::fuzz::fuzz("cron", |input| {
            let Ok(text) = std::str::from_utf8(input) else { return "no text".into() };
            let cron = match parse(text) {
                Ok(cron) => cron,
                Err(error) => return crate::fuzz::kind_of(&error.to_string()),
            };
            let now = Utc::now();
            let next = cron.find_next_occurrence(&now, false).expect("it has ticks");
            assert!(next > now, "{next}");
            if let Ok(latest) = latest_tick(&cron, now) {
                assert!(latest <= now && latest.nanosecond() == 0, "{latest}");
            }
            format!("{} fields", text.split_whitespace().count())
        });
    }
}
