//! The run of one design, as a list of steps.

use std::{collections::HashSet, time::Duration};

use anyhow::ensure;
use reqwest::Client;
use tokio::time::{Instant, sleep, sleep_until};

use super::{
    Comparison, Design, Destination, Row, Timing,
    books::{self, Books, Unsettled},
    cost::{Cost, Meter},
    fault_schedule::FaultSchedule,
    report::{Calm, Rush},
    test_destination::{Tally, TestDestination},
};
use crate::lab::testbed::{self, Fleet, Sample, TestDatabase};

const CALM_QUOTES: u32 = 100;
const RUSH_CLIENTS: u32 = 16;
/// The longest that a client waits for an answer.
const CLIENT_TIMEOUT: Duration = Duration::from_secs(30);
const POLL_INTERVAL: Duration = Duration::from_millis(250);

/// Measures `design` with `destination`; `progress` gets a line for each step.
pub(super) async fn measure(
    plan: &Comparison,
    design: Design,
    destination: Destination,
    progress: impl Fn(&str),
) -> anyhow::Result<Row> {
    let client = Client::builder().timeout(CLIENT_TIMEOUT).no_proxy().tcp_nodelay(true).build()?;
    let test_destination = TestDestination::start(destination, plan).await?;
    let run = match destination {
        Destination::FeeServer => design.name(),
        Destination::Kafka => format!("kafka-{}", design.name()),
    };
    let database = TestDatabase::prepare(&run, plan.database_url.as_deref(), &plan.out).await?;
    let timing = plan.timing(destination);
    let settings = [test_destination.settings(), timing.settings(), design.settings()].concat();
    let fleet = Fleet::new(&run, design.roles(), &settings, database.url(), &plan.out)?;
    let mut experiment = Experiment { plan, timing, client, database, destination: test_destination, fleet };

    progress("calm: what a quote costs");
    experiment.fleet.start()?;
    experiment.fleet.ready(&experiment.client).await?;
    let calm = experiment.calm().await?;
    progress("rush: how many a second");
    let rush = experiment.rush().await?;

    progress("storm: rollbacks, crashes, an outage");
    experiment.fleet.kill()?;
    experiment.fleet.roll_back(plan.rollback_rate);
    experiment.fleet.set(&design.settings_of_storm(&experiment.timing));
    experiment.fleet.start()?;
    experiment.fleet.ready(&experiment.client).await?;
    let samples = experiment.storm(&progress).await?;

    progress("settling");
    experiment.fleet.ready(&experiment.client).await?;
    let backlog = plan.time_for(samples.len());
    wait_until_settled(&experiment.timing, &experiment.database, Some(&mut experiment.fleet), backlog).await?;
    let tally = experiment.destination.tally().await?;
    let books = experiment.count(&tally, &samples).await?;
    let row = Row::new(design, destination, &samples, books, tally.duplicates, (calm, rush));
    progress(&row.sentence());
    experiment.clear().await?;
    Ok(row)
}

struct Experiment<'a> {
    plan: &'a Comparison,
    timing: Timing,
    client: Client,
    database: TestDatabase,
    destination: TestDestination,
    fleet: Fleet,
}

impl Experiment<'_> {
    /// Nothing goes wrong; then nothing is submitted at all.
    async fn calm(&mut self) -> anyhow::Result<Calm> {
        let plan = self.plan;
        self.database.quiesce().await?;
        let mut meter = Meter::new(&self.client, &self.fleet).await?;
        let (statements_before, rows_before) = (meter.statements().await?, self.database.rows_written().await?);
        let wal_before = self.database.wal_bytes().await?;
        let quotes = CALM_QUOTES.min(plan.quotes);
        let samples = testbed::submit(&self.client, self.fleet.api(), "calm", quotes, plan.rate).await;
        self.wait_until_settled(&samples).await?;
        let (wal_after, statements_after) = (self.database.wal_bytes().await?, meter.statements().await?);
        sleep(plan.idle).await;
        let statements = [statements_before, statements_after, meter.statements().await?];
        let rows = [rows_before, self.database.rows_written().await?];
        let books = self.count(&self.destination.tally().await?, &samples).await?;
        Ok(Calm::new(&samples, books, Cost::new(quotes, plan.idle, statements, rows, [wal_before, wal_after])))
    }

    /// Clients submit without a pause.
    async fn rush(&mut self) -> anyhow::Result<Rush> {
        let begun = Instant::now();
        let samples = testbed::rush(&self.client, self.fleet.api(), RUSH_CLIENTS, self.plan.rush).await;
        let took = begun.elapsed();
        self.wait_until_settled(&samples).await?;
        let books = self.count(&self.destination.tally().await?, &samples).await?;
        Ok(Rush::new(&samples, took, &books))
    }

    /// Waits until the quotes of `samples` are settled.
    async fn wait_until_settled(&self, samples: &[Sample]) -> anyhow::Result<()> {
        let backlog = samples.iter().filter(|sample| sample.accepted().is_some()).count();
        wait_until_settled(&self.timing, &self.database, None, self.plan.time_for(backlog)).await
    }

    async fn count(&self, tally: &Tally, samples: &[Sample]) -> anyhow::Result<Books> {
        let accepted: HashSet<_> = samples.iter().filter_map(Sample::accepted).collect();
        Ok(books::count(self.database.db().connection(), tally, &accepted).await?)
    }

    /// The load, with the faults of the schedule.
    async fn storm(&mut self, progress: &impl Fn(&str)) -> anyhow::Result<Vec<Sample>> {
        let Self { plan, client, fleet, destination, .. } = self;
        let schedule = FaultSchedule::new(plan.seed, plan.load(), plan.crashes);
        let (api, name) = (fleet.api().to_owned(), format!("storm-{}", plan.seed));
        let begun = Instant::now();
        let load = testbed::submit(client, &api, &name, plan.quotes, plan.rate);
        let crashes = async {
            for (index, at) in schedule.crashes.iter().enumerate() {
                sleep_until(begun + *at).await;
                progress(&format!("crash {} of {}", index + 1, schedule.crashes.len()));
                fleet.kill()?;
                fleet.start()?;
            }
            anyhow::Ok(())
        };
        let outage = async {
            sleep_until(begun + schedule.outage_from).await;
            progress("the destination is unavailable");
            destination.take_down().await?;
            sleep_until(begun + schedule.outage_to).await;
            progress("the destination is available again");
            destination.bring_up().await?;
            anyhow::Ok(())
        };
        let (samples, killed, outage) = tokio::join!(load, crashes, outage);
        killed?;
        outage?;
        Ok(samples)
    }

    async fn clear(mut self) -> anyhow::Result<()> {
        self.fleet.kill()?;
        self.database.clear().await?;
        self.destination.stop().await;
        Ok(())
    }
}

/// Returns when nothing is pending, or when nothing has changed for so long that nothing will. The destination needs
/// the time `backlog` for the calls that are under way.
async fn wait_until_settled(
    timing: &Timing,
    database: &TestDatabase,
    mut fleet: Option<&mut Fleet>,
    backlog: Duration,
) -> anyhow::Result<()> {
    let begun = Instant::now();
    let (mut last, mut changed) = (None, begun);
    loop {
        if let Some(fleet) = &mut fleet {
            fleet.restart_ended()?;
        }
        let unsettled = books::unsettled(database.db().connection()).await?;
        if last != Some(unsettled) {
            (last, changed) = (Some(unsettled), Instant::now());
        }
        let all_settled = unsettled == Unsettled { quotes: 0, events: 0 };
        // A live event will be delivered, even if nothing changes for long; a quote without an event may stay pending
        // for ever.
        let at_rest = unsettled.events == 0 && changed.elapsed() >= timing.quiet();
        if at_rest || (all_settled && changed.elapsed() >= timing.in_flight()) {
            return Ok(());
        }
        // Quotes still under way would count as lost for this design, and would disturb the next one.
        ensure!(begun.elapsed() < timing.patience() + backlog * 2, "still unsettled after a long time: {unsettled:?}");
        sleep(POLL_INTERVAL).await;
    }
}
