//! Up to which time retention has deleted.

use sea_orm::entity::prelude::*;

/// A time before which rows of one kind may be deleted.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "prune_mark")]
pub struct Model {
    /// Of which table.
    #[sea_orm(primary_key, auto_increment = false, column_type = "String(StringLen::N(64))")]
    pub name: String,
    /// Rows that settled before this time may have been deleted.
    pub settled_before: DateTimeUtc,
}

impl ActiveModelBehavior for ActiveModel {}
