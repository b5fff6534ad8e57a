//! The limit at which a destination was overloaded, and how the limit approaches it again.

/// The rise a round trip, as a factor: without a known ceiling, far below one that was met once, and below one.
const RISE_FREE: f64 = 1.5;
const RISE_FAR: f64 = 1.25;
const RISE: f64 = 1.1;
/// The rise about a ceiling that was met again, as a part of the limit; the oftener it was met, the less.
const RISE_NEAR: f64 = 0.01;
/// The least rise, in calls.
const RISE_MIN: f64 = 0.05;
/// From which part of a ceiling the limit rises slowly, and beyond which the ceiling is forgotten.
const NEAR: f64 = 0.9;
const BEYOND: f64 = 1.15;

/// The limit at which overload was found.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ceiling {
    at: f64,
    /// How often in a row it was found about there.
    hits: u32,
}

impl Ceiling {
    /// The ceiling that is known after one was found at `at`.
    pub(super) fn found(known: Option<Self>, at: f64) -> Self {
        let again = known.filter(|it| at > it.at * 0.75 && at < it.at * 1.33);
        Self { at, hits: again.map_or(1, |it| it.hits.saturating_add(1)) }
    }

    /// The limit after one more round trip without a sign of overload. `is_settled` if the limit was not lowered just now.
    pub(super) fn rise(known: Option<Self>, limit: f64, is_settled: bool) -> f64 {
        let risen = match known {
            None => limit * RISE_FREE,
            Some(it) if limit < it.at * NEAR && it.hits == 1 && is_settled => limit * RISE_FAR,
            Some(it) if limit < it.at * NEAR || it.hits == 1 => limit * RISE,
            Some(it) => limit + limit * RISE_NEAR / f64::from(it.hits.min(5) - 1),
        };
        risen.max(limit + RISE_MIN)
    }

    /// Whether a limit is far above it.
    pub(super) fn is_passed(&self, limit: f64) -> bool {
        limit >= self.at * BEYOND
    }
}
