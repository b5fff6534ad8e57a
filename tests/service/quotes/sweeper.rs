//! The watchman of quotes that stay pending, and the acknowledgements that come at the last moment.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use entity::outbox_event::{self, Status as EventStatus};
use entity::quote::Status;
use feebox::database::DatabaseTransaction;
use feebox::operator;
use feebox::outbox::{Disposition, Outcome};
use feebox::quotes::{QuoteDestination, Relay};
use feebox::settings::{self, SweepAction};
use feebox::submission::{Handover, ListenerError, Submission, Submitted};
use feebox::sweeper::{Swept, stale_quotes, sweep};
use uuid::Uuid;

use crate::support::{ANN, TestOutbox, attempt, fee_server, new_quote, on_each_engine, retry, with_fee};

const ROUNDS: usize = 200;
const LEAD_STEP: Duration = Duration::from_micros(300);

on_each_engine!(
    it_alerts_and_changes_nothing,
    what_it_alerts_about_is_counted_and_the_oldest_are_named,
    it_cancels_what_is_pending_for_too_long_and_nothing_else,
    what_an_operator_has_brought_back_is_young_again,
    what_was_never_sent_needs_no_void,
    what_may_have_reached_the_fee_server_is_voided,
    what_was_sent_without_an_event_is_voided,
    more_than_a_batch_is_swept_at_once,
    a_quote_is_never_confirmed_and_cancelled_however_late_its_fee_comes,
);

async fn it_alerts_and_changes_nothing(outbox: TestOutbox) {
    outbox.submit(7).await;
    let before = outbox.events().await;
    let swept =
        sweep(&outbox.db, &when_older_than(Duration::ZERO, SweepAction::Alert), Relay::default()).await.unwrap();
    assert_eq!((swept.stale, swept.oldest.len(), swept.cancelled), (7, 5, 0));
    assert_eq!(outbox.events().await, before);
    assert_eq!(outbox.quote(swept.oldest[0]).await.status, Status::Pending);
}

async fn what_it_alerts_about_is_counted_and_the_oldest_are_named(outbox: TestOutbox) {
    let hour = Duration::from_hours(1);
    submit(&outbox).await;
    let confirmed = outbox.claim("a", 1).await.remove(0);
    outbox.settle_at(&fee_server(), "a", &[with_fee(&confirmed)]).await;
    let mut stale = vec![];
    for _ in 0..3 {
        stale.push(submit(&outbox).await);
    }
    outbox.advance(hour);
    submit(&outbox).await;
    assert_eq!(stale_quotes(&outbox.db, 2 * hour, 2).await.unwrap().count, 0);
    outbox.advance(hour * 3 / 2);
    let found = stale_quotes(&outbox.db, 2 * hour, 2).await.unwrap();
    assert_eq!((found.count, found.after_seconds), (3, 7200));
    assert_eq!(found.oldest.iter().map(|it| it.quote_id).collect::<Vec<_>>(), stale[..2]);
    assert_eq!(found.oldest[0].submitted_at, outbox.quote(stale[0]).await.submitted_at);
}

async fn it_cancels_what_is_pending_for_too_long_and_nothing_else(outbox: TestOutbox) {
    let (hour, day) = (Duration::from_hours(1), Duration::from_hours(24));
    let stale = submit(&outbox).await;
    let confirmed = submit(&outbox).await;
    let rejected = submit(&outbox).await;
    for event in outbox.claim("a", 10).await {
        let attempt = match event.aggregate_id {
            id if id == confirmed => with_fee(&event),
            id if id == rejected => attempt(&event, Outcome::Refused("422".into())),
            _ => attempt(&event, Outcome::Retry("503".into())),
        };
        outbox.settle_at(&fee_server(), "a", &[attempt]).await;
    }
    outbox.advance(day);
    let young = submit(&outbox).await;
    outbox.advance(hour / 2);

    let swept = sweep(&outbox.db, &when_older_than(hour, SweepAction::Cancel), Relay::default()).await.unwrap();
    assert_eq!(swept, Swept { stale: 1, oldest: vec![stale], cancelled: 1 });
    let quote = outbox.quote(stale).await;
    assert_eq!(quote.status, Status::Cancelled);
    assert_eq!(quote.status_reason.unwrap(), "pending for longer than sweeper.stale_after = 1h");
    assert_eq!(outbox.quote(confirmed).await.status, Status::Confirmed);
    assert_eq!(outbox.quote(rejected).await.status, Status::Rejected);
    assert_eq!(outbox.quote(young).await.status, Status::Pending);

    let again = sweep(&outbox.db, &when_older_than(hour, SweepAction::Cancel), Relay::default()).await.unwrap();
    assert_eq!(again, Swept::default());
}

async fn what_an_operator_has_brought_back_is_young_again(outbox: TestOutbox) {
    let day = Duration::from_hours(24);
    let quote = submit(&outbox).await;
    let event = outbox.claim("a", 1).await.remove(0);
    let refused = attempt(&event, Outcome::Refused("422".into()));
    outbox.settle_at(&fee_server(), "a", &[refused]).await;
    outbox.advance(3 * day);
    operator::retry(&outbox.db, ANN, event.id).await.unwrap();
    assert_eq!(stale_quotes(&outbox.db, day, 1).await.unwrap().count, 0);
    let cancel = when_older_than(day, SweepAction::Cancel);
    assert_eq!(sweep(&outbox.db, &cancel, Relay::default()).await.unwrap(), Swept::default());
    assert_eq!(outbox.quote(quote).await.status, Status::Pending, "its fee is on its way");
    outbox.advance(2 * day);
    assert_eq!(sweep(&outbox.db, &cancel, Relay::default()).await.unwrap().cancelled, 1, "and did not come");
}

async fn what_was_never_sent_needs_no_void(outbox: TestOutbox) {
    let quote = submit(&outbox).await;
    cancel_all(&outbox).await;
    assert_eq!(kinds(&outbox.events_of(quote).await), [("quote.submitted", EventStatus::Cancelled)]);
}

async fn what_may_have_reached_the_fee_server_is_voided(outbox: TestOutbox) {
    let quote = submit(&outbox).await;
    outbox.deliver("a", retry()).await;
    cancel_all(&outbox).await;
    let (cancelled, pending) = (EventStatus::Cancelled, EventStatus::Pending);
    assert_eq!(kinds(&outbox.events_of(quote).await), [("quote.submitted", cancelled), ("quote.cancelled", pending)]);
}

async fn what_was_sent_without_an_event_is_voided(outbox: TestOutbox) {
    // As a process does that dies after the commit: whether it had called the fee server, nobody knows.
    let without_outbox = Submission::new(outbox.db.clone(), Arc::new(Dying), vec![]);
    let quote = without_outbox.submit(&[new_quote()], None, None).await.unwrap().quotes[0].id;
    cancel_all(&outbox).await;
    assert_eq!(outbox.quote(quote).await.status, Status::Cancelled);
    assert_eq!(kinds(&outbox.events_of(quote).await), [("quote.cancelled", EventStatus::Pending)]);
}

async fn more_than_a_batch_is_swept_at_once(outbox: TestOutbox) {
    outbox.submit(250).await;
    let swept =
        sweep(&outbox.db, &when_older_than(Duration::ZERO, SweepAction::Cancel), Relay::default()).await.unwrap();
    assert_eq!((swept.stale, swept.cancelled), (250, 250));
    assert!(outbox.claim("a", 1).await.is_empty());
}

/// Of a delivery that is settled and a sweep at the same moment one is first. If it is the sweep, the fee is voided.
async fn a_quote_is_never_confirmed_and_cancelled_however_late_its_fee_comes(outbox: TestOutbox) {
    let fee_server = Arc::new(fee_server());
    let cancel = when_older_than(Duration::ZERO, SweepAction::Cancel);
    let (mut confirmed, mut cancelled) = (0, 0);
    // How much earlier the sweep begins, which has more to ask before it changes anything. Whoever was first gives some of its
    // lead away, so that they meet, however fast the machine is.
    let mut lead = Duration::ZERO;
    for round in 0..ROUNDS {
        let quote = submit(&outbox).await;
        let claimed = outbox.claim("a", 1).await.remove(0);
        let attempts = [with_fee(&claimed)];
        let begun = Instant::now();
        let settle = async {
            while begun.elapsed() < lead {
                tokio::task::yield_now().await;
            }
            outbox.settle_at(&*fee_server, "a", &attempts).await
        };
        let (swept, became) = tokio::join!(sweep(&outbox.db, &cancel, Relay::default()), settle);
        assert_eq!(became, [Disposition::Delivered]);
        let voids = outbox.events_of(quote).await.into_iter().filter(|event| event.event_type == "quote.cancelled");
        match outbox.quote(quote).await.status {
            Status::Confirmed => {
                confirmed += 1;
                lead += LEAD_STEP;
                assert_eq!((swept.unwrap().cancelled, voids.count()), (0, 0), "round {round}");
            }
            Status::Cancelled => {
                cancelled += 1;
                lead = lead.saturating_sub(LEAD_STEP);
                assert_eq!((swept.unwrap().cancelled, voids.count()), (1, 1), "round {round}: never silent");
                outbox.deliver("a", crate::support::delivered()).await;
            }
            other => panic!("round {round}: {other:?}"),
        }
    }
    assert_eq!(outbox.fee_records().await.len(), ROUNDS);
    println!("{confirmed} confirmed, {cancelled} cancelled, the sweep {lead:.1?} ahead");
    assert!(confirmed > 0 && cancelled > 0, "no race: {confirmed} confirmed, {cancelled} cancelled");
}

fn when_older_than(stale_after: Duration, action: SweepAction) -> settings::Sweeper {
    settings::Sweeper { schedule: "0 * * * * *".into(), stale_after, action }
}

async fn cancel_all(outbox: &TestOutbox) {
    let swept =
        sweep(&outbox.db, &when_older_than(Duration::ZERO, SweepAction::Cancel), Relay::default()).await.unwrap();
    assert_eq!(swept.cancelled, 1);
}

async fn submit(outbox: &TestOutbox) -> Uuid {
    let event = outbox.submit(1).await[0];
    outbox.event(event).await.aggregate_id
}

fn kinds(events: &[outbox_event::Model]) -> Vec<(&str, EventStatus)> {
    events.iter().map(|event| (event.event_type.as_str(), event.status)).collect()
}

/// A process that dies before it hands anything over.
struct Dying;

#[async_trait]
impl Handover for Dying {
    fn destination(&self) -> QuoteDestination {
        QuoteDestination::FeeServer
    }

    fn relay(&self) -> Relay {
        Relay::default()
    }

    async fn before_commit(&self, _: &DatabaseTransaction, _: &[Submitted]) -> Result<(), ListenerError> {
        Ok(())
    }

    async fn after_commit(&self, _: &Submitted) {}
}
