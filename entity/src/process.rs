//! The processes of the fleet.

use sea_orm::entity::prelude::*;

/// A process. It says that it lives every few seconds; a row that is older belongs to one that died.
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
    /// `serve`, `worker`, `dev`, or `once` for a worker that ends by itself; none if an older version wrote it.
    #[sea_orm(column_type = "String(StringLen::N(16))", nullable)]
    pub role: Option<String>,
    /// Of Feebox.
    #[sea_orm(column_type = "String(StringLen::N(32))", nullable)]
    pub version: Option<String>,
    /// The name of its host.
    #[sea_orm(column_type = "String(StringLen::N(128))", nullable)]
    pub host: Option<String>,
    /// When its cron schedule last fired.
    pub last_tick_at: Option<DateTimeUtc>,
    /// Deliveries that it had begun and not ended, a moment ago.
    pub in_flight: Option<i32>,
    /// How many it permits itself.
    pub in_flight_limit: Option<i32>,
    /// Those of its settings that should be the same in the whole fleet, by key; secrets are masked.
    #[sea_orm(column_type = "JsonBinary", nullable)]
    pub settings: Option<Json>,
}

impl ActiveModelBehavior for ActiveModel {}
