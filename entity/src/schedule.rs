//! When each job last ran in the fleet.

use sea_orm::entity::prelude::*;

/// A cron schedule that the fleet shares: the process that first moves `last_tick_at` forward runs the tick.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "schedule")]
pub struct Model {
    /// For example `retention`.
    #[sea_orm(primary_key, auto_increment = false, column_type = "String(StringLen::N(64))")]
    pub name: String,
    /// The latest tick that ran.
    pub last_tick_at: DateTimeUtc,
    /// The process that ran it.
    #[sea_orm(column_type = "String(StringLen::N(128))")]
    pub taken_by: String,
    /// How many things the last finished run did or found.
    pub last_count: Option<i64>,
}

impl ActiveModelBehavior for ActiveModel {}
