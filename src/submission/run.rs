//! How far a transaction got. It may be run several times.

use std::sync::Arc;

use parking_lot::Mutex;

use super::Submitted;

/// The run of a submission's transaction that is under way, or was the last.
#[derive(Debug, Default)]
pub(super) struct Run {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    submitted: Arc<Vec<Submitted>>,
    commits: bool,
}

impl Run {
    /// `submitted` is being stored.
    pub(super) fn begins(&self, submitted: Arc<Vec<Submitted>>) {
        self.with(|state| *state = State { submitted, commits: false });
    }

    /// All of it is stored, and the commit is next.
    pub(super) fn commits(&self) {
        self.with(|state| state.commits = true);
    }

    /// Whether the last run got as far as its commit.
    pub(super) fn may_be_committed(&self) -> bool {
        self.with(|state| state.commits)
    }

    /// What the last run was about, once.
    pub(super) fn take(&self) -> Arc<Vec<Submitted>> {
        self.with(|state| std::mem::take(&mut state.submitted))
    }

    fn with<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        work(&mut self.state.lock())
    }
}
