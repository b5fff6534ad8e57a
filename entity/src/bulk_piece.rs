//! The events of a bulk that are not done yet.

use sea_orm::entity::prelude::*;

/// Some events of a bulk.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "bulk_piece")]
pub struct Model {
    /// Whose.
    #[sea_orm(primary_key, auto_increment = false)]
    pub bulk_id: Uuid,
    /// From 1. The last one is done first: it has the oldest events.
    #[sea_orm(primary_key, auto_increment = false)]
    pub number: i32,
    /// Their ids, in the order in which they are done.
    #[sea_orm(column_type = "JsonBinary")]
    pub event_ids: Json,
}

impl ActiveModelBehavior for ActiveModel {}
