//! Whether deliveries keep up with what arrives, by what claims bring anyway: they take the longest due first.
//!
//! If the event at the head of the queue was stored a minute after the one that was there a minute ago, deliveries keep up.
//! If it was stored only seconds after it, the wait grows. Only differences are compared, so that no clock of another host
//! matters.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use chrono::{DateTime, Utc};
use parking_lot::Mutex;

use super::Worker;
use crate::{destination::Destination, outbox::Claim, telemetry::metrics};

/// For how long the wait must grow.
const WATCHED: Duration = Duration::from_mins(1);
/// By how much of that time, at least, for a warning.
const GROWTH: f64 = 1.0 / 6.0;
/// Between two samples.
const EVERY: Duration = Duration::from_secs(5);
/// Between two warnings.
const WARN_EVERY: Duration = Duration::from_mins(5);
/// Samples that lie further apart do not belong to one backlog: a run had nothing more to do in between.
const GAP: Duration = Duration::from_secs(30);

/// What a sample shows.
#[derive(Clone, Copy, Debug, PartialEq)]
enum News {
    /// The wait has grown by so many seconds within a minute.
    Grows(f64),
    /// It had grown, and no event waits any more.
    CaughtUp,
}

/// What claims found at the head of the queue.
#[derive(Debug, Default)]
pub(super) struct Backlog(Mutex<Samples>);

#[derive(Debug, Default)]
struct Samples {
    heads: VecDeque<(Instant, DateTime<Utc>)>,
    warned_at: Option<Instant>,
    grows: bool,
}

impl Samples {
    /// `head` is when the first event of a claim was stored; none if there was less than was asked for.
    fn add(&mut self, head: Option<DateTime<Utc>>, now: Instant) -> Option<News> {
        let Some(head) = head else {
            self.heads.clear();
            self.warned_at = None;
            return std::mem::take(&mut self.grows).then_some(News::CaughtUp);
        };
        if self.heads.back().is_some_and(|(at, _)| now < *at + EVERY) {
            return None;
        }
        if self.heads.back().is_some_and(|(at, _)| now > *at + GAP) {
            self.heads.clear();
        }
        self.heads.push_back((now, head));
        while self.heads.get(1).is_some_and(|(at, _)| now >= *at + WATCHED) {
            self.heads.pop_front();
        }
        let (then, head_then) = self.heads.front()?;
        let passed = now.saturating_duration_since(*then);
        let grown = passed.as_secs_f64() - (head - head_then).as_seconds_f64();
        let may_warn = self.warned_at.is_none_or(|at| now >= at + WARN_EVERY);
        if passed < WATCHED || grown < passed.as_secs_f64() * GROWTH || !may_warn {
            return None;
        }
        (self.warned_at, self.grows) = (Some(now), true);
        Some(News::Grows(grown))
    }
}

impl<D: Destination> Worker<D> {
    /// Logs when deliveries do not keep up, or have caught up, by what a claim brought while so many of them run.
    pub(super) fn watch_backlog(&self, claim: &Claim, in_flight: usize) {
        self.set_gauges(in_flight);
        if claim.hold.is_some() || claim.events.first().is_some_and(|event| event.probe) {
            return;
        }
        let head = claim.events.first().filter(|event| claim.is_full && event.attempt == 1).map(|it| it.live_since);
        if claim.is_full && head.is_none() {
            return;
        }
        let news = self.backlog.0.lock().add(head, Instant::now());
        let destination = self.destination().as_str();
        let (limit, max, failure_share) =
            (self.limiter.limit(), self.settings.concurrency, self.limiter.failure_share());
        match news {
            Some(News::Grows(grown)) => tracing::warn!(
                destination,
                limit,
                max,
                in_flight,
                failure_share,
                wait_grew_seconds = grown.round(),
                "more events arrive than are delivered: they wait longer and longer"
            ),
            Some(News::CaughtUp) => tracing::info!(destination, "deliveries have caught up"),
            None => {}
        }
    }

    /// Sets the gauges.
    pub(super) fn set_gauges(&self, in_flight: usize) {
        metrics::limit(self.destination().clone(), self.limiter.limit());
        metrics::in_flight(self.destination().clone(), in_flight);
        self.vitals.delivers(self.destination(), in_flight, self.limiter.limit());
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;

    /// Samples each second for `seconds`, while the head moves by `pace` a second; returns what was shown, and when.
    fn watch(samples: &mut Samples, from: u64, seconds: u64, pace: f64, zero: Instant) -> Vec<(u64, News)> {
        let start = DateTime::UNIX_EPOCH;
        let sample = |second: u64| {
            let moved = TimeDelta::milliseconds(i64::try_from(second).unwrap_or(0) * 1_000);
            let head =
                start + TimeDelta::from_std(Duration::from_secs_f64(moved.as_seconds_f64() * pace)).unwrap_or_default();
            samples.add(Some(head), zero + Duration::from_secs(second)).map(|news| (second, news))
        };
        (from..from + seconds).filter_map(sample).collect()
    }

    #[test]
    fn a_wait_that_grows_for_a_minute_is_logged_once_in_five_minutes_and_its_end_once() {
        let (mut samples, zero) = (Samples::default(), Instant::now());
        let news = watch(&mut samples, 0, 400, 0.5, zero);
        assert_eq!(news.len(), 2, "{news:?}");
        assert!((60..=65).contains(&news[0].0), "{news:?}");
        assert_eq!(samples.add(None, zero + Duration::from_secs(401)), Some(News::CaughtUp));
        assert_eq!(samples.add(None, zero + Duration::from_secs(402)), None);
    }

    #[test]
    fn a_backlog_that_is_worked_through_is_not_logged() {
        let (mut samples, zero) = (Samples::default(), Instant::now());
        assert_eq!(watch(&mut samples, 0, 600, 1.0, zero), vec![]);
        let (mut samples, zero) = (Samples::default(), Instant::now());
        assert_eq!(watch(&mut samples, 0, 600, 2.0, zero), vec![]);
    }
}
