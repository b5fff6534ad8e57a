//! When circuits were open. `destination` tells how they stand now; this is their history.

use sea_orm::entity::prelude::*;

/// A time during which deliveries to a destination were held back because too many had failed.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "circuit_opening")]
pub struct Model {
    /// `UUIDv7`.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    /// Whose circuit: `fee-server`, `kafka`.
    #[sea_orm(column_type = "String(StringLen::N(64))")]
    pub destination: String,
    /// Since when.
    pub opened_at: DateTimeUtc,
    /// Until when; none while it is open.
    pub closed_at: Option<DateTimeUtc>,
    /// What opened it.
    #[sea_orm(column_type = "Text", nullable)]
    pub reason: Option<String>,
}

impl ActiveModelBehavior for ActiveModel {}
