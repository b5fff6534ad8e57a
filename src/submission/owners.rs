//! Owners of quotes that an older version stored.
//!
//! v0.1.0 does not write who submitted a quote, but its `Idempotency-Key` is scoped to the token's name. The migration gives all
//! quotes that were stored before it an owner by that. What old processes store after it, while a fleet is replaced, gets one here:
//! when its submitter asks for it, or all at once by `feebox migrate owners`.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use entity::{
    idempotency_key::{Column as Key, Entity as Keys},
    outbox_event::{Column as Event, Entity as Events},
    quote::{Column as Quote, Entity as Quotes},
};
use sea_orm::{ColumnTrait, Condition, DbErr, EntityTrait, QueryFilter, QueryOrder, QuerySelect, sea_query::Expr};
use uuid::Uuid;

use crate::{
    crash,
    database::Database,
    outbox::{EventStatus, status_in},
};

/// Keys that are read at a time. One may stand for a batch of quotes, so a transaction takes [`QUOTES_MAX`] of them.
const KEYS_MAX: u64 = 500;
const QUOTES_MAX: usize = 500;

/// Gives quotes without an owner the one that their key names, and those of their events that wait a partner, so that they take
/// its turns. Returns how many quotes got one. `none` is the scope of keys that were stored where no tokens were configured: it is nobody's name.
///
/// It may be run at any time, and again. A quote that was submitted without a key stays without an owner.
///
/// # Errors
/// Any database error; owners that were given by then stay.
pub async fn give_owners(db: &Database, none: &str) -> Result<u64, DbErr> {
    let (mut given, mut last) = (0, None::<(String, String)>);
    loop {
        let mut keys = Keys::find()
            .select_only()
            .columns([Key::Scope, Key::Key, Key::QuoteIds])
            .filter(Key::Scope.ne(none))
            .order_by_asc(Key::Scope)
            .order_by_asc(Key::Key)
            .limit(KEYS_MAX);
        if let Some((scope, key)) = &last {
            let behind = Condition::all().add(Key::Scope.eq(scope)).add(Key::Key.gt(key));
            keys = keys.filter(Condition::any().add(Key::Scope.gt(scope)).add(behind));
        }
        let keys: Vec<(String, String, serde_json::Value)> = keys.into_tuple().all(db.connection()).await?;
        let Some((scope, key, _)) = keys.last() else { return Ok(given) };
        last = Some((scope.clone(), key.clone()));
        let mut of_owner: HashMap<&str, Vec<Uuid>> = HashMap::new();
        for (scope, _, ids) in &keys {
            of_owner.entry(scope).or_default().extend(ids_in(ids));
        }
        for (owner, ids) in of_owner {
            for ids in ids.chunks(QUOTES_MAX) {
                given += give(db, owner, ids).await?;
            }
        }
    }
}

/// Gives quote `id` its owner in the same way, if it has none. Returns whether it got one.
///
/// # Errors
/// Any database error; nothing is changed.
pub async fn give_owner(db: &Database, id: Uuid, none: &str) -> Result<bool, DbErr> {
    let unowned = Quotes::find_by_id(id).select_only().column(Quote::SubmittedAt).filter(Quote::SubmittedBy.is_null());
    let Some(stored_at) = unowned.into_tuple::<DateTime<Utc>>().one(db.connection()).await? else { return Ok(false) };
    // A key has the time of its quotes: they were stored by one transaction.
    let keys = Keys::find()
        .select_only()
        .columns([Key::Scope, Key::QuoteIds])
        .filter(Key::CreatedAt.eq(stored_at))
        .filter(Key::Scope.ne(none));
    for (owner, ids) in keys.into_tuple::<(String, serde_json::Value)>().all(db.connection()).await? {
        if ids_in(&ids).any(|found| found == id) {
            return Ok(give(db, &owner, &[id]).await? > 0);
        }
    }
    Ok(false)
}

/// The quotes that a key stands for. What is no id names none.
fn ids_in(ids: &serde_json::Value) -> impl Iterator<Item = Uuid> {
    ids.as_array().into_iter().flatten().filter_map(|id| id.as_str()?.parse().ok())
}

/// Those of these quotes that have no owner get this one.
async fn give(db: &Database, owner: &str, ids: &[Uuid]) -> Result<u64, DbErr> {
    let unowned = || Quotes::find().select_only().column(Quote::Id).filter(Quote::SubmittedBy.is_null());
    let ids: Vec<Uuid> =
        unowned().filter(Quote::Id.is_in(ids.iter().copied())).into_tuple().all(db.connection()).await?;
    if ids.is_empty() {
        return Ok(0);
    }
    let given = db.transaction(|txn| {
        let ids = &ids;
        Box::pin(async move {
            // A crash before the commit gives none of them an owner, so the next run finds them again.
            let quotes = Quotes::update_many()
                .col_expr(Quote::SubmittedBy, Expr::value(owner))
                .filter(Quote::Id.is_in(ids.iter().copied()))
                .filter(Quote::SubmittedBy.is_null());
            let given = quotes.exec(&*txn).await?.rows_affected;
            let waiting = Events::update_many()
                .col_expr(Event::Partner, Expr::value(owner))
                .filter(Event::AggregateId.is_in(ids.iter().copied()))
                .filter(status_in(&[EventStatus::Pending, EventStatus::Leased, EventStatus::Dead]))
                .filter(Event::Partner.eq(""));
            waiting.exec(&*txn).await?;
            crash::point("before-owners-commit");
            Ok::<_, DbErr>(given)
        })
    });
    let given = given.await?;
    crash::point("after-owners-commit");
    Ok(given)
}
