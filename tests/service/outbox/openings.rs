//! When circuits were open is kept, and shown.

use std::time::Duration;

use chrono::TimeDelta;
use feebox::inspection::{Openings, openings};
use feebox::outbox::{self, Outcome};
use feebox::quotes::{FEE_SERVER, QUOTE_SUBMITTED, TOPICS};
use feebox::settings::Role;
use serde_json::{Value, json};

use crate::support::{Api, TestOutbox, delivered, on_each_engine};

on_each_engine!(
    openings_of_destinations_and_topics_are_told_the_newest_first,
    openings_are_forgotten_after_ninety_days,
    viewers_read_openings_and_submitters_do_not,
);

const WEEK: TimeDelta = TimeDelta::days(7);

/// The circuit of the fee server opens, and closes after `open_for`.
async fn opens(outbox: &TestOutbox, reason: &str, open_for: Duration) {
    outbox.submit(1).await;
    outbox.deliver("a", Outcome::Unauthorised(reason.into())).await;
    outbox.advance(open_for);
    outbox.deliver("a", delivered()).await;
}

async fn a_topic_opens(outbox: &TestOutbox) {
    outbox.record_of(&QUOTE_SUBMITTED, 1).await;
    let event = outbox.claim_kafka("a", 1).await.events.remove(0);
    outbox.settle_kafka(&event, Outcome::LaneUnusable("no such topic".into())).await;
}

fn told(found: &Openings) -> Vec<(&str, Option<&str>, bool)> {
    let told = found.openings.iter();
    told.map(|it| (it.destination.as_str(), it.reason.as_deref(), it.closed_at.is_some())).collect()
}

async fn openings_of_destinations_and_topics_are_told_the_newest_first(outbox: TestOutbox) {
    let at = outbox.now().await;
    opens(&outbox, "401: token expired", Duration::from_hours(1)).await;
    outbox.advance(Duration::from_hours(24));
    opens(&outbox, "403: no longer", Duration::from_mins(10)).await;
    a_topic_opens(&outbox).await;
    let all = openings(&outbox.db, None, WEEK, 50).await.unwrap();
    let topic = TOPICS[0].name.as_str();
    let of_fees = [("fee-server", Some("403: no longer"), true), ("fee-server", Some("401: token expired"), true)];
    assert_eq!(told(&all), [&[(topic, Some("no such topic"), false)][..], &of_fees[..]].concat());
    assert!(all.is_complete && all.to - all.from == WEEK && all.openings[2].opened_at >= at, "{all:?}");
    let lasted = all.openings[2].closed_at.unwrap() - all.openings[2].opened_at;
    assert!(lasted >= TimeDelta::hours(1) && lasted < TimeDelta::hours(2), "{lasted}");

    let fees = openings(&outbox.db, Some("fee-server"), WEEK, 50).await.unwrap();
    assert_eq!(told(&fees), of_fees);
    let newest = openings(&outbox.db, None, WEEK, 2).await.unwrap();
    assert_eq!((told(&newest), newest.is_complete), (told(&all)[..2].to_vec(), false));
    outbox.advance(Duration::from_hours(7 * 24 - 2));
    let late = openings(&outbox.db, None, WEEK, 50).await.unwrap();
    assert_eq!(told(&late), told(&all)[..2], "those that were open within the time, as the one that still is");
}

async fn openings_are_forgotten_after_ninety_days(outbox: TestOutbox) {
    opens(&outbox, "401: token expired", Duration::from_hours(1)).await;
    a_topic_opens(&outbox).await;
    let left = async || {
        outbox::prune(&outbox.db, outbox.now().await).await.unwrap();
        let all = openings(&outbox.db, None, TimeDelta::days(1_000), 50).await.unwrap();
        all.openings.iter().map(|it| it.destination.clone()).collect::<Vec<_>>()
    };
    outbox.advance(Duration::from_hours(24 * 89));
    // Retention goes on six hours at a call.
    for _ in 0..3 {
        assert_eq!(left().await, [TOPICS[0].name.as_str(), FEE_SERVER.as_str()]);
    }
    outbox.advance(Duration::from_hours(24 * 2));
    assert_eq!(left().await, [TOPICS[0].name.as_str()], "the one that is open stays");
}

async fn viewers_read_openings_and_submitters_do_not(outbox: TestOutbox) {
    opens(&outbox, "401: token expired", Duration::from_mins(1)).await;
    let tokens = [("shop", "shop-token", Role::Submitter), ("eye", "eye-token", Role::Viewer)];
    let api = Api::start_at(outbox.database.url(), &tokens).await;
    let get = async |query: &str, token: &str| -> (u16, Value) {
        let call = api.request(reqwest::Method::GET, &format!("/v1/circuit-openings{query}")).bearer_auth(token);
        let answer = call.send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap())
    };
    assert_eq!(get("", "shop-token").await.0, 403);
    let (status, shown) = get("?destination=fee-server&days=90&limit=1", "eye-token").await;
    assert_eq!((status, &shown["openings"][0]["reason"]), (200, &json!("401: token expired")), "{shown}");
    assert_eq!(get("?destination=kafka", "eye-token").await.1["openings"], json!([]));
    for query in ["?days=91", "?days=0", "?limit=201", "?destination=", "?since=1"] {
        assert_eq!(get(query, "eye-token").await.0, 400, "{query}");
    }
}
