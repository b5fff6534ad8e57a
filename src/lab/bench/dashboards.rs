//! What open dashboards cost: how long their pages take beside a long history with many dead events, and whether submissions wait
//! because of them.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use tokio::task::JoinSet;
use url::form_urlencoded;

use super::{
    Bench,
    caller::{self, Caller},
    fill::Fill,
    stage::Stage,
    tables::Call,
};

/// Dashboards that are open.
const OPEN: usize = 20;
/// For how long each of them stays on a page, and listens to what changes there.
const STAY: Duration = Duration::from_secs(10);
/// Dead events beside the delivered ones.
const DEAD: u64 = 50_000;
/// Submissions at a steady rate meanwhile.
const PER_SECOND: f64 = 200.0;

/// Fills a database, and measures submissions without dashboards and with them, in turn, and how long pages take.
pub(super) async fn measure(
    bench: &Bench,
    rows: u64,
    stage: &Stage,
    database: &'static str,
    progress: &impl Fn(&str),
) -> anyhow::Result<Vec<Call>> {
    let quote_id = Fill { delivered: rows, waiting: bench.waiting, dead: DEAD }.run(stage).await?;
    let event_id = stage.id_of_dead_event().await?;
    let serve = stage.start("serve", &[]).await?;
    caller::submit_steadily(serve.address, PER_SECOND, Duration::from_secs(2)).await?;
    let (mut without, mut with, mut asked) = (Vec::new(), Vec::new(), BTreeMap::<String, Vec<Duration>>::new());
    for round in 1..=bench.rounds {
        without.extend(submissions(&serve, bench.time).await?);
        let mut dashboards = JoinSet::new();
        let end = Instant::now() + bench.time;
        for number in 0..OPEN {
            let (address, pages) = (serve.address, pages(&quote_id, &event_id));
            dashboards.spawn(async move { open(Caller::connect(address).await?, pages, number, end).await });
        }
        with.extend(submissions(&serve, bench.time).await?);
        for answers in dashboards.join_all().await {
            for (page, took) in answers? {
                asked.entry(page).or_default().push(took);
            }
        }
        progress(&format!(
            "dashboards on {database}, round {round}: {} pages",
            asked.values().map(Vec::len).sum::<usize>()
        ));
    }
    let call = |name: &str, took| Call::of(database, rows, name.to_owned(), took);
    let without = call("POST /v1/quotes, no dashboard open", without);
    let with = call(&format!("POST /v1/quotes, {OPEN} dashboards open"), with);
    progress(&format!("submissions at p99 beside {OPEN} dashboards: {:.2} of without", with.p99_ms / without.p99_ms));
    let asked = asked.into_iter().map(|(path, took)| Call::of(database, rows, path, took));
    Ok([without, with].into_iter().chain(asked).collect())
}

async fn submissions(serve: &super::stage::Process, time: Duration) -> anyhow::Result<Vec<Duration>> {
    Ok(caller::submit_steadily(serve.address, PER_SECOND, time).await?.into_iter().map(|it| it.took).collect())
}

/// A dashboard until `end`: it goes from page to page as its script does, and listens to what changes there. Hands back how long each page
/// took.
async fn open(
    mut caller: Caller,
    pages: [String; 12],
    number: usize,
    end: Instant,
) -> anyhow::Result<Vec<(String, Duration)>> {
    let mut answers = Vec::new();
    // Not all at the same moment.
    tokio::time::sleep(STAY.mul_f64(f64::from(u32::try_from(number)?) / 40.0)).await;
    for page in pages.iter().cycle().skip(number % pages.len()) {
        let begun = Instant::now();
        caller.get(page).await?;
        answers.push((page.clone(), begun.elapsed()));
        let stay = STAY.min(end.saturating_duration_since(Instant::now()));
        let query = form_urlencoded::Serializer::new(String::new()).append_pair("page", page).finish();
        caller.listen(&format!("/dashboard/live?{query}"), stay).await?;
        if stay < STAY {
            return Ok(answers);
        }
    }
    Ok(answers)
}

/// The pages that are looked at.
fn pages(quote_id: &str, event_id: &str) -> [String; 12] {
    [
        "/".into(),
        "/?range=90d".into(),
        "/causes?status=dead".into(),
        "/events".into(),
        "/events?status=dead".into(),
        "/events?status=dead&customer_id=customer-7".into(),
        format!("/events/{event_id}"),
        "/quotes".into(),
        format!("/quotes/{quote_id}"),
        "/workers".into(),
        "/promises".into(),
        "/actions".into(),
    ]
}
