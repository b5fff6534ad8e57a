//! How often attempts failed for a cause.

use sea_orm::entity::prelude::*;

/// A number of ten minutes, of the whole fleet.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "cause_count")]
pub struct Model {
    /// When the ten minutes begin.
    #[sea_orm(primary_key, auto_increment = false)]
    pub at: DateTimeUtc,
    /// Where the events go.
    #[sea_orm(primary_key, auto_increment = false, column_type = "String(StringLen::N(64))")]
    pub destination: String,
    /// As in `outbox_event.cause`.
    #[sea_orm(primary_key, auto_increment = false, column_type = "String(StringLen::N(192))")]
    pub cause: String,
    /// How many attempts failed for it.
    pub number: i64,
}

impl ActiveModelBehavior for ActiveModel {}
