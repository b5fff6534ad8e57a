//! When regular experiments are made.

/// The most slots between two of them.
const EVERY_MAX: u64 = 32;

/// Slots are times that a whole fleet has in common. The first that comes is used, then every second, every fourth, and so on,
/// while nothing is found.
#[derive(Debug)]
pub(super) struct Slots {
    last: Option<u64>,
    every: u64,
}

impl Default for Slots {
    fn default() -> Self {
        Self { last: None, every: 1 }
    }
}

impl Slots {
    /// Whether a slot to be used begins now.
    pub(super) fn is_due(&mut self, now: u64) -> bool {
        let last = self.last.replace(now);
        last.is_some_and(|last| last != now) && now.is_multiple_of(self.every)
    }

    /// Nothing was found.
    pub(super) fn less_often(&mut self) {
        self.every = (self.every * 2).min(EVERY_MAX);
    }

    /// Something was found.
    pub(super) fn at_once(&mut self) {
        self.every = 1;
    }
}
