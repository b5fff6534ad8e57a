//! `feebox migrate`

use std::time::Duration;

use anyhow::Context;
use clap::Subcommand;
use migration::{MigrationStatus, Migrator, MigratorTrait, seaql_migrations};
use sea_orm::{DbErr, EntityTrait, QueryOrder};

use super::Overrides;
use crate::{
    database::{Connection, Database, Kind, kind},
    http::ANONYMOUS,
    submission::give_owners,
};

/// How often migrations are tried while the tables are in use: each try waits for locks, too.
const TRIES_MAX: u32 = 30;
const PAUSE: Duration = Duration::from_secs(1);

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
    /// Give quotes that an older version stored during an upgrade the owner that their Idempotency-Key names
    ///
    /// Run it when the last old process is gone. It may be run again, and while Feebox runs.
    Owners,
    /// List all migrations and whether each is applied; exit code 1 if any is pending
    Status,
}

impl Migrate {
    pub(super) async fn run(self, overrides: Overrides) -> anyhow::Result<()> {
        let settings = overrides.settings()?;
        let db = Database::connect(&settings.database).await?;
        db.find().await?;
        let connection = db.connection();
        match self {
            Self::Up => up(connection).await.context("the database could not be migrated")?,
            Self::Down { yes: false, .. } => {
                anyhow::bail!("reverting migrations drops tables with their data; add --yes to confirm")
            }
            Self::Down { steps, yes: true } => {
                Migrator::down(connection, Some(steps)).await.context("the migrations could not be reverted")?;
            }
            Self::Owners => {
                let given = give_owners(&db, ANONYMOUS).await.context("the owners could not be stored")?;
                say!("{given} quotes got an owner.");
                return Ok(());
            }
            Self::Status => {}
        }
        let migrations = match Migrator::get_migration_with_status(connection).await {
            // It has migrations that this version does not know.
            Err(DbErr::Custom(text)) if matches!(self, Self::Status) => return newer(connection, &text).await,
            migrations => migrations?,
        };
        for migration in &migrations {
            say!("{:<8} {}", migration.status(), migration.name());
        }
        let pending = migrations.iter().filter(|migration| migration.status() == MigrationStatus::Pending).count();
        let may_be_pending = pending == 0 || matches!(self, Self::Down { .. });
        anyhow::ensure!(may_be_pending, "{pending} migrations are pending; run `feebox migrate up`");
        Ok(())
    }
}

/// Applies what is pending. It takes locks that those who use the tables hold for a moment: what was applied stays, and the rest is
/// tried again.
async fn up(connection: &Connection) -> Result<(), DbErr> {
    let mut tries = 1;
    loop {
        match Migrator::up(connection, None).await {
            Err(error) if matches!(kind(&error), Kind::Conflict | Kind::Busy) && tries < TRIES_MAX => {
                say!("The tables are in use, trying again: {error}");
                tokio::time::sleep(PAUSE).await;
                tries += 1;
            }
            done => return done,
        }
    }
}

/// The schema is of a newer version: during an upgrade old and new processes run side by side.
async fn newer(connection: &Connection, text: &str) -> anyhow::Result<()> {
    let applied = seaql_migrations::Entity::find().order_by_asc(seaql_migrations::Column::Version).all(connection);
    let known: Vec<_> = Migrator::migrations().iter().map(|migration| migration.name().to_owned()).collect();
    let applied: Vec<_> = applied.await?.into_iter().map(|row| row.version).collect();
    for name in &applied {
        let remark = if known.contains(name) { "" } else { " (of a newer version of Feebox)" };
        say!("{:<8} {name}{remark}", "Applied");
    }
    let pending: Vec<_> = known.iter().filter(|name| !applied.contains(name)).collect();
    for name in &pending {
        say!("{:<8} {name}", "Pending");
    }
    anyhow::ensure!(pending.is_empty(), "{} migrations of this version are pending: {text}", pending.len());
    say!("The schema is newer than this version, which works with it as long as an upgrade takes.");
    Ok(())
}
