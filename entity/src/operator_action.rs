//! What operators did. Append-only.

use sea_orm::entity::prelude::*;

/// One change by an operator.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "operator_action")]
pub struct Model {
    /// `UUIDv7`.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    /// The token's name, or the operating system's user for the command line.
    #[sea_orm(column_type = "String(StringLen::N(128))")]
    pub actor: String,
    /// For example `event.retry`, `destination.pause`.
    #[sea_orm(column_type = "String(StringLen::N(64))")]
    pub action: String,
    /// The event, quote or destination that it changed.
    #[sea_orm(column_type = "String(StringLen::N(128))")]
    pub target: String,
    /// The quote that it touches, if it is one.
    pub quote_id: Option<Uuid>,
    /// Why, in the operator's words.
    #[sea_orm(column_type = "Text", nullable)]
    pub reason: Option<String>,
    /// Facts about it: filters, counts.
    #[sea_orm(column_type = "JsonBinary")]
    pub details: Json,
    /// When, by the database's clock.
    pub created_at: DateTimeUtc,
}

impl ActiveModelBehavior for ActiveModel {}
