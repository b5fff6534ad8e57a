//! The first part of a bulk: which events it is about.

use entity::{
    bulk::{ActiveModel, Status},
    bulk_piece,
};
use sea_orm::{ActiveValue::Set, DbErr, EntityTrait};
use serde_json::json;
use uuid::Uuid;

use super::{Step, Which, end, filter, locked, save};
use crate::{
    crash,
    database::{Database, DatabaseTransaction},
    inspection::{self, EventFilter},
};

/// Events of a piece.
const PIECE: u64 = 500;
/// Events that are counted at a time.
const COUNTED: u64 = 5_000;

/// How many events there are.
pub(super) async fn count(db: &Database, which: &Which) -> Result<u64, DbErr> {
    let mut filter = match which {
        Which::Ids(ids) => return Ok(ids.len() as u64),
        Which::Matching(filter) => (**filter).clone(),
    };
    let mut count = 0;
    loop {
        let page = inspection::matching(db.connection(), &filter, COUNTED).await?;
        count += page.rows.len() as u64;
        if page.next.is_none() {
            return Ok(count);
        }
        filter.before = page.next;
    }
}

/// Collects a piece, newest first.
pub(super) async fn step(db: &Database, id: Uuid) -> Result<Step, DbErr> {
    let step = db.transaction(|txn| Box::pin(async move { step_in(&txn, db, id).await })).await;
    crash::point("after-collect-commit");
    step
}

async fn step_in(txn: &DatabaseTransaction, db: &Database, id: Uuid) -> Result<Step, DbErr> {
    let now = db.now(txn).await?;
    let Some(row) = locked(txn, id).await?.filter(|row| row.status == Status::Collecting) else {
        return Ok(Step::Again);
    };
    let (mut ids, next) = match filter::from_json(&row.filter) {
        Which::Ids(ids) => (ids, None),
        Which::Matching(filter) => {
            let filter = EventFilter { before: row.collected_to, ..*filter };
            let page = inspection::matching(txn, &filter, PIECE).await?;
            (page.rows, page.next)
        }
    };
    ids.sort_unstable();
    ids.dedup();
    let found = i64::try_from(ids.len()).unwrap_or(i64::MAX);
    let number = row.pieces + i32::from(found > 0);
    if found > 0 {
        let piece = bulk_piece::ActiveModel { bulk_id: Set(id), number: Set(number), event_ids: Set(json!(ids)) };
        bulk_piece::Entity::insert(piece).exec_without_returning(txn).await?;
    }
    let collected = ActiveModel {
        status: Set(if next.is_some() { Status::Collecting } else { Status::Running }),
        matched: Set(row.matched + found),
        pieces: Set(number),
        collected_to: Set(next),
        updated_at: Set(now),
        ..Default::default()
    };
    save(txn, id, collected).await?;
    if next.is_none() && number == 0 {
        end(txn, id, Status::Finished, now).await?;
    }
    Ok(Step::Again)
}
