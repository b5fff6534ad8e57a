//! What operators do to many events at once.

use sea_orm::entity::prelude::*;

/// A bulk retry or cancellation. Any process may go on with it.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "bulk")]
pub struct Model {
    /// `UUIDv7`.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    /// `retry` or `cancel`.
    #[sea_orm(column_type = "String(StringLen::N(16))")]
    pub kind: String,
    /// How far it is.
    pub status: Status,
    /// Which events: the filters of the list.
    #[sea_orm(column_type = "JsonBinary")]
    pub filter: Json,
    /// The operator.
    #[sea_orm(column_type = "String(StringLen::N(128))")]
    pub actor: String,
    /// Why, in the operator's words.
    #[sea_orm(column_type = "Text", nullable)]
    pub reason: Option<String>,
    /// At most so many a second.
    pub per_second: Option<i32>,
    /// Events found so far.
    pub matched: i64,
    /// Events changed so far.
    pub changed: i64,
    /// Events that their state did not allow to be changed.
    pub skipped: i64,
    /// While it collects: the last event that was looked at.
    pub collected_to: Option<Uuid>,
    /// How many pieces there are still.
    pub pieces: i32,
    /// How many events of the last piece are done.
    pub place: i32,
    /// When the operator began it, by the database's clock.
    pub created_at: DateTimeUtc,
    /// When it last went on.
    pub updated_at: DateTimeUtc,
    /// When it finished, or was aborted.
    pub ended_at: Option<DateTimeUtc>,
}

impl ActiveModelBehavior for ActiveModel {}

/// How far a bulk is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EnumIter, DeriveActiveEnum)]
#[sea_orm(rs_type = "String", db_type = "String(StringLen::N(16))", rename_all = "lowercase")]
pub enum Status {
    /// It collects its events.
    Collecting,
    /// It changes them.
    Running,
    /// All of them are done.
    Finished,
    /// An operator stopped it.
    Aborted,
}
