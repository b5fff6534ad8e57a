//! From settled events to their quotes.

use chrono::{DateTime, Utc};
use sea_orm::DbErr;

use crate::{
    database::DatabaseTransaction,
    outbox::{Disposition, Outcome, Settled},
    quotes::{self, Accepted, Fee, QuoteDestination, Refused, Relay, is_handover},
};

/// Passes on to their quotes what settled deliveries say: that the destination accepted them, or refused them for good. `fee`
/// is the fee in a receipt. Of other events than those that hand a quote over nothing follows: they were news.
pub(super) async fn pass_on<R>(
    txn: &DatabaseTransaction,
    relay: Relay,
    destination: QuoteDestination,
    settled: &[Settled<'_, R>],
    fee: fn(&R) -> Option<&Fee>,
    now: DateTime<Utc>,
) -> Result<(), DbErr> {
    let (mut accepted, mut refused) = (Vec::new(), Vec::new());
    for (attempt, became) in settled.iter().filter(|(attempt, _)| is_handover(&attempt.event.event_type)) {
        let event = &attempt.event;
        let (quote_id, partner) = (event.aggregate_id, event.partner.as_str());
        let trace_context = event.trace_context.as_deref();
        match (became, &attempt.outcome) {
            (Disposition::Delivered, Outcome::Delivered(receipt)) => {
                accepted.push(Accepted { quote_id, key: event.id, fee: fee(receipt), partner, trace_context });
            }
            (Disposition::Dead(_), Outcome::Refused(reason)) => {
                refused.push(Refused { quote_id, reason, partner, trace_context });
            }
            _ => {}
        }
    }
    quotes::confirm(txn, relay, destination, &accepted, now).await?;
    quotes::reject(txn, relay, destination, &refused, now).await
}
