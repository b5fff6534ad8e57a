//! How submissions and deliveries went.

use axum::{Json, extract::RawQuery};
use chrono::{DateTime, Datelike, TimeDelta, Utc};

use crate::{
    http::{
        input::Query,
        problem::{Kind, Problem},
        stale::Reads,
    },
    series::{self, Series, Step},
};

/// What is shown without `from`.
const SPAN_DEFAULT: TimeDelta = TimeDelta::hours(1);

/// Show how submissions and deliveries went, by the minute or by the hour
///
/// Minutes are kept for 48 hours, hours for 90 days. Numbers come up to ten seconds late, and may miss the last ten seconds of a
/// process that died. They may come from a replica (`database.replica_url`) and are `Age` seconds older then; `Cache-Control:
/// no-cache` asks for fresh ones.
#[utoipa::path(
    get, path = "/v1/stats/series", operation_id = "stats_series", tag = "operations", security(("token" = [])),
    params(
        ("from" = Option<String>, Query, description = "The beginning; an hour before `to` by default", format = DateTime),
        ("to" = Option<String>, Query, description = "The end; now by default", format = DateTime),
        ("step" = Option<String>, Query, description = "1m or 1h; by default minutes where they are kept for all of the time, \
            else hours", pattern = "^(1m|1h)$"),
    ),
    responses(
        (status = 200, description = "A point for each minute or hour, the oldest first", body = Series),
        (status = 400, description = "Invalid parameter, or a time that is longer than the numbers are kept"),
    )
)]
pub(super) async fn series(Reads { db, as_of }: Reads, RawQuery(raw): RawQuery) -> Result<Json<Series>, Problem> {
    let mut query = Query::read(raw.as_deref(), &["from", "to", "step"]);
    let (from, to, step) = (query.time("from"), query.time("to"), query.optional("step", step));
    query.finish()?;
    let now = db.now(db.connection()).await?;
    let (from, to, step) = span(from, to, step, now)?;
    let series = series::read(&db, from, to, step).await?;
    Ok(Json(Series { as_of, ..series }))
}

fn step(text: &str) -> Result<Step, String> {
    match text {
        "1m" => Ok(Step::Minute),
        "1h" => Ok(Step::Hour),
        _ => Err(format!("is {text:?}; send 1m or 1h")),
    }
}

fn span(
    from: Option<DateTime<Utc>>,
    to: Option<DateTime<Utc>>,
    step: Option<Step>,
    now: DateTime<Utc>,
) -> Result<(DateTime<Utc>, DateTime<Utc>, Step), Problem> {
    let invalid = |detail: &str| Problem::new(Kind::InvalidParameter, detail);
    let to = to.unwrap_or(now);
    let from = from.or_else(|| to.checked_sub_signed(SPAN_DEFAULT)).unwrap_or(to);
    if from >= to {
        return Err(invalid("from is not before to; send a time that begins before it ends"));
    }
    if from.year() < 1970 || to.year() > 9998 {
        return Err(invalid("from and to must lie in the years 1970 to 9998"));
    }
    let span = to - from;
    // The step of now has begun before.
    let has_minutes = span <= Step::Minute.kept_for() && now - from <= Step::Minute.kept_for() + Step::Minute.length();
    match step {
        Some(Step::Minute) if span > Step::Minute.kept_for() => {
            Err(invalid("from and to lie more than 48 hours apart; minutes are kept for 48 hours, send step=1h"))
        }
        _ if span > Step::Hour.kept_for() => {
            Err(invalid("from and to lie more than 90 days apart; hours are kept for 90 days"))
        }
        step => Ok((from, to, step.unwrap_or(if has_minutes { Step::Minute } else { Step::Hour }))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_step_follows_the_span() {
        let now = DateTime::<Utc>::UNIX_EPOCH + TimeDelta::days(1_000);
        let ago = |hours| Some(now - TimeDelta::hours(hours));
        let of = |from, to, step| span(from, to, step, now).map(|(.., step)| step).ok();
        assert_eq!(span(None, None, None, now).ok(), Some((now - SPAN_DEFAULT, now, Step::Minute)));
        assert_eq!(of(ago(48), None, None), Some(Step::Minute));
        assert_eq!(of(ago(49), None, None), Some(Step::Hour));
        assert_eq!(of(ago(100), ago(99), None), Some(Step::Hour), "those minutes are forgotten");
        assert_eq!(of(ago(24 * 90), None, None), Some(Step::Hour));
        assert_eq!(of(ago(1), None, Some(Step::Hour)), Some(Step::Hour));
        for (from, to, step) in [
            (ago(49), None, Some(Step::Minute)),
            (ago(24 * 90 + 1), None, None),
            (ago(1), ago(2), None),
            (ago(1), ago(1), None),
            (Some(DateTime::<Utc>::MIN_UTC), Some(DateTime::<Utc>::MAX_UTC), None),
        ] {
            assert_eq!(of(from, to, step), None, "{from:?} {to:?}");
        }
        assert_eq!(of(None, Some(DateTime::<Utc>::MIN_UTC), None), None, "there is no hour before it");
    }
}
