//! The submission of each `Idempotency-Key`.

use sea_orm::entity::prelude::*;

/// A key that a client chose, stored in the transaction of its submission.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "idempotency_key")]
pub struct Model {
    /// The caller's token name: two callers may use the same key.
    #[sea_orm(primary_key, auto_increment = false, column_type = "String(StringLen::N(64))")]
    pub scope: String,
    /// 1 to 255 visible ASCII characters.
    #[sea_orm(primary_key, auto_increment = false, column_type = "String(StringLen::N(255))")]
    pub key: String,
    /// SHA-256 of the submission, in hex: another body under the same key is refused.
    #[sea_orm(column_type = "String(StringLen::N(64))")]
    pub request_sha256: String,
    /// The quotes that the first call stored, in its order.
    #[sea_orm(column_type = "JsonBinary")]
    pub quote_ids: Json,
    /// When, by the database's clock.
    pub created_at: DateTimeUtc,
}

impl ActiveModelBehavior for ActiveModel {}
