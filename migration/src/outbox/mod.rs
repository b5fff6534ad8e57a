//! The tables of the outbox alone, for a service that embeds it beside tables of its own.
//!
//! They are made by those migrations of Feebox's history that concern the outbox and nothing else, and by `rest`, which does
//! what the mixed ones do to it. A test compares the result with the tables of Feebox itself.

mod m20261122_000000_none_of_others;
mod rest;

use sea_orm_migration::{MigrationTrait, MigratorTrait, prelude::*};

use crate::{
    m20261122_000002_outbox_event, m20261122_000004_destination, m20261122_000007_receipt,
    m20261125_000009_circuit_opening, m20261126_000010_failing_event, m20261126_000014_look_ups,
    m20261126_000017_failing_events, m20261126_000020_cause,
};

/// Which of them were applied: a table of its own, so that the service's migrations, and Feebox's, keep theirs.
const APPLIED: &str = "outbox_migrations";

/// Applies the outbox's migrations, and takes them back.
pub struct Migrator;

#[async_trait::async_trait]
impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![
            Box::new(m20261122_000000_none_of_others::Migration),
            Box::new(m20261122_000002_outbox_event::Migration),
            Box::new(m20261122_000004_destination::Migration),
            Box::new(m20261122_000007_receipt::Migration),
            Box::new(m20261125_000009_circuit_opening::Migration),
            Box::new(m20261126_000010_failing_event::Migration),
            Box::new(m20261126_000014_look_ups::Migration),
            Box::new(m20261126_000017_failing_events::Migration),
            Box::new(m20261126_000020_cause::Migration),
            Box::new(rest::Migration),
        ]
    }

    fn migration_table_name() -> DynIden {
        Alias::new(APPLIED).into_iden()
    }
}
