//! `feebox audit`

mod kafka;

use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

use chrono::{DateTime, Utc};
use clap::{ArgGroup, Args};
use serde::Serialize;
use uuid::Uuid;

use super::{Overrides, PROMISE_BROKEN, print};
use crate::{
    audit::{self, KafkaReport, NotPromised, Progress, Report, Violation},
    database::{Database, StaleReads},
    destination::FeeServer,
};

/// Most violations that a JSON document lists; all are counted.
const LISTED_MAX: usize = 10_000;
/// How often its progress is shown.
const SHOWN_EVERY: Duration = Duration::from_secs(2);

/// Options of `feebox audit`.
#[derive(Args, Debug)]
#[command(group = ArgGroup::new("elsewhere").multiple(true))]
pub struct Audit {
    /// Also compare with the fee server's list of fees
    #[arg(long, group = "elsewhere")]
    remote: bool,
    /// Also compare with the records in Kafka's topics (takes the right to read them)
    #[arg(long, group = "elsewhere")]
    kafka: bool,
    /// Compare only fees and events created after this time (RFC 3339; fees by the fee server's clock)
    #[arg(long, value_name = "TIME", requires = "elsewhere")]
    created_after: Option<DateTime<Utc>>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Document {
    local: Report,
    remote: Option<Report>,
    kafka: Option<KafkaReport>,
    not_promised: &'static [NotPromised],
    violations: Vec<Violation>,
}

impl Audit {
    pub(super) async fn run(self, overrides: Overrides) -> anyhow::Result<ExitCode> {
        let settings = overrides.settings()?;
        if self.kafka {
            kafka::refuse_without_brokers(&settings)?;
        }
        let db = Database::connect(&settings.database).await?;
        let reads = StaleReads::connect(&db, settings.database.replica.as_ref()).await?;
        let mut violations = Vec::new();
        let mut report = |violation: Violation| {
            if !self.json {
                say!("promise {} is broken: {}", violation.promise, violation.sentence);
            } else if violations.len() < LISTED_MAX {
                violations.push(violation);
            }
        };
        let mut shown = Instant::now();
        let show = |Progress { checked, through }: Progress| {
            if let Some(through) = through.filter(|_| shown.elapsed() >= SHOWN_EVERY) {
                shown = Instant::now();
                eprintln!("{checked} quotes checked, up to {through}{}", submitted_at(through));
            }
        };
        let local = audit::audit_showing(&reads, settings.retention.delivered_for, &mut report, show).await?;
        let remote = if self.remote {
            let fee_server = FeeServer::new(&settings.fee_server, 1)?;
            Some(audit::audit_remote(&db, &fee_server, self.created_after, &mut report).await?)
        } else {
            None
        };
        let kafka = if self.kafka {
            Some(kafka::compare(&db, &settings, self.created_after, &mut report).await?)
        } else {
            None
        };
        let elsewhere = remote.iter().chain(kafka.iter().map(|kafka| &kafka.report));
        let broken = local.violations + elsewhere.map(|report| report.violations).sum::<u64>();
        let not_promised = audit::not_promised(settings.submission.strategy);
        if self.json {
            print::json(&Document { local, remote, kafka, not_promised, violations })?;
        } else {
            print_summary(&local, remote.as_ref(), not_promised);
            kafka.iter().for_each(kafka::print);
        }
        Ok(if broken == 0 { ExitCode::SUCCESS } else { ExitCode::from(PROMISE_BROKEN) })
    }
}

/// The time that an id of version 7 begins with.
fn submitted_at(id: Uuid) -> String {
    let time = id.get_timestamp().and_then(|time| {
        let (seconds, nanoseconds) = time.to_unix();
        DateTime::from_timestamp(i64::try_from(seconds).ok()?, nanoseconds)
    });
    time.map_or_else(String::new, |time| format!(", of {}", time.format("%Y-%m-%d %H:%M UTC")))
}

fn print_summary(local: &Report, remote: Option<&Report>, not_promised: &[NotPromised]) {
    for NotPromised { promise, why } in not_promised {
        say!("this strategy does not keep promise {promise}: {why}");
    }
    for row in &local.ahead.named {
        say!("a clock ran ahead: {row}");
    }
    if local.ahead.rows > 0 {
        say!("{} rows have timestamps in the future", local.ahead.rows);
    }
    say!("{} quotes, {} broken promises", local.checked, local.violations);
    if let Some(as_of) = local.as_of {
        say!(
            "read from the replica: what was stored after {} may not have been checked",
            as_of.format("%Y-%m-%d %H:%M:%S UTC")
        );
    }
    if let Some(remote) = remote {
        say!("{} fees at the fee server, {} broken promises", remote.checked, remote.violations);
    }
}
