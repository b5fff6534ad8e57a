//! How the workers of a process are doing, for those who watch it.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
};

use chrono::{DateTime, Utc};
use parking_lot::Mutex;

use crate::outbox::DestinationName;

/// How a process is doing; all clones are one.
#[derive(Clone, Debug, Default)]
pub struct Vitals(Arc<Measured>);

#[derive(Debug, Default)]
struct Measured {
    /// In microseconds since 1970 by the database's clock; 0 before the first tick.
    ticked: AtomicI64,
    /// Deliveries by destination: how many run, and how many may.
    deliveries: Mutex<BTreeMap<DestinationName, (usize, usize)>>,
}

impl Vitals {
    /// The cron schedule has fired.
    pub fn ticked(&self, now: DateTime<Utc>) {
        self.0.ticked.store(now.timestamp_micros(), Ordering::Relaxed);
    }

    /// When it fired last.
    #[must_use]
    pub fn last_tick(&self) -> Option<DateTime<Utc>> {
        let ticked = self.0.ticked.load(Ordering::Relaxed);
        DateTime::from_timestamp_micros(ticked).filter(|_| ticked > 0)
    }

    /// So many deliveries to `destination` run, and so many may.
    pub fn delivers(&self, destination: &DestinationName, in_flight: usize, limit: usize) {
        let mut deliveries = self.0.deliveries.lock();
        match deliveries.get_mut(destination) {
            Some(known) => *known = (in_flight, limit),
            None => _ = deliveries.insert(destination.clone(), (in_flight, limit)),
        }
    }

    /// How many deliveries run to all destinations, and how many may.
    #[must_use]
    pub fn deliveries(&self) -> (usize, usize) {
        let deliveries = self.0.deliveries.lock();
        deliveries.values().fold((0, 0), |(runs, may), (running, limit)| (runs + running, may + limit))
    }
}
