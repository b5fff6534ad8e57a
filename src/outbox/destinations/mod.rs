//! What the fleet knows of destinations: whether they may be called, and how their deliveries go.
//!
//! Sole writer of the tables `destination` and `circuit_opening`. Nothing here changes an event.

mod change;
mod delivered;
mod gate;
mod health;
mod lanes;
mod limits;
mod openings;
mod state;
mod streak;

pub use change::DestinationChange;
pub use delivered::delivered_lately;
#[cfg(feature = "lab")]
use gate::hold_of;
pub(super) use gate::{
    GateCheck, OPEN_GATE, Permit, callable_since, check, failures_counted, is_open, without_wrong_clocks,
};
pub use gate::{Hold, ensure_destinations, hold, hold_now};
pub(super) use health::{Blame, DestinationHealth};
#[cfg(feature = "lab")]
pub(crate) use health::{DestinationOnPaper, PermitOnPaper, leased_on_paper};
pub use lanes::held_lanes;
pub(super) use lanes::{LaneHealth, OpenLane, open_lanes};
pub(super) use limits::Room;
pub use limits::{FleetLimits, LimitChange, LimitsChange, set_limits};
pub(super) use openings::forget;
pub use openings::{CircuitOpening, OPENINGS_KEPT_FOR, circuit_openings, latest_openings};
pub use state::{
    DestinationState, OpenCircuit, Pause, destination, destinations, has_look_ups, record_look_ups, set_pause,
};
