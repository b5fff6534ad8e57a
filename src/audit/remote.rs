//! Compares the fee records with the fee server's own list, in both directions.
//!
//! The list is read page by page, and each page is looked up here *after* it came, in a consistent read of its own: a fee
//! cannot be on the list before its quote is stored. Of the fees on the list eight bytes each are kept in memory, a hash,
//! to find the records whose fees were not among them; that is 8 MB for a million fees, and `created_after` bounds it
//! further. Such a record is looked up once more before it is called a violation, so that two equal hashes, a list that
//! shifted between two pages and a fee that was voided meanwhile raise no false alarm.

use std::{
    collections::{HashMap, hash_map::Entry},
    hash::{BuildHasher, RandomState},
};

use chrono::{DateTime, Utc};
use entity::{
    fee_record,
    outbox_event::{self, Column as EventColumn},
    quote,
};
use sea_orm::{ColumnTrait, ConnectionTrait, DbErr, EntityTrait, QueryFilter, QueryOrder, QuerySelect, QueryTrait};
use uuid::Uuid;

use super::{Report, Violation, pages::Pages};
use crate::{
    database::Database,
    destination::{FeeServer, LedgerError, ListedFee},
    outbox::{EventStatus, EventType},
    printable::printable,
    quotes::{self, FEE_SERVER, QUOTE_CANCELLED, QUOTE_SUBMITTED, Status},
};

/// The name of the check: the comparison with the fee server's list.
const CHECK: &str = "fee_server_list";
/// Fees that are looked up together.
const BATCH_SIZE: usize = 500;
/// How much of a fee's id is shown, in characters.
const FEE_ID_LENGTH_MAX: usize = 128;
/// Records that are read together.
const PAGE_SIZE: u64 = 1_000;

/// Why a comparison with the fee server was not finished.
#[derive(Debug, thiserror::Error)]
pub enum RemoteAuditError {
    /// The fee server can't be read.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The database failed.
    #[error("the database failed")]
    Database(#[from] DbErr),
}

/// Compares with the fee server the fees that it made after `created_after`, by its own clock; all without it.
///
/// # Errors
/// See [`RemoteAuditError`]; then the comparison has no result.
pub async fn audit_remote(
    db: &Database,
    fee_server: &FeeServer,
    created_after: Option<DateTime<Utc>>,
    mut found: impl FnMut(Violation),
) -> Result<Report, RemoteAuditError> {
    let begun = db.now(db.connection()).await?;
    let mut report = Report::new(begun);
    let mut found = |violation: Violation| {
        report.count(&violation);
        found(violation);
    };
    let mut listed = Listed::default();
    let mut pages = Pages::new();
    loop {
        let asked = db.now(db.connection()).await?;
        let page = fee_server.page(created_after, pages.cursor()).await?;
        for fees in page.fees.chunks(BATCH_SIZE) {
            let known = Known::of(db, fees).await?;
            for fee in fees {
                listed.note(&fee.fee_id);
                if let Some(violation) = known.violation(fee, asked, &mut listed) {
                    found(violation);
                }
            }
        }
        if !pages.turn(page)? {
            break;
        }
    }
    listed.hashes.sort_unstable();
    missing(db, fee_server, &listed, begun, created_after, &mut found).await?;
    report.checked = listed.hashes.len() as u64;
    Ok(report)
}

/// The fees that the list held.
#[derive(Default)]
struct Listed {
    hasher: RandomState,
    hashes: Vec<u64>,
    /// Of quotes without a fee record, to find a second fee: as many as are in flight or lost.
    unrecorded: HashMap<Uuid, String>,
}

impl Listed {
    fn note(&mut self, fee_id: &str) {
        self.hashes.push(self.hasher.hash_one(fee_id));
    }

    /// Once sorted.
    fn has(&self, fee_id: &str) -> bool {
        self.hashes.binary_search(&self.hasher.hash_one(fee_id)).is_ok()
    }
}

/// What is known here about the quotes of some fees.
struct Known {
    quotes: HashMap<Uuid, Status>,
    records: HashMap<Uuid, (String, i64)>,
    events: HashMap<Uuid, Vec<KnownEvent>>,
}

struct KnownEvent {
    event_type: String,
    status: EventStatus,
    settled_at: Option<DateTime<Utc>>,
}

impl Known {
    async fn of(db: &Database, fees: &[ListedFee]) -> Result<Self, DbErr> {
        let ids: Vec<_> = fees.iter().map(|fee| fee.quote_id).collect();
        let txn = db.snapshot().await?;
        let quotes: Vec<(Uuid, Status)> = quote::Entity::find()
            .select_only()
            .columns([quote::Column::Id, quote::Column::Status])
            .filter(quote::Column::Id.is_in(ids.iter().copied()))
            .into_tuple()
            .all(&*txn)
            .await?;
        let records = fee_record::Entity::find()
            .filter(fee_record::Column::QuoteId.is_in(ids.iter().copied()))
            .all(&*txn)
            .await?;
        let rows: Vec<(Uuid, String, EventStatus, Option<DateTime<Utc>>)> = outbox_event::Entity::find()
            .select_only()
            .columns([EventColumn::AggregateId, EventColumn::EventType, EventColumn::Status, EventColumn::SettledAt])
            .filter(EventColumn::AggregateId.is_in(ids))
            .filter(EventColumn::Destination.eq(FEE_SERVER.as_str()))
            .into_tuple()
            .all(&*txn)
            .await?;
        let mut events = HashMap::<_, Vec<_>>::new();
        for (quote_id, event_type, status, settled_at) in rows {
            events.entry(quote_id).or_default().push(KnownEvent { event_type, status, settled_at });
        }
        let records = records.into_iter().map(|record| (record.quote_id, (record.fee_id, record.amount_minor)));
        Ok(Self { quotes: quotes.into_iter().collect(), records: records.collect(), events })
    }

    /// What is wrong with a fee that was on the list when it was `asked` for.
    fn violation(&self, fee: &ListedFee, asked: DateTime<Utc>, listed: &mut Listed) -> Option<Violation> {
        let ListedFee { quote_id, fee_id, amount_minor } = fee;
        let shown = printable(fee_id, FEE_ID_LENGTH_MAX);
        let wrong = |promise, wrong: String| {
            let sentence = format!("the fee server has fee {shown} for quote {quote_id}: {wrong}");
            Some(Violation { promise, check: CHECK, quote_id: *quote_id, sentence })
        };
        let Some(status) = self.quotes.get(quote_id) else {
            return wrong(4, "there is no such quote".into());
        };
        match self.records.get(quote_id) {
            Some((recorded, _)) if recorded != fee_id => {
                return wrong(3, format!("another than fee {recorded} in the quote's fee record"));
            }
            Some((_, recorded)) if recorded != amount_minor => {
                return wrong(3, format!("of {amount_minor}, and the fee record says {recorded} minor units"));
            }
            Some(_) => {}
            None => match listed.unrecorded.entry(*quote_id) {
                Entry::Occupied(other) if other.get() != fee_id => {
                    return wrong(3, format!("besides fee {}", printable(other.get(), FEE_ID_LENGTH_MAX)));
                }
                Entry::Occupied(_) => {}
                Entry::Vacant(first) => {
                    first.insert(fee_id.clone());
                }
            },
        }
        if *status == Status::Cancelled {
            return if self.may_be_voided(*quote_id, asked) {
                None
            } else {
                wrong(4, "the quote was cancelled, and no event voids the fee any more".into())
            };
        }
        if self.records.contains_key(quote_id) || self.may_be_recorded(*quote_id) {
            return None;
        }
        wrong(2, "there is neither a fee record nor an event that will bring one".into())
    }

    fn may_be_recorded(&self, quote_id: Uuid) -> bool {
        let unfinished = [EventStatus::Pending, EventStatus::Leased, EventStatus::Dead];
        self.events_of(quote_id, &QUOTE_SUBMITTED).any(|event| unfinished.contains(&event.status))
    }

    fn may_be_voided(&self, quote_id: Uuid, asked: DateTime<Utc>) -> bool {
        self.events_of(quote_id, &QUOTE_CANCELLED).any(|event| match event.status {
            EventStatus::Delivered => event.settled_at.is_some_and(|at| at >= asked),
            // One that an operator gave up was given up on purpose.
            EventStatus::Pending | EventStatus::Leased | EventStatus::Dead | EventStatus::Cancelled => true,
        })
    }

    fn events_of(&self, quote_id: Uuid, event_type: &EventType) -> impl Iterator<Item = &KnownEvent> {
        self.events.get(&quote_id).into_iter().flatten().filter(move |event| event.event_type == *event_type)
    }
}

/// Fee records, stored before the list was begun, whose fees were not on it.
async fn missing(
    db: &Database,
    fee_server: &FeeServer,
    listed: &Listed,
    begun: DateTime<Utc>,
    created_after: Option<DateTime<Utc>>,
    found: &mut impl FnMut(Violation),
) -> Result<(), RemoteAuditError> {
    let mut after = Uuid::nil();
    loop {
        let page = records(db.connection(), after, begun, created_after).await?;
        let Some((last, ..)) = page.last() else { return Ok(()) };
        after = *last;
        for (_, quote_id, fee_id) in page {
            if !listed.has(&fee_id) && is_missing(db, fee_server, quote_id, &fee_id).await? {
                let sentence = format!("the fee server does not know fee {fee_id} of quote {quote_id}'s fee record");
                found(Violation { promise: 2, check: CHECK, quote_id, sentence });
            }
        }
    }
}

async fn records(
    db: &impl ConnectionTrait,
    after: Uuid,
    begun: DateTime<Utc>,
    created_after: Option<DateTime<Utc>>,
) -> Result<Vec<(Uuid, Uuid, String)>, DbErr> {
    use fee_record::Column;
    let mut query = fee_record::Entity::find()
        .select_only()
        .columns([Column::Id, Column::QuoteId, Column::FeeId])
        .filter(Column::Id.gt(after))
        .filter(Column::CreatedAt.lt(begun))
        // The fee of a cancelled quote is voided, and so not on the list.
        .filter(
            Column::QuoteId.in_subquery(
                quote::Entity::find()
                    .select_only()
                    .column(quote::Column::Id)
                    .filter(quote::Column::Status.ne(Status::Cancelled))
                    .into_query(),
            ),
        );
    if let Some(created_after) = created_after {
        query = query.filter(Column::CalculatedAt.gt(created_after));
    }
    query.order_by_asc(Column::Id).limit(PAGE_SIZE).into_tuple().all(db).await
}

/// Looks up the fee once more: it may have been added behind our position, or the quote may have been cancelled meanwhile.
async fn is_missing(
    db: &Database,
    fee_server: &FeeServer,
    quote_id: Uuid,
    fee_id: &str,
) -> Result<bool, RemoteAuditError> {
    let fees = fee_server.fees_of(quote_id).await?.unwrap_or_default();
    if fees.iter().any(|fee| fee.fee_id == fee_id) {
        return Ok(false);
    }
    Ok(quotes::status(db.connection(), quote_id, None).await? != Some(Status::Cancelled))
}
