//! `feebox migrate`

use anyhow::Context;
use clap::Subcommand;
use migration::{MigrationStatus, Migrator, MigratorTrait};

use super::Overrides;
use crate::database::Database;

/// The schema's history.
#[derive(Debug, Subcommand)]
pub enum Migrate {
    /// Apply the migrations that pend
    Up,
    /// Take applied migrations back, newest first; what their tables hold is lost
    Down {
        /// How many
        #[arg(long, default_value_t = 1)]
        steps: u32,
        /// Yes, lose what the tables hold
        #[arg(long)]
        yes: bool,
    },
    /// List the migrations and whether each is applied; exit code 1 if one pends
    Status,
}

impl Migrate {
    pub(super) async fn run(self, overrides: Overrides) -> anyhow::Result<()> {
        let settings = overrides.settings()?;
        let db = Database::connect(&settings.database).await?;
        let connection = db.connection();
        match self {
            Self::Up => Migrator::up(connection, None).await.context("the migrations failed")?,
            Self::Down { yes: false, .. } => {
                anyhow::bail!("this drops tables and what they hold; say --yes if you mean it")
            }
            Self::Down { steps, yes: true } => {
                Migrator::down(connection, Some(steps)).await.context("taking migrations back failed")?;
            }
            Self::Status => {}
        }
        let migrations = Migrator::get_migration_with_status(connection).await?;
        for migration in &migrations {
            say!("{:<8} {}", migration.status(), migration.name());
        }
        let pending = migrations.iter().filter(|migration| migration.status() == MigrationStatus::Pending).count();
        anyhow::ensure!(pending == 0 || matches!(self, Self::Down { .. }), "{pending} migrations pend");
        Ok(())
    }
}
