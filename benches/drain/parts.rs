//! A real `PostgreSQL`, a real fee server and a backlog.

use std::{
    fmt, fs,
    io::{BufRead, BufReader},
    net::TcpListener,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use feebox::{
    database::Database,
    settings::{Settings, Sources},
    submission::{NewQuote, OutboxRecorder, RawLine, RawQuote, Submission},
};
use migration::MigratorTrait;
use sea_orm::{ConnectionTrait, EntityTrait, PaginatorTrait};

use crate::by_hand;

/// What is needed from outside; ended with the process.
pub struct Parts {
    postgres: Child,
    postgres_url: String,
    fee_server: Child,
    fee_server_url: String,
    databases: usize,
}

/// A database with events that are due.
pub struct Backlog {
    database_url: String,
    fee_server_url: String,
    db: Database,
}

/// What a run made.
pub struct Run {
    pub design: &'static str,
    pub fees: usize,
    pub took: Duration,
    /// The most that was resident, in MiB, if it was a process of its own.
    pub resident_mib: Option<u64>,
}

impl Parts {
    pub async fn start(latency: Duration) -> anyhow::Result<Self> {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/services/postgres");
        let mut postgres = Command::new(script).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let mut url = String::new();
        BufReader::new(postgres.stdout.as_mut().context("no output")?).read_line(&mut url)?;
        ensure!(!url.is_empty(), "PostgreSQL did not start: run tests/services/install postgres");
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let fee_server = feebox(&["fee-server", "--bind", &address.to_string()])
            .args(["--latency", &humantime::format_duration(latency).to_string()])
            .spawn()?;
        while reqwest::get(format!("http://{address}/healthz")).await.is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let (postgres_url, fee_server_url) = (url.trim().to_owned(), format!("http://{address}"));
        Ok(Self { postgres, postgres_url, fee_server, fee_server_url, databases: 0 })
    }

    pub async fn fresh_backlog(&mut self, events: usize) -> anyhow::Result<Backlog> {
        self.databases += 1;
        let name = format!("drain_{}", self.databases);
        let server = connect(&self.postgres_url).await?;
        server.connection().execute_unprepared(&format!("CREATE DATABASE {name}")).await?;
        let (server_url, _) = self.postgres_url.rsplit_once('/').context("a URL without a database")?;
        let database_url = format!("{server_url}/{name}");
        let db = connect(&database_url).await?;
        migration::Migrator::up(db.connection(), None).await?;
        let submission = Submission::new(db.clone(), vec![Arc::new(OutboxRecorder)]);
        for batch in (0..events).collect::<Vec<_>>().chunks(1_000) {
            let quotes: Vec<_> = batch.iter().map(|number| new_quote(*number)).collect();
            submission.submit(&quotes, None, None).await?;
        }
        db.connection().execute_unprepared("VACUUM ANALYZE").await?;
        server.connection().execute_unprepared("CHECKPOINT").await?;
        Ok(Backlog { database_url, fee_server_url: self.fee_server_url.clone(), db })
    }
}

impl Drop for Parts {
    fn drop(&mut self) {
        let _ = self.fee_server.kill();
        let _ = self.fee_server.wait();
        // The end of its input is its order to stop.
        drop(self.postgres.stdin.take());
        let _ = self.postgres.wait();
    }
}

impl Backlog {
    /// By the real command, `feebox worker --once`, start and end included.
    pub async fn by_feebox(self, concurrency: usize) -> anyhow::Result<Run> {
        let began = Instant::now();
        let mut worker = feebox(&["worker", "--once", "--database-url", &self.database_url])
            .args(["--set", &format!("fee_server.base_url={}", self.fee_server_url)])
            .args(["--set", &format!("worker.concurrency={concurrency}")])
            .spawn()?;
        let mut resident_mib = None;
        let status = loop {
            resident_mib = resident(&worker).or(resident_mib);
            match worker.try_wait()? {
                Some(status) => break status,
                None => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        };
        let took = began.elapsed();
        ensure!(status.success(), "the worker failed: {status}");
        Ok(Run { design: "feebox", fees: self.fees().await?, took, resident_mib })
    }

    pub async fn by_hand(self, concurrency: usize) -> anyhow::Result<Run> {
        let began = Instant::now();
        by_hand::drain(&self.database_url, &self.fee_server_url, concurrency).await?;
        let took = began.elapsed();
        Ok(Run { design: "by hand", fees: self.fees().await?, took, resident_mib: None })
    }

    async fn fees(&self) -> anyhow::Result<usize> {
        Ok(usize::try_from(entity::fee_record::Entity::find().count(self.db.connection()).await?)?)
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

/// The release binary that cargo built beside this benchmark; its logs are read by nobody, but written.
fn feebox(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_feebox"));
    command.args(args).stdout(Stdio::null()).stderr(Stdio::null());
    command
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
    let line = RawLine { description: "Consulting, one day".into(), quantity: 3, unit_price_minor: 95_000 };
    let raw = RawQuote { customer_id: format!("customer-{}", number % 100), currency: "EUR".into(), lines: vec![line] };
    NewQuote::parse(raw, "").expect("a good quote")
}
