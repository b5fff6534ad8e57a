//! A real `PostgreSQL`, a backlog, and workers.

use std::{sync::Arc, time::Duration};

use anyhow::Context;
use feebox::{
    database::Database,
    quotes::{Line, NewQuote},
    settings::{Settings, Sources},
    submission::{OutboxRecorder, Submission},
};
use migration::MigratorTrait;
use sea_orm::{ColumnTrait, ConnectionTrait, EntityTrait, PaginatorTrait, QueryFilter};

use crate::support::{Feebox, Postgres};

/// The services that the benchmark needs.
pub struct Setup {
    _postgres: Postgres,
    database_url: String,
    db: Database,
}

impl Setup {
    pub async fn start() -> anyhow::Result<Self> {
        let postgres = Postgres::start()?;
        let server = connect(postgres.url()).await?;
        server.connection().execute_unprepared("CREATE DATABASE limiter").await?;
        let (server_url, _) = postgres.url().rsplit_once('/').context("a URL without a database")?;
        let database_url = format!("{server_url}/limiter");
        let db = connect(&database_url).await?;
        migration::Migrator::up(db.connection(), None).await?;
        Ok(Self { _postgres: postgres, database_url, db })
    }

    /// Makes `wanted` events pending. Events that an earlier worker left behind are due again at once, and the circuit
    /// is closed.
    pub async fn ensure_backlog(&mut self, wanted: usize) -> anyhow::Result<()> {
        use entity::outbox_event::{Column, Entity, Status};
        let again = "UPDATE outbox_event SET status = 'pending', due_at = now(), attempts = 0, lease_token = NULL, \
            leased_until = NULL, leased_by = NULL WHERE status IN ('pending', 'leased', 'dead')";
        self.db.connection().execute_unprepared(again).await?;
        self.db.connection().execute_unprepared("DELETE FROM destination").await?;
        let pending = Entity::find().filter(Column::Status.eq(Status::Pending)).count(self.db.connection()).await?;
        let missing = wanted.saturating_sub(usize::try_from(pending)?);
        let submission = Submission::new(self.db.clone(), Arc::new(OutboxRecorder::default()), vec![]);
        for _ in 0..missing.div_ceil(1_000) {
            let quotes: Vec<_> = (0..1_000).map(new_quote).collect();
            submission.submit(&quotes, None, None).await?;
        }
        self.db.connection().execute_unprepared("VACUUM ANALYZE").await?;
        Ok(())
    }

    /// A worker that calls the fee server at `url`, with a backlog.
    pub async fn worker(&mut self, url: &str, concurrency: usize, timeout: Duration) -> anyhow::Result<Feebox> {
        self.ensure_backlog(10_000).await?;
        let timeout = humantime::format_duration(timeout).to_string();
        let settings = [
            format!("fee_server.base_url={url}"),
            format!("worker.concurrency={concurrency}"),
            format!("fee_server.timeout={timeout}"),
            "worker.bind=127.0.0.1:0".to_owned(),
            "worker.schedule=* * * * * *".to_owned(),
            "circuit.cool_down=1s".to_owned(),
            // With a shorter interval, failed events would be retried within the cell.
            "retry.initial_interval=10m".to_owned(),
        ];
        let mut args = vec!["worker", "--database-url", &self.database_url];
        args.extend(settings.iter().flat_map(|setting| ["--set", setting]));
        Feebox::start(&args)
    }

    pub async fn fees(&self) -> anyhow::Result<usize> {
        Ok(usize::try_from(entity::fee_record::Entity::find().count(self.db.connection()).await?)?)
    }
}

async fn connect(url: &str) -> anyhow::Result<Database> {
    let settings = Settings::load(&Sources::overrides([("database.url", url)]))?;
    Ok(Database::connect(&settings.database).await?)
}

fn new_quote(number: usize) -> NewQuote {
    let line = Line::parse("Consulting, one day", 3, 95_000).expect("a good line");
    NewQuote::parse(&format!("customer-{}", number % 100), "EUR", vec![line]).expect("a good quote")
}
