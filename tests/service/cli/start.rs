//! What processes say when they start, and what they log.

use std::time::Duration;

use feebox::operator;
use serde_json::Value;

use crate::support::{ANN, Desk, Process, Signal, desk_tests, http_client};

const LIMIT: Duration = Duration::from_mins(1);

desk_tests!(
    workers_on_one_host_take_free_ports,
    a_change_of_state_is_a_line_and_many_alike_are_one,
    each_request_is_a_line_if_the_access_log_is_on,
);

async fn workers_on_one_host_take_free_ports(desk: Desk) {
    let env = env(&desk);
    let env: Vec<_> = env.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let workers = [Process::start(&["worker"], &env), Process::start(&["worker"], &env)];
    for worker in &workers {
        worker.wait_for_line(LIMIT, |line| line.contains("\"started\"")).await;
    }
    let lines: Vec<_> = workers.iter().flat_map(Process::lines).collect();
    let moved = lines.iter().find(|line| line.contains("health and metrics have a free port")).unwrap();
    let address = serde_json::from_str::<Value>(moved).unwrap()["address"].as_str().unwrap().to_owned();
    let answer = http_client().get(format!("http://{address}/healthz")).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let taken = Process::start(&["worker", "--bind", &address], &env);
    assert_eq!(taken.wait(LIMIT).await.code(), Some(1), "an address that was asked for is not changed");
    assert!(taken.lines().iter().any(|line| line.contains(&format!("cannot listen on {address}"))));
    for worker in &workers {
        worker.signal(Signal::Terminate);
        assert!(worker.wait(LIMIT).await.success());
    }
}

async fn a_change_of_state_is_a_line_and_many_alike_are_one(desk: Desk) {
    desk.submit_many(30).await;
    let mut env = env(&desk);
    // Nobody listens there.
    env.retain(|(name, _)| *name != "FEEBOX__FEE_SERVER__BASE_URL");
    env.push(("FEEBOX__FEE_SERVER__BASE_URL", "http://127.0.0.1:1".into()));
    env.push(("FEEBOX__CIRCUIT__FAILURES", "3".into()));
    let env: Vec<_> = env.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let worker = Process::start(&["worker", "--once"], &env);
    assert!(worker.wait(LIMIT).await.success(), "{:#?}", worker.lines());
    let lines = lines(&worker);
    let with = |message: &str| lines.iter().filter(|line| text(line, "message").contains(message)).collect::<Vec<_>>();
    let opened = with("circuit opened");
    assert_eq!(opened.len(), 1, "{lines:#?}");
    assert!(text(opened[0], "reason").contains("refused"), "{opened:#?}");
    let failed = with("delivery failed");
    assert_eq!(failed.len(), 1, "thirty failures of one kind are one line: {failed:#?}");
    assert!(failed[0]["took_ms"].is_f64() && failed[0]["alike"].is_u64(), "{failed:#?}");
    assert!(text(failed[0], "due_at").ends_with('Z') && text(failed[0], "due_at").contains('T'), "{failed:#?}");

    operator::pause(&desk.db, ANN, "fee-server").await.unwrap();
    let worker = Process::start(&["worker"], &env);
    worker.wait_for_line(LIMIT, |line| line.contains("an operator paused the destination")).await;
    operator::resume(&desk.db, ANN, "fee-server").await.unwrap();
    worker.wait_for_line(LIMIT, |line| line.contains("is not paused any more")).await;
}

async fn each_request_is_a_line_if_the_access_log_is_on(desk: Desk) {
    for (access, expected) in [("false", 0), ("true", 1)] {
        let mut env = env(&desk);
        env.push(("FEEBOX__LOG__ACCESS", access.into()));
        let env: Vec<_> = env.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let serve = Process::start(&["serve", "--bind", "127.0.0.1:0"], &env);
        let started = serve.wait_for_line(LIMIT, |line| line.contains("\"started\"")).await;
        let address = serde_json::from_str::<Value>(&started).unwrap()["address"].as_str().unwrap().to_owned();
        let pause = http_client().post(format!("http://{address}/v1/destinations/fee-server/pause"));
        assert_eq!(pause.send().await.unwrap().status(), 200);
        let resume = http_client().post(format!("http://{address}/v1/destinations/fee-server/resume"));
        assert_eq!(resume.send().await.unwrap().status(), 200);
        serve.signal(Signal::Interrupt);
        assert!(serve.wait(LIMIT).await.success());
        let lines = lines(&serve);
        let paused = lines.iter().filter(|line| text(line, "route") == "/v1/destinations/{name}/pause");
        assert_eq!(paused.clone().count(), expected, "{lines:#?}");
        for line in paused {
            assert_eq!(
                (&line["status"], text(line, "method"), text(line, "caller")),
                (&200.into(), "POST", "anonymous")
            );
            assert!(line["took_ms"].is_f64(), "{line}");
        }
        let actions = lines.iter().filter(|line| text(line, "message") == "operator action");
        let actions: Vec<_> = actions.map(|line| text(line, "action")).collect();
        assert_eq!(actions, ["destination.pause", "destination.resume"]);
    }
}

fn lines(process: &Process) -> Vec<Value> {
    process.lines().iter().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

fn text<'a>(line: &'a Value, field: &str) -> &'a str {
    line[field].as_str().unwrap_or_default()
}

fn env(desk: &Desk) -> Vec<(&'static str, String)> {
    vec![
        ("DATABASE_URL", desk.database.url().to_owned()),
        ("FEEBOX__FEE_SERVER__BASE_URL", desk.sample.base_url()),
        ("FEEBOX__WORKER__SCHEDULE", "* * * * * *".into()),
    ]
}

/// No process, no file: it says where it looked and what helps, in one line.
#[tokio::test]
async fn a_database_that_cannot_be_reached_is_one_line_with_what_helps() {
    for url in ["postgres://feebox:secret@127.0.0.1:1/fees", "mysql://feebox:secret@127.0.0.1:1/fees"] {
        let list = Process::start(&["outbox", "list", "--database-url", url], &[]);
        assert_eq!(list.wait(LIMIT).await.code(), Some(1));
        let lines = list.lines();
        assert_eq!(lines.len(), 1, "{lines:#?}");
        for part in ["127.0.0.1:1", "refused", "database.url"] {
            assert!(lines[0].contains(part), "{part}: {lines:#?}");
        }
        assert!(!lines[0].contains("secret") && lines[0].matches("refused").count() == 1, "{lines:#?}");
    }
}
