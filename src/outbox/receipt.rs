//! What destinations hand back for a delivery and the event keeps, for example Kafka's partition and offset.

use entity::outbox_event::{Column, Entity};
use sea_orm::{
    ColumnTrait, DatabaseTransaction, DbErr, EntityTrait, QueryFilter,
    sea_query::{CaseStatement, Expr},
};
use serde::Serialize;
use serde_json::json;
use uuid::Uuid;

/// Keeps the receipt of each delivered event, in the transaction that settles them. One statement for all.
///
/// # Errors
/// What the database answers.
pub async fn keep_receipts<'a, R: Serialize + 'a>(
    txn: &DatabaseTransaction,
    receipts: impl Iterator<Item = (Uuid, &'a R)>,
) -> Result<(), DbErr> {
    let (mut ids, mut each) = (Vec::new(), CaseStatement::new());
    for (id, receipt) in receipts {
        ids.push(id);
        each = each.case(Column::Id.eq(id), Expr::val(json!(receipt)));
    }
    if ids.is_empty() {
        return Ok(());
    }
    let update = Entity::update_many().col_expr(Column::Receipt, each.into());
    update.filter(Column::Id.is_in(ids)).exec(txn).await.map(drop)
}
