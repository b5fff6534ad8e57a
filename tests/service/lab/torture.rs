//! `feebox torture`: the promises survive it, and where nobody can keep one, it says so. `tests/torture` runs it for
//! longer, and alone on the machine.

use std::{fs, time::Duration};

use serde_json::Value;

use crate::support::{Process, Server, eventually};

const LIMIT: Duration = Duration::from_mins(5);
/// The torture asks for a crash of its database by creating this file, and waits until it is gone.
const CRASH: &str = "crash-the-database";

#[tokio::test]
async fn the_promises_survive_all_faults_on_postgres() {
    survives(Some(Server::own_postgres())).await;
}

#[tokio::test]
async fn the_promises_survive_all_faults_on_mariadb() {
    survives(Some(Server::own_mariadb())).await;
}

#[tokio::test]
async fn the_promises_survive_all_faults_on_sqlite() {
    survives(None).await;
}

/// Other tests run on the same machine, so the limit for a recovery is so long that only a fleet that needs help
/// exceeds it.
async fn survives(server: Option<Server>) {
    let mut arguments = vec!["--time", "15s", "--workers", "2", "--rest-bound", "80s"];
    let restart = format!("touch {CRASH} && while [ -e {CRASH} ]; do sleep 0.05; done");
    if let Some(server) = &server {
        arguments.extend(["--database-url", server.url(), "--database-restart", &restart]);
    }
    let (code, verdict) = tortured(&arguments, server.as_ref()).await;
    assert_eq!((code, &verdict["violations"]), (0, &Value::Array(vec![])), "{verdict:#}");
    let count = |name: &str| verdict[name].as_u64().unwrap();
    assert!(verdict["faults"].as_object().unwrap().len() >= 6, "{verdict:#}");
    assert!(count("accepted") > 0 && count("confirmed") > 0 && count("stored") >= count("accepted"), "{verdict:#}");
    for none in ["lost", "doubled", "ghosts", "order_violations", "innocent_dead"] {
        assert_eq!(count(none), 0, "{none}: {verdict:#}");
    }
    assert!(count("longest_rest_ms") <= count("rest_bound_ms"), "{verdict:#}");
}

#[tokio::test]
async fn a_broken_promise_is_reported_with_exit_code_3() {
    let nobody_can = ["--time", "6s", "--rate", "50", "--only", "failures", "--no-idempotency", "--no-lookup"];
    let (code, verdict) = tortured(&nobody_can, None).await;
    assert_eq!(code, 3, "{verdict:#}");
    assert!(verdict["doubled"].as_u64() > Some(0), "{verdict:#}");
    assert!(verdict["violations"].as_array().unwrap().iter().any(|broken| broken["promise"] == 3), "{verdict:#}");
}

#[tokio::test]
async fn only_the_selected_faults_are_injected() {
    let (code, verdict) = tortured(&["--time", "4s", "--only", "kill,pages", "--rest-bound", "80s"], None).await;
    let faults: Vec<_> = verdict["faults"].as_object().unwrap().keys().cloned().collect();
    assert_eq!((code, faults), (0, vec!["kill".to_owned(), "pages".to_owned()]), "{verdict:#}");
    let with_both = Process::start(&["torture", "--only", "kill", "--without", "kill"], &[]);
    assert_eq!(with_both.wait(LIMIT).await.code(), Some(2));
}

/// Crashes and restarts `server` whenever the torture asks for it.
async fn tortured(arguments: &[&str], server: Option<&Server>) -> (i32, Value) {
    let torture = Process::start(&[&["torture", "--json", "--out", "out"], arguments].concat(), &[]);
    let asked = torture.directory().join(CRASH);
    let ended = eventually("the end of the torture", LIMIT, async || {
        if let Some(server) = server.filter(|_| asked.exists()) {
            // Blocking is fine: nothing else runs on this runtime.
            server.crash();
            server.start();
            fs::remove_file(&asked).unwrap();
        }
        torture.ended()
    });
    let code = ended.await.code().unwrap();
    let lines = torture.lines();
    let json: Vec<_> = lines.iter().skip_while(|line| *line != "{").cloned().collect();
    let verdict = serde_json::from_str(&json.join("\n"));
    (code, verdict.unwrap_or_else(|error| panic!("{error}: {lines:#?}")))
}
