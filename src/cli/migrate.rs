//! `feebox migrate`

use anyhow::Context;
use clap::Subcommand;
use migration::{MigrationStatus, Migrator, MigratorTrait};

use super::Overrides;
use crate::database::Database;

/// Subcommands of `feebox migrate`.
#[derive(Debug, Subcommand)]
pub enum Migrate {
    /// Apply all pending migrations
    Up,
    /// Revert applied migrations, newest first; drops tables with their data
    Down {
        /// How many migrations to revert
        #[arg(long, default_value_t = 1)]
        steps: u32,
        /// Confirm that data will be lost
        #[arg(long)]
        yes: bool,
    },
    /// List all migrations and whether each is applied; exit code 1 if any is pending
    Status,
}

impl Migrate {
    pub(super) async fn run(self, overrides: Overrides) -> anyhow::Result<()> {
        let settings = overrides.settings()?;
        let db = Database::connect(&settings.database).await?;
        let connection = db.connection();
        match self {
            Self::Up => Migrator::up(connection, None).await.context("the database could not be migrated")?,
            Self::Down { yes: false, .. } => {
                anyhow::bail!("reverting migrations drops tables with their data; add --yes to confirm")
            }
            Self::Down { steps, yes: true } => {
                Migrator::down(connection, Some(steps)).await.context("the migrations could not be reverted")?;
            }
            Self::Status => {}
        }
        let migrations = Migrator::get_migration_with_status(connection).await?;
        for migration in &migrations {
            say!("{:<8} {}", migration.status(), migration.name());
        }
        let pending = migrations.iter().filter(|migration| migration.status() == MigrationStatus::Pending).count();
        let may_be_pending = pending == 0 || matches!(self, Self::Down { .. });
        anyhow::ensure!(may_be_pending, "{pending} migrations are pending; run `feebox migrate up`");
        Ok(())
    }
}
