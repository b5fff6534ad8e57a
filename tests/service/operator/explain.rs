//! Operators are told the true reason why an event is not delivered yet.

use std::time::Duration;

use entity::outbox_event::Status as EventStatus;
use feebox::inspection::{self, EventFilter, Explanation, explain};
use feebox::operator::bulk::{self, Kind};
use feebox::operator::{self, NewBulk, Which};
use feebox::outbox::{self, Outcome};
use feebox::quotes::{FEE_SERVER, Relay};
use uuid::Uuid;

use crate::support::{ANN, Desk, desk_tests};

desk_tests!(
    due_it_waits_for_the_next_run,
    due_for_long_it_says_how_many_go_first_and_the_headline_says_so,
    after_a_failure_it_is_due_later_and_the_failure_is_told,
    leased_it_is_with_a_worker_until_the_lease_ends,
    a_pause_a_wait_and_an_open_circuit_hold_it_back,
    an_earlier_event_of_its_quote_goes_first,
    settled_it_says_what_became_of_it,
    dead_it_says_why_it_was_given_up,
    paced_by_a_bulk_retry_it_says_so,
);

async fn due_it_waits_for_the_next_run(desk: Desk) {
    let (quote_id, event) = desk.submit().await;
    let explanation = told(&desk, event, &["due since", "next run of a worker"]).await;
    assert_eq!((explanation.quote_id, explanation.status.as_str()), (quote_id, "pending"));
    assert!(explain(&desk.db, Uuid::now_v7()).await.unwrap().is_none());
}

async fn due_for_long_it_says_how_many_go_first_and_the_headline_says_so(desk: Desk) {
    desk.submit().await;
    let (_, event) = desk.submit().await;
    let queue = told(&desk, event, &["due since"]).await.queue;
    assert_eq!((queue, inspection::stats(&desk.db).await.unwrap().headline), (None, "Deliveries keep up.".to_owned()));
    desk.advance(90);
    let words = ["due since", "1 events that were due earlier go first", "0 were delivered in the last minute"];
    let queue = told(&desk, event, &words).await.queue.unwrap();
    assert_eq!((queue.before, queue.delivered_last_minute), (1, 0));
    let headline = inspection::stats(&desk.db).await.unwrap().headline;
    assert!(headline.starts_with("Deliveries to fee-server do not keep up: 2 events wait"), "{headline}");
}

async fn after_a_failure_it_is_due_later_and_the_failure_is_told(desk: Desk) {
    let (_, event) = desk.submit().await;
    desk.fail(Outcome::Retry("500 Internal Server Error: oh".into())).await;
    let explanation = told(&desk, event, &["due at", "attempt 1", "retry", "500 Internal Server Error: oh"]).await;
    let failure = explanation.last_failure.unwrap();
    assert_eq!((failure.attempt, failure.status(), failure.duration_ms), (1, Some(500), 7));
    assert!(explanation.due_at > failure.at);
}

async fn leased_it_is_with_a_worker_until_the_lease_ends(desk: Desk) {
    let (quote_id, event) = desk.submit().await;
    let leased = desk.claim().await;
    let lease = told(&desk, event, &["worker-1 is delivering it, attempt 1"]).await.lease.unwrap();
    assert!(!lease.run_out && !lease.withdrawn && lease.until > desk.now().await);
    desk.submission.cancel(quote_id, None, None).await.unwrap();
    told(&desk, event, &["is delivering it", "given up meanwhile"]).await;
    desk.advance(60);
    let lease = told(&desk, event, &["left no result", "takes the event back"]).await.lease.unwrap();
    assert!(lease.run_out);
    drop(leased);
}

async fn a_pause_a_wait_and_an_open_circuit_hold_it_back(desk: Desk) {
    let (_, event) = desk.submit().await;
    desk.fail(Outcome::RetryAfter("429 Too Many Requests".into(), Duration::from_mins(10))).await;
    let explanation = told(&desk, event, &["fee-server asked not to be called before", "Retry-After"]).await;
    assert!(explanation.not_before.is_some() && explanation.circuit.is_none());
    desk.advance(601);
    desk.fail(Outcome::Unauthorised("401 Unauthorized: who are you?".into())).await;
    let explanation = told(&desk, event, &["circuit of fee-server has been open", "who are you?", "probe"]).await;
    assert!(explanation.not_before.is_none());
    assert!(explanation.circuit.unwrap().next_probe_at.unwrap() > desk.now().await);
    operator::pause(&desk.db, ANN, &FEE_SERVER).await.unwrap();
    let explanation = told(&desk, event, &["paused by ann", "because I can", "circuit"]).await;
    assert_eq!(explanation.paused.unwrap().by, "ann");
}

async fn an_earlier_event_of_its_quote_goes_first(desk: Desk) {
    let (quote_id, event) = desk.submit().await;
    let leased = desk.claim().await;
    desk.submission.cancel(quote_id, None, None).await.unwrap();
    let events = outbox::of_aggregate(desk.db.connection(), quote_id).await.unwrap();
    let void = events.iter().find(|event| event.event_type == "quote.cancelled").unwrap();
    let explanation = told(&desk, void.id, &["waits for event", &event.to_string(), "leased"]).await;
    assert_eq!(explanation.waiting_for.unwrap().event_id, event);
    drop(leased);
}

async fn settled_it_says_what_became_of_it(desk: Desk) {
    let (_, delivered) = desk.submit().await;
    desk.deliver().await;
    told(&desk, delivered, &["was delivered at"]).await;
    let (_, cancelled) = desk.submit().await;
    operator::cancel(&desk.db, Relay::default(), ANN, cancelled).await.unwrap();
    told(&desk, cancelled, &["was given up at"]).await;
}

async fn dead_it_says_why_it_was_given_up(desk: Desk) {
    let (_, refused) = desk.submit_refused().await;
    told(&desk, refused, &["has been dead since", "refused", "422 Unprocessable Entity: no", "retry"]).await;
    let (_, worn_out) = desk.submit().await;
    for _ in 0..3 {
        desk.fail(Outcome::Retry("500: oh".into())).await;
        desk.advance(60);
    }
    told(&desk, worn_out, &["has been dead since", "retry.max_attempts = 3", "500: oh"]).await;
}

async fn paced_by_a_bulk_retry_it_says_so(desk: Desk) {
    desk.submit_refused().await;
    let (_, second) = desk.submit_refused().await;
    let filter = EventFilter { status: Some(EventStatus::Dead), ..EventFilter::default() };
    let which = Which::Matching(Box::new(filter));
    let id = bulk::begin(&desk.db, ANN, &NewBulk { kind: Kind::Retry, which, per_second: Some(1) }).await.unwrap();
    bulk::work(&desk.db, Relay::default(), id, || {}).await.unwrap();
    told(&desk, second, &["due at", "an operator's retry", "paced it"]).await;
}

async fn told(desk: &Desk, event: Uuid, parts: &[&str]) -> Explanation {
    let explanation = explain(&desk.db, event).await.unwrap().unwrap();
    for part in parts {
        assert!(explanation.sentence.contains(part), "{part:?} is not in: {}", explanation.sentence);
    }
    let json = serde_json::to_value(&explanation).unwrap();
    assert_eq!(json["event_id"], event.to_string());
    explanation
}
