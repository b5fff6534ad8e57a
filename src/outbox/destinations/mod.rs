//! What the fleet knows of destinations: whether they may be called, and how their deliveries go.
//!
//! Sole writer of the tables `destination` and `circuit_opening`. Nothing here changes an event.

mod gate;
mod health;
mod openings;
mod state;
mod streak;

pub use gate::{Held, ensure_destinations, held, held_now};
pub(super) use gate::{Pass, Passage, believed, callable_since, failures_counted, pass};
pub(super) use health::{Blame, Weather};
pub(super) use openings::forget;
pub use openings::{CircuitOpening, circuit_openings};
pub use state::{DestinationState, OpenCircuit, Pause, destination, destinations, set_pause};
