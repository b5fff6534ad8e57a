//! Pausing, resuming and limiting deliveries in the whole fleet.

use serde_json::json;

use super::{
    Operator, OperatorError,
    actions::{self, LIMIT, NewAction, PAUSE, RESUME},
};
use crate::{
    database::Database,
    outbox::{self, DestinationState, LimitsChange, Pause},
    quotes::{DESTINATIONS, is_lane},
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
    let no_such = || no_such(name);
    ensure(db, name).await?;
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

/// Changes the limits of the fleet for `name`: they hold within a second. A change to what is in force already changes nothing.
///
/// # Errors
/// [`OperatorError::NotFound`] for a destination that Feebox does not have.
pub async fn limit(
    db: &Database,
    operator: Operator<'_>,
    name: &str,
    change: LimitsChange,
) -> Result<DestinationState, OperatorError> {
    ensure(db, name).await?;
    let done = db.transaction(|txn| {
        Box::pin(async move {
            let now = db.now(&*txn).await?;
            let set = outbox::set_limits(&txn, name, change, now).await?;
            let (before, limits) = set.ok_or_else(|| no_such(name))?;
            if limits != before {
                let details = json!({ "limits": limits, "limits_before": before });
                let action = NewAction { action: LIMIT, target: name.into(), quote_id: None, details };
                actions::record(&txn, operator, now, vec![action]).await?;
            }
            let state = outbox::destination(&*txn, name).await?.ok_or_else(|| no_such(name))?;
            Ok::<_, OperatorError>((state, limits != before))
        })
    });
    let (state, changes) = done.await?;
    if changes {
        actions::log(operator, LIMIT, name);
    }
    Ok(state)
}

/// A destination can be paused or limited before the first worker runs.
async fn ensure(db: &Database, name: &str) -> Result<(), OperatorError> {
    if is_lane(name) {
        // It has a circuit, but neither pause nor limits.
        return Err(no_such(name));
    }
    match DESTINATIONS.into_iter().find(|own| ***own == *name) {
        Some(own) => Ok(outbox::ensure_destinations(db, &[own]).await?),
        None => Ok(()),
    }
}

fn no_such(name: &str) -> OperatorError {
    OperatorError::NotFound(format!("destination {name:?}"))
}
