//! `feebox doctor` names troubles of the machine and of the database server that were planted.

use std::time::Duration;

use migration::{Migrator, MigratorTrait};
use sea_orm::{ConnectionTrait, TransactionTrait};

use super::doctor::{assert_named, examine, examine_with, result, wrong};
use crate::support::{Engine, Process, Server, TestDatabase, eventually};

const LIMIT: Duration = Duration::from_mins(1);
/// Where `faketime` keeps what makes a process believe in another time.
const FAKETIME: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1";

#[tokio::test]
async fn a_clock_that_is_ahead_of_the_databases_is_named() {
    for engine in [Engine::Postgres, Engine::MariaDb] {
        let database = TestDatabase::migrated(engine).await;
        let ahead = [("LD_PRELOAD", FAKETIME), ("FAKETIME", "+30s"), ("FAKETIME_DONT_FAKE_MONOTONIC", "1")];
        let (findings, _) = examine(database.url(), &ahead).await;
        assert_named(&findings, "clocks", "behind this host's");
        let (findings, _) = examine(database.url(), &[]).await;
        assert!(!wrong(&findings).iter().any(|text| text.starts_with("clocks")), "{findings:#?}");
    }
}

#[tokio::test]
async fn a_disk_that_is_nearly_full_is_named() {
    // A disk of 32 MiB, which this process alone sees.
    let mount = r#"mount -t tmpfs -o size=32m feebox /mnt && exec "$0" "$@""#;
    let env = [("DATABASE_URL", "sqlite:///mnt/feebox.db?mode=rwc")];
    let doctor = Process::start_wrapped(
        &["unshare", "--map-root-user", "--mount", "sh", "-c", mount],
        &["doctor", "--json"],
        &env,
    );
    let (findings, _) = result(doctor).await;
    assert_named(&findings, "disk", "MiB are free where /mnt/feebox.db is");
}

#[tokio::test]
async fn dead_rows_that_nothing_removes_are_named_with_the_transaction_that_keeps_them() {
    let database = TestDatabase::migrated(Engine::Postgres).await;
    let db = database.connect().await;
    let open = db.begin_with_config(Some(sea_orm::IsolationLevel::RepeatableRead), None).await.unwrap();
    open.execute_unprepared("SELECT count(*) FROM quote").await.unwrap();
    let many = "INSERT INTO idempotency_key (scope, key, request_sha256, quote_ids, created_at) \
        SELECT 'bloat', n::text, '', '[]', now() FROM generate_series(1, 250000) AS n";
    db.execute_unprepared(many).await.unwrap();
    db.execute_unprepared("DELETE FROM idempotency_key").await.unwrap();
    // The server counts them a moment later.
    let findings = eventually("the dead rows are counted", LIMIT, async || {
        let (findings, _) = examine_with(&["--transaction-age", "0s"], database.url(), &[]).await;
        wrong(&findings).iter().any(|text| text.starts_with("bloat")).then_some(findings)
    })
    .await;
    assert_named(&findings, "bloat", "idempotency_key has 250000 dead rows beside 0 live ones");
    assert_named(&findings, "long transactions", "has had a transaction open for too long");
    open.rollback().await.unwrap();
}

#[tokio::test]
async fn a_standby_for_which_commits_wait_is_named() {
    let server = Server::own_postgres();
    let database = TestDatabase::create_on(&server, Engine::Postgres).await;
    let admin = database.connect().await;
    Migrator::up(&admin, None).await.unwrap();
    for statement in ["ALTER SYSTEM SET synchronous_standby_names = 'away'", "SELECT pg_reload_conf()"] {
        admin.execute_unprepared(statement).await.unwrap();
    }
    let findings = eventually("the setting is read", LIMIT, async || {
        let (findings, _) = examine(database.url(), &[]).await;
        wrong(&findings).iter().any(|text| text.starts_with("replication")).then_some(findings)
    })
    .await;
    assert_named(&findings, "replication", "no synchronous standby of \"away\" is connected");
    for statement in ["ALTER SYSTEM RESET synchronous_standby_names", "SELECT pg_reload_conf()"] {
        admin.execute_unprepared(statement).await.unwrap();
    }
}
