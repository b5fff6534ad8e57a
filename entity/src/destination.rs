//! What the fleet shares about each destination.

use sea_orm::entity::prelude::*;

/// A destination's shared state.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "destination")]
pub struct Model {
    /// `fee-server`, `kafka`.
    #[sea_orm(primary_key, auto_increment = false, column_type = "String(StringLen::N(64))")]
    pub name: String,
    /// Set while an operator pauses deliveries.
    pub paused_at: Option<DateTimeUtc>,
    /// Which operator.
    #[sea_orm(column_type = "String(StringLen::N(128))", nullable)]
    pub paused_by: Option<String>,
    /// Why.
    #[sea_orm(column_type = "Text", nullable)]
    pub pause_reason: Option<String>,
    /// The destination asked not to be called before this time (`Retry-After`).
    pub not_before: Option<DateTimeUtc>,
    /// Open while deliveries are held back because too many failed.
    pub circuit: Circuit,
    /// Of the whole fleet. Consecutive failures of one event count as one.
    pub consecutive_failures: i32,
    /// Set while the circuit is open.
    pub circuit_opened_at: Option<DateTimeUtc>,
    /// Why it is open: what opened it, or the error of the last probe.
    #[sea_orm(column_type = "Text", nullable)]
    pub circuit_reason: Option<String>,
    /// While the circuit is open: when the next single probe may go out.
    pub probe_at: Option<DateTimeUtc>,
    /// When anything here last changed.
    pub updated_at: DateTimeUtc,
    /// The event that failed last, if none was delivered since; none if the failure could not be an event's fault.
    pub failing_event: Option<Uuid>,
    /// When the first of the consecutive failures came.
    pub failing_since: Option<DateTimeUtc>,
    /// When the last pause or open circuit ended: `retry.give_up_after` counts from here at the earliest.
    pub callable_since: Option<DateTimeUtc>,
    /// The base URL that last answered a look-up with a list. A 404 from there does not mean that it has no look-up.
    #[sea_orm(column_type = "Text", nullable)]
    pub lists_fees_at: Option<String>,
    /// The most calls that the fleet begins a second, if an operator set a limit.
    pub limit_per_second: Option<i32>,
    /// The most calls that the fleet has in flight, if an operator set a limit.
    pub limit_in_flight: Option<i32>,
    /// When the next call may begin by the limit of calls a second.
    pub next_call_at: Option<DateTimeUtc>,
}

impl ActiveModelBehavior for ActiveModel {}

/// `src/outbox/destinations/gate.rs` says what moves it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EnumIter, DeriveActiveEnum)]
#[sea_orm(rs_type = "String", db_type = "String(StringLen::N(16))", rename_all = "lowercase")]
pub enum Circuit {
    /// Deliveries go out.
    Closed,
    /// Only one probe at a time goes out.
    Open,
}
