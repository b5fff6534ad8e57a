//! The runs of the fleet's audit.

use sea_orm::entity::prelude::*;

/// The run that is under way, the last one that ended, and the one that an operator asks for. There is one row.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "audit_run")]
pub struct Model {
    /// `audit`.
    #[sea_orm(primary_key, auto_increment = false, column_type = "String(StringLen::N(16))")]
    pub name: String,
    /// Set from an operator's request until a run that began after it has ended.
    pub requested_at: Option<DateTimeUtc>,
    /// Which operator.
    #[sea_orm(column_type = "String(StringLen::N(128))", nullable)]
    pub requested_by: Option<String>,
    /// Set while a run is under way.
    pub began_at: Option<DateTimeUtc>,
    /// When its process last said that it goes on.
    pub seen_at: Option<DateTimeUtc>,
    /// The process.
    #[sea_orm(column_type = "String(StringLen::N(128))", nullable)]
    pub run_by: Option<String>,
    /// When the last run that ended began.
    pub last_at: Option<DateTimeUtc>,
    /// How long it took.
    pub last_took_ms: Option<i64>,
    /// How many quotes it checked because they had changed or had violations.
    pub last_changed: Option<i64>,
    /// How many quotes its pass over all quotes checked.
    pub last_quotes: Option<i64>,
    /// How many violations were known at its end.
    pub last_violations: Option<i64>,
}

impl ActiveModelBehavior for ActiveModel {}
