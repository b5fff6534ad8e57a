//! When each piece of upkeep last ran in the fleet.

use sea_orm::entity::prelude::*;

/// A cron schedule that the fleet works off together: whoever first moves `last_tick_at` forward runs the tick.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "schedule")]
pub struct Model {
    /// For example `retention`.
    #[sea_orm(primary_key, auto_increment = false, column_type = "String(StringLen::N(64))")]
    pub name: String,
    /// The latest tick that somebody took.
    pub last_tick_at: DateTimeUtc,
    /// Who took it.
    #[sea_orm(column_type = "String(StringLen::N(128))")]
    pub taken_by: String,
    /// How many things the last run that ended did or found.
    pub last_count: Option<i64>,
}

impl ActiveModelBehavior for ActiveModel {}
