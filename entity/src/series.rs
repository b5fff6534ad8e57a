//! How submissions and deliveries went, in numbers.

use sea_orm::entity::prelude::*;

/// A number of a minute or of an hour, of the whole fleet.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "series")]
pub struct Model {
    /// 60 or 3,600.
    #[sea_orm(primary_key, auto_increment = false)]
    pub step_seconds: i32,
    /// When it begins.
    #[sea_orm(primary_key, auto_increment = false)]
    pub at: DateTimeUtc,
    /// What is counted, for example `submitted`.
    #[sea_orm(primary_key, auto_increment = false, column_type = "String(StringLen::N(16))")]
    pub name: String,
    /// How many.
    pub number: i64,
}

impl ActiveModelBehavior for ActiveModel {}
