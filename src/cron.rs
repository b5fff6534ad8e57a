//! Cron expressions, read as the scheduler reads them: six fields, of which the first is seconds, in UTC.

use chrono::{DateTime, Timelike, Utc};
use croner::{
    Cron,
    errors::CronError,
    parser::{CronParser, Seconds, Year},
};

/// The parser's mark of a value that the field names.
const ANY_VALUE: u8 = 1;

/// Reads a cron expression that fires at some time.
///
/// # Errors
/// The expression is invalid, or never fires.
pub fn parse(expression: &str) -> Result<Cron, CronError> {
    let parser = CronParser::builder().seconds(Seconds::Required).year(Year::Disallowed).dom_and_dow(true).build();
    let cron = parser.parse(expression)?;
    refuse_empty_fields(&cron)?;
    cron.find_next_occurrence(&Utc::now(), false)?;
    Ok(cron)
}

/// A list of no values, such as `,`, is a field to the parser. No time has such a second, and the search for one would look at
/// each minute up to the year 5000, which takes a minute and more. A day that never comes, such as 30 February, is known sooner:
/// days are few.
fn refuse_empty_fields(cron: &Cron) -> Result<(), CronError> {
    let fields = &cron.pattern;
    let named =
        [("second", &fields.seconds), ("minute", &fields.minutes), ("hour", &fields.hours), ("month", &fields.months)];
    match named.into_iter().find(|(_, field)| field.get_set_values(ANY_VALUE).is_empty()) {
        Some((name, _)) => Err(CronError::InvalidPattern(format!("it names no {name}."))),
        None => Ok(()),
    }
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
    fn a_schedule_that_never_ticks_is_refused_at_once() {
        for never in
            [", * * * * *", "0 , * * * *", "0 0 ,, * * *", "0 0 0 , * *", "0 0 0 * , *", "0 0 0 * * ,", "0 0 0 30 2 *"]
        {
            let begun = std::time::Instant::now();
            let refused = parse(never).map(|_| ()).expect_err("it never ticks");
            println!("{never}: {refused} after {:.1?}", begun.elapsed());
        }
        let refused = parse("0 , * * * *").map(|_| ()).expect_err("it never ticks");
        assert_eq!(refused.to_string(), "Invalid pattern: it names no minute.");
    }

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
