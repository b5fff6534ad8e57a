//! Pages as the server writes them: they can be read without scripts.

use feebox::outbox::Outcome;
use feebox::settings::Role;
use reqwest::Method;

use crate::support::{Api, Desk, Engine, TestDatabase};

/// A page's status and HTML.
async fn page(api: &Api, path: &str, headers: &[(&'static str, &str)]) -> (u16, String) {
    let request =
        headers.iter().fold(api.request(Method::GET, path), |request, (name, value)| request.header(*name, *value));
    let answer = request.send().await.unwrap();
    assert!(answer.headers()["content-type"].to_str().unwrap().starts_with("text/html"), "{path}");
    assert_eq!(answer.headers()["cache-control"], "no-store", "{path}");
    (answer.status().as_u16(), answer.text().await.unwrap())
}

#[tokio::test]
async fn each_page_says_what_it_is_for_before_a_script_runs() {
    let desk = Desk::open(Engine::Sqlite).await;
    let (quote, event) = desk.submit().await;
    desk.fail(Outcome::Broken("200 OK with a <b>body</b> that is no fee".into())).await;
    let api = Api::start(&desk.database).await;
    let (of_event, of_quote) = (format!("/events/{event}"), format!("/quotes/{quote}"));
    let pages = [
        ("/", "dead: 1 event for fee-server", "1건이 포기되었습니다"),
        ("/causes", "Retry all", "모두 재시도"),
        ("/events?status=dead", &event.to_string(), "1건"),
        (&of_event, "A retry by an operator revives it.", "운영자"),
        ("/quotes", &quote.to_string(), "상태"),
        (&of_quote, "It waits for an operator: its event is dead.", "운영자"),
        ("/destinations", "fee-server", "대기"),
        ("/workers", "Process", "프로세스"),
        ("/promises", "No stored quote loses its fee.", "수수료"),
        ("/actions", "No operator has done anything yet.", "아직"),
        ("/settings", "Secrets are masked.", "비밀"),
    ];
    for (path, english, korean) in pages {
        let (status, html) = page(&api, path, &[]).await;
        assert_eq!((status, html.contains("<html lang=\"en\">")), (200, true), "{path}");
        assert!(html.contains(english), "{path}: {html}");
        // Nothing that the fee server wrote is markup.
        assert!(!html.contains("<b>") && !html.contains("undefined"), "{path}");
        let (_, html) = page(&api, path, &[("cookie", "feebox_language=ko")]).await;
        assert!(html.contains("<html lang=\"ko\">") && html.contains(korean), "{path}: {html}");
    }
    let (_, html) = page(&api, &of_event, &[("accept-language", "ko-KR,ko;q=0.9")]).await;
    assert!(html.contains("200 OK with a &lt;b&gt;body&lt;/b&gt;"), "{html}");
}

#[tokio::test]
async fn a_filter_is_applied_without_scripts() {
    let desk = Desk::open(Engine::Sqlite).await;
    let (_, dead) = desk.submit_refused().await;
    let (_, waiting) = desk.submit().await;
    let api = Api::start(&desk.database).await;
    // As a browser sends the form: with each field, and times without a zone.
    let sent = "/events?status=dead&destination=&event_type=&customer_id=&cause=&created_after=2026-01-01T10%3A00";
    let (status, html) = page(&api, sent, &[]).await;
    assert_eq!(status, 200);
    assert!(html.contains(&dead.to_string()) && !html.contains(&waiting.to_string()), "{html}");
    assert!(
        html.contains("<option value=\"dead\" selected>") && html.contains("value=\"2026-01-01T10:00:00\""),
        "{html}"
    );
    let (_, html) = page(&api, "/events?created_before=2026-01-01T19%3A00%3A00%2B09%3A00", &[]).await;
    assert!(html.contains("value=\"2026-01-01T10:00:00\""), "{html}");
    // What the API refuses is told on the page.
    let (status, html) = page(&api, "/events?customer_id=a&quote_id=no-uuid", &[]).await;
    assert!(status == 200 && html.contains("Invalid path or query parameter"), "{html}");
}

#[tokio::test]
async fn a_call_that_fails_is_no_failure_of_the_page_and_what_is_unknown_is_not_found() {
    let desk = Desk::open(Engine::Sqlite).await;
    desk.submit().await;
    let api = Api::start(&desk.database).await;
    api.execute("ALTER TABLE series RENAME TO hidden").await;
    let (status, html) = page(&api, "/", &[]).await;
    assert!(status == 200 && html.contains("id=\"headline\"") && html.contains("Internal server error"), "{html}");
    assert!(!html.contains("data-failed"), "{html}");
    api.execute("ALTER TABLE quote RENAME TO hidden_too").await;
    assert!(page(&api, "/quotes", &[]).await.1.contains("data-failed=\"Internal server error"));
    let (status, html) = page(&api, "/events/01a21d83-f498-71a0-aff3-68066ccafa7b", &[]).await;
    assert!(status == 404 && html.contains("There is nothing with this id"), "{html}");
}

#[tokio::test]
async fn who_may_not_read_a_page_is_told_so_by_a_page() {
    let database = TestDatabase::migrated(Engine::Sqlite).await;
    let api = Api::start_at(database.url(), &[("shop", "s1", Role::Submitter), ("eye", "v1", Role::Viewer)]).await;
    for path in ["/", "/events?status=dead", "/settings"] {
        let (status, html) = page(&api, path, &[]).await;
        assert!(status == 401 && html.contains("class=\"login\"") && !html.contains("<nav"), "{html}");
        let (status, html) = page(&api, path, &[("authorization", "Bearer wrong")]).await;
        assert!(status == 401 && html.contains("the token is unknown"), "{html}");
        let (status, html) = page(&api, path, &[("authorization", "Bearer s1")]).await;
        assert!(status == 403 && html.contains("shop, submitter") && !html.contains("data-list"), "{html}");
        let (status, html) = page(&api, path, &[("authorization", "Bearer v1")]).await;
        assert!(status == 200 && html.contains("eye, viewer") && !html.contains("class=\"danger\""), "{html}");
    }
    let anyone = Api::start(&database).await;
    let (status, html) = page(&anyone, "/", &[("host", "feebox.example")]).await;
    assert!(status == 403 && html.contains("no tokens are configured"), "{html}");
    let (status, html) = page(&anyone, "/events/no%2Fid", &[]).await;
    assert!(status == 404 && html.contains("There is no such page"), "{html}");
}
