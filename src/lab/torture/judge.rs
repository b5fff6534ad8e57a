//! Compares the books: what clients saw, what the database holds, what the fee server made.
//!
//! It runs in a separate process that knows only the clients' book. It cannot find anything that only a dead process
//! believed to be stored.

use std::{collections::HashMap, path::Path};

use anyhow::Context;
#[cfg(feature = "kafka")]
use chrono::TimeDelta;
use entity::{
    outbox_event::{self, Status as EventStatus},
    quote,
};
#[cfg(feature = "kafka")]
use sea_orm::QueryOrder;
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QuerySelect};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{clients::Submission, ingress::POISON};
#[cfg(feature = "kafka")]
use crate::destination::kafka::KafkaLedger;
use crate::{
    audit::{self, Violation},
    database::Database,
    destination::FeeServer,
    quotes::Status,
    settings::{Settings, Sources},
    strategy::RollbackSome,
};

/// What clients know, and where to ask the fee server.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct ClientBook {
    pub fee_server: String,
    #[serde(default)]
    pub kafka_brokers: Option<String>,
    pub rollback_rate: f64,
    pub submissions: Vec<Submission>,
}

/// What the judge found.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Finding {
    /// Quotes whose submission was answered with 201.
    pub accepted: usize,
    /// Quotes that are stored: the accepted ones, and some whose client got no answer.
    pub stored: usize,
    /// Quotes with a fee.
    pub confirmed: usize,
    /// Cancelled quotes.
    pub cancelled: usize,
    /// Accepted quotes that are not stored, or whose fee no event will bring.
    pub lost: usize,
    /// Fees beyond a quote's first, at the fee server or as records.
    pub doubled: u64,
    /// Fees or stored quotes of submissions that were refused, rolled back or cancelled.
    pub ghosts: usize,
    /// Quotes that died or were rejected because of another.
    pub innocent_dead: usize,
    /// Poison quotes that died, which is allowed.
    pub guilty_dead: usize,
    /// Broken promises.
    pub violations: Vec<Broken>,
}

/// A [`Violation`] that can be deserialised.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Broken {
    /// The promise's number.
    pub promise: u8,
    /// The quote.
    pub quote_id: Uuid,
    /// What happened.
    pub sentence: String,
}

/// What the database knows about one quote.
struct StoredQuote {
    customer: String,
    status: Status,
    /// The last error of a dead event.
    dead: Option<String>,
}

/// Compares the clients' book at `path` with `db` and the fee server.
///
/// # Errors
/// Any error of the file, the database or the fee server: there is no finding.
pub(super) async fn judge(path: &Path, db: &Database) -> anyhow::Result<Finding> {
    let book = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let book: ClientBook = serde_json::from_slice(&book)?;
    let known = known(db).await?;
    let mut finding = Finding { stored: known.len(), ..Finding::default() };
    finding.confirmed = known.values().filter(|quote| quote.status == Status::Confirmed).count();
    finding.cancelled = known.values().filter(|quote| quote.status == Status::Cancelled).count();
    finding.audit(db, &book, &known).await?;
    let by_customer = by_customer(&known);
    for submission in &book.submissions {
        finding.check_submission(submission, &known, &by_customer);
        finding.check_ghosts(submission, book.rollback_rate, &by_customer);
    }
    for (id, quote) in &known {
        finding.check_dead(*id, quote);
    }
    Ok(finding)
}

async fn known(db: &Database) -> anyhow::Result<HashMap<Uuid, StoredQuote>> {
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
        (id, StoredQuote { customer, status, dead: dead.remove(&id).map(Option::unwrap_or_default) })
    };
    Ok(quotes.into_iter().map(known).collect())
}

fn by_customer(known: &HashMap<Uuid, StoredQuote>) -> HashMap<&str, Vec<Uuid>> {
    let mut by_customer = HashMap::<_, Vec<_>>::new();
    for (id, quote) in known {
        by_customer.entry(quote.customer.as_str()).or_default().push(*id);
    }
    by_customer
}

/// What the topics lack, or have and should not.
#[cfg(feature = "kafka")]
async fn in_topics(db: &Database, brokers: &str) -> anyhow::Result<Vec<Violation>> {
    let settings = Settings::load(&Sources::overrides([("kafka.brokers", brokers)]))?;
    // Other runs have left their records there.
    let begun = quote::Entity::find().order_by_asc(quote::Column::Id).one(db.connection()).await?;
    let begun = begun.map(|quote| quote.submitted_at - TimeDelta::seconds(1));
    let ledger = KafkaLedger::open(&settings.kafka, begun).await?;
    let mut found = Vec::new();
    let tell = |violation| found.push(violation);
    audit::audit_kafka(db, &ledger, settings.retention.delivered_for, begun, tell, |_| ()).await?;
    Ok(found)
}

impl StoredQuote {
    fn is_poison(&self) -> bool {
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
        book: &ClientBook,
        known: &HashMap<Uuid, StoredQuote>,
    ) -> anyhow::Result<()> {
        let settings = Settings::load(&Sources::overrides([("fee_server.base_url", book.fee_server.clone())]))?;
        let mut found = Vec::new();
        audit::audit(db, settings.retention.delivered_for, |violation| found.push(violation)).await?;
        let client = FeeServer::new(&settings.fee_server, 1)?;
        // The ingress answered for poison quotes, so the fee server has no fees for them.
        let innocent = |violation: &Violation| !known.get(&violation.quote_id).is_some_and(StoredQuote::is_poison);
        let mut remote = Vec::new();
        audit::audit_remote(db, &client, None, |violation| remote.push(violation)).await?;
        found.extend(remote.into_iter().filter(innocent));
        #[cfg(feature = "kafka")]
        if let Some(brokers) = &book.kafka_brokers {
            found.extend(in_topics(db, brokers).await?);
        }
        for Violation { promise, quote_id, sentence, .. } in found {
            self.lost += usize::from(promise == 2);
            self.doubled += u64::from(promise == 3);
            self.ghosts += usize::from(promise == 4);
            self.break_promise(promise, quote_id, sentence);
        }
        Ok(())
    }

    /// Compares the database with what the client of one submission saw.
    fn check_submission(
        &mut self,
        submission: &Submission,
        known: &HashMap<Uuid, StoredQuote>,
        by_customer: &HashMap<&str, Vec<Uuid>>,
    ) {
        let accepted = submission.quotes();
        self.accepted += accepted.len();
        for id in &accepted {
            let Some(quote) = known.get(id) else {
                self.lost += 1;
                self.break_promise(9, *id, format!("quote {id} was accepted (201) but is not stored"));
                continue;
            };
            let cancelled = submission.cancelled == Some(*id);
            let may_be_cancelled = submission.cancelling == Some(*id);
            let is_as_expected = match quote.status {
                Status::Confirmed => !cancelled,
                Status::Cancelled => may_be_cancelled,
                Status::Pending | Status::Rejected => quote.is_poison() && !cancelled,
            };
            // Dead and rejected quotes are reported by `check_dead`.
            if !is_as_expected && quote.status != Status::Rejected && quote.dead.is_none() {
                let what = if cancelled { "was cancelled (200)" } else { "was accepted (201)" };
                self.break_promise(2, *id, format!("quote {id} {what} but is {:?} at the end", quote.status));
            }
        }
        if submission.accepted.windows(2).any(|two| two[0] != two[1]) {
            let id = accepted.first().copied().unwrap_or_default();
            self.break_promise(
                9,
                id,
                format!("quote {id}: the same key was answered with different quotes: {accepted:?}"),
            );
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

    /// Finds quotes that are stored although they were refused or rolled back.
    fn check_ghosts(&mut self, submission: &Submission, rollback_rate: f64, stored: &HashMap<&str, Vec<Uuid>>) {
        let rollbacks = RollbackSome::new(rollback_rate);
        let rolled_back = submission.customers.iter().any(|customer| rollbacks.hits(customer));
        if !(rolled_back || submission.refused) {
            return;
        }
        for id in submission.customers.iter().filter_map(|customer| stored.get(customer.as_str())).flatten() {
            self.ghosts += 1;
            self.break_promise(4, *id, format!("quote {id} was refused or rolled back, but is stored"));
        }
    }

    fn check_dead(&mut self, id: Uuid, quote: &StoredQuote) {
        let died = match (&quote.dead, quote.status) {
            (Some(error), _) => format!("died: {error}"),
            (None, Status::Rejected) => "was rejected".to_owned(),
            _ => return,
        };
        if quote.is_poison() {
            self.guilty_dead += 1;
            return;
        }
        self.innocent_dead += 1;
        self.break_promise(10, id, format!("quote {id} of {} {died}, for another's fault", quote.customer));
    }
}
