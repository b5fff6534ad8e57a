//! Compares the outbox with Kafka's topics, in both directions.
//!
//! The topics are read partition by partition, and the events of each batch are looked up here *after* it came, in a consistent read of
//! their own: a record cannot be in a topic before its event is stored. Of each record that is where its event's receipt says, eight
//! bytes are kept in memory, a hash, to find the delivered events whose records are not; that is 8 MB for a million records, and
//! `created_after` bounds it further. The place of such an event is read once more before it is called a violation.
//!
//! What the topics' retention or compaction has removed is counted, and so are records whose events our own retention has deleted.

use std::{
    collections::{HashMap, HashSet},
    hash::{BuildHasher, RandomState},
    time::Duration,
};

use chrono::{DateTime, Utc};
use entity::{
    outbox_event::{self, Column},
    quote,
};
use sea_orm::{ColumnTrait, ConnectionTrait, DbErr, EntityTrait, QueryFilter, QueryOrder, QuerySelect};
use serde_json::Value;
use uuid::Uuid;

use super::{KafkaProgress, KafkaReport, Violation, slice::kept_since};
use crate::{
    database::Database,
    destination::kafka::{Batch, Found, KafkaLedger, KafkaLedgerError, ListedRecord, Place, topic_called},
    outbox::EventStatus,
    printable::printable,
    quotes::{KAFKA, QUOTE_SUBMITTED},
};

/// The name of the check: the comparison with the topics.
const CHECK: &str = "kafka_topics";
/// How much of a record's own text is shown, in characters.
const TEXT_LENGTH_MAX: usize = 80;
/// Events that are read together.
const PAGE_SIZE: u64 = 1_000;

/// Why a comparison with Kafka was not finished.
#[derive(Debug, thiserror::Error)]
pub enum KafkaAuditError {
    /// The topics can't be read.
    #[error(transparent)]
    Ledger(#[from] KafkaLedgerError),
    /// The database failed.
    #[error("the database failed")]
    Database(#[from] DbErr),
}

/// Compares what was delivered to Kafka with what `ledger` holds. It must have been opened a moment ago; events that were stored before
/// `created_after` are left out. `delivered_for` is how long retention keeps settled events.
///
/// # Errors
/// See [`KafkaAuditError`]; then the comparison has no result.
pub async fn audit_kafka(
    db: &Database,
    ledger: &KafkaLedger,
    delivered_for: Duration,
    created_after: Option<DateTime<Utc>>,
    mut found: impl FnMut(Violation),
    mut progress: impl FnMut(KafkaProgress),
) -> Result<KafkaReport, KafkaAuditError> {
    let begun = db.now(db.connection()).await?;
    let mut audit = Comparison { report: KafkaReport::new(begun), seen: Seen::default(), created_after };
    let (mut reading, mut read, of) = (ledger.read(), 0, ledger.len_max());
    while let Some(batch) = reading.next().await? {
        let known = Known::of(db, &batch, delivered_for).await?;
        for record in &batch.records {
            audit.compare(&known, record, &mut found);
        }
        audit.report.of_others += batch.of_others;
        read += batch.records.len() as u64 + batch.of_others;
        progress(KafkaProgress { read, of });
    }
    audit.seen.hashes.sort_unstable();
    audit.missing(db, ledger, begun, &mut found).await?;
    Ok(audit.report)
}

struct Comparison {
    report: KafkaReport,
    seen: Seen,
    created_after: Option<DateTime<Utc>>,
}

/// Hashes of the records that were where their events' receipts say.
#[derive(Default)]
struct Seen {
    hasher: RandomState,
    hashes: Vec<u64>,
}

impl Seen {
    fn note(&mut self, id: Uuid, place: Option<Place>) {
        self.hashes.push(self.hasher.hash_one((id, place)));
    }

    /// Once sorted.
    fn has(&self, id: Uuid, place: Option<Place>) -> bool {
        self.hashes.binary_search(&self.hasher.hash_one((id, place))).is_ok()
    }
}

/// What is known here about the events of some records.
struct Known {
    events: HashMap<Uuid, KnownEvent>,
    /// Of records without an event: quotes that exist and go to Kafka.
    quotes: HashSet<Uuid>,
    /// Events that were settled before may have been deleted.
    kept_since: DateTime<Utc>,
}

struct KnownEvent {
    quote_id: Uuid,
    event_type: String,
    destination: String,
    status: EventStatus,
    /// An attempt was made, or may have been.
    attempted: bool,
    receipt: Option<Value>,
}

type Row = (Uuid, Uuid, String, String, EventStatus, i32, bool, Option<String>, Option<Value>);

impl Known {
    async fn of(db: &Database, batch: &Batch, delivered_for: Duration) -> Result<Self, DbErr> {
        let txn = db.snapshot().await?;
        let kept_since = kept_since(&*txn, delivered_for, db.now(&*txn).await?).await?;
        let ids: HashSet<_> = batch.records.iter().filter_map(|record| record.event_id).collect();
        let rows: Vec<Row> = outbox_event::Entity::find()
            .select_only()
            .columns([Column::Id, Column::AggregateId, Column::EventType, Column::Destination, Column::Status])
            .columns([Column::Attempts, Column::OutcomeUnknown, Column::LastError, Column::Receipt])
            .filter(Column::Id.is_in(ids.iter().copied()))
            .into_tuple()
            .all(&*txn)
            .await?;
        let mut events = HashMap::new();
        for (id, quote_id, event_type, destination, status, attempts, unknown, last_error, receipt) in rows {
            let attempted = attempts > 0 || unknown || last_error.is_some() || status != EventStatus::Cancelled;
            events.insert(id, KnownEvent { quote_id, event_type, destination, status, attempted, receipt });
        }
        let orphans = batch.records.iter().filter(|it| it.event_id.is_none_or(|id| !events.contains_key(&id)));
        let orphans: HashSet<Uuid> = orphans.filter_map(|record| record.key.parse().ok()).collect();
        let mut quotes = HashSet::new();
        if !orphans.is_empty() {
            let found: Vec<Uuid> = quote::Entity::find()
                .select_only()
                .column(quote::Column::Id)
                .filter(quote::Column::Id.is_in(orphans))
                .filter(quote::Column::Destination.eq(KAFKA.as_str()))
                .into_tuple()
                .all(&*txn)
                .await?;
            quotes.extend(found);
        }
        Ok(Self { events, quotes, kept_since })
    }

    /// Whether a record without an event is in order: the event may have been deleted, or the quote was sent without an outbox.
    fn may_lack(&self, record: &ListedRecord) -> bool {
        let is_old = record.created_at.is_none_or(|at| at < self.kept_since);
        let quote_id = record.key.parse::<Uuid>().ok();
        let by_no_outbox = record.event_type == QUOTE_SUBMITTED.as_str()
            && quote_id.is_some_and(|quote_id| self.quotes.contains(&quote_id));
        is_old || by_no_outbox
    }
}

impl Comparison {
    fn compare(&mut self, known: &Known, record: &ListedRecord, found: &mut impl FnMut(Violation)) {
        // Reading begins somewhat before that time.
        if self.created_after.is_some_and(|after| record.created_at.is_some_and(|at| at <= after)) {
            return;
        }
        self.report.report.checked += 1;
        let event = record.event_id.and_then(|id| Some((id, known.events.get(&id)?)));
        let Some((id, event)) = event else {
            if known.may_lack(record) {
                self.report.without_event += 1;
            } else {
                self.tell(found, denied(record, "the outbox has no such event"));
            }
            return;
        };
        let KnownEvent { quote_id, event_type, destination, .. } = event;
        let is_same = record.key == quote_id.to_string() && record.event_type == *event_type;
        if !is_same || *destination != KAFKA {
            let wrong = format!("in the outbox it is {event_type} of quote {quote_id} for {destination}");
            self.tell(found, denied(record, &wrong));
        } else if !event.attempted {
            self.tell(found, denied(record, "it was cancelled before it was sent"));
        }
        if event.status != EventStatus::Delivered {
            return;
        }
        match place_of(event.receipt.as_ref()) {
            Some(place) if place == record.place => self.seen.note(id, Some(place)),
            Some(_) => self.report.repeated += 1,
            None => self.seen.note(id, None),
        }
    }

    /// Events that were delivered before the topics were read, and whose records were not where they should be.
    async fn missing(
        &mut self,
        db: &Database,
        ledger: &KafkaLedger,
        begun: DateTime<Utc>,
        found: &mut impl FnMut(Violation),
    ) -> Result<(), KafkaAuditError> {
        let (mut after, first_offsets) = (Uuid::nil(), ledger.first_offsets().await?);
        loop {
            let page = delivered(db.connection(), after, begun, self.created_after).await?;
            let Some((last, ..)) = page.last() else { return Ok(()) };
            after = *last;
            for (id, quote_id, receipt) in page {
                let place = place_of(receipt.as_ref());
                if self.seen.has(id, place) {
                    continue;
                }
                let Some(place) = place else {
                    self.report.unplaced += 1;
                    continue;
                };
                let Place { topic, partition, offset } = place;
                let is_removed = first_offsets.get(&(topic, partition)).is_some_and(|first| offset < *first);
                let instead = if is_removed { Found::Deleted } else { ledger.at(place).await? };
                let instead = match instead {
                    Found::Record(record) if record.event_id == Some(id) => continue,
                    Found::Deleted => {
                        self.report.removed += 1;
                        continue;
                    }
                    Found::Gap if ledger.is_compacted(topic) != Some(false) => {
                        self.report.removed += 1;
                        continue;
                    }
                    Found::Record(record) => format!("event {}", shown_id(&record)),
                    Found::Another => "a record of another".to_owned(),
                    Found::Gap | Found::Nothing => "nothing".to_owned(),
                };
                let sentence = format!(
                    "Kafka acknowledged event {id} of quote {quote_id} and does not have it: at offset {offset} of \
                     {topic}, partition {partition}, there is {instead}"
                );
                self.tell(found, Violation { promise: 2, check: CHECK, quote_id, sentence });
            }
        }
    }

    fn tell(&mut self, found: &mut impl FnMut(Violation), violation: Violation) {
        self.report.report.count(&violation);
        found(violation);
    }
}

/// A record that should not be there.
fn denied(record: &ListedRecord, wrong: &str) -> Violation {
    let Place { topic, partition, offset } = record.place;
    let (id, key) = (shown_id(record), printable(&record.key, TEXT_LENGTH_MAX));
    let sentence =
        format!("{topic} has event {id} of quote {key} at offset {offset} of partition {partition}: {wrong}");
    Violation { promise: 4, check: CHECK, quote_id: record.key.parse().unwrap_or_default(), sentence }
}

fn shown_id(record: &ListedRecord) -> String {
    record.event_id.map_or_else(|| "without an id".to_owned(), |id| id.to_string())
}

/// Where the brokers stored an event, if they said so.
fn place_of(receipt: Option<&Value>) -> Option<Place> {
    let receipt = receipt?;
    let topic = topic_called(receipt.get("topic")?.as_str()?)?;
    let partition = i32::try_from(receipt.get("partition")?.as_i64()?).ok()?;
    Some(Place { topic, partition, offset: receipt.get("offset")?.as_i64()? })
}

async fn delivered(
    db: &impl ConnectionTrait,
    after: Uuid,
    begun: DateTime<Utc>,
    created_after: Option<DateTime<Utc>>,
) -> Result<Vec<(Uuid, Uuid, Option<Value>)>, DbErr> {
    let mut query = outbox_event::Entity::find()
        .select_only()
        .columns([Column::Id, Column::AggregateId, Column::Receipt])
        .filter(Column::Id.gt(after))
        .filter(Column::Destination.eq(KAFKA.as_str()))
        .filter(Column::Status.eq(EventStatus::Delivered))
        .filter(Column::SettledAt.lt(begun));
    if let Some(created_after) = created_after {
        query = query.filter(Column::CreatedAt.gt(created_after));
    }
    query.order_by_asc(Column::Id).limit(PAGE_SIZE).into_tuple().all(db).await
}
