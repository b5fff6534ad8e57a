//! A fleet under torture: real processes that are killed and frozen at random, beside a fee server with all its faults. What
//! remains is held against the promises.
//!
//! Unlike [`compare`](crate::compare), which measures, it only asks whether a promise can be broken, and takes as long and as
//! many dice as it is given.

mod executioner;
mod verdict;

use std::{path::PathBuf, time::Duration};

use anyhow::{Context, ensure};
use entity::{
    outbox_event::{self, Status},
    quote,
};
use reqwest::Client;
use sea_orm::{ColumnTrait, EntityTrait, PaginatorTrait, QueryFilter};
use tokio::time::{Instant, sleep};

use crate::{
    database::Database,
    quotes,
    sample_fee_server::{Faults, SampleFeeServer},
    trial::{self, Fleet, Ground, Role},
};
use executioner::torment;

pub use executioner::Torments;
pub use verdict::Verdict;

/// A lease that ends soon after its worker.
const LEASE: Duration = Duration::from_secs(4);
/// How long all that is under way may take to be settled, once nobody is tormented any more.
const PATIENCE: Duration = Duration::from_mins(3);
/// The longest that a client waits for an answer.
const CLIENT_TIMEOUT: Duration = Duration::from_secs(15);
const LOOK: Duration = Duration::from_millis(200);

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
    /// What goes wrong at the fee server, beside its outages.
    pub faults: Faults,
    /// Of the dice.
    pub seed: u64,
    /// A server to create a database on; an `SQLite` file in `out` without one.
    pub database_url: Option<String>,
    /// Where the processes' log and the file go.
    pub out: PathBuf,
}

impl Torture {
    /// Does it, and tells what remained of the promises. `tell` is told how far it is.
    ///
    /// # Errors
    /// The fleet could not be run, or did not come to rest afterwards: no verdict.
    pub async fn run(&self, tell: impl Fn(&str)) -> anyhow::Result<Verdict> {
        std::fs::create_dir_all(&self.out).with_context(|| format!("cannot create {}", self.out.display()))?;
        // Processes run in there: their paths must not depend on where that is.
        let out = self.out.canonicalize()?;
        let client = Client::builder().timeout(CLIENT_TIMEOUT).no_proxy().tcp_nodelay(true).build()?;
        let fee_server = SampleFeeServer::start(([127, 0, 0, 1], 0).into(), self.faults.clone()).await?;
        let ground = Ground::prepare("torture", self.database_url.as_deref(), &out).await?;
        let roles = [&[Role::Serve][..], &vec![Role::Worker; self.workers]].concat();
        let mut fleet = Fleet::new("torture", &roles, &Self::settings(&fee_server), ground.url(), &out)?;
        fleet.roll_back(self.rollback_rate);
        fleet.start()?;
        fleet.ready(&client).await?;

        let (api, name) = (fleet.api().to_owned(), format!("torture-{}", self.seed));
        let load = trial::submit(&client, &api, &name, self.quotes(), f64::from(self.rate));
        let (shots, torments) = tokio::join!(load, torment(self, &mut fleet, &fee_server, &tell));
        let torments = torments?;

        tell("the fleet is left alone, and comes to rest");
        settle(ground.db(), &mut fleet).await?;
        let verdict = verdict::reach(ground.db(), &fee_server, &shots, torments).await?;
        fleet.kill()?;
        ground.clear().await?;
        fee_server.stop().await;
        Ok(verdict)
    }

    fn quotes(&self) -> u32 {
        let quotes = self.time.as_millis() * u128::from(self.rate) / 1_000;
        u32::try_from(quotes).unwrap_or(u32::MAX)
    }

    /// Everything happens fast: there is little time, and much to see.
    fn settings(fee_server: &SampleFeeServer) -> Vec<(&'static str, String)> {
        let time = |time: Duration| humantime::format_duration(time).to_string();
        vec![
            ("fee_server.base_url", fee_server.base_url()),
            ("fee_server.timeout", "1s".to_owned()),
            ("worker.schedule", "* * * * * *".to_owned()),
            ("worker.lease", time(LEASE)),
            ("retry.initial_interval", "100ms".to_owned()),
            ("retry.max_interval", "2s".to_owned()),
            ("retry.max_attempts", "1000".to_owned()),
            ("circuit.cool_down", "500ms".to_owned()),
        ]
    }
}

/// Returns when no event is live and no quote pending, or fails if that does not come.
async fn settle(db: &Database, fleet: &mut Fleet) -> anyhow::Result<()> {
    let begun = Instant::now();
    loop {
        fleet.revive()?;
        let live = outbox_event::Column::Status.is_in([Status::Pending, Status::Leased]);
        let events = outbox_event::Entity::find().filter(live).count(db.connection()).await?;
        let pending = quote::Column::Status.eq(quotes::Status::Pending);
        let quotes = quote::Entity::find().filter(pending).count(db.connection()).await?;
        // A quote that is pending without a live event is a verdict's matter.
        if events == 0 {
            return Ok(());
        }
        ensure!(begun.elapsed() < PATIENCE, "{events} events and {quotes} quotes do not come to rest");
        sleep(LOOK).await;
    }
}
