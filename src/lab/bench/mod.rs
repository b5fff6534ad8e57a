//! `feebox bench`: how fast Feebox is, beside what is written by hand and beside another version of itself, in the same run.
//!
//! Each contestant answers each [`Question`] on a database of its own, in turn (A B A B …), because machines drift. Counts
//! are checked afterwards. What is told are medians with the least and the most, and ratios.

mod by_hand;
mod caller;
mod contestant;
mod dashboards;
mod fairness;
mod fill;
mod kafka;
mod overload;
mod partners;
mod picture;
mod question;
mod report;
mod sample;
mod stage;
mod tables;
mod usage;
mod workers;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context;

use super::fleet::{self, Scenario};
use contestant::Contestant;
use stage::Stage;

pub(crate) use partners::PARTNERS_MAX;
pub use question::Question;
pub use report::{Report, Row, Spread};
pub use sample::Figure;
pub use tables::Call;

/// What is to be measured.
#[derive(Clone, Debug)]
pub struct Bench {
    /// The questions.
    pub questions: Vec<Question>,
    /// Servers on which databases may be created and dropped, by their URLs; one that begins with `sqlite:` stands for files.
    pub servers: Vec<String>,
    /// Another `feebox` binary.
    pub beside: Option<PathBuf>,
    /// How often each question is asked.
    pub rounds: usize,
    /// Callers side by side. Submissions are measured with each of these numbers, other questions are asked with the first one.
    pub callers: Vec<usize>,
    /// For how long submissions are counted.
    pub time: Duration,
    /// Events of a backlog.
    pub events: usize,
    /// Partners that a backlog which is drained belongs to; with one it is nobody's, as without tokens.
    pub partners: u32,
    /// How long the fee server takes, where partners wait beside a backlog.
    pub fee_time: Duration,
    /// Calls in flight while it is drained.
    pub concurrency: usize,
    /// Delivered events beside which the calls of lists and statistics are measured, with each of these numbers.
    pub rows: Vec<u64>,
    /// How often each of these calls is made.
    pub calls: usize,
    /// Waiting events beside these.
    pub waiting: u64,
    /// Brokers that a backlog is told to.
    pub kafka_brokers: Option<String>,
    /// Workers of a simulated fleet, and the seed of its chance.
    pub fleet: (usize, u64),
    /// Where `bench.json`, `bench.md`, `bench.svg` and the processes' logs go.
    pub out: PathBuf,
}

impl Bench {
    /// Measures, and tells each round by `progress`.
    ///
    /// # Errors
    /// A server, a process or a count that is not as it should be.
    pub async fn run(&self, progress: impl Fn(&str)) -> anyhow::Result<Report> {
        std::fs::create_dir_all(&self.out)?;
        let out = self.out.canonicalize()?;
        let (mut samples, mut calls): (BTreeMap<_, Vec<_>>, _) = (BTreeMap::new(), Vec::new());
        let fleet = if self.questions.contains(&Question::Fleet) { self.simulate(&progress) } else { Vec::new() };
        for server in &self.servers {
            for question in self.questions.iter().filter(|question| **question != Question::Fleet) {
                if matches!(question, Question::Tables | Question::Dashboards) {
                    for rows in &self.rows {
                        calls.extend(self.beside_history(*question, *rows, server, &out, &progress).await?);
                    }
                    continue;
                }
                for round in 1..=self.rounds {
                    for callers in self.callers_of(*question) {
                        for (place, contestant) in self.contestants()?.iter().enumerate() {
                            let stage =
                                Stage::prepare(&format!("{place}_{round}"), server, &binary(contestant)?, &out).await?;
                            let sample = question.ask(self, *callers, contestant, &stage).await;
                            stage.clear().await?;
                            let what = || format!("{question:?} by {} on {}", contestant.name(), kind(server));
                            let Some(sample) = sample.with_context(what)? else { continue };
                            progress(&format!("{}, {callers} callers, round {round}: {}", what(), sample.in_words()));
                            let key = (kind(server), *question, *callers, place, contestant.name());
                            samples.entry(key).or_default().push(sample);
                        }
                    }
                }
            }
        }
        let report = Report { calls, fleet, ..Report::of(&samples) };
        std::fs::write(out.join("bench.json"), serde_json::to_string_pretty(&report)?)?;
        std::fs::write(out.join("bench.md"), format!("{report}\n"))?;
        if let Some(picture) = picture::draw(&report)? {
            std::fs::write(out.join("bench.svg"), picture)?;
        }
        Ok(report)
    }

    fn simulate(&self, progress: &impl Fn(&str)) -> Vec<fleet::Row> {
        let (workers, seed) = self.fleet;
        let scenarios = Scenario::all(workers.max(1)).into_iter();
        scenarios
            .map(|scenario| {
                progress(&format!("simulating {workers} workers: {}", scenario.name));
                scenario.play(seed)
            })
            .collect()
    }

    /// How long calls take beside a long history. `SQLite` is left out: its tables are one host's.
    async fn beside_history(
        &self,
        question: Question,
        rows: u64,
        server: &str,
        out: &Path,
        progress: &impl Fn(&str),
    ) -> anyhow::Result<Vec<Call>> {
        if server.starts_with("sqlite:") {
            return Ok(Vec::new());
        }
        let stage = Stage::prepare("history", server, &std::env::current_exe()?, out).await?;
        progress(&format!("filling {} with {} delivered events", kind(server), rows));
        let calls = match question {
            Question::Dashboards => dashboards::measure(self, rows, &stage, kind(server), progress).await,
            _ => tables::measure(self, rows, &stage, kind(server)).await,
        };
        stage.clear().await?;
        calls
    }

    /// With how many callers `question` is asked.
    fn callers_of(&self, question: Question) -> &[usize] {
        if question == Question::Submissions { &self.callers } else { &self.callers[..1] }
    }

    /// Those that are measured, the measure of the others first.
    fn contestants(&self) -> anyhow::Result<Vec<Contestant>> {
        let own = Contestant::Feebox { name: "feebox", binary: std::env::current_exe()? };
        let beside = self.beside.clone().map(|binary| Contestant::Feebox { name: "beside", binary });
        let by_hand = [Contestant::ByHand, Contestant::ByHandInSteps, Contestant::ByHandTogether, Contestant::Producer];
        Ok(by_hand.into_iter().chain(beside).chain([own]).collect())
    }
}

/// Whose schema a contestant finds.
fn binary(contestant: &Contestant) -> anyhow::Result<PathBuf> {
    match contestant {
        Contestant::Feebox { binary, .. } => Ok(Path::new(binary).canonicalize()?),
        _ => Ok(std::env::current_exe()?),
    }
}

/// The database behind a URL, in one word.
fn kind(url: &str) -> &'static str {
    match url.split(':').next() {
        Some("postgres" | "postgresql") => "PostgreSQL",
        Some("mysql" | "mariadb") => "MariaDB",
        _ => "SQLite",
    }
}
