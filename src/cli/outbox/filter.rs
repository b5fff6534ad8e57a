//! The filters of events on the command line.

use chrono::{DateTime, Utc};
use clap::Args;
use uuid::Uuid;

use super::Status;
use crate::inspection::EventFilter;

/// Which events.
#[derive(Args, Clone, Debug, Default)]
pub struct Filter {
    /// Only events with this status
    #[arg(long)]
    pub(super) status: Option<Status>,
    /// Only events for this destination
    #[arg(long, value_name = "NAME")]
    destination: Option<String>,
    /// Only events of this type, for example quote.cancelled
    #[arg(long, value_name = "TYPE")]
    event_type: Option<String>,
    /// Only events of this quote
    #[arg(long, value_name = "ID")]
    quote: Option<Uuid>,
    /// Only events of this customer's quotes
    #[arg(long, value_name = "ID")]
    customer: Option<String>,
    /// Only events that failed last for this cause, as `feebox causes` prints it
    #[arg(long, value_name = "CAUSE")]
    cause: Option<String>,
    /// Only events whose last error contains this text, ignoring case; without --status those that are neither delivered nor
    /// cancelled
    #[arg(long, value_name = "TEXT")]
    error_contains: Option<String>,
    /// Only events stored after this time (RFC 3339)
    #[arg(long, value_name = "TIME")]
    created_after: Option<DateTime<Utc>>,
    /// Only events stored before this time
    #[arg(long, value_name = "TIME")]
    created_before: Option<DateTime<Utc>>,
    /// Only events settled after this time
    #[arg(long, value_name = "TIME")]
    settled_after: Option<DateTime<Utc>>,
    /// Only events settled before this time
    #[arg(long, value_name = "TIME")]
    settled_before: Option<DateTime<Utc>>,
}

impl From<Filter> for EventFilter {
    fn from(filter: Filter) -> Self {
        Self {
            status: filter.status.map(Into::into),
            destination: filter.destination,
            event_type: filter.event_type,
            quote_id: filter.quote,
            customer_id: filter.customer,
            cause: filter.cause,
            error_contains: filter.error_contains,
            created_after: filter.created_after,
            created_before: filter.created_before,
            settled_after: filter.settled_after,
            settled_before: filter.settled_before,
            before: None,
        }
    }
}
