//! What an operator finds and changes.

use entity::outbox_event::Status as EventStatus;
use entity::quote::Status;
use feebox::operator;
use feebox::outbox::Outcome;
use sea_orm::ConnectionTrait;
use serde_json::json;

use super::Console;
use super::console::short;
use crate::support::{ANN, Desk, Engine};

#[tokio::test(flavor = "multi_thread")]
async fn a_stuck_quote_is_found_from_the_overview_and_seen_confirmed_without_reload() {
    let desk = Desk::open(Engine::Sqlite).await;
    let (quote, event) = desk.submit().await;
    desk.fail(Outcome::Broken("200 OK with a <b>body</b> that is no fee".into())).await;
    let console = Console::open(&desk).await;
    console.go("").await;
    console.sees("#next", "1 quote has been pending for too long").await;
    console.mark().await;
    console.click_named("#stale", &short(quote)).await;
    // The reason, as text: nothing that the fee server wrote is markup.
    console.sees("#state", "a <b>body</b> that is no fee").await;
    console.click_named("#neighbours", &short(event)).await;
    console.sees("#explain", "A retry by an operator revives it").await;
    console.sees("#attempts", "broken contract").await;
    assert!(!console.has("main b").await, "an error became markup");

    console.click_named(".bar", "Retry").await;
    console.confirm("the fee server is fixed").await;
    console.sees(".notices", "is due now").await;
    desk.deliver().await;
    console.sees("#explain", "It was delivered").await;
    console.click_named(".facts", &short(quote)).await;
    console.sees("#state", "confirmed").await;
    console.sees("#timeline", "event.retry (the fee server is fixed)").await;
    console.was_not_reloaded().await;
    assert_eq!(desk.quote(quote).await.status, Status::Confirmed);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_action_stays_visible_until_it_is_dismissed() {
    let desk = Desk::open(Engine::Sqlite).await;
    let (_, event) = desk.submit_refused().await;
    let console = Console::open(&desk).await;
    console.go(&format!("events/{event}")).await;
    console.click_named(".bar", "Retry").await;
    console.waits_for("dialog[open] textarea").await;
    let relay = desk.submission.relay();
    operator::cancel(&desk.db, relay, ANN, event).await.unwrap();
    console.confirm("too late").await;
    console.sees(".notice.bad", "Refused. Retry event").await;
    // It outlives the refreshes that show what the event has become, and other pages.
    console.sees("#explain", "It was given up").await;
    console.click_named("nav", "Overview").await;
    console.waits_for("#headline").await;
    console.sees(".notice.bad", "Refused. Retry event").await;
    console.click(".notice.bad [aria-label=Dismiss]").await;
    console.loses(".notice").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destination_is_paused_and_resumed_with_a_reason() {
    let desk = Desk::open(Engine::Sqlite).await;
    desk.submit().await;
    let console = Console::open(&desk).await;
    console.go("destinations").await;
    console.click_named("[data-destination=fee-server]", "Pause").await;
    console.sees("dialog", "1 event waits now").await;
    console.confirm("they deploy").await;
    console.sees("[data-destination=fee-server]", "Paused by anonymous: they deploy").await;
    console.click_named("[data-destination=fee-server]", "Resume").await;
    console.confirm("they are done").await;
    console.sees("[data-destination=fee-server] .states", "Delivering").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn some_or_all_events_that_match_are_selected_and_changed() {
    let desk = Desk::open(Engine::Sqlite).await;
    let events = desk.submit_many(60).await;
    desk.fail(Outcome::Refused("422 Unprocessable Entity: no".into())).await;
    let console = Console::open(&desk).await;
    console.go("events?status=dead").await;
    console.sees(".total", "60 events match").await;
    console.sees("nav.pager", "Next page").await;
    assert!(!console.browser.text(".bar").await.contains("selected"));
    console.click("tbody tr:nth-child(1) input").await;
    console.click("tbody tr:nth-child(2) input").await;
    console.sees(".bar", "2 selected").await;
    assert!(!console.browser.text(".bar").await.contains("all that match"));
    console.click_named(".bar", "Cancel selected").await;
    console.sees("dialog .count", "2 events").await;
    console.confirm("two of them").await;
    console.sees(".total", "58 events match").await;

    console.click_named("nav.pager", "Next page").await;
    console.sees("main", "First page").await;
    let address = console.browser.run("return location.pathname + location.search", "").await;
    assert!(address.as_str().unwrap().contains("status=dead&cursor="), "{address}");
    console.browser.run("history.back()", "").await;
    console.sees("nav.pager", "Next page").await;
    console.click_named(".bar", "Retry all that match (58)").await;
    console.sees("dialog .count", "58 events").await;
    console.confirm("all of them").await;
    console.sees(".notices", "58 of 58 events retried").await;
    assert_eq!(desk.event(events[0].1).await.status, EventStatus::Pending);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_keeps_what_is_typed_focused_and_selected_and_is_cheap() {
    let desk = Desk::open(Engine::Sqlite).await;
    let (_, event) = desk.submit_refused().await;
    let console = Console::open(&desk).await;
    console.go(&format!("events/{event}")).await;
    console.sees("#explain", "dead").await;
    console.browser.fill("#search", "half an i").await;
    let select = "getSelection().selectAllChildren(document.querySelector('h1 .id')); return String(getSelection())";
    assert_eq!(console.browser.run(select, "").await, event.to_string());
    console
        .browser
        .run("window.shown = document.querySelector('#explain'); performance.clearResourceTimings()", "")
        .await;
    // What another did is shown by a refresh.
    operator::cancel(&desk.db, desk.submission.relay(), ANN, event).await.unwrap();
    console.sees("#explain", "It was given up").await;
    let kept = "return [document.getElementById('search').value, document.activeElement.id, String(getSelection()), \
        window.shown === document.querySelector('#explain')]";
    let kept = console.browser.run(kept, "").await;
    assert_eq!(kept, json!(["half an i", "search", event.to_string(), true]));

    // While the server tells what changes, nothing is asked.
    let starts = calls_within_11_seconds(&console).await;
    assert!(starts.is_empty(), "{starts:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn where_streams_do_not_come_through_the_page_asks_but_seldom() {
    let desk = Desk::open(Engine::Sqlite).await;
    let (_, event) = desk.submit_refused().await;
    let console = Console::open(&desk).await;
    console.browser.devtools("Network.enable", json!({})).await;
    console.browser.devtools("Network.setBlockedURLs", json!({ "urls": ["*/dashboard/live?*"] })).await;
    console.go(&format!("events/{event}")).await;
    console.sees("#explain", "dead").await;
    operator::cancel(&desk.db, desk.submission.relay(), ANN, event).await.unwrap();
    console.sees("#explain", "It was given up").await;
    console.browser.run("performance.clearResourceTimings()", "").await;
    let starts = calls_within_11_seconds(&console).await;
    assert!(starts.len() >= 2, "it refreshes: {starts:?}");
    for start in &starts {
        let within = starts.iter().filter(|it| (*start..start + 4900.0).contains(it)).count();
        assert!(within <= 3, "{within} calls within five seconds: {starts:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_stay_in_their_places_while_somebody_is_in_the_list() {
    let desk = Desk::open(Engine::Sqlite).await;
    let (_, first) = desk.submit_refused().await;
    let (_, second) = desk.submit_refused().await;
    let console = Console::open(&desk).await;
    console.go("events?status=dead").await;
    console.sees(".total", "2 events match").await;
    console.browser.press("j").await;
    let rows = async || {
        let script =
            "return [...document.querySelectorAll('tr[data-row]')].map((it) => [it.dataset.row, it.className])";
        console.browser.run(script, "").await
    };
    let ids = [second.to_string(), first.to_string()];
    assert_eq!(rows().await, json!([[ids[0], ""], [ids[1], ""]]));
    let (_, third) = desk.submit_refused().await;
    operator::cancel(&desk.db, desk.submission.relay(), ANN, first).await.unwrap();
    console.waits_for("tr.gone").await;
    console.sees(".total", "1 new: show it").await;
    assert_eq!(rows().await, json!([[ids[0], ""], [ids[1], "gone"]]));
    console.click_named(".total", "1 new: show it").await;
    console.loses("tr.gone").await;
    assert_eq!(rows().await, json!([[third.to_string(), ""], [ids[0], ""]]));
    console.loses(".total button").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn causes_are_renewed_in_their_own_table_while_somebody_is_in_it() {
    let desk = Desk::open(Engine::Sqlite).await;
    desk.submit_refused().await;
    let console = Console::open(&desk).await;
    console.go("").await;
    console.sees("[data-list=causes] tbody", "refused").await;
    console.browser.run("document.querySelector('[data-list=causes] tbody tr').focus()", "").await;
    desk.submit().await;
    desk.fail(Outcome::Broken("200 OK without a fee".into())).await;
    console.sees("[data-list=causes] tbody", "200 OK without a fee").await;
    let rows =
        "return [...document.querySelectorAll('#charts tbody')].map((it) => it.querySelector('[data-row]') === null)";
    assert_eq!(console.browser.run(rows, "").await, json!([true, true, true, true]));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_shown_stays_while_the_database_fails_and_the_page_says_how_old_it_is() {
    let desk = Desk::open(Engine::Sqlite).await;
    let (_, event) = desk.submit_refused().await;
    let console = Console::open(&desk).await;
    let rename = async |from: &str, to: &str| {
        desk.db.connection().execute_unprepared(&format!("ALTER TABLE {from} RENAME TO {to}")).await.unwrap();
    };
    for blocked in [vec![], vec!["*/dashboard/live?*"]] {
        console.browser.devtools("Network.enable", json!({})).await;
        console.browser.devtools("Network.setBlockedURLs", json!({ "urls": blocked })).await;
        console.go("events?status=dead").await;
        console.sees(".total", "1 event matches").await;
        rename("outbox_event", "hidden").await;
        console.sees(".stalled", "old: Internal server error").await;
        console.sees("[data-list=events] tbody", &short(event)).await;
        rename("hidden", "outbox_event").await;
        console.loses(".stalled").await;
        console.sees("[data-list=events] tbody", &short(event)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn addresses_of_earlier_versions_lead_to_the_same_pages() {
    let desk = Desk::open(Engine::Sqlite).await;
    let (_, event) = desk.submit_refused().await;
    let console = Console::open(&desk).await;
    for (old, new, seen) in [
        (format!("#/events/{event}"), format!("/events/{event}"), event.to_string()),
        ("#/events?status=dead".into(), "/events?status=dead".into(), "1 event matches".into()),
        ("#/overview?range=48h".into(), "/?range=48h".into(), "48 hours".into()),
        ("#/overview".into(), "/".into(), "1 hour".into()),
    ] {
        console.go(&old).await;
        console.sees("main", &seen).await;
        assert_eq!(console.browser.run("return location.pathname + location.search + location.hash", "").await, new);
    }
}

/// When what the page asks for was asked that came by 11 s from now, in milliseconds; its stream does not count.
async fn calls_within_11_seconds(console: &Console) -> Vec<f64> {
    let calls = "const done = arguments[1]; setTimeout(() => done(performance.getEntriesByType('resource') \
        .filter((it) => it.initiatorType === 'fetch').map((it) => it.startTime)), 11000)";
    serde_json::from_value(console.browser.run_async(calls, "").await).unwrap()
}
