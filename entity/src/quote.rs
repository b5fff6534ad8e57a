//! What a client submitted.

use sea_orm::entity::prelude::*;

/// A submitted quote.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "quote")]
pub struct Model {
    /// `UUIDv7`, made by the submission.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    /// 1 to 64 characters.
    #[sea_orm(column_type = "String(StringLen::N(64))")]
    pub customer_id: String,
    /// ISO 4217 code.
    #[sea_orm(column_type = "String(StringLen::N(3))")]
    pub currency: String,
    /// The sum of the lines, in minor units of the currency.
    pub amount_minor: i64,
    /// `[{description, quantity, unit_price_minor}]`, 1 to 100 of them.
    #[sea_orm(column_type = "JsonBinary")]
    pub lines: Json,
    /// The destination that has to take the quote before it is confirmed: `fee-server` or `kafka`.
    #[sea_orm(column_type = "String(StringLen::N(32))")]
    pub destination: String,
    /// The name of the token that submitted it; none where no tokens were configured.
    #[sea_orm(column_type = "String(StringLen::N(64))", nullable)]
    pub submitted_by: Option<String>,
    /// Where the quote stands.
    pub status: Status,
    /// Why it was cancelled or rejected, if it was.
    #[sea_orm(column_type = "Text", nullable)]
    pub status_reason: Option<String>,
    /// Who cancelled it, if somebody did: the name of a token, or of the part of Feebox that did.
    #[sea_orm(column_type = "String(StringLen::N(128))", nullable)]
    pub cancelled_by: Option<String>,
    /// When the submission's transaction began, by the database's clock.
    pub submitted_at: DateTimeUtc,
    /// When `status` last changed.
    pub updated_at: DateTimeUtc,
}

impl ActiveModelBehavior for ActiveModel {}

/// `pending` → `confirmed` | `rejected` (back to `pending` on operator retry) | `cancelled`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EnumIter, DeriveActiveEnum)]
#[sea_orm(rs_type = "String", db_type = "String(StringLen::N(16))", rename_all = "lowercase")]
pub enum Status {
    /// Its destination has not taken it yet: no fee record.
    Pending,
    /// Its destination has taken it: the fee record is stored, or Kafka has acknowledged.
    Confirmed,
    /// Its destination refused it for good.
    Rejected,
    /// Taken back: its fee is voided, and Kafka gets an event about that, too.
    Cancelled,
}
