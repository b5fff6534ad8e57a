//! Having the promises checked.

use serde_json::json;

use super::{
    Operator, OperatorError,
    actions::{self, NewAction},
};
use crate::{audit, database::Database};

const ACTION: &str = "audit.run";

/// Asks the fleet to check the promises now. A check that is under way is not begun twice, and then nothing is written down.
///
/// # Errors
/// Any database error.
pub async fn request_audit(db: &Database, operator: Operator<'_>) -> Result<(), OperatorError> {
    let requested = db.transaction(|txn| {
        Box::pin(async move {
            let now = db.now(&*txn).await?;
            let is_new = audit::request(&txn, operator.name, now).await?;
            if is_new {
                let target = "audit".into();
                let action = NewAction { action: ACTION, target, quote_id: None, details: json!({}) };
                actions::record(&txn, operator, now, vec![action]).await?;
            }
            Ok::<_, OperatorError>(is_new)
        })
    });
    if requested.await? {
        actions::log(operator, ACTION, "audit");
    }
    Ok(())
}
