//! Faults of the database, on purpose: triggers that a row switches on, and sessions that lock rows in the opposite
//! order.
//!
//! They stay within the run's own database, so that other users of the server are not affected.

use std::time::Duration;

use sea_orm::{ConnectionTrait, DbBackend, DbErr, Statement};
use tokio::time::{Instant, sleep, timeout};

use super::fault::Engine;
use crate::database::Database;

/// Of a thousand transactions (statements on `MariaDB`), this many fail while conflicts are on.
const CONFLICTS_PER_MILLE: u32 = 150;
/// How long a conflicting session holds its locks.
const HOLD: Duration = Duration::from_millis(40);
/// How long `SQLite`'s only writer is blocked: less than its busy timeout.
const HOLD_SQLITE: Duration = Duration::from_millis(400);
/// The longest that changing a switch may take: every statement reads its row.
const SWITCH_LIMIT: Duration = Duration::from_secs(45);
const PAUSE: Duration = Duration::from_millis(50);
const TABLES: [&str; 5] = ["quote", "outbox_event", "fee_record", "idempotency_key", "destination"];

/// The transaction's own number decides whether it fails, so that a share of transactions fails, however many rows they
/// write.
const POSTGRES: &str = "
CREATE TABLE torture_switch (read_only boolean NOT NULL, conflicts integer NOT NULL);
INSERT INTO torture_switch VALUES (false, 0);
CREATE FUNCTION torture_statement() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE switch torture_switch; fate integer := abs(hashtext(pg_current_xact_id()::text)) % 2000;
BEGIN
    SELECT * INTO switch FROM torture_switch;
    IF switch.read_only THEN
        RAISE EXCEPTION 'cannot execute % in a read-only transaction', TG_OP USING ERRCODE = '25006';
    ELSIF fate < switch.conflicts THEN
        RAISE EXCEPTION 'deadlock detected' USING ERRCODE = '40P01';
    END IF;
    RETURN NULL;
END $$;
CREATE FUNCTION torture_commit() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE switch torture_switch; fate integer := abs(hashtext(pg_current_xact_id()::text)) % 2000;
BEGIN
    SELECT * INTO switch FROM torture_switch;
    IF fate >= 1000 AND fate < 1000 + switch.conflicts THEN
        RAISE EXCEPTION 'could not serialize access due to read/write dependencies among transactions'
            USING ERRCODE = '40001';
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER torture_commit AFTER INSERT OR UPDATE ON outbox_event
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION torture_commit()";

/// The time is constant within a statement, so a statement fails at its first row or not at all.
const MARIADB_BODY: &str = "
BEGIN
    DECLARE is_read_only, rate INT;
    DECLARE fate INT DEFAULT CRC32(CONCAT(CONNECTION_ID(), NOW(6))) % 2000;
    SELECT read_only, conflicts INTO is_read_only, rate FROM torture_switch;
    IF is_read_only THEN
        SIGNAL SQLSTATE 'HY000' SET MYSQL_ERRNO = 1290,
            MESSAGE_TEXT = 'The MariaDB server is running with the --read-only option so it cannot execute this statement';
    ELSEIF fate < rate THEN
        SIGNAL SQLSTATE '40001' SET MYSQL_ERRNO = 1213,
            MESSAGE_TEXT = 'Deadlock found when trying to get lock; try restarting transaction';
    ELSEIF fate >= 1000 AND fate < 1000 + rate THEN
        SIGNAL SQLSTATE 'HY000' SET MYSQL_ERRNO = 1205,
            MESSAGE_TEXT = 'Lock wait timeout exceeded; try restarting transaction';
    END IF;
END";

/// The faults of one database, and their switches.
#[derive(Clone, Debug)]
pub(super) struct DatabaseFaults {
    db: Database,
    engine: Engine,
}

impl DatabaseFaults {
    /// Creates the triggers, all off. With `conflicts`, serializable becomes the default isolation of a `PostgreSQL`
    /// database: no promise depends on another one.
    pub async fn prepare(db: &Database, engine: Engine, conflicts: bool) -> Result<Self, DbErr> {
        let this = Self { db: db.clone(), engine };
        match engine {
            Engine::Sqlite => {}
            Engine::Postgres => {
                this.execute(POSTGRES).await?;
                for table in TABLES {
                    this.execute(&format!(
                        "CREATE TRIGGER torture_statement BEFORE INSERT OR UPDATE OR DELETE ON {table} \
                         FOR EACH STATEMENT EXECUTE FUNCTION torture_statement()"
                    ))
                    .await?;
                }
                if conflicts {
                    this.execute(
                        "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET default_transaction_isolation = serializable', \
                         current_database()); END $$",
                    )
                    .await?;
                }
            }
            Engine::MariaDb => {
                this.execute("CREATE TABLE torture_switch (read_only INT NOT NULL, conflicts INT NOT NULL)").await?;
                this.execute("INSERT INTO torture_switch VALUES (0, 0)").await?;
                for table in TABLES {
                    for verb in ["INSERT", "UPDATE", "DELETE"] {
                        this.execute(&format!(
                            "CREATE TRIGGER torture_{table}_{verb} BEFORE {verb} ON {table} FOR EACH ROW {MARIADB_BODY}"
                        ))
                        .await?;
                    }
                }
            }
        }
        Ok(this)
    }

    /// The database, reached without the faulty network.
    pub fn db(&self) -> &Database {
        &self.db
    }

    /// Makes the database refuse writes, or accept them again.
    pub async fn read_only(&self, on: bool) -> Result<(), DbErr> {
        self.set_switch(&format!("read_only = {}", self.flag(on))).await
    }

    /// Makes a share of transactions fail with conflict errors, or none.
    pub async fn conflicts(&self, on: bool) -> Result<(), DbErr> {
        self.set_switch(&format!("conflicts = {}", if on { CONFLICTS_PER_MILLE } else { 0 })).await
    }

    /// Ends all sessions of the fleet, as an administrator can.
    pub async fn end_sessions(&self) -> Result<(), DbErr> {
        match self.engine {
            Engine::Sqlite => Ok(()),
            Engine::Postgres => {
                let sql = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
                           WHERE datname = current_database() AND pid <> pg_backend_pid()";
                self.execute(sql).await
            }
            Engine::MariaDb => {
                let sql = "SELECT id FROM information_schema.processlist \
                           WHERE db = DATABASE() AND id <> CONNECTION_ID()";
                let sessions = Statement::from_string(DbBackend::MySql, sql);
                for session in self.db.connection().query_all_raw(sessions).await? {
                    let id: i64 = session.try_get("", "id")?;
                    // A session that has ended in the meantime needs no end.
                    let _ = self.execute(&format!("KILL CONNECTION {id}")).await;
                }
                Ok(())
            }
        }
    }

    /// Until `end`, locks rows that are being settled, quotes before events; on `SQLite` a slow writer.
    pub async fn contend(&self, end: Instant) {
        while Instant::now() < end {
            // A deadlock may hit either side.
            let _ = self.lock().await;
            sleep(PAUSE).await;
        }
    }

    async fn lock(&self) -> Result<(), DbErr> {
        let sqlite = self.engine == Engine::Sqlite;
        self.db
            .transaction(|txn| {
                Box::pin(async move {
                    if sqlite {
                        // The transaction itself is the lock.
                        sleep(HOLD_SQLITE).await;
                        return Ok(());
                    }
                    let quotes = "SELECT id FROM quote WHERE status = 'pending' ORDER BY id DESC LIMIT 20 FOR UPDATE";
                    txn.execute_unprepared(quotes).await?;
                    sleep(HOLD).await;
                    let events = "SELECT id FROM outbox_event WHERE aggregate_id IN (SELECT id FROM (SELECT id FROM quote \
                                  WHERE status = 'pending' ORDER BY id DESC LIMIT 20) AS q) FOR UPDATE";
                    txn.execute_unprepared(events).await.map(drop)
                })
            })
            .await
    }

    /// Retries until it succeeds: the server may be starting, and the row may be locked.
    async fn set_switch(&self, assignment: &str) -> Result<(), DbErr> {
        if self.engine == Engine::Sqlite {
            return Ok(());
        }
        let sql = format!("UPDATE torture_switch SET {assignment}");
        let begun = Instant::now();
        loop {
            let left = SWITCH_LIMIT.saturating_sub(begun.elapsed());
            match timeout(left, self.execute(&sql)).await {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(error)) if left.is_zero() => return Err(error),
                Ok(Err(_)) => sleep(PAUSE).await,
                Err(_) => return Err(DbErr::Custom("a switch of the database faults could not be changed".to_owned())),
            }
        }
    }

    async fn execute(&self, sql: &str) -> Result<(), DbErr> {
        self.db.connection().execute_unprepared(sql).await.map(drop)
    }

    fn flag(&self, on: bool) -> &'static str {
        match (self.engine, on) {
            (Engine::Postgres, true) => "true",
            (Engine::Postgres, false) => "false",
            (_, true) => "1",
            (_, false) => "0",
        }
    }
}
