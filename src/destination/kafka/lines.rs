//! Records under way, by partition: those that wait for one partition leave room for the others.
//!
//! A partition stands still if nothing was acknowledged in it for a second while a record waits for that, and others were: its leader
//! is dead or frozen, and the brokers have not elected another. It gets no more records until then. Those that it has are
//! the idempotent producer's to store once.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;

/// After this long without an acknowledgement a partition stands still.
pub(super) const STILL_AFTER: Duration = Duration::from_secs(1);

/// A partition of a topic; none while their number is not known.
type Line = (&'static str, Option<i32>);

/// All records under way.
#[derive(Clone, Default)]
pub(super) struct Lines(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    lines: HashMap<Line, Waiting>,
    next: u64,
    /// When a record of any partition was acknowledged last.
    moved_at: Option<Instant>,
}

/// Those of one partition.
#[derive(Default)]
struct Waiting {
    /// When each was sent.
    since: BTreeSet<(Instant, u64)>,
    /// When one was acknowledged last.
    moved_at: Option<Instant>,
}

/// A record under way.
pub(super) struct Place {
    lines: Lines,
    line: Line,
    id: (Instant, u64),
}

impl Lines {
    /// A place for another record, unless its partition stands still while others move.
    pub(super) fn enter(&self, topic: &'static str, partition: Option<i32>, now: Instant) -> Option<Place> {
        let (line, mut state) = ((topic, partition), self.0.lock());
        let lately = |at: Option<Instant>| at.is_some_and(|at| now.saturating_duration_since(at) < STILL_AFTER);
        let others_move = lately(state.moved_at);
        let waiting = state.lines.entry(line).or_default();
        let first = waiting.since.first().map(|(since, _)| *since);
        if first.is_some() && !lately(first) && !lately(waiting.moved_at) && others_move {
            return None;
        }
        let id = (now, state.next);
        state.next += 1;
        state.lines.entry(line).or_default().since.insert(id);
        drop(state);
        Some(Place { lines: self.clone(), line, id })
    }

    /// How many records have a place.
    pub(super) fn under_way(&self) -> usize {
        self.0.lock().lines.values().map(|waiting| waiting.since.len()).sum()
    }
}

impl Place {
    /// The record was acknowledged.
    pub(super) fn moved(&self, now: Instant) {
        let mut state = self.lines.0.lock();
        state.moved_at = Some(now);
        state.lines.entry(self.line).or_default().moved_at = Some(now);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(waiting) = self.lines.0.lock().lines.get_mut(&self.line) {
            waiting.since.remove(&self.id);
        }
    }
}

/// The partition of `key` among so many: as Java's producer and `murmur2_random` choose it.
pub(super) fn partition_of(key: &[u8], partitions: i32) -> i32 {
    #[expect(clippy::cast_possible_wrap, reason = "the sign bit is cleared")]
    let hash = (murmur2(key) & 0x7fff_ffff) as i32;
    hash % partitions.max(1)
}

/// Source: `org.apache.kafka.common.utils.Utils.murmur2`.
fn murmur2(data: &[u8]) -> u32 {
    const M: u32 = 0x5bd1_e995;
    let mut hash = 0x9747_b28c ^ u32::try_from(data.len()).unwrap_or(u32::MAX);
    let mut words = data.chunks_exact(4);
    for word in &mut words {
        let mut k = u32::from_le_bytes([word[0], word[1], word[2], word[3]]).wrapping_mul(M);
        k = (k ^ (k >> 24)).wrapping_mul(M);
        hash = hash.wrapping_mul(M) ^ k;
    }
    let rest = words.remainder();
    if !rest.is_empty() {
        let tail = rest.iter().rev().fold(0, |tail, byte| (tail << 8) | u32::from(*byte));
        hash = (hash ^ tail).wrapping_mul(M);
    }
    hash = (hash ^ (hash >> 13)).wrapping_mul(M);
    hash ^ (hash >> 15)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOPIC: &str = "t";

    #[test]
    fn keys_have_the_partitions_that_java_gives_them() {
        // Source: `UtilsTest.testMurmur2` of Apache Kafka.
        for (key, hash) in [
            ("21", -973_932_308),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("abc", 479_470_107),
        ] {
            assert_eq!(murmur2(key.as_bytes()).cast_signed(), hash, "{key}");
        }
        assert_eq!(partition_of(b"abc", 12), 479_470_107 % 12);
    }

    #[test]
    fn a_partition_that_stands_still_gets_no_more_records_while_others_move() {
        let (lines, zero) = (Lines::default(), Instant::now());
        let at = |ms| zero + Duration::from_millis(ms);
        let enter = |partition, ms| lines.enter(TOPIC, Some(partition), at(ms));
        let still = enter(1, 0).expect("a place");
        let moving = enter(2, 1_100).expect("a place");
        assert_eq!(lines.under_way(), 2);
        assert!(enter(1, 1_200).is_some(), "nothing moves: the others would not profit");
        moving.moved(at(1_200));
        assert!(enter(1, 1_300).is_none());
        assert!(enter(2, 1_300).is_some() && enter(3, 1_300).is_some());
        still.moved(at(1_400));
        assert!(enter(1, 1_500).is_some(), "it moves again");
        drop(still);
        assert_eq!(lines.under_way(), 1);
        moving.moved(at(9_000));
        assert!(enter(1, 9_100).is_some(), "no record waits");
    }
}
