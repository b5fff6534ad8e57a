//! What an event keeps of its delivery: how long it took, and what the destination handed back, for example an HTTP status,
//! or Kafka's partition and offset.

use entity::outbox_event::Column;
use sea_orm::{
    ColumnTrait,
    sea_query::{CaseStatement, Expr},
};
use serde_json::{Map, Value};

use super::{Attempt, Outcome};

/// What a destination hands back for a delivery.
pub trait Receipt {
    /// What its event keeps of it.
    fn kept(&self) -> Map<String, Value> {
        Map::new()
    }
}

impl Receipt for () {}

/// The receipt of each delivered event: one expression for all, so that they are stored by the statement that marks the
/// events, and each row is written once. As `padded` does it, the last one is repeated up to a power of two.
pub(super) fn receipts<R: Receipt>(attempts: &[&Attempt<R>]) -> Expr {
    let padding = attempts.last().into_iter().cycle();
    let padded = attempts.iter().chain(padding).take(attempts.len().next_power_of_two());
    let each = padded
        .fold(CaseStatement::new(), |each, attempt| each.case(Column::Id.eq(attempt.event.id), Expr::val(of(attempt))));
    each.into()
}

fn of<R: Receipt>(attempt: &Attempt<R>) -> Value {
    let mut fields = match &attempt.outcome {
        Outcome::Delivered(receipt) => receipt.kept(),
        _ => Map::new(),
    };
    fields.insert("duration_ms".to_owned(), attempt.took_ms().into());
    Value::Object(fields)
}
