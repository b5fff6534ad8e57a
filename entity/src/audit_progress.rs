//! How far the fleet's audits have come.

use sea_orm::entity::prelude::*;

/// The place of one of the ways that audits go through the quotes.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "audit_progress")]
pub struct Model {
    /// `all`, `submitted`, `settled` or `violations`.
    #[sea_orm(primary_key, auto_increment = false, column_type = "String(StringLen::N(64))")]
    pub name: String,
    /// How many slices were stored: a process whose number is not this one has been overtaken.
    pub slices: i64,
    /// Quotes up to this id were checked.
    pub quote_id: Option<Uuid>,
    /// Quotes whose events settled up to this time were checked.
    pub settled_at: Option<DateTimeUtc>,
    /// When the end was last reached.
    pub completed_at: Option<DateTimeUtc>,
}

impl ActiveModelBehavior for ActiveModel {}
