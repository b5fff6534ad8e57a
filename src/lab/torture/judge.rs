//! Holds the books against each other: what clients were told, what the database holds, what the fee server made.
//!
//! It runs in a process of its own, which has seen nothing of the run but the clients' book: what only a process that is
//! gone believed to be stored is not found here.

use std::{collections::HashMap, path::Path};

use anyhow::Context;
use entity::{
    outbox_event::{self, Status as EventStatus},
    quote,
};
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QuerySelect};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{clients::Submission, ingress::POISON};
use crate::{
    audit::{self, Violation},
    database::Database,
    destination::FeeServer,
    quotes::Status,
    settings::{Settings, Sources},
    strategy::RollbackSome,
};

/// What clients know, and where the fee server can be asked.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Testimony {
    pub fee_server: String,
    pub rollback_rate: f64,
    pub submissions: Vec<Submission>,
}

/// What the books say.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Finding {
    pub accepted: usize,
    pub stored: usize,
    pub confirmed: usize,
    pub cancelled: usize,
    /// Accepted quotes that are not stored, or have lost their fee.
    pub lost: usize,
    pub ghosts: usize,
    pub doubled: usize,
    /// Quotes that died, or were rejected, for another's fault.
    pub innocent_dead: usize,
    pub guilty_dead: usize,
    pub violations: Vec<Broken>,
}

/// A [`Violation`] that can be read again.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Broken {
    pub promise: u8,
    pub quote_id: Uuid,
    pub sentence: String,
}

impl From<Broken> for Violation {
    fn from(Broken { promise, quote_id, sentence }: Broken) -> Self {
        Self { promise, quote_id, sentence }
    }
}

/// Whatever is known of one stored quote.
struct Known {
    customer: String,
    status: Status,
    /// The error of an event that is dead.
    dead: Option<String>,
}

/// Reads the clients' book at `path` and holds it against `db` and the fee server.
///
/// # Errors
/// Any error of the file, the database and the fee server: no finding.
pub(super) async fn judge(path: &Path, db: &Database) -> anyhow::Result<Finding> {
    let book = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let testimony: Testimony = serde_json::from_slice(&book)?;
    let known = known(db).await?;
    let mut finding = Finding { stored: known.len(), ..Finding::default() };
    finding.confirmed = known.values().filter(|quote| quote.status == Status::Confirmed).count();
    finding.cancelled = known.values().filter(|quote| quote.status == Status::Cancelled).count();
    finding.audit(db, &testimony, &known).await?;
    let by_customer = by_customer(&known);
    for submission in &testimony.submissions {
        finding.hear(submission, &known, &by_customer);
        finding.look_for_ghosts(submission, testimony.rollback_rate, &by_customer);
    }
    for (id, quote) in &known {
        finding.judge_death(*id, quote);
    }
    Ok(finding)
}

async fn known(db: &Database) -> anyhow::Result<HashMap<Uuid, Known>> {
    use quote::Column;
    let quotes: Vec<(Uuid, String, Status)> = quote::Entity::find()
        .select_only()
        .columns([Column::Id, Column::CustomerId, Column::Status])
        .into_tuple()
        .all(db.connection())
        .await?;
    let dead: Vec<(Uuid, Option<String>)> = outbox_event::Entity::find()
        .select_only()
        .columns([outbox_event::Column::AggregateId, outbox_event::Column::LastError])
        .filter(outbox_event::Column::Status.eq(EventStatus::Dead))
        .into_tuple()
        .all(db.connection())
        .await?;
    let mut dead: HashMap<_, _> = dead.into_iter().collect();
    let known = |(id, customer, status)| {
        (id, Known { customer, status, dead: dead.remove(&id).map(Option::unwrap_or_default) })
    };
    Ok(quotes.into_iter().map(known).collect())
}

fn by_customer(known: &HashMap<Uuid, Known>) -> HashMap<&str, Vec<Uuid>> {
    let mut by_customer = HashMap::<_, Vec<_>>::new();
    for (id, quote) in known {
        by_customer.entry(quote.customer.as_str()).or_default().push(*id);
    }
    by_customer
}

impl Known {
    fn is_guilty(&self) -> bool {
        self.customer.starts_with(POISON)
    }
}

impl Finding {
    fn break_promise(&mut self, promise: u8, quote_id: Uuid, sentence: String) {
        self.violations.push(Broken { promise, quote_id, sentence });
    }

    async fn audit(
        &mut self,
        db: &Database,
        testimony: &Testimony,
        known: &HashMap<Uuid, Known>,
    ) -> anyhow::Result<()> {
        let settings = Settings::load(&Sources::overrides([("fee_server.base_url", testimony.fee_server.clone())]))?;
        let mut found = Vec::new();
        audit::audit(db, settings.retention.delivered_for, |violation| found.push(violation)).await?;
        let client = FeeServer::new(&settings.fee_server, 1)?;
        // The fee server never made a fee for the quotes that the ingress poisoned.
        let innocent = |violation: &Violation| !known.get(&violation.quote_id).is_some_and(Known::is_guilty);
        let mut remote = Vec::new();
        audit::audit_remote(db, &client, None, |violation| remote.push(violation)).await?;
        found.extend(remote.into_iter().filter(innocent));
        for Violation { promise, quote_id, sentence } in found {
            self.lost += usize::from(promise == 2);
            self.doubled += usize::from(promise == 3);
            self.ghosts += usize::from(promise == 4);
            self.break_promise(promise, quote_id, sentence);
        }
        Ok(())
    }

    /// What the client of one submission was told.
    fn hear(&mut self, submission: &Submission, known: &HashMap<Uuid, Known>, by_customer: &HashMap<&str, Vec<Uuid>>) {
        let accepted = submission.quotes();
        self.accepted += accepted.len();
        for id in &accepted {
            let Some(quote) = known.get(id) else {
                self.lost += 1;
                self.break_promise(9, *id, format!("quote {id} was accepted (201) and is not stored"));
                continue;
            };
            let cancelled = submission.cancelled == Some(*id);
            let may_be_cancelled = submission.cancelling == Some(*id);
            let is_as_told = match quote.status {
                Status::Confirmed => !cancelled,
                Status::Cancelled => may_be_cancelled,
                Status::Pending | Status::Rejected => quote.is_guilty() && !cancelled,
            };
            // One that died is told of with all that died.
            if !is_as_told && quote.status != Status::Rejected && quote.dead.is_none() {
                let told = if cancelled { "was cancelled (200)" } else { "was accepted (201)" };
                self.break_promise(2, *id, format!("quote {id} {told} and is {:?} at the end", quote.status));
            }
        }
        if submission.accepted.windows(2).any(|two| two[0] != two[1]) {
            let id = accepted.first().copied().unwrap_or_default();
            self.break_promise(9, id, format!("quote {id}: the same key was answered with other quotes: {accepted:?}"));
        }
        if submission.keyed || submission.hung_up > 0 {
            for customer in &submission.customers {
                let stored = by_customer.get(customer.as_str()).map_or(&[][..], Vec::as_slice);
                if let [first, second, ..] = stored {
                    let sentence = format!("one submission of {customer} is stored as {first} and as {second}");
                    self.break_promise(9, *first, sentence);
                }
            }
        }
    }

    /// What is stored although it was refused, or rolled back.
    fn look_for_ghosts(&mut self, submission: &Submission, rollback_rate: f64, stored: &HashMap<&str, Vec<Uuid>>) {
        let rollbacks = RollbackSome::new(rollback_rate);
        let rolled_back = submission.customers.iter().any(|customer| rollbacks.hits(customer));
        if !(rolled_back || submission.refused) {
            return;
        }
        for id in submission.customers.iter().filter_map(|customer| stored.get(customer.as_str())).flatten() {
            self.ghosts += 1;
            self.break_promise(4, *id, format!("quote {id} was refused or rolled back, and is stored"));
        }
    }

    fn judge_death(&mut self, id: Uuid, quote: &Known) {
        let died = match (&quote.dead, quote.status) {
            (Some(error), _) => format!("died: {error}"),
            (None, Status::Rejected) => "was rejected".to_owned(),
            _ => return,
        };
        if quote.is_guilty() {
            self.guilty_dead += 1;
            return;
        }
        self.innocent_dead += 1;
        self.break_promise(10, id, format!("quote {id} of {} {died}, for no fault of its own", quote.customer));
    }
}
