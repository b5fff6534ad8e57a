//! Taking a quote back, by an operator.

use serde_json::json;
use uuid::Uuid;

use super::{Operator, actions, actions::NewAction};
use crate::{
    database::Database,
    quotes::{Quote, Status},
    submission::{self, CancelError, Cancelled, Submission},
};

/// As [`Submission::cancel`], with a line in the log of what operators did. Cancelling twice is one cancellation, and one
/// line.
///
/// # Errors
/// See [`CancelError`]; nothing is changed.
pub async fn cancel_quote(
    db: &Database,
    submission: &Submission,
    operator: Operator<'_>,
    id: Uuid,
    trace_context: Option<String>,
) -> Result<Quote, CancelError> {
    let txn = db.begin().await?;
    let now = db.now(&*txn).await?;
    let from = [Status::Pending, Status::Confirmed];
    match submission::cancel(&txn, submission.relay(), id, &from, operator.reason, trace_context, now).await? {
        Cancelled::Now(quote) => {
            let target = id.to_string();
            let action = NewAction { action: "quote.cancel", target, quote_id: Some(id), details: json!({}) };
            actions::record(&txn, operator, now, vec![action]).await?;
            txn.commit().await?;
            submission.after_cancellation(&quote).await;
            Ok(quote)
        }
        Cancelled::Before(quote) => Ok(quote),
    }
}
