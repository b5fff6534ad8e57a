//! The fleet with everything around it, and how each fault begins and ends.

use std::{fs, ops::Range, path::PathBuf, process::Command, time::Duration};

use anyhow::{Context, ensure};
use rand::{Rng, RngExt, seq::IndexedRandom};
use reqwest::Client;
use tokio::time::{Instant, timeout};

use super::{
    LEASE, RETRY_AFTER_MAX, Torture,
    database_faults::DatabaseFaults,
    fault::{Engine, Fault},
    ingress::{Ingress, Mode, Page},
};
use crate::{
    lab::sample_fee_server::SampleFeeServer,
    lab::testbed::{Fleet, Network, Role},
};

/// The longest that restarting the database or a broker may take.
const RESTART_LIMIT: Duration = Duration::from_mins(1);
/// The shares of commits and answers that are cut.
const COMMITS_CUT: f64 = 0.4;
const ANSWERS_CUT: f64 = 0.1;
/// Jumps of a clock: back and ahead, by less than a lease and by more than any setting permits.
const JUMPS: [&str; 5] = ["-10m", "-2s", "+1h", "+1y", "-1d"];

pub(super) struct Setup<'a> {
    pub plan: &'a Torture,
    pub engine: Engine,
    pub client: Client,
    pub fleet: Fleet,
    pub fee_server: &'a SampleFeeServer,
    pub ingress: &'a Ingress,
    /// In front of a database that is reached over a network.
    pub network: Option<Network>,
    pub database_faults: DatabaseFaults,
    /// The file that sets the clock of the last process, if faketime is installed.
    pub clock: Option<PathBuf>,
}

/// A fault that has begun and must be ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Incident {
    pub until: Instant,
    pub fault: Fault,
    pub place: usize,
}

impl Setup<'_> {
    /// Starts the faults that affect single calls all the time.
    pub fn start_background_faults(&self) {
        let on = |fault| self.plan.injects(fault);
        let failures = if on(Fault::Failures) { self.plan.failures() } else { self.plan.no_failures() };
        self.fee_server.set_faults(failures);
        let cut_rate = if on(Fault::CutAnswers) { ANSWERS_CUT } else { 0.0 };
        self.ingress.change(|mode| *mode = Mode { cut_rate, poison: on(Fault::Poison), ..Mode::default() });
    }

    /// Ends all faults but poison.
    pub async fn end_all_faults(&mut self) -> anyhow::Result<()> {
        self.fee_server.set_faults(self.plan.no_failures());
        self.fee_server.up().await?;
        let poison = self.plan.injects(Fault::Poison);
        self.ingress.change(|mode| *mode = Mode { poison, ..Mode::default() });
        self.ingress.open().await?;
        self.fleet.restart_ended()
    }

    /// Begins `fault`. Returns its description, and the incident if it lasts; `None` if it is impossible now.
    pub async fn begin(
        &mut self,
        fault: Fault,
        rng: &mut impl Rng,
    ) -> anyhow::Result<Option<(String, Option<Incident>)>> {
        let place = rng.random_range(0..self.fleet.size());
        let lasts = |until| Some(Incident { until, fault, place });
        let begun = match fault {
            Fault::Kill => return self.kill(place, rng).map(|what| Some((what, None))),
            Fault::Freeze => {
                if self.fleet.role(place) != Role::Worker {
                    return Ok(None);
                }
                self.fleet.freeze(place)?;
                let until = Instant::now() + LEASE + Duration::from_secs(1);
                (format!("froze {}", self.named(place)), Some(Incident { until, fault, place }))
            }
            Fault::Clock => {
                let Some(file) = &self.clock else { return Ok(None) };
                let incident = lasts(soon(rng, 3_000..8_000));
                let jump = JUMPS.choose(rng).copied().unwrap_or("+0");
                fs::write(file, jump)?;
                (format!("changed the clock of {} by {jump}", self.named(self.fleet.size() - 1)), incident)
            }
            Fault::Outage => {
                let incident = lasts(soon(rng, 500..4_000));
                if rng.random() {
                    self.ingress.shut().await?;
                    ("refused connections to the fee server".to_owned(), incident)
                } else {
                    self.fee_server.down().await?;
                    ("stopped the fee server behind its ingress".to_owned(), incident)
                }
            }
            Fault::Pages => {
                let incident = lasts(soon(rng, 1_000..4_000));
                let page = Page::ALL.choose(rng).copied();
                self.ingress.change(|mode| mode.page = page);
                (format!("let the ingress answer {page:?}"), incident)
            }
            Fault::Throttle => {
                let incident = lasts(soon(rng, 1_000..4_000));
                let seconds = rng.random_range(1..=RETRY_AFTER_MAX.as_secs());
                self.ingress.change(|mode| mode.retry_after = Some(seconds));
                (format!("throttled calls, Retry-After: {seconds}"), incident)
            }
            Fault::DiskFull => {
                let incident = lasts(soon(rng, 500..3_000));
                let bytes = rng.random_range(4_096..200_000);
                self.fleet.limit_files(place, Some(bytes))?;
                (format!("limited the files of {} to {bytes} bytes", self.named(place)), incident)
            }
            Fault::DatabaseCrash => {
                let Some(command) = self.plan.database_restart.clone() else { return Ok(None) };
                restart(command, "--database-restart").await?;
                ("crashed and restarted the database".to_owned(), None)
            }
            Fault::KafkaCrash => {
                let Some(command) = self.plan.kafka_restart.clone() else { return Ok(None) };
                restart(command, "--kafka-restart").await?;
                ("crashed and restarted a broker".to_owned(), None)
            }
            _ => return self.begin_at_database(fault, rng).await,
        };
        Ok(Some(begun))
    }

    async fn begin_at_database(
        &mut self,
        fault: Fault,
        rng: &mut impl Rng,
    ) -> anyhow::Result<Option<(String, Option<Incident>)>> {
        let lasts = |until| Some(Incident { until, fault, place: 0 });
        if fault == Fault::Conflict {
            let until = soon(rng, 2_000..5_000);
            self.database_faults.conflicts(true).await?;
            let rival = self.database_faults.clone();
            tokio::spawn(async move { rival.contend(until).await });
            return Ok(Some(("made transactions conflict".to_owned(), lasts(until))));
        }
        let Some(network) = &self.network else { return Ok(None) };
        let begun = match fault {
            Fault::DatabaseSlow => {
                let until = soon(rng, 2_000..6_000);
                let delay = Duration::from_millis(rng.random_range(5..=50));
                network.delay(delay);
                (format!("delayed messages to the database by {}", humantime::format_duration(delay)), lasts(until))
            }
            Fault::DatabaseCut => {
                if rng.random() {
                    network.cut();
                    ("cut the connections to the database".to_owned(), None)
                } else {
                    self.database_faults.end_sessions().await?;
                    ("let the database end all sessions".to_owned(), None)
                }
            }
            Fault::CommitCut => {
                let until = soon(rng, 1_000..3_000);
                network.cut_commits(COMMITS_CUT);
                ("began to cut connections around COMMIT".to_owned(), lasts(until))
            }
            Fault::DatabaseSilent => {
                let until = soon(rng, 1_000..4_000);
                network.silence(true);
                ("swallowed all traffic to the database".to_owned(), lasts(until))
            }
            Fault::ReadOnly => {
                let until = soon(rng, 1_000..4_000);
                self.database_faults.read_only(true).await?;
                ("made the database read-only".to_owned(), lasts(until))
            }
            _ => return Ok(None),
        };
        Ok(Some(begun))
    }

    pub async fn end(&mut self, incident: Incident) -> anyhow::Result<()> {
        let Incident { fault, place, .. } = incident;
        match (fault, &self.network) {
            (Fault::Freeze, _) => {
                self.ingress.expect_late_calls();
                self.fleet.thaw(place)?;
            }
            (Fault::Clock, _) => {
                if let Some(file) = &self.clock {
                    fs::write(file, "+0")?;
                }
            }
            (Fault::Outage, _) => {
                self.ingress.open().await?;
                self.fee_server.up().await?;
            }
            (Fault::Pages, _) => self.ingress.change(|mode| mode.page = None),
            (Fault::Throttle, _) => self.ingress.change(|mode| mode.retry_after = None),
            (Fault::DiskFull, _) => self.fleet.limit_files(place, None)?,
            (Fault::Conflict, _) => self.database_faults.conflicts(false).await?,
            (Fault::ReadOnly, _) => self.database_faults.read_only(false).await?,
            (Fault::DatabaseSlow, Some(network)) => network.delay(Duration::ZERO),
            (Fault::CommitCut, Some(network)) => network.cut_commits(0.0),
            (Fault::DatabaseSilent, Some(network)) => network.silence(false),
            _ => {}
        }
        Ok(())
    }

    fn kill(&mut self, place: usize, rng: &mut impl Rng) -> anyhow::Result<String> {
        let what = if rng.random_range(0..4) == 0 {
            self.fleet.kill()?;
            "killed all processes".to_owned()
        } else {
            self.fleet.kill_one(place)?;
            format!("killed {}", self.named(place))
        };
        self.fleet.start()?;
        Ok(what)
    }

    fn named(&self, place: usize) -> String {
        match self.fleet.role(place) {
            Role::Serve => "the service".to_owned(),
            Role::Worker => format!("worker {place}"),
        }
    }
}

/// A random moment within this range of milliseconds from now.
fn soon(rng: &mut impl Rng, range: Range<u64>) -> Instant {
    Instant::now() + Duration::from_millis(rng.random_range(range))
}

/// Runs the operator's command, which `option` names; it returns when what it restarts is starting again.
async fn restart(command: String, option: &str) -> anyhow::Result<()> {
    let run = tokio::task::spawn_blocking(move || Command::new("sh").args(["-c", &command]).status());
    let status = timeout(RESTART_LIMIT, run).await;
    let status = status.with_context(|| format!("the {option} command did not end in time"))??;
    ensure!(status.is_ok_and(|status| status.success()), "the {option} command failed");
    Ok(())
}
