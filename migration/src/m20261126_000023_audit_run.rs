//! The runs of the audit: which one is under way, what the last one came to, and whether an operator asks for another. And which
//! check found a violation.

use sea_orm_migration::prelude::*;

use crate::columns::{add_column, table, time};

#[derive(DeriveMigrationName)]
pub struct Migration;

const RUN: &str = "audit_run";
const VIOLATION: &str = "audit_violation";

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager
            .create_table(
                table(manager, RUN)
                    .col(ColumnDef::new("name").string_len(16).not_null().primary_key())
                    .col(time(manager, "requested_at"))
                    .col(ColumnDef::new("requested_by").string_len(128))
                    .col(time(manager, "began_at"))
                    .col(time(manager, "seen_at"))
                    .col(ColumnDef::new("run_by").string_len(128))
                    .col(time(manager, "last_at"))
                    .col(ColumnDef::new("last_took_ms").big_integer())
                    .col(ColumnDef::new("last_quotes").big_integer())
                    .col(ColumnDef::new("last_violations").big_integer())
                    .to_owned(),
            )
            .await?;
        // The only row.
        let row = "INSERT INTO audit_run (name) SELECT 'audit' FROM (SELECT 1 AS one) AS one \
                   WHERE NOT EXISTS (SELECT 1 FROM audit_run)";
        manager.get_connection().execute_unprepared(row).await?;
        let check = ColumnDef::new("check_name").string_len(64).to_owned();
        add_column(manager, VIOLATION, check).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.alter_table(Table::alter().table(VIOLATION).drop_column("check_name").to_owned()).await?;
        manager.drop_table(Table::drop().table(RUN).to_owned()).await
    }
}
