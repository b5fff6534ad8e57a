//! One design's run, as a list of steps.

use std::{collections::HashSet, io, time::Duration};

use anyhow::ensure;
use reqwest::Client;
use tokio::time::{Instant, sleep, sleep_until};

use super::{
    Comparison, Design, Destination, Pace, Row,
    books::{self, Books, Unsettled},
    cost::{Cost, Meter},
    counterpart::{Counterpart, Tally},
    report::{Calm, Rush},
    script::Script,
};
use crate::lab::trial::{self, Fleet, Ground, Shot};

/// Submissions of the calm phase.
const CALM_QUOTES: u32 = 100;
/// Clients of the rush.
const RUSH_CLIENTS: u32 = 16;
/// The longest that a client waits for an answer.
const CLIENT_TIMEOUT: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_millis(250);

/// Measures `design` with `destination`; `tell` is told what is being done.
pub(super) async fn measure(
    plan: &Comparison,
    design: Design,
    destination: Destination,
    tell: impl Fn(&str),
) -> anyhow::Result<Row> {
    let client = Client::builder().timeout(CLIENT_TIMEOUT).no_proxy().tcp_nodelay(true).build()?;
    let counterpart = Counterpart::start(destination, plan).await?;
    let run = match destination {
        Destination::FeeServer => design.name().to_owned(),
        Destination::Kafka => format!("kafka-{}", design.name()),
    };
    let ground = Ground::prepare(&run, plan.database_url.as_deref(), &plan.out).await?;
    let pace = plan.pace(destination);
    let settings = [counterpart.settings(), pace.settings(), design.settings()].concat();
    let fleet = Fleet::new(&run, design.roles(), &settings, ground.url(), &plan.out)?;
    let mut site = Site { plan, pace, client, ground, counterpart, fleet };

    tell("calm: what a quote costs");
    site.fleet.start()?;
    site.fleet.ready(&site.client).await?;
    let calm = site.calm().await?;
    tell("rush: how many a second");
    let rush = site.rush().await?;

    tell("storm: rollbacks, crashes, an outage");
    site.fleet.kill()?;
    site.fleet.roll_back(plan.rollback_rate);
    site.fleet.set(&design.settings_of_storm(&site.pace));
    site.fleet.start()?;
    site.fleet.ready(&site.client).await?;
    let shots = site.storm(&tell).await?;

    tell("settling");
    site.fleet.ready(&site.client).await?;
    settle(&site.pace, &site.ground, Some(&mut site.fleet), plan.time_for(shots.len())).await?;
    let tally = site.counterpart.tally().await?;
    let books = site.count(&tally, &shots).await?;
    let row = Row::new(design, destination, &shots, books, tally.duplicates, (calm, rush));
    tell(&row.sentence());
    site.clear().await?;
    Ok(row)
}

/// All that a design runs on and with.
struct Site<'a> {
    plan: &'a Comparison,
    pace: Pace,
    client: Client,
    ground: Ground,
    counterpart: Counterpart,
    fleet: Fleet,
}

impl Site<'_> {
    /// Nothing goes wrong; then nothing happens at all.
    async fn calm(&mut self) -> anyhow::Result<Calm> {
        let plan = self.plan;
        self.ground.calm_down().await?;
        let mut meter = Meter::new(&self.client, &self.fleet).await?;
        let (statements_before, rows_before) = (meter.statements().await?, self.ground.rows_written().await?);
        let wal_before = self.ground.wal_bytes().await?;
        let quotes = CALM_QUOTES.min(plan.quotes);
        let shots = trial::submit(&self.client, self.fleet.api(), "calm", quotes, plan.rate).await;
        self.settle(&shots).await?;
        let (wal_after, statements_after) = (self.ground.wal_bytes().await?, meter.statements().await?);
        sleep(plan.idle).await;
        let statements = [statements_before, statements_after, meter.statements().await?];
        let rows = [rows_before, self.ground.rows_written().await?];
        let books = self.count(&self.counterpart.tally().await?, &shots).await?;
        Ok(Calm::new(&shots, books, Cost::new(quotes, plan.idle, statements, rows, [wal_before, wal_after])))
    }

    /// Nothing goes wrong, and nobody waits between two submissions.
    async fn rush(&mut self) -> anyhow::Result<Rush> {
        let begun = Instant::now();
        let shots = trial::rush(&self.client, self.fleet.api(), RUSH_CLIENTS, self.plan.rush).await;
        let took = begun.elapsed();
        self.settle(&shots).await?;
        let books = self.count(&self.counterpart.tally().await?, &shots).await?;
        Ok(Rush::new(&shots, took, &books))
    }

    /// Waits for what `shots` have brought.
    async fn settle(&self, shots: &[Shot]) -> anyhow::Result<()> {
        let backlog = shots.iter().filter(|shot| shot.accepted().is_some()).count();
        settle(&self.pace, &self.ground, None, self.plan.time_for(backlog)).await
    }

    async fn count(&self, tally: &Tally, shots: &[Shot]) -> anyhow::Result<Books> {
        let accepted: HashSet<_> = shots.iter().filter_map(Shot::accepted).collect();
        Ok(books::count(self.ground.db().connection(), tally, &accepted).await?)
    }

    /// The load, and the script beside it.
    async fn storm(&mut self, tell: &impl Fn(&str)) -> anyhow::Result<Vec<Shot>> {
        let Self { plan, client, fleet, counterpart, .. } = self;
        let script = Script::new(plan.seed, plan.load(), plan.crashes);
        let (api, name) = (fleet.api().to_owned(), format!("storm-{}", plan.seed));
        let begun = Instant::now();
        let load = trial::submit(client, &api, &name, plan.quotes, plan.rate);
        let crashes = async {
            for (index, at) in script.crashes.iter().enumerate() {
                sleep_until(begun + *at).await;
                tell(&format!("crash {} of {}", index + 1, script.crashes.len()));
                fleet.kill()?;
                fleet.start()?;
            }
            anyhow::Ok(())
        };
        let outage = async {
            sleep_until(begun + script.outage_from).await;
            tell("the destination goes away");
            counterpart.go_away().await?;
            sleep_until(begun + script.outage_to).await;
            tell("the destination is back");
            counterpart.come_back().await?;
            io::Result::Ok(())
        };
        let (shots, killed, away) = tokio::join!(load, crashes, outage);
        killed?;
        away?;
        Ok(shots)
    }

    async fn clear(mut self) -> anyhow::Result<()> {
        self.fleet.kill()?;
        self.ground.clear().await?;
        self.counterpart.stop().await;
        Ok(())
    }
}

/// Returns when nothing is pending any more, or when nothing has changed for so long that nothing will. `backlog` is how long
/// the destination takes for what is under way.
async fn settle(pace: &Pace, ground: &Ground, mut fleet: Option<&mut Fleet>, backlog: Duration) -> anyhow::Result<()> {
    let begun = Instant::now();
    let (mut last, mut changed) = (None, begun);
    loop {
        if let Some(fleet) = &mut fleet {
            fleet.revive()?;
        }
        let unsettled = books::unsettled(ground.db().connection()).await?;
        if last != Some(unsettled) {
            (last, changed) = (Some(unsettled), Instant::now());
        }
        let all_settled = unsettled == Unsettled { quotes: 0, events: 0 };
        // A live event will still be delivered, however long nothing moves; a quote without one may wait for ever.
        let at_rest = unsettled.events == 0 && changed.elapsed() >= pace.quiet();
        if at_rest || (all_settled && changed.elapsed() >= pace.in_the_air()) {
            return Ok(());
        }
        // What is under way would count as lost for the one design, and be carried on for the other.
        ensure!(begun.elapsed() < pace.patience() + backlog * 2, "not all is settled after a long time: {unsettled:?}");
        sleep(LOOK).await;
    }
}
