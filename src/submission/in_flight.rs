//! Which idempotency keys this process is working on.

use std::{collections::HashSet, sync::Arc};

use super::ClientKey;
use parking_lot::Mutex;

/// The keys that are in flight. It only saves waiting: the database guarantees that one key is one submission.
#[derive(Clone, Debug, Default)]
pub(super) struct InFlight {
    keys: Arc<Mutex<HashSet<ClientKey>>>,
}

/// Holds a key until it is dropped.
#[derive(Debug)]
pub(super) struct InFlightKey {
    keys: InFlight,
    key: ClientKey,
}

impl InFlight {
    /// Takes `key`, or `None` if a call with it is still in flight.
    pub(super) fn enter(&self, key: &ClientKey) -> Option<InFlightKey> {
        let entered = self.keys.lock().insert(key.clone());
        entered.then(|| InFlightKey { keys: self.clone(), key: key.clone() })
    }
}

impl Drop for InFlightKey {
    fn drop(&mut self) {
        self.keys.keys.lock().remove(&self.key);
    }
}
