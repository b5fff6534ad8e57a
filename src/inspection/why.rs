//! Why an event stands where it stands, in a few words: what its row and the state of its destination tell. [`super::explain`]
//! says more, and asks more.

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};

use crate::outbox::{DestinationState, Event, EventStatus, Failure};

/// Most characters of an error that are shown.
const ERROR_LENGTH_MAX: usize = 100;

/// A few words about `event`.
pub(super) fn why(
    event: &Event,
    destination: Option<&DestinationState>,
    lane: Option<&DestinationState>,
    now: DateTime<Utc>,
) -> String {
    match event.status {
        EventStatus::Delivered => "delivered".into(),
        EventStatus::Cancelled => "given up".into(),
        EventStatus::Dead => why_dead(event),
        EventStatus::Leased => {
            let by = event.leased_by.as_deref().unwrap_or("a worker");
            match event.leased_until {
                Some(until) if until < now => format!("{by} left no result; it is taken back"),
                _ => format!("{by} delivers it"),
            }
        }
        EventStatus::Pending => why_pending(event, destination, lane, now),
    }
}

fn why_dead(event: &Event) -> String {
    let error = event.last_error.as_deref().map(short).unwrap_or_default();
    match Failure::all(event).pop() {
        Some(Failure { gave_up: Some(why), .. }) => format!("{why}; {error}"),
        Some(Failure { outcome, .. }) => format!("{outcome}: {error}"),
        None => error,
    }
}

fn why_pending(
    event: &Event,
    destination: Option<&DestinationState>,
    lane: Option<&DestinationState>,
    now: DateTime<Utc>,
) -> String {
    if let Some(pause) = destination.and_then(|destination| destination.paused.as_ref()) {
        return format!("paused by {}", pause.by);
    }
    if let Some(until) = destination.and_then(|destination| destination.not_before).filter(|until| *until > now) {
        return format!("held until {} (Retry-After)", time(until));
    }
    if destination.is_some_and(|destination| destination.circuit.is_some()) {
        return "the circuit is open".into();
    }
    if let Some(lane) = lane.filter(|lane| lane.circuit.is_some()) {
        return format!("the circuit of {} is open", lane.name);
    }
    let failed = event.failed_at.is_some_and(|at| at >= event.live_since);
    let error = event.last_error.as_deref().map(short).unwrap_or_default();
    match (event.due_at > now, failed) {
        (true, true) => format!("next attempt at {}; {error}", time(event.due_at)),
        (true, false) if event.sequence > 1 && event.attempts == 0 => "waits for an earlier event of its quote".into(),
        (true, false) => format!("due at {}", time(event.due_at)),
        (false, true) => format!("due again; {error}"),
        (false, false) => {
            let seconds = (now - event.due_at).max(TimeDelta::zero()).num_seconds();
            format!("due for {seconds} s")
        }
    }
}

fn short(error: &str) -> String {
    match error.char_indices().nth(ERROR_LENGTH_MAX) {
        Some((end, _)) => format!("{}…", &error[..end]),
        None => error.to_owned(),
    }
}

fn time(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Secs, true)
}
