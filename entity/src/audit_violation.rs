//! Broken promises that audits have found.

use sea_orm::entity::prelude::*;

/// A broken promise. It stays until another check of its quote no longer finds it.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "audit_violation")]
pub struct Model {
    /// `UUIDv7`.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    /// Whose fee is at stake.
    pub quote_id: Uuid,
    /// The promise's number in `docs/delivery.md`.
    pub promise: i32,
    /// What is wrong, for people.
    #[sea_orm(column_type = "Text")]
    pub sentence: String,
    /// When it was first found.
    pub found_at: DateTimeUtc,
    /// Which check found it; none if it was found before checks had names.
    #[sea_orm(column_type = "String(StringLen::N(64))", nullable)]
    pub check_name: Option<String>,
}

impl ActiveModelBehavior for ActiveModel {}
