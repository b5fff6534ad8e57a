//! The processes that deliver.

use sea_orm::entity::prelude::*;

/// A process that delivers events. It says so again every few seconds; a row that is older belongs to one that died.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "process")]
pub struct Model {
    /// New at each start.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    /// Host and process, as on its leases.
    #[sea_orm(column_type = "String(StringLen::N(128))")]
    pub name: String,
    /// Where it takes wake-ups: the address of a UDP socket.
    #[sea_orm(column_type = "String(StringLen::N(64))", nullable)]
    pub wake_address: Option<String>,
    /// What a wake-up must hold.
    pub wake_token: Option<Uuid>,
    /// When it started.
    pub started_at: DateTimeUtc,
    /// When it last said that it lives.
    pub seen_at: DateTimeUtc,
}

impl ActiveModelBehavior for ActiveModel {}
