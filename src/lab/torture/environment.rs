//! Everything that can be tormented, and how each fault begins and ends.

use std::{fs, ops::Range, path::PathBuf, process::Command, time::Duration};

use anyhow::{Context, ensure};
use rand::{Rng, RngExt, seq::IndexedRandom};
use reqwest::Client;
use tokio::time::{Instant, timeout};

use super::{
    LEASE, RETRY_AFTER_MAX, Torture,
    fault::{Engine, Fault},
    ingress::{Ingress, Mood, Page},
    sabotage::Sabotage,
};
use crate::{
    lab::sample_fee_server::{Faults, SampleFeeServer},
    lab::trial::{Fleet, Network, Role},
};

/// The longest that a database may take to start again.
const RESTART_LIMIT: Duration = Duration::from_mins(1);
/// Shares of commits and answers that are cut.
const COMMITS_CUT: f64 = 0.4;
const ANSWERS_CUT: f64 = 0.1;
/// A clock's jumps: back and ahead, by less than a lease and by more than any setting permits.
const JUMPS: [&str; 5] = ["-10m", "-2s", "+1h", "+1y", "-1d"];

/// The fleet and all that surrounds it.
pub(super) struct Scene<'a> {
    pub plan: &'a Torture,
    pub engine: Engine,
    pub client: Client,
    pub fleet: Fleet,
    pub fee_server: &'a SampleFeeServer,
    pub ingress: &'a Ingress,
    /// Before a database that is reached over a network.
    pub network: Option<Network>,
    pub sabotage: Sabotage,
    /// The file that says what time it is for the last process, if there is faketime.
    pub clock: Option<PathBuf>,
}

/// A fault that has begun and not ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Incident {
    pub until: Instant,
    pub fault: Fault,
    pub place: usize,
}

impl Scene<'_> {
    /// What befalls calls all the time begins.
    pub fn unsettle(&self) {
        let on = |fault| self.plan.faults.contains(&fault);
        self.fee_server.set_faults(if on(Fault::Failures) { self.plan.fee_server.clone() } else { self.calm_faults() });
        let cut_rate = if on(Fault::CutAnswers) { ANSWERS_CUT } else { 0.0 };
        self.ingress.change(|mood| *mood = Mood { cut_rate, poison: on(Fault::Poison), ..Mood::default() });
    }

    /// All of it ends; poison remains.
    pub async fn calm_down(&mut self) -> anyhow::Result<()> {
        self.fee_server.set_faults(self.calm_faults());
        self.fee_server.up().await?;
        let poison = self.plan.faults.contains(&Fault::Poison);
        self.ingress.change(|mood| *mood = Mood { poison, ..Mood::default() });
        self.ingress.open();
        self.fleet.revive()
    }

    fn calm_faults(&self) -> Faults {
        let Faults { latency, jitter, no_idempotency, no_lookup, .. } = self.plan.fee_server;
        Faults { latency, jitter, no_idempotency, no_lookup, ..Faults::default() }
    }

    /// Begins `fault`. What it does, in words, and the incident that has to end, if it lasts; nothing if it cannot be now.
    pub async fn begin(
        &mut self,
        fault: Fault,
        dice: &mut impl Rng,
    ) -> anyhow::Result<Option<(String, Option<Incident>)>> {
        let place = dice.random_range(0..self.fleet.size());
        let lasts = |until| Some(Incident { until, fault, place });
        let begun = match fault {
            Fault::Kill => return self.kill(place, dice).map(|told| Some((told, None))),
            Fault::Freeze => {
                if self.fleet.role(place) != Role::Worker {
                    return Ok(None);
                }
                self.fleet.freeze(place)?;
                let until = Instant::now() + LEASE + Duration::from_secs(1);
                (format!("freezes {}", self.named(place)), Some(Incident { until, fault, place }))
            }
            Fault::Clock => {
                let Some(file) = &self.clock else { return Ok(None) };
                let incident = lasts(soon(dice, 3_000..8_000));
                let jump = JUMPS.choose(dice).copied().unwrap_or("+0");
                fs::write(file, jump)?;
                (format!("puts the clock of {} {jump}", self.named(self.fleet.size() - 1)), incident)
            }
            Fault::Outage => {
                let incident = lasts(soon(dice, 500..4_000));
                if dice.random() {
                    self.ingress.shut();
                    ("refuses connections to the fee server".to_owned(), incident)
                } else {
                    self.fee_server.down().await?;
                    ("takes the fee server away behind its ingress".to_owned(), incident)
                }
            }
            Fault::Pages => {
                let incident = lasts(soon(dice, 1_000..4_000));
                let page = Page::ALL.choose(dice).copied();
                self.ingress.change(|mood| mood.page = page);
                (format!("lets the ingress answer {page:?}"), incident)
            }
            Fault::Throttle => {
                let incident = lasts(soon(dice, 1_000..4_000));
                let seconds = dice.random_range(1..=RETRY_AFTER_MAX.as_secs());
                self.ingress.change(|mood| mood.retry_after = Some(seconds));
                (format!("throttles, Retry-After: {seconds}"), incident)
            }
            Fault::DiskFull => {
                let incident = lasts(soon(dice, 500..3_000));
                let bytes = dice.random_range(4_096..200_000);
                self.fleet.limit_files(place, Some(bytes))?;
                (format!("lets no file of {} grow beyond {bytes} bytes", self.named(place)), incident)
            }
            Fault::DatabaseCrash => {
                let Some(command) = self.plan.database_restart.clone() else { return Ok(None) };
                restart(command).await?;
                ("crashed the database, and started it".to_owned(), None)
            }
            _ => return self.begin_at_database(fault, dice).await,
        };
        Ok(Some(begun))
    }

    async fn begin_at_database(
        &mut self,
        fault: Fault,
        dice: &mut impl Rng,
    ) -> anyhow::Result<Option<(String, Option<Incident>)>> {
        let lasts = |until| Some(Incident { until, fault, place: 0 });
        if fault == Fault::Conflict {
            let until = soon(dice, 2_000..5_000);
            self.sabotage.conflicts(true).await?;
            let rival = self.sabotage.clone();
            tokio::spawn(async move { rival.rival(until).await });
            return Ok(Some(("lets transactions conflict".to_owned(), lasts(until))));
        }
        let Some(network) = &self.network else { return Ok(None) };
        let begun = match fault {
            Fault::DatabaseSlow => {
                let until = soon(dice, 2_000..6_000);
                let delay = Duration::from_millis(dice.random_range(5..=50));
                network.delay(delay);
                (format!("puts the database {} away", humantime::format_duration(delay)), lasts(until))
            }
            Fault::DatabaseCut => {
                if dice.random() {
                    network.cut();
                    ("cuts the connections to the database".to_owned(), None)
                } else {
                    self.sabotage.end_sessions().await?;
                    ("has the database end all sessions".to_owned(), None)
                }
            }
            Fault::CommitCut => {
                let until = soon(dice, 1_000..3_000);
                network.cut_commits(COMMITS_CUT);
                ("cuts connections around COMMIT".to_owned(), lasts(until))
            }
            Fault::DatabaseSilent => {
                let until = soon(dice, 1_000..4_000);
                network.silence(true);
                ("lets the way to the database swallow everything".to_owned(), lasts(until))
            }
            Fault::ReadOnly => {
                let until = soon(dice, 1_000..4_000);
                self.sabotage.read_only(true).await?;
                ("makes the database read-only".to_owned(), lasts(until))
            }
            _ => return Ok(None),
        };
        Ok(Some(begun))
    }

    /// Ends what has begun.
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
                self.ingress.open();
                self.fee_server.up().await?;
            }
            (Fault::Pages, _) => self.ingress.change(|mood| mood.page = None),
            (Fault::Throttle, _) => self.ingress.change(|mood| mood.retry_after = None),
            (Fault::DiskFull, _) => self.fleet.limit_files(place, None)?,
            (Fault::Conflict, _) => self.sabotage.conflicts(false).await?,
            (Fault::ReadOnly, _) => self.sabotage.read_only(false).await?,
            (Fault::DatabaseSlow, Some(network)) => network.delay(Duration::ZERO),
            (Fault::CommitCut, Some(network)) => network.cut_commits(0.0),
            (Fault::DatabaseSilent, Some(network)) => network.silence(false),
            _ => {}
        }
        Ok(())
    }

    fn kill(&mut self, place: usize, dice: &mut impl Rng) -> anyhow::Result<String> {
        let told = if dice.random_range(0..4) == 0 {
            self.fleet.kill()?;
            "kills them all".to_owned()
        } else {
            self.fleet.kill_one(place)?;
            format!("kills {}", self.named(place))
        };
        self.fleet.start()?;
        Ok(told)
    }

    fn named(&self, place: usize) -> String {
        match self.fleet.role(place) {
            Role::Serve => "the service".to_owned(),
            Role::Worker => format!("worker {place}"),
        }
    }
}

/// An instant so many milliseconds from now.
fn soon(dice: &mut impl Rng, range: Range<u64>) -> Instant {
    Instant::now() + Duration::from_millis(dice.random_range(range))
}

/// Runs the operator's command, which returns when the database is on its way up again.
async fn restart(command: String) -> anyhow::Result<()> {
    let run = tokio::task::spawn_blocking(move || Command::new("sh").args(["-c", &command]).status());
    let status = timeout(RESTART_LIMIT, run).await.context("--database-restart does not end")??;
    ensure!(status.is_ok_and(|status| status.success()), "--database-restart failed");
    Ok(())
}
