//! What an operator sets, asks for and looks up.

use std::time::Duration;

use chrono::DateTime;
use entity::{cause_count, series};
use feebox::audit::{self, Occasion};
use feebox::fleet::{Member, Role};
use feebox::operator::{ActionFilter, actions};
use feebox::outbox::{self, Outcome};
use feebox::settings::{Settings, Sources};
use sea_orm::{ActiveValue::Set, EntityTrait};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::Console;
use super::console::{LIMIT, TOKENS};
use crate::support::{Desk, Engine, eventually};

const BACKSPACE: &str = "\u{e003}";
const WEEK: Duration = Duration::from_hours(7 * 24);

#[tokio::test(flavor = "multi_thread")]
async fn promises_are_checked_now_and_the_result_is_seen_without_reload() {
    let desk = Desk::open(Engine::Sqlite).await;
    desk.submit_many(4).await;
    let console = Console::open(&desk).await;
    console.go("promises").await;
    console.mark().await;
    console.sees(".headline", "No audit has ended yet.").await;
    console.click_named(".bar", "Check now").await;
    console.confirm("a partner asks").await;
    console.sees(".notices", "The check has begun.").await;
    console.sees(".headline", "An audit is running.").await;
    console.waits_for(".bar button[disabled]").await;
    let done = actions::list(desk.db.connection(), &ActionFilter::default(), 10).await.unwrap().rows;
    assert_eq!((done[0].action.as_str(), done[0].reason.as_deref()), ("audit.run", Some("a partner asks")));

    let never = CancellationToken::new();
    audit::run(&desk.db, "worker-1", Occasion::Request, WEEK, &never, |_| ()).await.unwrap().unwrap();
    console.sees(".headline", "It checked 4 quotes that had changed; its pass over all quotes checked 4.").await;
    console.waits_for(".bar button:not([disabled])").await;
    console.was_not_reloaded().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_of_a_destination_are_set_shown_and_taken_away() {
    let desk = Desk::open(Engine::Sqlite).await;
    let console = Console::open(&desk).await;
    console.go("destinations").await;
    let card = "[data-destination=fee-server]";
    console.sees(card, "no limit").await;
    console.click_named(card, "Set limits").await;
    console.waits_for("dialog[open] input[name=per_second]").await;
    console.browser.fill("dialog input[name=per_second]", "50").await;
    console.browser.fill("dialog input[name=in_flight]", "7").await;
    console.confirm("their night shift").await;
    console.sees(".notices", "The limits of fee-server are set.").await;
    console.sees(card, "50").await;
    let limits = async || outbox::destination(desk.db.connection(), "fee-server").await.unwrap().unwrap().limits;
    assert_eq!((limits().await.per_second, limits().await.in_flight), (Some(50), Some(7)));

    console.click_named(card, "Set limits").await;
    console.waits_for("dialog[open] input[name=per_second]").await;
    console.browser.fill("dialog input[name=per_second]", BACKSPACE).await;
    console.confirm("they are awake").await;
    console.sees(card, "no limit").await;
    assert_eq!((limits().await.per_second, limits().await.in_flight), (None, Some(7)));

    // What the API refuses is seen, and changes nothing.
    console.click_named(card, "Set limits").await;
    console.waits_for("dialog[open] input[name=in_flight]").await;
    console.browser.fill("dialog input[name=in_flight]", "2000000").await;
    console.confirm("a slip").await;
    console.sees(".notice.bad", "send 1 to 1000000").await;
    assert_eq!(limits().await.in_flight, Some(7));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_circuit_that_opened_is_seen_with_its_reason_and_drawn() {
    let desk = Desk::open(Engine::Sqlite).await;
    desk.submit().await;
    desk.fail(Outcome::Unauthorised("401 Unauthorized: token expired".into())).await;
    let console = Console::open(&desk).await;
    console.go("destinations").await;
    console.sees("#openings tbody", "401 Unauthorized: token expired").await;
    console.sees("#openings tbody", "still open").await;
    let drawn = "return [...document.querySelectorAll('.strip')].map((it) => [it.getAttribute('aria-label').split(' from')[0], \
        it.querySelectorAll('.open').length])";
    let expected = json!([["The circuit of fee-server opened 1 time", 1], ["The circuit of kafka opened 0 times", 0]]);
    assert_eq!(console.browser.run(drawn, "").await, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_span_of_charts_is_chosen_and_kept_in_the_address() {
    let desk = Desk::open(Engine::Sqlite).await;
    let now = desk.now().await.timestamp();
    let hour = DateTime::from_timestamp((now - 5 * 3_600) / 3_600 * 3_600, 0).unwrap();
    let row = series::ActiveModel {
        step_seconds: Set(3_600),
        at: Set(hour),
        name: Set("submitted".into()),
        number: Set(4_321),
    };
    series::Entity::insert(row).exec_without_returning(desk.db.connection()).await.unwrap();
    let console = Console::open(&desk).await;
    console.go("").await;
    let points = async |expected: usize| {
        let count = "return document.querySelectorAll('#charts figure:first-of-type tbody tr').length";
        eventually("the points", LIMIT, async || {
            (console.browser.run(count, "").await == json!(expected)).then_some(())
        })
        .await;
    };
    points(60).await;
    let most = async || {
        let label = "return document.querySelector('#charts figure svg').getAttribute('aria-label')";
        console.browser.run(label, "").await.as_str().unwrap().rsplit(", ").next().unwrap().to_owned()
    };
    assert_eq!(most().await, "at most 1");
    console.click_named("#charts .tabs", "48 hours").await;
    points(48).await;
    assert_eq!(most().await, "at most 4,321");
    console.sees("#charts .tabs [aria-current]", "48 hours").await;
    let address = console.browser.run("return location.pathname + location.search", "").await;
    assert!(address.as_str().unwrap().contains("range=48h"), "{address}");
    console.go(address.as_str().unwrap().trim_start_matches('/')).await;
    points(48).await;
    console.click_named("#charts .tabs", "90 days").await;
    points(120).await;
    console.browser.run("history.back()", "").await;
    points(48).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cause_has_its_trend_drawn_and_as_a_table() {
    let desk = Desk::open(Engine::Sqlite).await;
    desk.submit_refused().await;
    let now = desk.now().await.timestamp();
    for (ago, number) in [(3, 40), (1, 2)] {
        let row = cause_count::ActiveModel {
            at: Set(DateTime::from_timestamp((now / 600 - ago) * 600, 0).unwrap()),
            destination: Set("fee-server".into()),
            cause: Set("refused 422: Unprocessable Entity: no".into()),
            number: Set(number),
        };
        cause_count::Entity::insert(row).exec_without_returning(desk.db.connection()).await.unwrap();
    }
    let console = Console::open(&desk).await;
    console.go("causes").await;
    console.waits_for("svg.spark path").await;
    let label = "return document.querySelector('svg.spark').getAttribute('aria-label')";
    let label = console.browser.run(label, "").await;
    let label = label.as_str().unwrap();
    assert!(label.starts_with("42 failed attempts since") && label.ends_with("at most 40 in ten minutes"), "{label}");
    console.click("td details summary").await;
    console.sees("td details tbody tr:nth-child(1)", "40").await;
    console.sees("td details tbody tr:nth-child(2)", "2").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_are_seen_masked_and_marked_where_the_fleet_differs() {
    let desk = Desk::open(Engine::Sqlite).await;
    let sources = Sources::overrides([("retry.max_attempts", "9")]);
    let other = Member::new("other-host:1".into(), Role::Worker, &Settings::load(&sources).unwrap());
    other.beat(&desk.db, false).await.unwrap();
    let settings = [("FEEBOX__ACCESS__TOKENS", TOKENS), ("FEEBOX__FEE_SERVER__TOKEN", "hunter2")];
    let console = Console::open_with(&desk, &settings).await;
    console.go("settings").await;
    console.log_in("eye-token").await;
    console.sees("[data-row='fee_server.token']", "***").await;
    console.sees("[data-row='fee_server.token']", "FEEBOX__FEE_SERVER__TOKEN").await;
    console.sees("[data-row='worker.lease']", "\"30s\"").await;
    console.click_named(".tabs", "Different in the fleet").await;
    console.sees("[data-row='retry.max_attempts']", "other-host:1: 9").await;
    console.loses("[data-row='worker.lease']").await;
    console.click_named(".tabs", "Not the default").await;
    console.sees("[data-row='sweeper.stale_after']", "\"1s\"").await;
    assert!(!console.browser.text("body").await.contains("hunter2"));
}
