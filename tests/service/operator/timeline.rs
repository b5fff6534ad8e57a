//! The timeline of a quote tells everything that happened to it, in order.

use feebox::operator;
use feebox::outbox::Outcome;
use feebox::quotes::FEE_SERVER;
use feebox::timeline::{TimelineEvent, timeline};
use uuid::Uuid;

use crate::support::{ANN, Desk, desk_tests};

desk_tests!(a_quote_with_a_long_story_tells_it_in_order, a_rejected_quote_says_why, an_unknown_quote_has_none);

async fn a_quote_with_a_long_story_tells_it_in_order(desk: Desk) {
    let (quote_id, event) = desk.submit().await;
    desk.fail(Outcome::Unknown("408 Request Timeout: late".into())).await;
    desk.advance(1);
    operator::pause(&desk.db, ANN, &FEE_SERVER).await.unwrap();
    desk.advance(1);
    operator::resume(&desk.db, ANN, &FEE_SERVER).await.unwrap();
    desk.fail(Outcome::Unauthorised("401 Unauthorized: no".into())).await;
    desk.advance(60);
    operator::retry(&desk.db, ANN, event).await.unwrap();
    desk.deliver().await;
    desk.advance(1);
    desk.submission.cancel(quote_id, Some("changed my mind"), None).await.unwrap();
    desk.deliver().await;

    let told = story(&desk, quote_id).await;
    let expected = [
        "submitted",
        "event_stored",
        "attempt_failed",
        "operator_action",
        "operator_action",
        "attempt_failed",
        "circuit_opened",
        "operator_action",
        "delivered",
        "fee_recorded",
        "circuit_closed",
        "cancelled",
        "event_stored",
        "delivered",
    ];
    assert_eq!(told, expected);
    let entries = timeline(&desk.db, quote_id).await.unwrap().unwrap();
    let TimelineEvent::AttemptFailed { attempt, outcome, status, duration_ms, by, .. } = &entries[2].event else {
        panic!()
    };
    let failed = (*attempt, outcome.as_str(), *status, *duration_ms, by.as_str());
    assert_eq!(failed, (1, "unknown", Some(408), 7, "worker-1"));
    let delivered = entries.iter().filter_map(|entry| match &entry.event {
        TimelineEvent::Delivered { event_type, attempt, status, duration_ms, by, .. } => {
            Some((event_type.as_str(), *attempt, *status, *duration_ms, by.as_deref()))
        }
        _ => None,
    });
    let (made, voided) = (("quote.submitted", 2, Some(201)), ("quote.cancelled", 1, Some(204)));
    let expected = [made, voided].map(|(event, attempt, status)| (event, attempt, status, Some(7), Some("worker-1")));
    assert_eq!(delivered.collect::<Vec<_>>(), expected);
    assert!(entries.is_sorted_by_key(|entry| entry.at));
}

async fn a_rejected_quote_says_why(desk: Desk) {
    let (quote_id, _) = desk.submit_refused().await;
    assert_eq!(story(&desk, quote_id).await, ["submitted", "event_stored", "attempt_failed", "dead", "rejected"]);
    let (open, _) = desk.submit().await;
    desk.fail(Outcome::Unauthorised("401: no".into())).await;
    assert!(story(&desk, open).await.contains(&"circuit_opened".to_owned()));
    assert!(!story(&desk, quote_id).await.contains(&"circuit_opened".to_owned()), "its life was over");
}

async fn an_unknown_quote_has_none(desk: Desk) {
    assert!(timeline(&desk.db, Uuid::now_v7()).await.unwrap().is_none());
}

async fn story(desk: &Desk, quote_id: Uuid) -> Vec<String> {
    let entries = serde_json::to_value(timeline(&desk.db, quote_id).await.unwrap()).unwrap();
    let entries = entries.as_array().unwrap();
    entries.iter().map(|entry| entry["what"].as_str().unwrap().to_owned()).collect()
}
