//! Which fee a quote got.

use sea_orm::entity::prelude::*;

/// The local record of a fee that the fee server made.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "fee_record")]
pub struct Model {
    /// `UUIDv7`.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    /// One quote has at most one fee record.
    #[sea_orm(unique)]
    pub quote_id: Uuid,
    /// The event whose delivery brought the fee.
    #[sea_orm(unique)]
    pub event_id: Uuid,
    /// The fee server's own id of the fee.
    #[sea_orm(column_type = "String(StringLen::N(128))")]
    pub fee_id: String,
    /// The quote's currency.
    #[sea_orm(column_type = "String(StringLen::N(3))")]
    pub currency: String,
    /// The fee in minor units, not negative.
    pub amount_minor: i64,
    /// The rate in basis points (1/100 of a per cent).
    pub rate_bps: i32,
    /// By the fee server's clock.
    pub calculated_at: DateTimeUtc,
    /// When it was stored, by the database's clock.
    pub created_at: DateTimeUtc,
}

impl ActiveModelBehavior for ActiveModel {}
