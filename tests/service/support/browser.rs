use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::http_client;

/// How long Chromium may take to end.
const QUIT_WAIT: Duration = Duration::from_secs(10);

/// A headless Chromium, led by the few calls of W3C `WebDriver` that a test needs. A machine without it fails the test.
pub struct Browser {
    driver: Child,
    port: u16,
    session: String,
    _profile: TempDir,
}

impl Browser {
    pub async fn start() -> Browser {
        let profile = tempfile::Builder::new().prefix("feebox-browser.").tempdir().unwrap();
        let mut driver = Command::new("chromedriver")
            .args(["--port=0", "--allowed-ips=127.0.0.1"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("Chromium is not to be had here: run `tests/servers/install chromium`");
        let port = port_of(&mut driver);
        let flags = [
            "--headless=new",
            "--no-sandbox", // it refuses to run as root with one
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
        ];
        let profile_flag = format!("--user-data-dir={}", profile.path().display());
        let flags: Vec<_> = flags.into_iter().chain([profile_flag.as_str()]).collect();
        let mut browser = Browser { driver, port, session: String::new(), _profile: profile };
        let options = json!({ "alwaysMatch": {
            "goog:chromeOptions": { "args": flags }, "goog:loggingPrefs": { "browser": "ALL" } } });
        let begun = browser.call("session", json!({ "capabilities": options })).await;
        begun["sessionId"].as_str().unwrap().clone_into(&mut browser.session);
        browser
    }

    /// Loads a page.
    pub async fn open(&self, url: &str) {
        self.in_session("url", json!({ "url": url })).await;
    }

    /// What a reader sees of the first element that fits; nothing if none does.
    pub async fn text(&self, selector: &str) -> String {
        let text = self.run("return document.querySelector(arguments[0])?.innerText ?? ''", selector).await;
        text.as_str().unwrap().to_owned()
    }

    /// Clicks the first element that fits.
    pub async fn click(&self, selector: &str) {
        self.run("document.querySelector(arguments[0]).click()", selector).await;
    }

    /// Addresses from which the page has loaded anything.
    pub async fn loaded(&self) -> Vec<String> {
        let script = "return performance.getEntriesByType('resource').map((it) => it.name)";
        serde_json::from_value(self.run(script, "").await).unwrap()
    }

    /// Types into the first element that fits, in place of what is there.
    pub async fn fill(&self, selector: &str, text: &str) {
        let script = "const it = document.querySelector(arguments[0]); it.focus(); it.select?.(); return true";
        self.run(script, selector).await;
        self.press(text).await;
    }

    /// Presses these keys, one after the other; `\u{e007}` is Enter, `\u{e004}` Tab (W3C `WebDriver`).
    pub async fn press(&self, keys: &str) {
        let strokes =
            keys.chars().flat_map(|key| ["keyDown", "keyUp"].map(|kind| json!({ "type": kind, "value": key })));
        let keyboard = json!({ "type": "key", "id": "keyboard", "actions": strokes.collect::<Vec<_>>() });
        self.in_session("actions", json!({ "actions": [keyboard] })).await;
    }

    /// What a function body returns in the page; `arguments[0]` is `argument`.
    pub async fn run(&self, script: &str, argument: &str) -> Value {
        self.in_session("execute/sync", json!({ "script": script, "args": [argument] })).await
    }

    /// The same of a body that calls `arguments[1]` with it.
    pub async fn run_async(&self, script: &str, argument: &str) -> Value {
        self.in_session("execute/async", json!({ "script": script, "args": [argument] })).await
    }

    /// A command of the `DevTools` protocol.
    pub async fn devtools(&self, command: &str, params: Value) -> Value {
        self.in_session("goog/cdp/execute", json!({ "cmd": command, "params": params })).await
    }

    /// A screen of this size, in pixels, with a colour scheme.
    pub async fn show(&self, width: u32, height: u32, scheme: &str) {
        let screen = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        self.devtools("Emulation.setDeviceMetricsOverride", screen).await;
        let scheme = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        self.devtools("Emulation.setEmulatedMedia", scheme).await;
    }

    /// The session's cookie, as the browser keeps it.
    pub async fn cookies(&self) -> Vec<Value> {
        let cookies = self.devtools("Network.getAllCookies", json!({})).await;
        cookies["cookies"].as_array().unwrap().clone()
    }

    /// As if all cookies had expired.
    pub async fn forget_cookies(&self) {
        self.devtools("Network.clearBrowserCookies", json!({})).await;
    }

    /// What the console said since the last call.
    pub async fn console(&self) -> Vec<String> {
        let lines = self.in_session("se/log", json!({ "type": "browser" })).await;
        lines.as_array().unwrap().iter().map(|line| line["message"].as_str().unwrap().to_owned()).collect()
    }

    /// A picture of the screen, as base64 of PNG.
    pub async fn screenshot(&self) -> String {
        let taken = self.devtools("Page.captureScreenshot", json!({ "format": "png" })).await;
        taken["data"].as_str().unwrap().to_owned()
    }

    async fn in_session(&self, command: &str, body: Value) -> Value {
        self.call(&format!("session/{}/{command}", self.session), body).await
    }

    async fn call(&self, path: &str, body: Value) -> Value {
        let url = format!("http://127.0.0.1:{}/{path}", self.port);
        let answer = http_client().request(Method::POST, url).json(&body).send().await.unwrap();
        let mut answer: Value = answer.json().await.unwrap();
        assert!(answer["value"]["error"].is_null(), "{path}: {answer:#}");
        answer["value"].take()
    }
}

impl Drop for Browser {
    /// The session first, or Chromium stays behind. Blocks, for it may be a panic that ends the test.
    fn drop(&mut self) {
        if let Ok(mut driver) = TcpStream::connect(("127.0.0.1", self.port)) {
            let request = format!(
                "DELETE /session/{} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nConnection: close\r\n\r\n",
                self.session, self.port
            );
            let _ = driver.write_all(request.as_bytes());
            // It answers when Chromium is gone, and keeps the connection.
            let _ = driver.set_read_timeout(Some(QUIT_WAIT));
            let _ = driver.read(&mut [0; 1]);
        }
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}

/// It says on which port it listens, and is read on so that it can go on talking.
fn port_of(driver: &mut Child) -> u16 {
    let mut lines = BufReader::new(driver.stdout.take().unwrap()).lines().map_while(Result::ok);
    let port = lines.by_ref().find_map(|line| {
        let (_, port) = line.split_once("started successfully on port ")?;
        port.trim_end_matches('.').parse().ok()
    });
    thread::spawn(move || lines.for_each(drop));
    port.expect("chromedriver listens somewhere")
}
