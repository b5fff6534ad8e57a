//! Taking a quote back, by an operator.

use serde_json::json;
use uuid::Uuid;

use super::{Operator, actions, actions::NewAction};
use crate::{
    database::Database,
    quotes::{Quote, Status},
    submission::{self, CancelError, Submission},
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
    let (relay, trace_context) = (submission.relay(), &trace_context);
    let cancelled = db.transaction(|txn| {
        Box::pin(async move {
            let now = db.now(&*txn).await?;
            let (from, trace_context) = ([Status::Pending, Status::Confirmed], trace_context.clone());
            let quote = submission::cancel(&txn, relay, id, &from, operator.reason, trace_context, now).await?;
            let target = id.to_string();
            let action = NewAction { action: "quote.cancel", target, quote_id: Some(id), details: json!({}) };
            actions::record(&txn, operator, now, vec![action]).await?;
            Ok(quote)
        })
    });
    match cancelled.await {
        Ok(quote) => {
            submission.after_cancellation(&quote).await;
            Ok(quote)
        }
        Err(CancelError::Before(quote)) => Ok(*quote),
        Err(error) => Err(error),
    }
}
