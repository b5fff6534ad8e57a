//! Pausing and resuming deliveries in the whole fleet.

use serde_json::json;

use super::{
    Operator, OperatorError,
    actions::{self, NewAction, PAUSE, RESUME},
};
use crate::{
    database::Database,
    outbox::{self, DestinationState, Pause},
    quotes::DESTINATIONS,
};

/// Pauses deliveries to `name` until [`resume`]; leased events are still delivered. Pausing a paused destination changes
/// nothing.
///
/// # Errors
/// [`OperatorError::NotFound`] for a destination that Feebox does not have.
pub async fn pause(db: &Database, operator: Operator<'_>, name: &str) -> Result<DestinationState, OperatorError> {
    set_pause(db, operator, name, true).await
}

/// Resumes deliveries to `name`. Resuming a destination that is not paused changes nothing.
///
/// # Errors
/// [`OperatorError::NotFound`] for a destination that Feebox does not have.
pub async fn resume(db: &Database, operator: Operator<'_>, name: &str) -> Result<DestinationState, OperatorError> {
    set_pause(db, operator, name, false).await
}

async fn set_pause(
    db: &Database,
    operator: Operator<'_>,
    name: &str,
    paused: bool,
) -> Result<DestinationState, OperatorError> {
    let no_such = || OperatorError::NotFound(format!("destination {name:?}"));
    if let Some(own) = DESTINATIONS.into_iter().find(|own| ***own == *name) {
        // A destination can be paused before the first worker runs.
        outbox::ensure_destinations(db, &[own]).await?;
    }
    let done = db.transaction(|txn| {
        Box::pin(async move {
            let now = db.now(&*txn).await?;
            let before = outbox::destination(&*txn, name).await?.ok_or_else(no_such)?;
            let pause = Pause { by: operator.name.into(), since: now, reason: operator.reason.map(str::to_owned) };
            let changes = outbox::set_pause(&txn, name, paused.then_some(&pause), now).await?;
            if changes {
                let action = NewAction {
                    action: if paused { PAUSE } else { RESUME },
                    target: name.into(),
                    quote_id: None,
                    details: json!({ "paused_before": before.paused }),
                };
                actions::record(&txn, operator, now, vec![action]).await?;
            }
            let state = outbox::destination(&*txn, name).await?.ok_or_else(no_such)?;
            Ok::<_, OperatorError>((state, changes))
        })
    });
    let (state, changes) = done.await?;
    if changes {
        actions::log(operator, if paused { PAUSE } else { RESUME }, name);
    }
    Ok(state)
}
