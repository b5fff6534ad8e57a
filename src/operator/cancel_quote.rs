//! Cancelling a quote as an operator.

use serde_json::json;
use uuid::Uuid;

use super::{Operator, actions, actions::NewAction};
use crate::{
    database::Database,
    quotes::{self, CancelError, Cancellation, Quote},
    submission::Submission,
};

/// As [`Submission::cancel`], together with an entry in the log of actions. Cancelling twice is one cancellation and one
/// entry.
///
/// # Errors
/// See [`CancelError`]; nothing is changed.
pub async fn cancel_quote(
    db: &Database,
    submission: &Submission,
    operator: Operator<'_>,
    id: Uuid,
    trace_context: Option<&str>,
) -> Result<Quote, CancelError> {
    let (relay, cancellation) =
        (submission.relay(), Cancellation::of(id, operator.reason, trace_context).by(operator.name));
    let cancelled = db.transaction(|txn| {
        Box::pin(async move {
            let now = db.now(&*txn).await?;
            let quote = quotes::cancel(&txn, relay, cancellation, now).await?;
            let target = id.to_string();
            let action = NewAction { action: "quote.cancel", target, quote_id: Some(id), details: json!({}) };
            actions::record(&txn, operator, now, vec![action]).await?;
            Ok(quote)
        })
    });
    let cancelled = cancelled.await;
    if cancelled.is_ok() {
        actions::log(operator, "quote.cancel", id);
    }
    submission.after_cancellation(cancelled).await
}
