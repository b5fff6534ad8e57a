//! What people see of the outbox: its events, why one is not delivered yet, and how deliveries go. It only reads.

mod explain;
mod headline;
mod list;
mod queue_position;
mod stats;
mod view;

pub use explain::{Explanation, Lease, WaitingFor, explain};
pub use list::{EventFilter, list};
pub use queue_position::QueuePosition;
pub use stats::{DestinationStats, EventCounts, SETTLED_COUNTED_MAX, Stats, UNSETTLED_COUNTED_MAX, feed_gauges, stats};
pub use view::{EventDetail, EventView};

/// The statements as they are sent, for tests that ask databases for their plans.
pub mod statements {
    pub use super::{
        list::{failing, newest, of_one_quote, waiting, with_status},
        stats::{number_of_unsettled, numbers_of_settled, oldest_due},
    };
}
