//! `feebox doctor` names each trouble, and what to do about it.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    time::Duration,
};

use feebox::lab::sample_fee_server::Faults;
use feebox::{fleet, operator};
use migration::{Migrator, MigratorTrait};
use sea_orm::{ConnectionTrait, DatabaseConnection, DbBackend, Statement, TransactionTrait};
use serde_json::Value;
use url::Url;
use uuid::Uuid;

use crate::support::{
    ANN, Desk, Engine, Process, Server, Stage, TestDatabase, a_quote, desk_tests, eventually, free_port, http_client,
};

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

/// A user who may do nothing but read and write Feebox's tables; the URL by which it logs in.
async fn user_of_the_tables(stage: &Stage, user: &str) -> String {
    let (engine, admin) = (stage.database.engine(), stage.database.connect().await);
    let (create, name) = match engine {
        Engine::Postgres => (format!("CREATE ROLE {user} LOGIN"), user.to_owned()),
        _ => (format!("CREATE USER {user}"), format!("{user}@'%'")),
    };
    admin.execute_unprepared(&create).await.unwrap();
    for table in tables_of(&admin).await {
        let rights = if table == "seaql_migrations" { "SELECT" } else { "SELECT, INSERT, UPDATE, DELETE" };
        let grant = format!("GRANT {rights} ON {table} TO {name}");
        admin.execute_unprepared(&grant).await.unwrap();
    }
    let mut url = Url::parse(stage.database.url()).unwrap();
    url.set_username(user).unwrap();
    url.set_password(None).unwrap();
    url.into()
}

async fn tables_of(admin: &DatabaseConnection) -> Vec<String> {
    let schema = match admin.get_database_backend() {
        DbBackend::Postgres => "current_schema()",
        _ => "database()",
    };
    let question = format!("SELECT table_name AS name FROM information_schema.tables WHERE table_schema = {schema}");
    let rows = admin.query_all_raw(Statement::from_string(admin.get_database_backend(), question)).await.unwrap();
    rows.iter().map(|row| row.try_get_by_index(0).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rights_to_the_tables_are_enough_and_one_that_is_missing_is_named() {
    for engine in [Engine::Postgres, Engine::MariaDb] {
        let stage = Stage::new(engine, Faults::default()).await;
        let user = format!("user_{}", &Uuid::new_v4().simple().to_string()[..12]);
        let url = user_of_the_tables(&stage, &user).await;
        let as_user = [("database.url", url.as_str())];
        let worker = stage.worker(&as_user).await;
        let (serve, base_url) = stage.serve(&as_user, &[]).await;
        let answer = http_client().post(format!("{base_url}/v1/quotes")).json(&a_quote()).send().await.unwrap();
        assert_eq!(answer.status(), 201);
        stage.drained().await;
        assert_eq!(stage.fee_server.stats().fees, 1);
        drop((serve, worker));
        let (findings, _) = examine(&url, &[]).await;
        assert!(!wrong(&findings).iter().any(|text| text.starts_with("rights")), "{findings:#?}");
        assert!(findings.iter().any(|finding| finding["check"] == "rights"), "{findings:#?}");

        let name = if engine == Engine::Postgres { user } else { format!("{user}@'%'") };
        let admin = stage.database.connect().await;
        admin.execute_unprepared(&format!("REVOKE INSERT ON fee_record FROM {name}")).await.unwrap();
        admin.execute_unprepared(&format!("REVOKE DELETE, UPDATE ON schedule FROM {name}")).await.unwrap();
        let (findings, _) = examine(&url, &[]).await;
        let missing = "the user may not INSERT on fee_record, UPDATE on schedule, DELETE on schedule";
        assert_named(&findings, "rights", missing);
    }
}

#[tokio::test]
async fn a_mariadb_that_takes_no_writes_is_named() {
    let server = Server::own_mariadb();
    let stage = Stage::on(TestDatabase::create_on(&server, Engine::MariaDb).await, Faults::default()).await;
    let url = user_of_the_tables(&stage, "reader").await;
    stage.database.connect().await.execute_unprepared("SET GLOBAL read_only = 1").await.unwrap();
    let (findings, _) = examine(&url, &[]).await;
    assert_named(&findings, "writing", "read-only");
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
