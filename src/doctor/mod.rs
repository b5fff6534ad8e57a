//! What is wrong with this installation, each with what to do. It only reads, but for an empty transaction and
//! statements that touch no row, which show whether the database can be written.

mod brokers;
mod durability;
mod fee_server;
mod fleet;
mod machine;
mod mariadb;
mod postgres;
mod replica;
mod rights;
mod schema;

use std::time::{Duration, Instant};

use sea_orm::{ConnectionTrait, DbBackend, DbErr, FromQueryResult, Statement};
use serde::Serialize;

use crate::{
    database::{self, Database},
    printable::{chain, printable},
    settings::Settings,
};

/// How long one check may take.
const CHECK_WAIT: Duration = Duration::from_secs(15);
/// A database that answers later than this is far away for statements that follow each other.
const ANSWER_MAX: Duration = Duration::from_millis(50);
/// So many times it is asked.
const ANSWERS: u32 = 5;
/// The most characters of a foreign error that are shown.
const ERROR_LENGTH_MAX: usize = 300;

/// What a check found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Nothing is wrong.
    Fine,
    /// Somebody has to do something.
    Wrong,
    /// It cannot be checked here, or is only to be known.
    Note,
}

/// One result of a check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was checked.
    pub check: &'static str,
    /// The result.
    pub state: State,
    /// What was seen.
    pub detail: String,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advice: Option<String>,
}

impl Finding {
    fn fine(check: &'static str, detail: impl Into<String>) -> Self {
        Self { check, state: State::Fine, detail: detail.into(), advice: None }
    }

    fn note(check: &'static str, detail: impl Into<String>) -> Self {
        Self { check, state: State::Note, detail: detail.into(), advice: None }
    }

    fn wrong(check: &'static str, detail: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { check, state: State::Wrong, detail: detail.into(), advice: Some(advice.into()) }
    }

    /// A check that the database did not permit or answer.
    fn unknown(check: &'static str, error: &DbErr) -> Self {
        Self::note(check, format!("cannot be checked: {}", printable(&chain(error), ERROR_LENGTH_MAX)))
    }
}

/// All checks, one after the other. `found` gets each result as soon as it is there.
///
/// A transaction that others hold open for longer than `transaction_age` is told.
pub async fn examine(settings: &Settings, transaction_age: Duration, mut found: impl FnMut(Finding)) {
    machine::examine(settings).into_iter().for_each(&mut found);
    let db = match Database::connect(&settings.database).await {
        Ok(db) => db,
        Err(error) => {
            let advice = database::advice(&error).unwrap_or(
                "is it up, and are host, user and password in database.url right? `feebox config` shows the setting",
            );
            found(Finding::wrong("database", printable(&chain(&error), ERROR_LENGTH_MAX), advice));
            found(Finding::note("others", "what is in the database was not checked"));
            for finding in [
                bounded("fee server", fee_server::examine(settings)).await,
                bounded("brokers", brokers::examine(settings)).await,
            ] {
                finding.into_iter().for_each(&mut found);
            }
            return;
        }
    };
    bounded("database", reachable(&db)).await.into_iter().for_each(&mut found);
    bounded("schema", schema::examine(&db)).await.into_iter().for_each(&mut found);
    bounded("rights", rights::examine(&db)).await.into_iter().for_each(&mut found);
    bounded("durability", durability::examine(&db)).await.into_iter().for_each(&mut found);
    match db.connection().get_database_backend() {
        DbBackend::Postgres => {
            bounded("database", postgres::examine(&db, transaction_age)).await.into_iter().for_each(&mut found);
        }
        DbBackend::MySql => {
            bounded("database", mariadb::examine(&db, transaction_age)).await.into_iter().for_each(&mut found);
        }
        _ => {}
    }
    bounded("replica", Box::pin(replica::examine(settings, &db))).await.into_iter().for_each(&mut found);
    bounded("clocks", clocks(&db)).await.into_iter().for_each(&mut found);
    bounded("fleet", fleet::examine(&db)).await.into_iter().for_each(&mut found);
    bounded("fee server", fee_server::examine(settings)).await.into_iter().for_each(&mut found);
    bounded("brokers", brokers::examine(settings)).await.into_iter().for_each(&mut found);
}

/// The results of a check, or that it took too long.
async fn bounded(check: &'static str, examine: impl Future<Output = Vec<Finding>>) -> Vec<Finding> {
    tokio::time::timeout(CHECK_WAIT, examine).await.unwrap_or_else(|_| {
        let advice = "something there is slow or hangs: look at its own log and load";
        vec![Finding::wrong(check, format!("no result within {} s", CHECK_WAIT.as_secs()), advice)]
    })
}

async fn reachable(db: &Database) -> Vec<Finding> {
    let check = "database";
    // The best of some: the first one also opens a session.
    let mut took = Duration::MAX;
    for _ in 0..ANSWERS {
        let begun = Instant::now();
        if let Err(error) = db.now(db.connection()).await {
            let advice = database::advice(&error).unwrap_or("look at the database's own log");
            return vec![Finding::wrong(check, printable(&chain(&error), ERROR_LENGTH_MAX), advice)];
        }
        took = took.min(begun.elapsed());
    }
    let mut found = Vec::new();
    let name = match db.connection().get_database_backend() {
        DbBackend::Postgres => "PostgreSQL",
        DbBackend::MySql => "MariaDB",
        _ => "SQLite",
    };
    let pooled = if db.connection().is_behind_pooler() { ", behind a transaction pooler" } else { "" };
    let detail = format!("{name}{pooled} answers within {:.1} ms", took.as_secs_f64() * 1e3);
    found.push(if took > ANSWER_MAX {
        Finding::wrong(
            check,
            detail,
            "each submission waits for several answers: run Feebox near its database, or find what slows it down",
        )
    } else {
        Finding::fine(check, detail)
    });
    found.push(match db.writable().await {
        Ok(()) => Finding::fine("writing", "the database accepts writes"),
        Err(error) => {
            let advice = match error {
                database::Unready::ReadOnly => {
                    "this is a standby, or a fenced primary: name the primary in database.url"
                }
                database::Unready::Full => "free space on the database's disk",
                database::Unready::Unavailable(_) => "look at the database's own log",
            };
            Finding::wrong("writing", printable(&chain(&error), ERROR_LENGTH_MAX), advice)
        }
    });
    found
}

/// The database's clock decides about leases and due times; this host's is in logs and certificates.
async fn clocks(db: &Database) -> Vec<Finding> {
    const APART_MAX_SECONDS: f64 = 2.0;
    let begun = chrono::Utc::now();
    let Ok(theirs) = db.now(db.connection()).await else { return vec![] };
    let ours = begun + (chrono::Utc::now() - begun) / 2;
    let apart = (theirs - ours).as_seconds_f64();
    if db.connection().get_database_backend() == DbBackend::Sqlite {
        return vec![];
    }
    let detail = format!(
        "the database's clock is {:.1} s {} this host's",
        apart.abs(),
        if apart < 0.0 { "behind" } else { "ahead of" }
    );
    vec![if apart.abs() > APART_MAX_SECONDS {
        Finding::wrong(
            "clocks",
            detail,
            "the database's clock decides when events are due: synchronise both by NTP (chronyc tracking)",
        )
    } else {
        Finding::fine("clocks", detail)
    }]
}

/// The rows of a question to this database.
async fn rows<T: FromQueryResult>(db: &Database, sql: &str) -> Result<Vec<T>, DbErr> {
    let connection = db.connection();
    let rows = connection.query_all_raw(Statement::from_string(connection.get_database_backend(), sql)).await?;
    rows.iter().map(|row| T::from_query_result(row, "")).collect()
}

/// The two columns `name` and `value` of many questions.
#[derive(Debug, FromQueryResult)]
struct Named {
    name: String,
    value: Option<String>,
}

/// The question for what is older than `age`.
fn older(sql: &str, age: Duration) -> String {
    sql.replace("{age}", &age.as_secs().to_string())
}
