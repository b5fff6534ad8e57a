//! A real `PostgreSQL`, a real fee server and a backlog.

use std::{
    fmt, fs,
    process::Child,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use feebox::{
    database::Database,
    quotes::{Line, NewQuote},
    settings::{Settings, Sources},
    submission::{OutboxRecorder, Submission},
};
use migration::MigratorTrait;
use sea_orm::{ConnectionTrait, EntityTrait, PaginatorTrait};

use crate::{
    hand_written,
    statistics::{self, Statistics},
    support::{Feebox, Postgres, free_address, wait_until_ready},
};

/// The services that the benchmark needs.
pub struct Setup {
    postgres: Postgres,
    _fee_server: Feebox,
    fee_server_url: String,
    databases: usize,
    /// A database with this many delivered quotes and no backlog, as a template.
    history: Option<(usize, String)>,
}

/// A database with events that are due.
pub struct Backlog {
    database_url: String,
    fee_server_url: String,
    db: Database,
    /// Quotes that were delivered before.
    delivered: usize,
}

/// The result of a run.
pub struct Run {
    pub design: &'static str,
    pub fees: usize,
    pub took: Duration,
    /// The peak resident memory, in MiB, if the run was a process of its own.
    pub resident_mib: Option<u64>,
}

impl Setup {
    pub async fn start(latency: Duration) -> anyhow::Result<Self> {
        let (postgres, address) = (Postgres::start()?, free_address()?.to_string());
        let latency = humantime::format_duration(latency).to_string();
        let fee_server = Feebox::start(&["fee-server", "--bind", &address, "--latency", &latency])?;
        let fee_server_url = format!("http://{address}");
        wait_until_ready(&format!("{fee_server_url}/healthz")).await?;
        Ok(Self { postgres, _fee_server: fee_server, fee_server_url, databases: 0, history: None })
    }

    /// A backlog of `events`, next to `delivered` quotes.
    pub async fn backlog(
        &mut self,
        events: usize,
        statistics: Statistics,
        delivered: usize,
    ) -> anyhow::Result<Backlog> {
        let template = self.history(delivered).await?;
        let server = connect(self.postgres.url()).await?;
        let (name, database_url) = self.next_database()?;
        server.connection().execute_unprepared(&format!("CREATE DATABASE {name} TEMPLATE {template}")).await?;
        let db = connect(&database_url).await?;
        if statistics == Statistics::Stale {
            statistics::analyse(&db).await?;
        }
        let submission = Submission::new(db.clone(), Arc::new(OutboxRecorder::default()), vec![]);
        for batch in (0..events).collect::<Vec<_>>().chunks(1_000) {
            let quotes: Vec<_> = batch.iter().map(|number| new_quote(*number)).collect();
            submission.submit(&quotes, None, None).await?;
        }
        if statistics == Statistics::Fresh {
            statistics::analyse(&db).await?;
        }
        server.connection().execute_unprepared("CHECKPOINT").await?;
        Ok(Backlog { database_url, fee_server_url: self.fee_server_url.clone(), db, delivered })
    }

    /// The name of a database with `delivered` quotes.
    async fn history(&mut self, delivered: usize) -> anyhow::Result<String> {
        if let Some((_, name)) = self.history.as_ref().filter(|(quotes, _)| *quotes == delivered) {
            return Ok(name.clone());
        }
        let server = connect(self.postgres.url()).await?;
        let (name, database_url) = self.next_database()?;
        server.connection().execute_unprepared(&format!("CREATE DATABASE {name}")).await?;
        let db = connect(&database_url).await?;
        migration::Migrator::up(db.connection(), None).await?;
        statistics::keep_still(&db).await?;
        statistics::deliver(&db, delivered).await?;
        db.close().await?;
        self.history = Some((delivered, name.clone()));
        Ok(name)
    }

    fn next_database(&mut self) -> anyhow::Result<(String, String)> {
        self.databases += 1;
        let name = format!("drain_{}", self.databases);
        let (server_url, _) = self.postgres.url().rsplit_once('/').context("a URL without a database")?;
        let database_url = format!("{server_url}/{name}");
        Ok((name, database_url))
    }
}

impl Backlog {
    /// Drains with the real command, `feebox worker --once`, including its start and end.
    pub async fn by_feebox(self, concurrency: usize) -> anyhow::Result<Run> {
        let began = Instant::now();
        let fee_server = format!("fee_server.base_url={}", self.fee_server_url);
        let concurrency = format!("worker.concurrency={concurrency}");
        let args =
            ["worker", "--once", "--database-url", &self.database_url, "--set", &fee_server, "--set", &concurrency];
        let mut worker = Feebox::start(&args)?;
        let mut resident_mib = None;
        let status = loop {
            resident_mib = resident(&worker.0).or(resident_mib);
            match worker.0.try_wait()? {
                Some(status) => break status,
                None => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        };
        let took = began.elapsed();
        ensure!(status.success(), "the worker failed: {status}");
        Ok(Run { design: "feebox", fees: self.fees().await?, took, resident_mib })
    }

    pub async fn by_hand_written(self, concurrency: usize) -> anyhow::Result<Run> {
        let began = Instant::now();
        hand_written::drain(&self.database_url, &self.fee_server_url, concurrency).await?;
        let took = began.elapsed();
        Ok(Run { design: "by hand", fees: self.fees().await?, took, resident_mib: None })
    }

    async fn fees(&self) -> anyhow::Result<usize> {
        let fees = usize::try_from(entity::fee_record::Entity::find().count(self.db.connection()).await?)?;
        Ok(fees - self.delivered)
    }
}

impl Run {
    #[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
    pub fn per_second(&self) -> f64 {
        self.fees as f64 / self.took.as_secs_f64()
    }
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:.0} fees/s", self.design, self.per_second())?;
        self.resident_mib.map_or(Ok(()), |mib| write!(f, ", {mib} MiB resident at most"))
    }
}

fn resident(process: &Child) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{}/status", process.id())).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().trim_end_matches(" kB").parse::<u64>().ok().map(|kib| kib / 1024)
}

async fn connect(url: &str) -> anyhow::Result<Database> {
    let settings = Settings::load(&Sources::overrides([("database.url", url)]))?;
    Ok(Database::connect(&settings.database).await?)
}

fn new_quote(number: usize) -> NewQuote {
    let line = Line::parse("Consulting, one day", 3, 95_000).expect("a good line");
    NewQuote::parse(&format!("customer-{}", number % 100), "EUR", vec![line]).expect("a good quote")
}
