//! What people see of the outbox: its events, why one is not delivered yet, and how deliveries go. It only reads.

mod causes;
mod explain;
mod filter;
mod headline;
mod list;
mod openings;
mod queue_position;
mod stats;
mod view;
mod why;

pub use causes::{COUNTED_MAX, CauseGroup, Causes, causes};
pub use explain::{Explanation, Lease, WaitingFor, explain};
pub use filter::EventFilter;
pub use list::{Total, list, matching, total};
pub use openings::{Opening, Openings, openings};
pub use queue_position::QueuePosition;
pub(crate) use stats::number_waiting;
pub use stats::{DestinationStats, EventCounts, SETTLED_COUNTED_MAX, Stats, UNSETTLED_COUNTED_MAX, feed_gauges, stats};
pub use view::{EventDetail, EventView, detail, view, views};

/// The statements as they are sent, for tests that ask databases for their plans.
pub mod statements {
    pub use super::{
        causes::{counted_by_cause, next_cause},
        list::{failing, newest, of_one_quote, of_quotes, waiting, with_cause, with_status},
        stats::{number_of_unsettled, numbers_of_settled, oldest_due},
    };
}
