//! `feebox doctor` names each trouble, and what to do about it.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    time::Duration,
};

use feebox::{fleet, operator};
use migration::{Migrator, MigratorTrait};
use sea_orm::{ConnectionTrait, TransactionTrait};
use serde_json::Value;

use crate::support::{ANN, Desk, Engine, Process, TestDatabase, desk_tests, eventually, free_port};

const LIMIT: Duration = Duration::from_mins(1);

desk_tests!(a_sound_installation_is_told_so, troubles_of_the_fleet_are_named,);

/// What `feebox doctor` found, and whether it ended with 0.
pub async fn examine(url: &str, settings: &[(&str, &str)]) -> (Vec<Value>, bool) {
    examine_with(&[], url, settings).await
}

pub async fn examine_with(options: &[&str], url: &str, settings: &[(&str, &str)]) -> (Vec<Value>, bool) {
    let mut env = vec![("DATABASE_URL", url)];
    env.extend_from_slice(settings);
    result(Process::start(&[&["doctor", "--json"], options].concat(), &env)).await
}

/// What this one finds.
pub async fn result(doctor: Process) -> (Vec<Value>, bool) {
    let status = doctor.wait(LIMIT).await;
    let mut printed = doctor.lines();
    printed.retain(|line| !line.starts_with("feebox:"));
    let printed = printed.join("\n");
    let report: Value = serde_json::from_str(&printed).unwrap_or_else(|error| panic!("{error}: {printed}"));
    let findings = report["findings"].as_array().unwrap().clone();
    assert_eq!(report["healthy"], status.success());
    let code = status.code();
    assert_eq!(code, Some(i32::from(!status.success())), "{printed}");
    (findings, status.success())
}

/// The file of the SQLite database at `url`.
fn file_of(url: &str) -> &str {
    url.trim_start_matches("sqlite://").split('?').next().unwrap()
}

/// The details of what is wrong, each with its check.
pub fn wrong(findings: &[Value]) -> Vec<String> {
    let wrong = findings.iter().filter(|finding| finding["state"] == "wrong");
    wrong
        .map(|finding| {
            assert!(finding["advice"].is_string(), "{finding}");
            format!("{}: {}", finding["check"].as_str().unwrap(), finding["detail"].as_str().unwrap())
        })
        .collect()
}

pub fn assert_named(findings: &[Value], check: &str, part: &str) {
    let wrong = wrong(findings);
    let is_named = wrong.iter().any(|text| text.starts_with(check) && text.contains(part));
    assert!(is_named, "{check}, {part}: {wrong:#?}");
}

async fn a_sound_installation_is_told_so(desk: Desk) {
    desk.sql("DELETE FROM process").await;
    let (url, fee_server) = (desk.database.url(), desk.sample.base_url());
    if desk.database.engine() == Engine::Sqlite {
        // Feebox makes its files so; the tests' database was made by somebody else.
        fs::set_permissions(file_of(url), Permissions::from_mode(0o600)).unwrap();
    }
    let bind = "127.0.0.1:0";
    let env =
        [("DATABASE_URL", url), ("FEEBOX__FEE_SERVER__BASE_URL", fee_server.as_str()), ("FEEBOX__WORKER__BIND", bind)];
    let worker = Process::start(&["worker"], &env);
    worker.wait_for_line(LIMIT, |line| line.contains("\"started\"")).await;
    eventually("the worker says that it lives", LIMIT, async || {
        (fleet::workers(&desk.db).await.unwrap().workers_alive == 1).then_some(())
    })
    .await;
    let (findings, healthy) = examine(url, &env[1..]).await;
    assert!(healthy && wrong(&findings).is_empty(), "{findings:#?}");
}

async fn troubles_of_the_fleet_are_named(desk: Desk) {
    desk.submit_many(3).await;
    operator::pause(&desk.db, ANN, "fee-server").await.unwrap();
    desk.sql("UPDATE outbox_event SET status = 'dead', attempts = 25").await;
    desk.sql("DELETE FROM process").await;
    // Nobody listens there.
    let nowhere = format!("http://127.0.0.1:{}", free_port());
    let token = r#"[{name = "eye", sha256 = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08", role = "viewer"}]"#;
    let settings = [("FEEBOX__FEE_SERVER__BASE_URL", nowhere.as_str()), ("FEEBOX__ACCESS__TOKENS", token)];
    let (findings, healthy) = examine(desk.database.url(), &settings).await;
    assert!(!healthy);
    assert_named(&findings, "workers", "no worker is alive");
    assert_named(&findings, "destinations", "fee-server is paused by ann");
    assert_named(&findings, "events", "3 events for fee-server are dead");
    assert_named(&findings, "fee server", "refused");
    assert_named(&findings, "tokens", "none of an operator");
}

#[tokio::test]
async fn a_database_that_is_away_has_no_schema_or_an_old_one_is_named() {
    let away = format!("postgres://feebox@127.0.0.1:{}/feebox", free_port());
    let (findings, _) = examine(&away, &[]).await;
    assert_named(&findings, "database", "refused");
    for engine in Engine::ALL {
        let database = TestDatabase::create(engine).await;
        let (findings, _) = examine(database.url(), &[]).await;
        assert_named(&findings, "schema", "no schema");
        let database = TestDatabase::migrated(engine).await;
        Migrator::down(&database.connect().await, Some(1)).await.unwrap();
        let (findings, _) = examine(database.url(), &[]).await;
        assert_named(&findings, "schema", "1 migrations are pending");
    }
}

#[tokio::test]
async fn files_that_others_can_read_are_named() {
    let database = TestDatabase::migrated(Engine::Sqlite).await;
    fs::set_permissions(file_of(database.url()), Permissions::from_mode(0o644)).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let token = dir.path().join("token");
    fs::write(&token, "secret").unwrap();
    fs::set_permissions(&token, Permissions::from_mode(0o644)).unwrap();
    let settings = [("FEEBOX__FEE_SERVER__TOKEN_FILE", token.to_str().unwrap())];
    let (findings, _) = examine(database.url(), &settings).await;
    assert_named(&findings, "files", "holds all quotes");
    assert_named(&findings, "files", "fee_server.token_file");
    assert!(!format!("{findings:?}").contains("secret"));
}

#[tokio::test]
async fn an_open_transaction_and_a_table_without_vacuum_are_named() {
    for engine in [Engine::Postgres, Engine::MariaDb] {
        let database = TestDatabase::migrated(engine).await;
        let db = database.connect().await;
        if engine == Engine::Postgres {
            db.execute_unprepared("ALTER TABLE outbox_event SET (autovacuum_enabled = false)").await.unwrap();
        }
        let open = db.begin().await.unwrap();
        open.execute_unprepared("DELETE FROM operator_action").await.unwrap();
        let (findings, _) = examine_with(&["--transaction-age", "0s"], database.url(), &[]).await;
        assert_named(&findings, "long transactions", "transaction open");
        if engine == Engine::Postgres {
            assert_named(&findings, "statistics", "autovacuum is off for outbox_event");
        }
        let (findings, _) = examine(database.url(), &[]).await;
        assert!(!wrong(&findings).iter().any(|text| text.starts_with("long transactions")), "{findings:#?}");
        open.rollback().await.unwrap();
    }
}
