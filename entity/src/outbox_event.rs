//! Events that must reach a destination. Their retries are tracked here.

use sea_orm::entity::prelude::*;

/// An event of the outbox.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "outbox_event")]
pub struct Model {
    /// `UUIDv7`; also the idempotency key of every attempt.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    /// What kind of thing the event is about: `quote`.
    #[sea_orm(column_type = "String(StringLen::N(32))")]
    pub aggregate_type: String,
    /// Which one: the quote's id.
    pub aggregate_id: Uuid,
    /// For example `quote.submitted`.
    #[sea_orm(column_type = "String(StringLen::N(64))")]
    pub event_type: String,
    /// Where it goes: `fee-server`, `kafka`.
    #[sea_orm(column_type = "String(StringLen::N(64))")]
    pub destination: String,
    /// Whose it is: the name of the token that submitted its quote; empty if there was none. Partners take turns.
    #[sea_orm(column_type = "String(StringLen::N(64))")]
    pub partner: String,
    /// Its place among the events of this aggregate for this destination, from 1. This number decides the order, and not time
    /// or id: hosts' clocks differ.
    pub sequence: i32,
    /// The body, as the destination gets it.
    #[sea_orm(column_type = "JsonBinary")]
    pub payload: Json,
    /// W3C `traceparent` of the submission.
    #[sea_orm(column_type = "String(StringLen::N(64))", nullable)]
    pub trace_context: Option<String>,
    /// Where the event stands.
    pub status: Status,
    /// Deliveries begun that count against `retry.max_attempts`, also those that left no result; 0 again after an
    /// operator's retry.
    pub attempts: i32,
    /// When it was stored, or last revived by an operator: `retry.give_up_after` counts from here.
    pub live_since: DateTimeUtc,
    /// Not delivered before this time.
    pub due_at: DateTimeUtc,
    /// New at each claim; settling compares it. A settled event keeps the last one.
    pub lease_token: Option<Uuid>,
    /// When the lease ends.
    pub leased_until: Option<DateTimeUtc>,
    /// The worker's name.
    #[sea_orm(column_type = "String(StringLen::N(128))", nullable)]
    pub leased_by: Option<String>,
    /// An earlier attempt may have reached the destination: the next one looks up before it sends.
    pub outcome_unknown: bool,
    /// Given up while it was leased: no further attempt follows the running one.
    pub withdrawn: bool,
    /// The last failed attempt in one line.
    #[sea_orm(column_type = "Text", nullable)]
    pub last_error: Option<String>,
    /// What the last failure has in common with others: its outcome, its HTTP status, and its error without ids and numbers.
    #[sea_orm(column_type = "String(StringLen::N(192))", nullable)]
    pub cause: Option<String>,
    /// When an attempt failed last.
    pub failed_at: Option<DateTimeUtc>,
    /// The last 20 attempts that failed: `[{attempt, outcome, error, at, duration_ms, by, gave_up?}]`.
    #[sea_orm(column_type = "JsonBinary")]
    pub failures: Json,
    /// When it was stored, by the database's clock.
    pub created_at: DateTimeUtc,
    /// When it became delivered, dead or cancelled.
    pub settled_at: Option<DateTimeUtc>,
    /// What is kept of the delivery: `{duration_ms}`, and with the fee server `status`, with Kafka `topic, partition, offset`.
    #[sea_orm(column_type = "JsonBinary", nullable)]
    pub receipt: Option<Json>,
}

impl ActiveModelBehavior for ActiveModel {}

/// The life cycle; the outbox module's doc has the diagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EnumIter, DeriveActiveEnum)]
#[sea_orm(rs_type = "String", db_type = "String(StringLen::N(16))", rename_all = "lowercase")]
pub enum Status {
    /// Waits until it is due.
    Pending,
    /// A worker has the right to deliver it until the lease ends.
    Leased,
    /// The destination has it.
    Delivered,
    /// Given up by policy; an operator sees it and can retry it.
    Dead,
    /// Given up on purpose.
    Cancelled,
}
