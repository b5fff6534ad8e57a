//! Without a mouse.

use super::Console;
use crate::support::{Desk, Engine};

const ENTER: &str = "\u{e007}";
const TAB: &str = "\u{e004}";
const ESCAPE: &str = "\u{e00c}";

#[tokio::test(flavor = "multi_thread")]
async fn an_event_is_found_and_retried_by_keys_alone() {
    let desk = Desk::open(Engine::Sqlite).await;
    desk.submit_refused().await;
    let (_, event) = desk.submit_refused().await;
    let console = Console::open(&desk).await;
    console.go("events?status=dead").await;
    console.sees(".total", "2 events match").await;
    let browser = &console.browser;
    browser.press("?").await;
    console.sees("dialog", "Next row").await;
    browser.press(ESCAPE).await;
    // Down, down, up, select: the first row is the newest event.
    browser.press("jjkx").await;
    console.sees(".bar", "1 selected").await;
    browser.press(ENTER).await;
    console.sees("h1", &event.to_string()).await;
    console.waits_for(".bar button.main").await;

    // The way to the button leads past what can be read.
    for _ in 0..40 {
        let is_there = "return document.activeElement.matches('.bar button.main')";
        if browser.run(is_there, "").await == true {
            break;
        }
        browser.press(TAB).await;
    }
    browser.press(ENTER).await;
    console.waits_for("dialog[open] textarea:focus").await;
    browser.press("by keys").await;
    browser.press(TAB).await;
    browser.press(ENTER).await;
    console.sees(".notices", "is due now").await;
    desk.deliver().await;
    console.sees("#explain", "It was delivered").await;

    browser.press("/").await;
    browser.press(&format!("{event}{ENTER}")).await;
    console.sees("h1", &event.to_string()).await;
}
