//! Operators see the settings that are in force, and where the fleet differs.

use std::time::Duration;

use feebox::fleet::{self, Member, Role};
use feebox::settings::{Settings, Sources};
use serde_json::{Value, json};

use crate::support::{Desk, Process, desk_tests, eventually, free_port, http_client};

desk_tests!(
    viewers_and_operators_see_what_the_command_prints_and_submitters_do_not,
    a_setting_that_differs_within_the_fleet_has_each_processs_value,
);

const LIMIT: Duration = Duration::from_mins(1);
/// `shop-token` is a submitter's, `eye-token` a viewer's, `boss-token` an operator's.
const TOKENS: &str = "[{name = 'shop', role = 'submitter', \
    sha256 = '88cc4600551e64b7cb97dd7f63ebad405255e5d17bdd71ee9fe1ed5cc20d0b3b'}, {name = 'eye', role = 'viewer', \
    sha256 = 'deb98b54bcc4d58940a0137ab76caa71407316d661fd89ebea30a6673c6e481e'}, {name = 'boss', role = 'operator', \
    sha256 = '673e0b86626e1976dc1d5d4723c64674b0057b4f5b0f65f51758814a3d82c458'}]";

struct Served {
    _process: Process,
    base_url: String,
}

async fn serve(env: &[(&str, &str)]) -> Served {
    let bind = format!("127.0.0.1:{}", free_port());
    let base_url = format!("http://{bind}");
    let process = Process::start(&["serve", "--bind", &bind], env);
    process.wait_ready(&base_url, LIMIT).await;
    Served { _process: process, base_url }
}

impl Served {
    async fn settings(&self, token: &str) -> (u16, Value) {
        let call = http_client().get(format!("{}/v1/settings", self.base_url));
        let answer = if token.is_empty() { call } else { call.bearer_auth(token) }.send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap())
    }
}

/// The lines of `feebox config`, each with its section: `worker.lease = "30s" # default`.
async fn printed(env: &[(&str, &str)]) -> Vec<String> {
    let config = Process::start(&["config"], env);
    assert!(config.wait(LIMIT).await.success());
    let mut section = String::new();
    let mut lines = vec![];
    for line in config.lines() {
        match line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            Some(name) => name.clone_into(&mut section),
            None if line.contains(" # ") => lines.push(format!("{section}.{line}")),
            None => {}
        }
    }
    lines
}

async fn viewers_and_operators_see_what_the_command_prints_and_submitters_do_not(desk: Desk) {
    let env = [
        ("DATABASE_URL", desk.database.url()),
        ("FEEBOX__ACCESS__TOKENS", TOKENS),
        ("FEEBOX__FEE_SERVER__TOKEN", "hunter2"),
        ("FEEBOX__RETRY__MAX_ATTEMPTS", "7"),
    ];
    let served = serve(&env).await;
    for (token, status) in [("", 401), ("shop-token", 403), ("eye-token", 200), ("boss-token", 200)] {
        assert_eq!(served.settings(token).await.0, status, "{token}");
    }
    let (_, shown) = served.settings("eye-token").await;
    let settings = shown["settings"].as_array().unwrap();
    let text = |setting: &Value, name: &str| setting[name].as_str().unwrap().to_owned();
    let as_printed = |setting: &Value| {
        format!("{} = {} # {}", text(setting, "key"), text(setting, "value"), text(setting, "source"))
    };
    let mut shown_lines: Vec<_> = settings.iter().map(as_printed).collect();
    let mut printed = printed(&env).await;
    // The command line says where it listens.
    for lines in [&mut shown_lines, &mut printed] {
        lines.retain(|line| !line.starts_with("server.bind "));
    }
    assert_eq!(shown_lines, printed);
    let all = shown.to_string();
    assert!(!all.contains("hunter2") && !all.contains("deb98b54"), "{all}");
    let of = |key: &str| settings.iter().find(|setting| setting["key"] == key).unwrap();
    assert_eq!(of("fee_server.token")["value"], "\"***\"");
    assert_eq!(
        (&of("retry.max_attempts")["is_default"], &of("worker.lease")["is_default"]),
        (&json!(false), &json!(true))
    );
    assert!(shown["process"].as_str().unwrap().contains(':') && shown["version"] == env!("CARGO_PKG_VERSION"));
}

async fn a_setting_that_differs_within_the_fleet_has_each_processs_value(desk: Desk) {
    desk.sql("DELETE FROM process").await;
    let served = serve(&[("DATABASE_URL", desk.database.url())]).await;
    eventually("it says that it lives", LIMIT, async || {
        (!fleet::workers(&desk.db).await.unwrap().processes.is_empty()).then_some(())
    })
    .await;
    let differing = async || {
        let (_, shown) = served.settings("").await;
        let settings = shown["settings"].as_array().unwrap().clone();
        settings.into_iter().filter(|setting| setting["differs"] != json!([])).collect::<Vec<_>>()
    };
    assert!(differing().await.is_empty());
    let sources =
        Sources::overrides([("retry.max_attempts", "9"), ("worker.concurrency", "3"), ("fee_server.token", "hunter2")]);
    let other = Member::new("other".into(), Role::Worker, &Settings::load(&sources).unwrap());
    other.beat(&desk.db, false).await.unwrap();
    let found = differing().await;
    let keys: Vec<_> = found.iter().map(|setting| setting["key"].as_str().unwrap()).collect();
    assert_eq!(keys, ["fee_server.token", "retry.max_attempts"], "a process may have its own concurrency");
    let mut values: Vec<_> =
        found[1]["differs"].as_array().unwrap().iter().map(|it| it["value"].as_str().unwrap()).collect();
    values.sort_unstable();
    assert_eq!(values, ["25", "9"]);
    assert!(!format!("{found:?}").contains("hunter2"));
    // It is gone.
    desk.sql("DELETE FROM process WHERE name = 'other'").await;
    assert!(differing().await.is_empty());
}
