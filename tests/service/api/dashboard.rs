//! The dashboard, in a real browser: what an operator sees, and what the buttons do.

use std::time::Duration;

use entity::quote::Status;
use feebox::outbox::Outcome;

use serde_json::json;

use crate::support::{Browser, Desk, Engine, Process, eventually, free_port, http_client};

const LIMIT: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread")]
async fn a_stale_quote_is_listed_and_its_button_cancels_it() {
    let desk = Desk::open(Engine::Sqlite).await;
    let (quote, event) = desk.submit().await;
    desk.fail(Outcome::Broken("200 OK with a <b>body</b> that is no fee".into())).await;
    let (_serve, base_url) = serve(&desk).await;
    let browser = Browser::start().await;
    browser.open(&base_url).await;
    eventually("the quote is named", LIMIT, async || {
        browser.text("#stale tbody").await.contains(&quote.to_string()).then_some(())
    })
    .await;
    let dead = browser.text("#dead tbody").await;
    assert!(dead.contains(&event.to_string()) && dead.contains("a <b>body</b> that is no fee"), "as text: {dead}");

    browser.click("#stale button").await;
    eventually("nothing is pending for too long", LIMIT, async || {
        browser.text("#stale tbody").await.contains("None.").then_some(())
    })
    .await;
    assert_eq!(desk.quote(quote).await.status, Status::Cancelled);
    let loaded = browser.loaded().await;
    assert!(loaded.iter().all(|address| address.starts_with(&base_url)), "from nowhere else: {loaded:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_buttons_of_a_destination_pause_and_resume_it() {
    let desk = Desk::open(Engine::Sqlite).await;
    desk.submit().await;
    desk.claim().await;
    let (_serve, base_url) = serve(&desk).await;
    let browser = Browser::start().await;
    browser.open(&base_url).await;
    for state in ["delivering", "paused by anonymous", "delivering"] {
        eventually(state, LIMIT, async || browser.text("#destinations tbody").await.contains(state).then_some(()))
            .await;
        browser.click("#destinations button").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn amounts_have_the_digits_of_iso_4217() {
    let desk = Desk::open(Engine::Sqlite).await;
    let (_serve, base_url) = serve(&desk).await;
    // Browsers show HUF and IQD without digits.
    for (currency, shown) in [("HUF", "1,234.50"), ("IQD", "123.450"), ("JPY", "123,450")] {
        let quote = json!({"customer_id": "c", "currency": currency,
            "lines": [{"description": "d", "quantity": 1, "unit_price_minor": 123_450}]});
        let answer = http_client().post(format!("{base_url}/v1/quotes")).json(&quote).send().await.unwrap();
        assert_eq!(answer.status(), 201);
        let browser = Browser::start().await;
        browser.open(&base_url).await;
        eventually(shown, LIMIT, async || browser.text("#quotes tbody").await.contains(shown).then_some(())).await;
    }
}

/// `feebox serve` on the desk's database, where a second makes a quote stale.
async fn serve(desk: &Desk) -> (Process, String) {
    let bind = format!("127.0.0.1:{}", free_port());
    let base_url = format!("http://{bind}");
    let env = [("DATABASE_URL", desk.database.url()), ("FEEBOX__SWEEPER__STALE_AFTER", "1s")];
    let serve = Process::start(&["serve", "--bind", &bind], &env);
    serve.wait_ready(&base_url, LIMIT).await;
    (serve, base_url)
}
