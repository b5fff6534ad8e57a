//! One design's run, as a list of steps.

use std::{collections::HashSet, io, time::Duration};

use reqwest::Client;
use tokio::time::{Instant, sleep, sleep_until};

use super::{
    Comparison, Design, Row,
    books::{self, Books, Unsettled},
    cost::{Cost, Meter},
    fleet::Fleet,
    ground::Ground,
    load::{self, Shot},
    report::Calm,
    script::Script,
};
use crate::sample_fee_server::{Faults, SampleFeeServer};

/// Submissions of the calm phase.
const CALM_QUOTES: u32 = 100;
/// The longest that a client waits for an answer.
const CLIENT_TIMEOUT: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_millis(250);

/// Measures `design`; `tell` is told what is being done.
pub(super) async fn measure(plan: &Comparison, design: Design, tell: impl Fn(&str)) -> anyhow::Result<Row> {
    let client = Client::builder().timeout(CLIENT_TIMEOUT).no_proxy().tcp_nodelay(true).build()?;
    let faults = Faults { latency: plan.latency, seed: Some(plan.seed), ..Faults::default() };
    let fee_server = SampleFeeServer::start(([127, 0, 0, 1], 0).into(), faults).await?;
    let ground = Ground::prepare(design, plan.database_url.as_deref(), &plan.out).await?;
    let mut fleet = Fleet::new(design, &plan.pace(), ground.url(), &fee_server.base_url(), &plan.out)?;

    tell("calm: what a quote costs");
    fleet.start()?;
    fleet.ready(&client).await?;
    let calm = calm(plan, &client, &fleet, &ground, &fee_server).await?;

    tell("storm: rollbacks, crashes, an outage");
    fleet.kill()?;
    fleet.brace(plan.rollback_rate);
    fleet.start()?;
    fleet.ready(&client).await?;
    let shots = storm(plan, &client, &mut fleet, &fee_server, &tell).await?;

    tell("settling");
    fleet.ready(&client).await?;
    settle(plan, &ground, Some(&mut fleet)).await?;
    let books = count(&ground, &fee_server, &shots).await?;
    fleet.kill()?;
    let row = Row::new(design, &shots, books, fee_server.stats().double_fees, calm);
    tell(&row.sentence());
    ground.clear().await?;
    fee_server.stop().await;
    Ok(row)
}

/// Nothing goes wrong; then nothing happens at all.
async fn calm(
    plan: &Comparison,
    client: &Client,
    fleet: &Fleet,
    ground: &Ground,
    fee_server: &SampleFeeServer,
) -> anyhow::Result<Calm> {
    let mut meter = Meter::new(client, fleet).await?;
    let (statements_before, counts_before) = (meter.statements().await?, ground.counts().await?);
    let quotes = CALM_QUOTES.min(plan.quotes);
    let shots = load::submit(client, fleet.api(), "calm", quotes, plan.rate).await;
    settle(plan, ground, None).await?;
    let statements_after = meter.statements().await?;
    sleep(plan.idle).await;
    let statements_idle = meter.statements().await?;
    let books = count(ground, fee_server, &shots).await?;
    let statements = [statements_before, statements_after, statements_idle];
    let counts = counts_before.zip(ground.counts().await?);
    Ok(Calm::new(&shots, books, Cost::new(quotes, plan.idle, statements, counts)))
}

async fn count(ground: &Ground, fee_server: &SampleFeeServer, shots: &[Shot]) -> anyhow::Result<Books> {
    let accepted: HashSet<_> = shots.iter().filter_map(Shot::accepted).collect();
    Ok(books::count(ground.db().connection(), fee_server, &accepted).await?)
}

/// The load, and the script beside it.
async fn storm(
    plan: &Comparison,
    client: &Client,
    fleet: &mut Fleet,
    fee_server: &SampleFeeServer,
    tell: &impl Fn(&str),
) -> anyhow::Result<Vec<Shot>> {
    let script = Script::new(plan.seed, plan.load(), plan.crashes);
    let (api, name) = (fleet.api().to_owned(), format!("storm-{}", plan.seed));
    let begun = Instant::now();
    let load = load::submit(client, &api, &name, plan.quotes, plan.rate);
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
        tell("the fee server goes away");
        fee_server.down().await?;
        sleep_until(begun + script.outage_to).await;
        tell("the fee server is back");
        fee_server.up().await?;
        io::Result::Ok(())
    };
    let (shots, killed, away) = tokio::join!(load, crashes, outage);
    killed?;
    away?;
    Ok(shots)
}

/// Returns when nothing is pending any more, or when nothing has changed for so long that nothing will.
async fn settle(plan: &Comparison, ground: &Ground, mut fleet: Option<&mut Fleet>) -> anyhow::Result<()> {
    let (pace, begun) = (plan.pace(), Instant::now());
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
        if all_settled && changed.elapsed() >= pace.in_the_air() {
            return Ok(());
        }
        // A live event will still be delivered, however long nothing moves; a quote without one may wait for ever.
        let at_rest = unsettled.events == 0 && changed.elapsed() >= pace.quiet();
        if at_rest || begun.elapsed() >= pace.patience() {
            return Ok(());
        }
        sleep(LOOK).await;
    }
}
