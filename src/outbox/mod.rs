//! The outbox: what has to reach a destination, stored in the transaction of what it is about.
//!
//! Sole writer of its tables. It knows neither quotes nor fees. What the fleet knows of destinations is [`destinations`]'s.
//!
//! ```text
//!                 record (in the submission's transaction)
//!                    │
//!                    ▼            claim: attempts + 1, a lease is written and committed
//!   retry ┌──────► pending ──────────────────────────────────────────────► leased
//!  (by an │          │ ▲                                                    │ │ │
//!  oper-  │          │ └── retry, unknown, handed back, lease run out ──────┘ │ │
//!  ator)  │          │                                                        │ │
//!         │          │ cancel         delivered ◄── delivered ────────────────┘ │
//!         │          ▼                                                          │
//!         │      cancelled ◄── withdrawn while leased, and not delivered ───────┤
//!         │          ▲                                                          │
//!         │          │ cancel                                                   │
//!         └──────── dead ◄──── refused, broken, out of attempts or time ────────┘
//! ```
//!
//! Guarantees:
//! * A claim is short and committed before anything is sent: no lock and no transaction stays open over a network call.
//! * Settling is guarded by the lease token. A worker whose lease was taken over changes nothing ([`settle()`]).
//! * Events of one aggregate for one destination are claimed in the order of their `sequence`; an earlier one that is
//!   not yet delivered or cancelled holds back the later ones of its aggregate and nobody else's ([`claim()`]).
//! * An attempt that may have left a trace at the destination marks its event `outcome_unknown` until it is settled.

mod ahead;
mod claim;
mod destinations;
mod ended;
mod event;
mod failure;
mod locked;
mod look;
mod names;
mod outcome;
mod receipt;
mod record;
mod rescue;
mod retention;
mod retry;
mod revive;
mod settle;
mod unreadable;
mod withdraw;

pub use ahead::{BroughtBack, bring_back, held_up_by_a_clock};
pub(crate) use claim::status_in;
pub use claim::{Claim, ClaimRequest, LeasedEvent, claim};
pub use destinations::{
    CircuitOpening, DestinationState, Held, OpenCircuit, Pause, circuit_openings, destination, destinations,
    ensure_destinations, held, held_now, set_pause,
};
pub use event::{Event, EventStatus, get, of_quote};
pub use failure::Failure;
pub use look::{Sight, look};
pub use names::{DestinationName, EventType, InvalidName};
pub use outcome::Outcome;
pub use receipt::Receipt;
pub use record::{NewEvent, next_sequences, record};
pub use rescue::{Rescued, rescue};
pub use retention::{prune, pruned_before};
pub use retry::RetryPolicy;
pub use revive::{RetryFilter, Revivable, revivable, revive, revive_one};
pub use settle::{Attempt, Became, Settled, Settling, settle};
pub use withdraw::{Withdrawn, give_up, withdraw};

/// The hot statements as they are sent, for tests that ask databases for their plans.
pub mod statements {
    pub use super::{
        claim::{due, leased},
        locked::locked,
        look::anything,
        rescue::expired,
        retention::prunable,
    };
}

/// What the outbox needs to know to decide what follows a failed attempt.
#[derive(Clone, Debug)]
pub struct Policy {
    /// When an event is tried again and when it is given up.
    pub retry: RetryPolicy,
    /// When the fleet stops calling a destination.
    pub circuit: crate::settings::Circuit,
    /// The longest `Retry-After` that is believed.
    pub retry_after_max: std::time::Duration,
}
