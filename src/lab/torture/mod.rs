//! Breaks a fleet: real processes, their database, clients and fee server, each with all its faults. A separate process
//! then checks the promises.
//!
//! Unlike [`compare`](crate::lab::compare), which measures, it only asks whether a promise can be broken, for as long
//! as it is told to. `docs/torture.md` describes each fault and the verdict.

mod clients;
mod database_faults;
mod fault;
mod ingress;
mod injector;
mod judge;
mod recovery;
mod setup;
mod verdict;

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context, ensure};
use clap::Args;
use reqwest::Client;
use url::Url;

use crate::{
    database::Database,
    lab::sample_fee_server::{Faults, SampleFeeServer},
    lab::testbed::{self, Fleet, Network, Role, TestDatabase},
    settings::Settings,
};
use clients::{Clients, Submission};
use database_faults::DatabaseFaults;
use fault::Engine;
use ingress::Ingress;
use judge::ClientBook;
use setup::Setup;

pub use fault::{Counts, Fault};
pub use ingress::Tally;
pub use judge::{Broken, Finding};
pub use verdict::Verdict;

/// Short, so that the events of a dead worker are soon taken back.
const LEASE: Duration = Duration::from_secs(4);
const COOL_DOWN: Duration = Duration::from_millis(500);
const RETRY_INTERVAL_MAX: Duration = Duration::from_secs(2);
const RETRY_AFTER_MAX: Duration = Duration::from_secs(2);
/// How long the fee server takes for a fee, give or take as much.
const FEE_LATENCY: Duration = Duration::from_millis(100);
/// The share of submissions that is rolled back.
const ROLLBACK_RATE: f64 = 0.05;
/// How long a record may stay unacknowledged: longer than the election of a leader, and short for a lease of half as long again.
const KAFKA_TIMEOUT: Duration = Duration::from_secs(12);
/// The schedule of the workers: once a second.
const TICK: Duration = Duration::from_secs(1);
/// The longest that a client waits for an answer.
const CLIENT_TIMEOUT: Duration = Duration::from_secs(15);

/// What to run: the flags of `feebox torture`.
#[derive(Args, Clone, Debug)]
// The command has a group of this name.
#[group(skip)]
pub struct Torture {
    /// How long to inject faults, from 1s to 1d
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = time)]
    pub time: Duration,
    /// Quotes submitted per second
    #[arg(long, value_name = "COUNT", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub rate: u32,
    /// Number of workers, besides one API process
    #[arg(long, value_name = "COUNT", default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=32))]
    pub workers: u8,
    /// Inject only these faults [default: all]
    #[arg(long, value_name = "FAULT", value_enum, value_delimiter = ',')]
    pub only: Vec<Fault>,
    /// Inject all faults but these
    #[arg(long, value_name = "FAULT", value_enum, value_delimiter = ',', conflicts_with = "only")]
    pub without: Vec<Fault>,
    /// Seed of the order of faults; what they hit still differs from run to run
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    pub seed: u64,
    /// A shell command that crashes and restarts the database server; without it, this fault is not injected
    #[arg(long, value_name = "COMMAND")]
    pub database_restart: Option<String>,
    /// Also relay events to these brokers, where the topics feebox.quotes and feebox.fees exist: their records stay
    #[cfg_attr(feature = "kafka", arg(long, value_name = "HOST:PORT,…"))]
    #[cfg_attr(not(feature = "kafka"), arg(skip))]
    pub kafka_brokers: Option<String>,
    /// A shell command that crashes and restarts one of them; without it, this fault is not injected
    #[cfg_attr(feature = "kafka", arg(long, value_name = "COMMAND", requires = "kafka_brokers"))]
    #[cfg_attr(not(feature = "kafka"), arg(skip))]
    pub kafka_restart: Option<String>,
    /// How long the fleet may take to settle all events after the last fault [default: by its settings, 13.5s, and 43.5s with
    /// Kafka]
    #[arg(long, value_name = "DURATION", value_parser = time)]
    pub rest_bound: Option<Duration>,
    /// Make the fee server ignore idempotency keys
    #[arg(long)]
    pub no_idempotency: bool,
    /// Remove the fee server's look-up; with --no-idempotency, double fees are then unavoidable
    #[arg(long)]
    pub no_lookup: bool,
    /// Directory for the processes' logs
    #[arg(long, value_name = "DIR", default_value = "feebox-torture")]
    pub out: PathBuf,
    /// A server to create a database on; without one, an `SQLite` file in `out`.
    #[arg(skip)]
    pub database_url: Option<String>,
}

impl Torture {
    /// Runs it and returns the verdict. `progress` gets a line for each step.
    ///
    /// # Errors
    /// If the fleet could not be run or judged: there is no verdict.
    pub async fn run(&self, progress: impl Fn(&str)) -> anyhow::Result<Verdict> {
        let out = testbed::directory(&self.out)?;
        let client = Client::builder().timeout(CLIENT_TIMEOUT).no_proxy().tcp_nodelay(true).build()?;
        let fee_server = SampleFeeServer::start(([127, 0, 0, 1], 0).into(), Faults::default()).await?;
        let ingress = Ingress::start(&fee_server.base_url())?;
        let database = TestDatabase::prepare("torture", self.database_url.as_deref(), &out).await?;
        let mut setup = self.setup(client.clone(), &database, &fee_server, &ingress, &out).await?;
        setup.fleet.start()?;
        setup.fleet.ready(&client).await?;

        let clients = self.clients(client.clone(), setup.fleet.api());
        let (submissions, done) = tokio::join!(clients.run(), injector::inject(&mut setup, self.time, &progress));
        let mut done = done?;
        // The submissions of the last clients, after the last fault.
        progress("all clients are done; waiting for the fleet to settle");
        let recovery = recovery::wait(&mut setup).await?;
        progress(&recovery.to_string());
        done.recoveries.push(recovery);
        let unreadable = recovery::unreadable_lists(&client, setup.fleet.api()).await;
        if let Some(network) = &setup.network {
            done.faults.entry(Fault::CommitCut).and_modify(|count| *count = network.commits_cut());
        }
        let hung_up: u32 = submissions.iter().map(|submission| submission.hung_up).sum();
        done.faults.extend((hung_up > 0).then_some((Fault::HangUp, hung_up)));

        // Kill everything, so that only what is really stored remains.
        setup.fleet.kill()?;
        let finding = self.judge(&database, &fee_server, submissions, &out)?;
        let verdict = verdict::reach(done, self.rest_bound(), ingress.tally(), fee_server.stats(), finding, unreadable);
        drop(setup);
        database.clear().await?;
        fee_server.stop().await;
        Ok(verdict)
    }

    /// Whether `fault` is to be injected, as far as it concerns the database.
    fn injects(&self, fault: Fault) -> bool {
        if self.only.is_empty() { !self.without.contains(&fault) } else { self.only.contains(&fault) }
    }

    /// The faults of the fee server for [`Fault::Failures`]: two in five of its calls fail by themselves, besides the injected
    /// faults.
    fn failures(&self) -> Faults {
        Faults {
            fail_rate: 0.1,
            reset_rate: 0.1,
            commit_reset_rate: 0.1,
            hang_rate: 0.03,
            commit_fail_rate: 0.05,
            slow_body_rate: 0.05,
            slow_body: Duration::from_millis(300),
            seed: Some(self.seed),
            ..self.no_failures()
        }
    }

    /// The fee server as it is apart from failures.
    fn no_failures(&self) -> Faults {
        let Self { no_idempotency, no_lookup, .. } = *self;
        Faults { latency: FEE_LATENCY, jitter: FEE_LATENCY, no_idempotency, no_lookup, ..Faults::default() }
    }

    fn rest_bound(&self) -> Duration {
        // The clock of a server stamps all times itself.
        let wrong_clocks = self.database_url.is_none() && self.injects(Fault::Clock);
        let kafka = if self.kafka_brokers.is_some() { recovery::of_kafka() } else { Duration::ZERO };
        self.rest_bound.unwrap_or_else(|| recovery::bound(wrong_clocks) + kafka)
    }

    /// Short times, because a run is short. The number of attempts is the default, so that events that die for another's
    /// fault show up.
    fn settings(&self, ingress: &Ingress) -> Vec<(&'static str, String)> {
        let time = |time: Duration| humantime::format_duration(time).to_string();
        let mut settings = vec![
            ("fee_server.base_url", ingress.base_url()),
            ("fee_server.timeout", "1s".to_owned()),
            ("worker.schedule", "* * * * * *".to_owned()),
            ("worker.lease", time(LEASE)),
            ("retry.initial_interval", "100ms".to_owned()),
            ("retry.max_interval", time(RETRY_INTERVAL_MAX)),
            ("circuit.cool_down", time(COOL_DOWN)),
        ];
        if let Some(brokers) = &self.kafka_brokers {
            settings.push(("kafka.brokers", brokers.clone()));
            settings.push(("kafka.delivery_timeout", time(KAFKA_TIMEOUT)));
        }
        settings
    }

    async fn setup<'a>(
        &'a self,
        client: Client,
        database: &TestDatabase,
        fee_server: &'a SampleFeeServer,
        ingress: &'a Ingress,
        out: &Path,
    ) -> anyhow::Result<Setup<'a>> {
        let engine = Engine::of(self.database_url.as_deref());
        let conflicts = self.injects(Fault::Conflict);
        let database_faults = DatabaseFaults::prepare(database.db(), engine, conflicts).await?;
        let (url, network) = through_a_network(database.url())?;
        let roles = [&[Role::Serve][..], &vec![Role::Worker; self.workers.into()]].concat();
        let mut fleet = Fleet::new("torture", &roles, &self.settings(ingress), &url, out)?;
        fleet.roll_back(ROLLBACK_RATE);
        if self.injects(Fault::DiskFull) {
            fleet.survive_full_disks();
        }
        let clock = if self.injects(Fault::Clock) { fake_clock(&mut fleet, out)? } else { None };
        Ok(Setup { plan: self, engine, client, fleet, fee_server, ingress, network, database_faults, clock })
    }

    fn clients(&self, client: Client, api: &str) -> Clients {
        let submissions = self.time.as_millis() * u128::from(self.rate) / 1_000;
        Clients {
            client,
            api: api.to_owned(),
            name: format!("torture-{}", self.seed),
            submissions: u32::try_from(submissions).unwrap_or(u32::MAX),
            rate: f64::from(self.rate),
            poison: self.injects(Fault::Poison),
            hang_up: self.injects(Fault::HangUp),
            seed: self.seed,
        }
    }

    /// Runs the judge in a separate process.
    fn judge(
        &self,
        database: &TestDatabase,
        fee_server: &SampleFeeServer,
        submissions: Vec<Submission>,
        out: &Path,
    ) -> anyhow::Result<Finding> {
        let (fee_server, kafka_brokers) = (fee_server.base_url(), self.kafka_brokers.clone());
        let book = ClientBook { fee_server, kafka_brokers, rollback_rate: ROLLBACK_RATE, submissions };
        let path = out.join("clients.json");
        std::fs::write(&path, serde_json::to_vec(&book)?)?;
        let output = tokio::task::block_in_place(|| {
            let mut command = Command::new(std::env::current_exe()?);
            testbed::forget_settings(&mut command);
            command
                .args(["torture", "--judge"])
                .arg(&path)
                .current_dir(out)
                .env("FEEBOX__DATABASE__URL", database.url())
                .stdin(Stdio::null())
                .stderr(Stdio::inherit())
                .output()
        })?;
        ensure!(output.status.success(), "the judge failed");
        serde_json::from_slice(&output.stdout).context("the finding of the judge cannot be read")
    }
}

/// Compares the clients' book at `path` with the database of these settings and the fee server, and returns the finding
/// as JSON. The torture runs this as a separate process.
///
/// # Errors
/// Any error of the file, the database or the fee server.
pub async fn judge(path: &Path, settings: &Settings) -> anyhow::Result<String> {
    let db = Database::connect(&settings.database).await?;
    Ok(serde_json::to_string(&judge::judge(path, &db).await?)?)
}

/// The URL by way of a faulty network, if it names a host.
fn through_a_network(url: &str) -> anyhow::Result<(String, Option<Network>)> {
    let mut through = Url::parse(url)?;
    let port = match Engine::of(Some(url)) {
        Engine::Sqlite => return Ok((url.to_owned(), None)),
        Engine::Postgres => 5_432,
        Engine::MariaDb => 3_306,
    };
    let Some(host) = through.host_str().filter(|host| !host.is_empty()) else { return Ok((url.to_owned(), None)) };
    let network = Network::start(format!("{host}:{}", through.port().unwrap_or(port)))?;
    let addr = network.addr();
    through.set_host(Some(&addr.ip().to_string()))?;
    ensure!(through.set_port(Some(addr.port())).is_ok(), "the database URL accepts no port");
    Ok((through.to_string(), Some(network)))
}

/// Makes the last process read its clock from a file, if faketime is installed.
fn fake_clock(fleet: &mut Fleet, out: &Path) -> anyhow::Result<Option<PathBuf>> {
    let shown = Command::new("faketime").args(["-f", "+0s", "sh", "-c", "echo $LD_PRELOAD"]).output();
    let Ok(shown) = shown else { return Ok(None) };
    let library = String::from_utf8(shown.stdout)?.trim().to_owned();
    let file = out.join("clock");
    std::fs::write(&file, "+0")?;
    let environment = vec![
        ("LD_PRELOAD", library),
        ("FAKETIME_TIMESTAMP_FILE", file.display().to_string()),
        ("FAKETIME_CACHE_DURATION", "1".to_owned()),
        ("FAKETIME_DISABLE_SHM", "1".to_owned()),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
    ];
    fleet.set_environment(fleet.size() - 1, environment);
    Ok(Some(file))
}

fn time(text: &str) -> Result<Duration, String> {
    let time = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    let range = Duration::from_secs(1)..=Duration::from_hours(24);
    if range.contains(&time) { Ok(time) } else { Err("write a duration from 1s to 1d".to_owned()) }
}
