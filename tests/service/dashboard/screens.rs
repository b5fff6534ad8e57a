//! Each page in both languages, both colour schemes and on a phone.

use std::fs;
use std::path::PathBuf;

use entity::audit_violation;
use feebox::outbox::Outcome;
use sea_orm::{ActiveModelTrait, ActiveValue::Set};
use serde_json::json;
use uuid::Uuid;

use super::Console;
use super::console::LIMIT;
use crate::support::{Desk, Engine, eventually};

/// A desk on which everything is to be seen; a quote and its event.
async fn busy() -> (Desk, Uuid, Uuid) {
    let desk = Desk::open(Engine::Sqlite).await;
    desk.submit_many(12).await;
    desk.deliver().await;
    desk.submit_many(23).await;
    desk.fail(Outcome::Refused("422 Unprocessable Entity: unknown customer".into())).await;
    desk.submit_many(8).await;
    desk.fail(Outcome::Broken("200 OK without a fee for this quote".into())).await;
    let (quote, event) = desk.submit().await;
    desk.fail(Outcome::Unknown("504 Gateway Timeout".into())).await;
    desk.advance(60);
    desk.fail(Outcome::Unknown("connection reset after the request was sent".into())).await;
    desk.submit_many(3).await;
    (desk, quote, event)
}

fn addresses(quote: Uuid, event: Uuid) -> Vec<String> {
    let pages =
        ["", "causes", "events?status=dead", "quotes", "destinations", "workers", "promises", "actions", "settings"];
    let details = [format!("events/{event}"), format!("quotes/{quote}")];
    pages.iter().map(|page| (*page).to_owned()).chain(details).collect()
}

pub async fn is_loaded(console: &Console) {
    eventually("the page is loaded", LIMIT, async || {
        let text = console.browser.text("main").await;
        (text.len() > 40 && !text.contains("Loading") && !text.contains("불러오는 중")).then_some(())
    })
    .await;
}

pub async fn speak(console: &Console, language: &str) {
    console.browser.run("document.cookie = `feebox_language=${arguments[0]}; path=/`", language).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn axe_and_the_console_find_nothing_on_any_page_in_both_languages_and_schemes() {
    let (desk, quote, event) = busy().await;
    let axe = fs::read_to_string(axe_file()).expect("axe-core is missing: run `tests/servers/install axe`");
    let console = Console::open(&desk).await;
    console.browser.open(&console.base_url).await;
    for (language, scheme) in [("en", "light"), ("ko", "dark")] {
        speak(&console, language).await;
        console.browser.show(1280, 900, scheme).await;
        for address in addresses(quote, event) {
            console.go(&address).await;
            is_loaded(&console).await;
            assert_eq!(console.browser.run("return document.documentElement.lang", "").await, language);
            console.browser.run(&axe, "").await;
            let find = "const done = arguments[1]; axe.run().then((it) => done(it.violations.map((it) => \
                [it.id, it.nodes.map((node) => node.html + ' ' + node.failureSummary).slice(0, 3)])))";
            let found = console.browser.run_async(find, "").await;
            assert_eq!(found, json!([]), "{address} in {language}, {scheme}: {found:#}");
            let loaded = console.browser.loaded().await;
            assert!(loaded.iter().all(|it| it.starts_with(&console.base_url)), "from nowhere else: {loaded:#?}");
            let said = console.browser.console().await;
            assert!(said.is_empty(), "{address}: {said:#?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_page_scrolls_sideways_on_a_phone() {
    let (desk, quote, event) = busy().await;
    let console = Console::open(&desk).await;
    console.browser.open(&console.base_url).await;
    for language in ["en", "ko"] {
        speak(&console, language).await;
        console.browser.show(390, 844, "light").await;
        for address in addresses(quote, event) {
            console.go(&address).await;
            is_loaded(&console).await;
            let fits = "return [innerWidth, document.documentElement.scrollWidth <= innerWidth]";
            assert_eq!(console.browser.run(fits, "").await, json!([390, true]), "{address} in {language}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_times_of_a_page_are_in_one_zone_also_within_sentences() {
    let (desk, _, event) = busy().await;
    let console = Console::open(&desk).await;
    console.browser.open(&console.base_url).await;
    for (zone, mark) in [("local", "+00:00"), ("utc", " UTC")] {
        for language in ["en", "ko"] {
            speak(&console, language).await;
            console.browser.run("localStorage.setItem('feebox.zone', arguments[0])", zone).await;
            console.go(&format!("events/{event}")).await;
            console.sees("#explain", mark).await;
            console.waits_for("#neighbours tbody tr").await;
            let written = "return /\\dT\\d/.test(document.querySelector('#explain').innerText + \
                document.querySelector('#neighbours').innerText)";
            assert_eq!(console.browser.run(written, "").await, false, "{zone}, {language}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn korean_pages_are_korean() {
    let (desk, quote, event) = busy().await;
    let console = Console::open(&desk).await;
    console.go("").await;
    console.waits_for("#language").await;
    let choose = "const it = document.getElementById('language'); it.value = 'ko'; \
        it.dispatchEvent(new Event('change', { bubbles: true }))";
    console.browser.run(choose, "").await;
    console.sees("nav", "전달 대상").await;
    console.sees("#headline", "이벤트").await;
    console.go(&format!("events/{event}")).await;
    console.sees("#explain", "번째 시도 실패(결과 모름)").await;
    console.go(&format!("quotes/{quote}")).await;
    console.sees("#state", "수수료를 기다립니다").await;
    let violation = audit_violation::ActiveModel {
        id: Set(Uuid::now_v7()),
        quote_id: Set(quote),
        promise: Set(6),
        sentence: Set(format!("event {event} of quote {quote} was delivered before an earlier event of its quote")),
        found_at: Set(desk.now().await),
        check_name: Set(Some("out_of_order".into())),
    };
    violation.insert(desk.db.connection()).await.unwrap();
    console.go("promises").await;
    console.sees("main", "앞선 이벤트보다 먼저 전달되었습니다").await;
    console.waits_for(&format!("main a[href='/events/{event}']")).await;
}

/// Where `tests/servers/install axe` puts it.
fn axe_file() -> PathBuf {
    let home = || PathBuf::from(std::env::var("HOME").unwrap()).join(".cache");
    let cache = std::env::var("XDG_CACHE_HOME").map_or_else(|_| home(), PathBuf::from);
    cache.join("feebox/axe-core-4.14.1/node_modules/axe-core/axe.min.js")
}
