//! `feebox torture`: the promises survive it, and where nobody could keep one, it says so.

use std::time::Duration;

use serde_json::Value;

use crate::support::{Process, Server};

const LIMIT: Duration = Duration::from_mins(4);

#[tokio::test]
async fn the_promises_survive_it_on_postgres() {
    survives(&["--database-url", Server::shared_postgres().url()]).await;
}

#[tokio::test]
async fn the_promises_survive_it_on_mariadb() {
    survives(&["--database-url", Server::shared_mariadb().url()]).await;
}

#[tokio::test]
async fn the_promises_survive_it_on_sqlite() {
    survives(&[]).await;
}

async fn survives(more: &[&str]) {
    let (code, verdict) = tortured(&[&["--time", "12s", "--workers", "2"], more].concat()).await;
    assert_eq!((code, &verdict["violations"]), (0, &Value::Array(vec![])), "{verdict:#}");
    let count = |name: &str| verdict[name].as_u64().unwrap();
    assert!(count("kills") + count("freezes") >= 3, "{verdict:#}");
    assert!(count("accepted") > 0 && count("confirmed") >= count("accepted"), "{verdict:#}");
    assert_eq!((count("confirmed"), count("double_fees")), (count("stored"), 0), "{verdict:#}");
}

#[tokio::test]
async fn a_broken_promise_is_named_and_ends_it_with_3() {
    let nobody_can = ["--time", "6s", "--rate", "50", "--no-idempotency", "--no-lookup"];
    let (code, verdict) = tortured(&nobody_can).await;
    assert_eq!(code, 3, "{verdict:#}");
    assert!(verdict["double_fees"].as_u64() > Some(0), "{verdict:#}");
    assert!(verdict["violations"].as_array().unwrap().iter().any(|broken| broken["promise"] == 3), "{verdict:#}");
}

async fn tortured(arguments: &[&str]) -> (i32, Value) {
    let torture = Process::start(&[&["torture", "--json", "--out", "out"], arguments].concat(), &[]);
    let code = torture.wait(LIMIT).await.code().unwrap();
    let lines = torture.lines();
    let json: Vec<_> = lines.iter().skip_while(|line| *line != "{").cloned().collect();
    let verdict = serde_json::from_str(&json.join("\n"));
    (code, verdict.unwrap_or_else(|error| panic!("{error}: {lines:#?}")))
}
