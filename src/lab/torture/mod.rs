//! A fleet under torture: real processes, their database, their clients and their fee server, each with all its faults. What
//! remains is held against the promises by a process that has seen nothing of it.
//!
//! Unlike [`compare`](crate::lab::compare), which measures, it only asks whether a promise can be broken, and takes as long and as
//! many dice as it is given. `docs/torture.md` says what each fault is and how to read the verdict.

mod clients;
mod executioner;
mod fault;
mod ingress;
mod judge;
mod rest;
mod sabotage;
mod scene;
mod verdict;

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context, ensure};
use reqwest::Client;
use url::Url;

use crate::{
    database::Database,
    lab::sample_fee_server::{Faults, SampleFeeServer},
    lab::trial::{self, Fleet, Ground, Network, Role},
    settings::Settings,
};
use clients::{Clients, Submission};
use fault::Engine;
use ingress::Ingress;
use judge::{Finding, Testimony};
use sabotage::Sabotage;
use scene::Scene;

pub use fault::{Counts, Fault};
pub use ingress::Tally;
pub use verdict::Verdict;

/// A lease that ends soon after its worker.
const LEASE: Duration = Duration::from_secs(4);
const COOL_DOWN: Duration = Duration::from_millis(500);
const RETRY_INTERVAL_MAX: Duration = Duration::from_secs(2);
const RETRY_AFTER_MAX: Duration = Duration::from_secs(2);
/// A worker looks for due events once a second.
const TICK: Duration = Duration::from_secs(1);
/// The longest that a client waits for an answer.
const CLIENT_TIMEOUT: Duration = Duration::from_secs(15);

/// What is to be done to whom.
#[derive(Clone, Debug)]
pub struct Torture {
    /// For how long.
    pub time: Duration,
    /// Submissions a second, meanwhile.
    pub rate: u32,
    /// How many workers there are, beside one process that serves.
    pub workers: usize,
    /// The share of submissions that is rolled back.
    pub rollback_rate: f64,
    /// The faults that are done, of those that concern the database.
    pub faults: BTreeSet<Fault>,
    /// What [`Fault::Failures`] are at the fee server.
    pub fee_server: Faults,
    /// Of the dice.
    pub seed: u64,
    /// A server to create a database on; an `SQLite` file in `out` without one.
    pub database_url: Option<String>,
    /// A shell command that crashes that server and starts it again.
    pub database_restart: Option<String>,
    /// How long the fleet may take to come to rest; what its settings say without it.
    pub rest_bound: Option<Duration>,
    /// Where the processes' log, the clients' book and the file go.
    pub out: PathBuf,
}

impl Torture {
    /// Does it, and tells what remained of the promises. `tell` is told how far it is.
    ///
    /// # Errors
    /// The fleet could not be run, or nobody could judge it: no verdict.
    pub async fn run(&self, tell: impl Fn(&str)) -> anyhow::Result<Verdict> {
        std::fs::create_dir_all(&self.out).with_context(|| format!("cannot create {}", self.out.display()))?;
        // Processes run in there: their paths must not depend on where that is.
        let out = self.out.canonicalize()?;
        let client = Client::builder().timeout(CLIENT_TIMEOUT).no_proxy().tcp_nodelay(true).build()?;
        let fee_server = SampleFeeServer::start(([127, 0, 0, 1], 0).into(), Faults::default()).await?;
        let ingress = Ingress::start(&fee_server.base_url()).await?;
        let ground = Ground::prepare("torture", self.database_url.as_deref(), &out).await?;
        let mut scene = self.scene(client.clone(), &ground, &fee_server, &ingress, &out).await?;
        scene.fleet.start()?;
        scene.fleet.ready(&client).await?;

        let clients = self.clients(client.clone(), scene.fleet.api());
        let (submissions, done) = tokio::join!(clients.run(), executioner::torment(&mut scene, self.time, &tell));
        let mut done = done?;
        // What the last clients brought, long after the last fault.
        tell("the fleet is left alone");
        let rest = rest::come(&mut scene).await?;
        tell(&rest.to_string());
        done.rests.push(rest);
        let unreadable = rest::unreadable_lists(&client, scene.fleet.api()).await;
        if let Some(network) = &scene.network {
            done.faults.entry(Fault::CommitCut).and_modify(|count| *count = network.commits_cut());
        }
        let hung_up: u32 = submissions.iter().map(|submission| submission.hung_up).sum();
        done.faults.extend((hung_up > 0).then_some((Fault::HangUp, hung_up)));

        // What only a living process believes to be stored is gone now.
        scene.fleet.kill()?;
        let finding = self.judge(&ground, &fee_server, submissions, &out)?;
        let verdict = verdict::reach(done, self.rest_bound(), ingress.tally(), fee_server.stats(), finding, unreadable);
        drop(scene);
        ground.clear().await?;
        fee_server.stop().await;
        Ok(verdict)
    }

    fn rest_bound(&self) -> Duration {
        // The clock of a server stamps all times itself.
        let wrong_clocks = self.database_url.is_none() && self.faults.contains(&Fault::Clock);
        self.rest_bound.unwrap_or_else(|| rest::bound(wrong_clocks))
    }

    async fn scene<'a>(
        &'a self,
        client: Client,
        ground: &Ground,
        fee_server: &'a SampleFeeServer,
        ingress: &'a Ingress,
        out: &Path,
    ) -> anyhow::Result<Scene<'a>> {
        let engine = Engine::of(self.database_url.as_deref());
        let conflicts = self.faults.contains(&Fault::Conflict);
        let sabotage = Sabotage::prepare(ground.db(), engine, conflicts).await?;
        let (url, network) = through_a_network(ground.url()).await?;
        let roles = [&[Role::Serve][..], &vec![Role::Worker; self.workers]].concat();
        let mut fleet = Fleet::new("torture", &roles, &settings(ingress), &url, out)?;
        fleet.roll_back(self.rollback_rate);
        if self.faults.contains(&Fault::DiskFull) {
            fleet.outlive_full_disks();
        }
        let clock = if self.faults.contains(&Fault::Clock) { fake_clock(&mut fleet, out)? } else { None };
        Ok(Scene { plan: self, engine, client, fleet, fee_server, ingress, network, sabotage, clock })
    }

    fn clients(&self, client: Client, api: &str) -> Clients {
        let submissions = self.time.as_millis() * u128::from(self.rate) / 1_000;
        Clients {
            client,
            api: api.to_owned(),
            name: format!("torture-{}", self.seed),
            submissions: u32::try_from(submissions).unwrap_or(u32::MAX),
            rate: f64::from(self.rate),
            poison: self.faults.contains(&Fault::Poison),
            hang_up: self.faults.contains(&Fault::HangUp),
            seed: self.seed,
        }
    }

    /// Has a fresh process hold the books against each other.
    fn judge(
        &self,
        ground: &Ground,
        fee_server: &SampleFeeServer,
        submissions: Vec<Submission>,
        out: &Path,
    ) -> anyhow::Result<Finding> {
        let testimony = Testimony { fee_server: fee_server.base_url(), rollback_rate: self.rollback_rate, submissions };
        let book = out.join("clients.json");
        std::fs::write(&book, serde_json::to_vec(&testimony)?)?;
        let output = tokio::task::block_in_place(|| {
            let mut command = Command::new(std::env::current_exe()?);
            trial::forget_settings(&mut command);
            command
                .args(["torture", "--judge"])
                .arg(&book)
                .current_dir(out)
                .env("FEEBOX__DATABASE__URL", ground.url())
                .stdin(Stdio::null())
                .stderr(Stdio::inherit())
                .output()
        })?;
        ensure!(output.status.success(), "there was no judgement");
        serde_json::from_slice(&output.stdout).context("the judgement cannot be read")
    }
}

/// Holds the clients' book at `path` against the database of these settings and the fee server; the finding, as JSON. What a
/// torture runs as a process of its own.
///
/// # Errors
/// Any error of the file, the database and the fee server.
pub async fn judge(path: &Path, settings: &Settings) -> anyhow::Result<String> {
    let db = Database::connect(&settings.database).await?;
    Ok(serde_json::to_string(&judge::judge(path, &db).await?)?)
}

/// Everything happens fast: there is little time, and much to see. The number of attempts is the default: who dies for
/// another shall be seen.
fn settings(ingress: &Ingress) -> Vec<(&'static str, String)> {
    let time = |time: Duration| humantime::format_duration(time).to_string();
    vec![
        ("fee_server.base_url", ingress.base_url()),
        ("fee_server.timeout", "1s".to_owned()),
        ("worker.schedule", "* * * * * *".to_owned()),
        ("worker.lease", time(LEASE)),
        ("retry.initial_interval", "100ms".to_owned()),
        ("retry.max_interval", time(RETRY_INTERVAL_MAX)),
        ("circuit.cool_down", time(COOL_DOWN)),
    ]
}

/// The same URL by way of a network that can break, if it names a host.
async fn through_a_network(url: &str) -> anyhow::Result<(String, Option<Network>)> {
    let mut through = Url::parse(url)?;
    let port = match Engine::of(Some(url)) {
        Engine::Sqlite => return Ok((url.to_owned(), None)),
        Engine::Postgres => 5_432,
        Engine::MariaDb => 3_306,
    };
    let Some(host) = through.host_str().filter(|host| !host.is_empty()) else { return Ok((url.to_owned(), None)) };
    let network = Network::start(format!("{host}:{}", through.port().unwrap_or(port))).await?;
    let addr = network.addr();
    through.set_host(Some(&addr.ip().to_string()))?;
    ensure!(through.set_port(Some(addr.port())).is_ok(), "the URL of the database takes no port");
    Ok((through.to_string(), Some(network)))
}

/// Lets the last process read its time from a file, if there is faketime.
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
    fleet.surround(fleet.size() - 1, environment);
    Ok(Some(file))
}
