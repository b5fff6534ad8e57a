use std::time::Duration;

use entity::process;
use sea_orm::{ActiveValue::Set, EntityTrait};
use uuid::Uuid;

use crate::support::{Browser, Desk, Process, eventually, free_port};

pub const LIMIT: Duration = Duration::from_mins(1);

/// `eye-token` is a viewer's, `boss-token` an operator's.
pub const TOKENS: &str = "[{name = 'eye', role = 'viewer', \
    sha256 = 'deb98b54bcc4d58940a0137ab76caa71407316d661fd89ebea30a6673c6e481e'}, {name = 'boss', role = 'operator', \
    sha256 = '673e0b86626e1976dc1d5d4723c64674b0057b4f5b0f65f51758814a3d82c458'}]";

/// A browser before `feebox serve` on a desk's database, where a second makes a quote stale.
pub struct Console {
    pub browser: Browser,
    pub base_url: String,
    _serve: Process,
}

impl Console {
    /// Where everybody is operator.
    pub async fn open(desk: &Desk) -> Console {
        Console::open_with(desk, &[]).await
    }

    pub async fn open_with(desk: &Desk, settings: &[(&str, &str)]) -> Console {
        // The desk's worker lives on, as far ahead as a process can be that `feebox serve` does not forget.
        let soon = desk.now().await + Duration::from_mins(30);
        let lives = process::ActiveModel { seen_at: Set(soon), ..Default::default() };
        process::Entity::update_many().set(lives).exec(desk.db.connection()).await.unwrap();
        let bind = format!("127.0.0.1:{}", free_port());
        let base_url = format!("http://{bind}");
        let env = [("DATABASE_URL", desk.database.url()), ("FEEBOX__SWEEPER__STALE_AFTER", "1s")];
        let env: Vec<_> = env.iter().chain(settings).copied().collect();
        let serve = Process::start(&["serve", "--bind", &bind], &env);
        serve.wait_ready(&base_url, LIMIT).await;
        Console { browser: Browser::start().await, base_url, _serve: serve }
    }

    /// Opens the page at this address.
    pub async fn go(&self, address: &str) {
        self.browser.open("about:blank").await;
        self.browser.open(&format!("{}/{address}", self.base_url)).await;
    }

    /// Waits until the reader sees `text` in the first element that fits.
    pub async fn sees(&self, selector: &str, text: &str) {
        eventually(text, LIMIT, async || self.browser.text(selector).await.contains(text).then_some(())).await;
    }

    /// Waits for an element, and clicks it.
    pub async fn click(&self, selector: &str) {
        self.waits_for(selector).await;
        self.browser.click(selector).await;
    }

    /// Clicks the button or link in the first element that fits that reads `label`.
    pub async fn click_named(&self, selector: &str, label: &str) {
        let script = "const [selector, label] = JSON.parse(arguments[0]); \
            const found = [...document.querySelector(selector)?.querySelectorAll('button, a') ?? []]; \
            const it = found.find((it) => it.innerText.trim() === label); it?.click(); return Boolean(it)";
        let what = serde_json::to_string(&[selector, label]).unwrap();
        eventually(label, LIMIT, async || self.browser.run(script, &what).await.as_bool().unwrap().then_some(())).await;
    }

    pub async fn waits_for(&self, selector: &str) {
        eventually(selector, LIMIT, async || self.has(selector).await.then_some(())).await;
    }

    /// Waits until no element fits.
    pub async fn loses(&self, selector: &str) {
        eventually(selector, LIMIT, async || (!self.has(selector).await).then_some(())).await;
    }

    pub async fn has(&self, selector: &str) -> bool {
        let script = "return document.querySelector(arguments[0]) !== null";
        self.browser.run(script, selector).await.as_bool().unwrap()
    }

    /// Answers the question that a change asks: the reason, and yes.
    pub async fn confirm(&self, reason: &str) {
        self.waits_for("dialog[open] textarea").await;
        self.browser.fill("dialog textarea", reason).await;
        self.click("dialog button[type=submit]:not([disabled])").await;
        eventually("the question is answered", LIMIT, async || (!self.has("dialog[open]").await).then_some(())).await;
    }

    /// Marks the page: the mark is gone once it is loaded again.
    pub async fn mark(&self) {
        self.browser.run("window.mark = true", "").await;
    }

    pub async fn was_not_reloaded(&self) {
        assert_eq!(self.browser.run("return window.mark === true", "").await, true, "the page was loaded again");
    }

    /// Logs in with a token.
    pub async fn log_in(&self, token: &str) {
        self.waits_for("input[name=token]").await;
        self.browser.fill("input[name=token]", token).await;
        self.browser.click("form.login button").await;
    }
}

/// An id as lists show it.
pub fn short(id: Uuid) -> String {
    let id = id.to_string();
    format!("{}…{}", &id[..8], &id[id.len() - 6..])
}
