//! The history of Feebox's schema. Written by hand: entities cannot express partial indexes nor storage settings.
//!
//! Applied migrations are never edited. It does not import `entity`, which shows today's tables only.

use sea_orm_migration::prelude::*;

mod columns;
mod m20261122_000001_quote;
mod m20261122_000002_outbox_event;
mod m20261122_000003_fee_record;
mod m20261122_000004_destination;
mod m20261122_000005_operator_action;
mod m20261122_000006_schedule;
mod m20261122_000007_receipt;
mod m20261124_000008_quote_destination;
mod m20261125_000009_circuit_opening;
mod m20261126_000010_failing_event;
mod m20261126_000011_exact_text;
mod m20261126_000012_prune_mark;
mod m20261126_000013_list_indexes;
mod m20261126_000014_look_ups;
mod m20261126_000015_process;
mod m20261126_000016_audit_progress;
mod m20261126_000017_failing_events;
mod m20261126_000018_submitted_by;
mod m20261126_000020_cause;
mod m20261126_000021_bulk;
mod m20261126_000022_heartbeat;
mod m20261126_000023_audit_run;
mod m20261126_000024_limits_and_series;
mod m20261126_000025_audited;
mod m20261126_000026_cause_count;
pub mod outbox;

pub use sea_orm_migration::{MigrationStatus, MigrationTrait, MigratorTrait, seaql_migrations};

/// Applies and takes back the migrations, in order.
pub struct Migrator;

#[async_trait::async_trait]
impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![
            Box::new(m20261122_000001_quote::Migration),
            Box::new(m20261122_000002_outbox_event::Migration),
            Box::new(m20261122_000003_fee_record::Migration),
            Box::new(m20261122_000004_destination::Migration),
            Box::new(m20261122_000005_operator_action::Migration),
            Box::new(m20261122_000006_schedule::Migration),
            Box::new(m20261122_000007_receipt::Migration),
            Box::new(m20261124_000008_quote_destination::Migration),
            Box::new(m20261125_000009_circuit_opening::Migration),
            Box::new(m20261126_000010_failing_event::Migration),
            Box::new(m20261126_000011_exact_text::Migration),
            Box::new(m20261126_000012_prune_mark::Migration),
            Box::new(m20261126_000013_list_indexes::Migration),
            Box::new(m20261126_000014_look_ups::Migration),
            Box::new(m20261126_000015_process::Migration),
            Box::new(m20261126_000016_audit_progress::Migration),
            Box::new(m20261126_000017_failing_events::Migration),
            Box::new(m20261126_000018_submitted_by::Migration),
            Box::new(m20261126_000020_cause::Migration),
            Box::new(m20261126_000021_bulk::Migration),
            Box::new(m20261126_000022_heartbeat::Migration),
            Box::new(m20261126_000023_audit_run::Migration),
            Box::new(m20261126_000024_limits_and_series::Migration),
            Box::new(m20261126_000025_audited::Migration),
            Box::new(m20261126_000026_cause_count::Migration),
        ]
    }
}
