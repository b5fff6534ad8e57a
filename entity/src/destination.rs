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
    /// Set while an operator holds deliveries back.
    pub paused_at: Option<DateTimeUtc>,
    /// Which operator.
    #[sea_orm(column_type = "String(StringLen::N(128))", nullable)]
    pub paused_by: Option<String>,
    /// And why.
    #[sea_orm(column_type = "Text", nullable)]
    pub pause_reason: Option<String>,
    /// The destination asked (`Retry-After`) not to be called before.
    pub not_before: Option<DateTimeUtc>,
    /// Whether deliveries are held back because too many failed.
    pub circuit: Circuit,
    /// Failures in a row, of the whole fleet. Those of one event that follow each other count as one.
    pub consecutive_failures: i32,
    /// Set while the circuit is open.
    pub circuit_opened_at: Option<DateTimeUtc>,
    /// What opened it.
    #[sea_orm(column_type = "Text", nullable)]
    pub circuit_reason: Option<String>,
    /// While the circuit is open: when the next single probe may go out.
    pub probe_at: Option<DateTimeUtc>,
    /// When anything here last changed.
    pub updated_at: DateTimeUtc,
    /// The event that failed last, if none was delivered since; none if it was something that no event causes.
    pub failing_event: Option<Uuid>,
    /// When the first of the failures in a row came.
    pub failing_since: Option<DateTimeUtc>,
    /// When the last pause or open circuit ended: `retry.give_up_after` counts from here at the earliest.
    pub callable_since: Option<DateTimeUtc>,
}

impl ActiveModelBehavior for ActiveModel {}

/// `src/outbox/gate.rs` says what moves it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EnumIter, DeriveActiveEnum)]
#[sea_orm(rs_type = "String", db_type = "String(StringLen::N(16))", rename_all = "lowercase")]
pub enum Circuit {
    /// Deliveries flow.
    Closed,
    /// Only one probe at a time goes out.
    Open,
}
