//! The outbox: events that must reach a destination, stored in the transaction of what they are about.
//!
//! This room is the life cycle of an event, and the only writer of the table `outbox_event`. It knows neither quotes nor
//! fees. What the fleet knows of destinations has a room of its own, `destinations`.
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
//! * A claim is short, and is committed before anything is sent: no lock and no transaction stays open during a network call.
//! * Settling is guarded by the lease token. A worker whose lease was taken over changes nothing ([`settle()`]).
//! * Events of one aggregate for one destination are claimed in the order of their `sequence`. An earlier one that is not yet
//!   delivered or cancelled holds back the later ones of its aggregate, and no others ([`claim()`]).
//! * Partners take turns ([`Turn`]): the backlog of one delays an event of another by a turn, not by its length.
//! * An attempt that may have reached the destination marks its event `outcome_unknown` until it is settled.

mod cause;
mod claim;
mod claim_at_once;
mod destinations;
mod ended;
mod event;
mod failure;
mod future_times;
mod held_lanes;
mod lane;
mod locked;
mod names;
mod outcome;
mod parking;
mod policy;
mod poll;
mod receipt;
mod record;
mod rescue;
mod retention;
mod retry;
mod revive;
mod settle;
mod shares;
mod turns;
mod unreadable;
mod withdraw;

pub(crate) use cause::{cause, parts as parts_of_cause};
pub use claim::{Claim, ClaimRequest, LeasedEvent, claim};
pub(crate) use claim::{an_earlier_unfinished_event, status_in};
pub use destinations::{
    CircuitOpening, DestinationChange, DestinationState, FleetLimits, Hold, LimitChange, LimitsChange,
    OPENINGS_KEPT_FOR, OpenCircuit, Pause, circuit_openings, destination, destinations, ensure_destinations,
    has_look_ups, held_lanes, hold, hold_now, latest_openings, record_look_ups, set_limits, set_pause,
};
#[cfg(feature = "lab")]
pub(crate) use destinations::{DestinationOnPaper, PermitOnPaper, leased_on_paper};
pub use event::{Event, EventStatus, get, of_aggregate};
pub use failure::Failure;
pub use future_times::{Repaired, delayed_by_future_times, repair_future_times};
pub use lane::Lane;
pub use names::{AggregateType, DestinationName, EventType, InvalidName};
pub use outcome::Outcome;
pub use parking::park;
pub use policy::{Circuit, Policy, Retry};
pub use poll::{Poll, poll};
pub use receipt::Receipt;
pub use record::{NewEvent, next_sequences, record};
pub use rescue::{Rescued, rescue};
pub(crate) use retention::settled_statuses;
pub use retention::{prune, pruned_before};
pub use retry::RetryPolicy;
pub(crate) use revive::error_contains;
pub use revive::{revive, revive_one};
#[cfg(feature = "lab")]
use settle::disposition;
pub use settle::{Attempt, Disposition, SettleReport, Settled, settle};
pub(crate) use turns::{PARTNERS_MAX, partners};
pub use turns::{Turn, waiting_of};
pub use withdraw::{Withdrawn, end_all, give_up, lock_to_give_up, unpark_after, withdraw};

/// The hot statements as they are sent, for tests that read their query plans.
pub mod statements {
    pub use super::{
        claim::{due, leased},
        claim_at_once::statement as claim_at_once,
        destinations::delivered_lately,
        locked::locked,
        poll::work_due,
        record::last_sequences,
        rescue::expired,
        retention::prunable,
        shares::equal_shares,
        turns::{heads as heads_of_partners, walk as walk_of_partners},
        unreadable::together,
        withdraw::at_place,
    };
}
