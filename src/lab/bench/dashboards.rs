//! What open dashboards cost: how long their pages take beside a long history with many dead events, and whether submissions wait
//! because of them.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    time::{Duration, Instant},
};

use tokio::task::JoinSet;
use url::form_urlencoded;

use super::{
    Bench,
    caller::{self, Caller},
    fill::Fill,
    report::Spread,
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

/// How long pages are warmed up: every page is looked at by then.
const WARM_UP: Duration = Duration::from_secs(6);

/// What was measured while dashboards were open or not.
#[derive(Default)]
struct Part {
    submissions: Vec<Duration>,
    /// How long each page took.
    pages: BTreeMap<String, Vec<Duration>>,
}

/// Fills a database, and measures submissions without dashboards and with them, in turn, and how long pages take.
///
/// Which of both comes first changes from round to round: what a database has yet to write of the part before slows the next one.
pub(super) async fn measure(
    bench: &Bench,
    rows: u64,
    stage: &Stage,
    database: &'static str,
    progress: &impl Fn(&str),
) -> anyhow::Result<Vec<Call>> {
    let quote_id = Fill { delivered: rows, waiting: bench.waiting, dead: DEAD }.run(stage).await?;
    let pages = pages(&quote_id, &stage.id_of_dead_event().await?);
    let serve = stage.start("serve", &[]).await?;
    Part::default().measure(serve.address, &pages, OPEN, WARM_UP).await?;
    let (mut without, mut with, mut ratios) = (Part::default(), Part::default(), Vec::new());
    let call = |name: &str, took| Call::of(database, rows, name.to_owned(), took);
    for round in 1..=bench.rounds {
        let (without_before, with_before) = (without.submissions.len(), with.submissions.len());
        for is_open in [round % 2 == 0, round % 2 == 1] {
            let (part, open) = if is_open { (&mut with, OPEN) } else { (&mut without, 0) };
            part.measure(serve.address, &pages, open, bench.time).await?;
        }
        let p99_ms = |part: &Part, before: usize| call("", part.submissions[before..].to_vec()).p99_ms;
        let (alone_ms, beside_ms) = (p99_ms(&without, without_before), p99_ms(&with, with_before));
        ratios.push(beside_ms / alone_ms);
        progress(&format!(
            "dashboards on {database}, round {round}: submissions' p99 is {alone_ms:.1} ms without and {beside_ms:.1} ms beside {OPEN} dashboards",
        ));
    }
    progress(&format!("submissions' p99 beside {OPEN} dashboards, of without: {}", Spread::of(ratios)));
    let own = [
        call("POST /v1/quotes, no dashboard open", without.submissions),
        call(&format!("POST /v1/quotes, {OPEN} dashboards open"), with.submissions),
    ];
    Ok(own.into_iter().chain(with.pages.into_iter().map(|(path, took)| call(&path, took))).collect())
}

impl Part {
    /// Submits at a steady rate for `time`, beside so many open dashboards.
    async fn measure(
        &mut self,
        serve: SocketAddr,
        pages: &[String; 12],
        dashboards: usize,
        time: Duration,
    ) -> anyhow::Result<()> {
        let (mut open, end) = (JoinSet::new(), Instant::now() + time);
        for number in 0..dashboards {
            let pages = pages.clone();
            open.spawn(async move { open_dashboard(Caller::connect(serve).await?, pages, number, end).await });
        }
        let accepted = caller::submit_steadily(serve, PER_SECOND, time).await?;
        self.submissions.extend(accepted.into_iter().map(|it| it.took));
        for answers in open.join_all().await {
            for (page, took) in answers? {
                self.pages.entry(page).or_default().push(took);
            }
        }
        Ok(())
    }
}

/// A dashboard until `end`: it goes from page to page as its script does, and listens to what changes there. Hands back how long each page
/// took.
async fn open_dashboard(
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
