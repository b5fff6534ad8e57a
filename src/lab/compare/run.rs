//! The run of one design, as a list of steps.

use std::{collections::HashSet, time::Duration};

use anyhow::ensure;
use futures_util::FutureExt;
use reqwest::Client;
use tokio::{
    sync::Mutex,
    time::{Instant, sleep, sleep_until},
};

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
/// So many quotes for each of the plan at most: the destination needs its time for all of them.
const RUSH_QUOTES_MAX: u32 = 5;
/// The longest that a client waits for an answer.
const CLIENT_TIMEOUT: Duration = Duration::from_secs(30);
const POLL_INTERVAL: Duration = Duration::from_millis(250);

/// What was measured while nothing went wrong.
pub(super) struct InOrder {
    calm: Calm,
    rush: Rush,
    rows_before: Option<f64>,
    /// Quotes that were accepted since.
    quotes: usize,
}

/// One design with one destination.
pub(super) struct Experiment<'a> {
    plan: &'a Comparison,
    design: Design,
    kind: Destination,
    /// One storm has it to itself.
    machine: &'a Mutex<()>,
    timing: Timing,
    client: Client,
    database: TestDatabase,
    destination: TestDestination,
    fleet: Fleet,
}

impl<'a> Experiment<'a> {
    /// Of `design` with a destination of this `kind`, on a database of its own; nothing runs yet.
    pub(super) async fn prepare(
        plan: &'a Comparison,
        design: Design,
        kind: Destination,
        machine: &'a Mutex<()>,
    ) -> anyhow::Result<Self> {
        let client = Client::builder().timeout(CLIENT_TIMEOUT).no_proxy().tcp_nodelay(true).build()?;
        let destination = TestDestination::start(kind, plan).await?;
        let run = match kind {
            Destination::FeeServer => design.name(),
            Destination::Kafka => format!("kafka-{}", design.name()),
        };
        let database = TestDatabase::prepare(&run, plan.database_url.as_deref(), &plan.out).await?;
        database.hush().await?;
        let timing = plan.timing(kind);
        let settings = [destination.settings(), timing.settings(), design.settings()].concat();
        let fleet = Fleet::new(&run, design.roles(), &settings, database.url(), &plan.out)?;
        Ok(Self { plan, design, kind, machine, timing, client, database, destination, fleet })
    }

    /// What the design costs and how much goes through while nothing goes wrong. Nothing else may run meanwhile. `progress` gets a line for
    /// each step.
    pub(super) async fn in_order(&mut self, progress: impl Fn(&str)) -> anyhow::Result<InOrder> {
        progress("calm: what a quote costs");
        self.fleet.start()?;
        self.fleet.ready(&self.client).await?;
        // Boxed: the compiler has a limit for futures within futures.
        let (calm, rows_before, calmly) = self.calm().boxed_local().await?;
        progress("rush: how many a second");
        let (rush, rushed) = self.rush().boxed_local().await?;
        self.fleet.kill()?;
        Ok(InOrder { calm, rush, rows_before, quotes: calmly + rushed })
    }

    /// Adds what the design costs while nothing is submitted. Others may idle meanwhile.
    pub(super) async fn idle(&mut self, in_order: &mut InOrder) -> anyhow::Result<()> {
        self.fleet.start()?;
        self.fleet.ready(&self.client).await?;
        // What a process does when it starts is no cost of idling.
        sleep(self.timing.in_flight()).await;
        let mut meter = Meter::new(&self.client, &self.fleet).await?;
        let before = meter.statements().await?;
        sleep(self.plan.idle).await;
        in_order.calm.cost.idled(self.plan.idle, meter.statements().await? - before);
        self.fleet.kill()?;
        in_order.calm.cost.wrote([in_order.rows_before, self.database.rows_written().await?], in_order.quotes);
        Ok(())
    }

    /// What it loses, invents and doubles when things go wrong.
    /// One storm at a time has the machine to itself; others may settle meanwhile.
    pub(super) async fn in_faults(mut self, in_order: InOrder, progress: impl Fn(&str)) -> anyhow::Result<Row> {
        self.fleet.roll_back(self.plan.rollback_rate);
        self.fleet.set(&self.design.settings_of_storm(&self.timing));
        let samples = self.storm(&progress).boxed_local().await?;
        progress("settling");
        self.fleet.ready(&self.client).await?;
        let backlog = self.plan.time_for(samples.len());
        wait(Until::AtRest, &self.timing, &self.database, Some(&mut self.fleet), backlog).await?;
        let tally = self.tally().await?;
        let books = self.count(&tally, &samples).await?;
        let row = Row::new(self.design, self.kind, &samples, books, tally.duplicates, (in_order.calm, in_order.rush));
        progress(&row.sentence());
        self.fleet.kill()?;
        self.database.clear().await?;
        self.destination.stop().await;
        Ok(row)
    }

    /// Nothing goes wrong. Also returns how many rows had been written before, and how many quotes were accepted.
    async fn calm(&mut self) -> anyhow::Result<(Calm, Option<f64>, usize)> {
        let (plan, quotes) = (self.plan, CALM_QUOTES.min(self.plan.quotes));
        self.database.quiesce().await?;
        let mut meter = Meter::new(&self.client, &self.fleet).await?;
        let (statements_before, rows_before) = (meter.statements().await?, self.database.rows_written().await?);
        let wal_before = self.database.wal_bytes().await?;
        let samples = testbed::submit(&self.client, self.fleet.api(), "calm", quotes, plan.rate).await;
        self.wait(Until::Settled, &samples).await?;
        let (wal_after, statements_after) = (self.database.wal_bytes().await?, meter.statements().await?);
        let books = self.count(&self.tally().await?, &samples).await?;
        let cost = Cost::new(quotes, statements_after - statements_before, [wal_before, wal_after]);
        Ok((Calm::new(&samples, books, cost), rows_before, accepted(&samples)))
    }

    /// Clients submit without a pause. Also returns how many quotes were accepted.
    async fn rush(&self) -> anyhow::Result<(Rush, usize)> {
        let quotes_max = self.plan.quotes.saturating_mul(RUSH_QUOTES_MAX);
        let begun = Instant::now();
        let samples = testbed::rush(&self.client, self.fleet.api(), RUSH_CLIENTS, self.plan.rush, quotes_max).await;
        let took = begun.elapsed();
        self.wait(Until::Settled, &samples).await?;
        let books = self.count(&self.tally().await?, &samples).await?;
        Ok((Rush::new(&samples, took, &books), accepted(&samples)))
    }

    async fn wait(&self, until: Until, samples: &[Sample]) -> anyhow::Result<()> {
        wait(until, &self.timing, &self.database, None, self.plan.time_for(accepted(samples))).await
    }

    async fn tally(&self) -> anyhow::Result<Tally> {
        self.destination.tally(self.fleet.api()).await
    }

    async fn count(&self, tally: &Tally, samples: &[Sample]) -> anyhow::Result<Books> {
        let accepted: HashSet<_> = samples.iter().filter_map(Sample::accepted).collect();
        Ok(books::count(self.database.db().connection(), tally, &accepted).await?)
    }

    /// The load, with the faults of the schedule.
    async fn storm(&mut self, progress: &impl Fn(&str)) -> anyhow::Result<Vec<Sample>> {
        let Self { plan, machine, client, fleet, destination, .. } = self;
        let _alone = machine.lock().await;
        progress("storm: rollbacks, crashes, an outage");
        fleet.start()?;
        fleet.ready(client).await?;
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
}

fn accepted(samples: &[Sample]) -> usize {
    samples.iter().filter(|sample| sample.accepted().is_some()).count()
}

/// When a wait ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Until {
    /// All quotes and events are settled.
    Settled,
    /// The same, and no call can be in flight any more.
    AtRest,
}

/// Returns then, or when nothing has changed for so long that nothing will. The destination needs the time `backlog` for the calls
/// that are under way.
async fn wait(
    until: Until,
    timing: &Timing,
    database: &TestDatabase,
    mut fleet: Option<&mut Fleet>,
    backlog: Duration,
) -> anyhow::Result<()> {
    let begun = Instant::now();
    let rest = if until == Until::Settled { Duration::ZERO } else { timing.in_flight() };
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
        if at_rest || (all_settled && changed.elapsed() >= rest) {
            return Ok(());
        }
        // Quotes still under way would count as lost for this design, and would disturb the next one.
        ensure!(begun.elapsed() < timing.patience() + backlog * 2, "still unsettled after a long time: {unsettled:?}");
        sleep(POLL_INTERVAL).await;
    }
}
