//! Reads that may be stale go to a replica, and say how old they are; what must be fresh does not.

use std::time::Duration;

use feebox::audit::{Limits, Violation, audit_showing, watch};
use feebox::database::{Database, StaleReads};
use feebox::lab::sample_fee_server::Faults;
use feebox::settings::{Settings, Sources};
use reqwest::header::{AGE, CACHE_CONTROL};
use sea_orm::{ConnectionTrait, DatabaseConnection, DbBackend, Statement};
use serde_json::Value;
use uuid::Uuid;

use crate::cli::doctor::{assert_named, result};
use crate::support::{LIMIT, Process, Server, Stage, TestDatabase, a_quote, eventually, http_client};

/// `shop-token` is a submitter's, `eye-token` a viewer's.
const TOKENS: &str = "[{name = 'shop', role = 'submitter', \
    sha256 = '88cc4600551e64b7cb97dd7f63ebad405255e5d17bdd71ee9fe1ed5cc20d0b3b'}, {name = 'eye', role = 'viewer', \
    sha256 = 'deb98b54bcc4d58940a0137ab76caa71407316d661fd89ebea30a6673c6e481e'}]";
const WEEK: Duration = Duration::from_hours(7 * 24);
/// Longer than any test.
const HOUR: &str = "1h";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_may_be_stale_is_read_from_a_postgres_standby_and_says_how_old_it_is() {
    let pair = Pair::on(Server::postgres_pair()).await;
    answers(&pair).await;
    audits(&pair).await;
    // Or commits would wait for it.
    pair.at_primary.execute_unprepared("ALTER SYSTEM SET synchronous_standby_names = ''").await.unwrap();
    pair.at_primary.execute_unprepared("SELECT pg_reload_conf()").await.unwrap();
    a_dead_replica_costs_nothing(&pair).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_may_be_stale_is_read_from_a_mariadb_replica_and_says_how_old_it_is() {
    let pair = Pair::on(Server::mariadb_pair()).await;
    answers(&pair).await;
    audits(&pair).await;
    a_dead_replica_costs_nothing(&pair).await;
}

/// A primary and its replica.
struct Pair {
    stage: Stage,
    replica_url: String,
    at_primary: DatabaseConnection,
    at_replica: DatabaseConnection,
    server: Server,
}

impl Pair {
    async fn on(server: Server) -> Pair {
        let both = TestDatabase::create_on_all(&server).await;
        let [primary, replica] = [0, 1].map(|which| both.at(&server.hosts()[which]));
        let stage = Stage::on(primary, Faults::default()).await;
        let at_replica = eventually("the replica has the database", LIMIT, async || {
            let open = sea_orm::Database::connect(replica.url()).await;
            open.ok()
        })
        .await;
        let at_primary = stage.database.connect().await;
        Pair { stage, replica_url: replica.url().to_owned(), at_primary, at_replica, server }
    }

    /// What is written from now on does not reach the replica's state.
    async fn pause(&self) {
        if self.at_replica.get_database_backend() == DbBackend::MySql {
            self.at_replica.execute_unprepared("STOP SLAVE SQL_THREAD").await.unwrap();
            return;
        }
        self.at_replica.execute_unprepared("SELECT pg_wal_replay_pause()").await.unwrap();
        eventually("the replay is paused", LIMIT, async || {
            let state = "SELECT pg_get_wal_replay_pause_state() = 'paused'";
            let row = self.at_replica.query_one_raw(Statement::from_string(DbBackend::Postgres, state)).await;
            row.unwrap().unwrap().try_get_by_index::<bool>(0).unwrap().then_some(())
        })
        .await;
    }

    async fn resume(&self) {
        let is_mariadb = self.at_replica.get_database_backend() == DbBackend::MySql;
        let go_on = if is_mariadb { "START SLAVE SQL_THREAD" } else { "SELECT pg_wal_replay_resume()" };
        self.at_replica.execute_unprepared(go_on).await.unwrap();
    }

    async fn serve(&self, age_max: &str) -> Served {
        let settings = [
            ("access.tokens", TOKENS),
            ("database.replica_url", &self.replica_url),
            ("database.replica_max_age", age_max),
        ];
        let (process, base_url) = self.stage.serve(&settings, &[]).await;
        Served { process, base_url }
    }

    /// What `feebox doctor` finds.
    async fn doctor(&self) -> Vec<Value> {
        let settings = [("database.replica_url", &*self.replica_url)];
        result(self.stage.process(&["doctor", "--json"], &settings, &[])).await.0
    }

    async fn reads(&self, db: &Database, replica_url: &str) -> StaleReads {
        let settings = [
            ("database.url", self.stage.database.url()),
            ("database.replica_url", replica_url),
            ("database.replica_max_age", HOUR),
        ];
        let settings = Settings::load(&Sources::overrides(settings)).unwrap();
        StaleReads::connect(db, settings.database.replica.as_ref()).await.unwrap()
    }

    async fn set_status(&self, quote_id: Uuid, status: &str) {
        let id = match self.at_primary.get_database_backend() {
            DbBackend::MySql => format!("x'{}'", quote_id.simple()),
            _ => format!("'{quote_id}'"),
        };
        let change = format!("UPDATE outbox_event SET status = '{status}' WHERE aggregate_id = {id}");
        assert_eq!(self.at_primary.execute_unprepared(&change).await.unwrap().rows_affected(), 1);
    }
}

struct Served {
    process: Process,
    base_url: String,
}

/// An answer: how old it says that it is, in seconds, and its body.
#[derive(Debug)]
struct Answer {
    age: Option<u64>,
    body: Value,
}

impl Answer {
    fn has(&self, list: &str, id: &Value) -> bool {
        let rows = self.body[list].as_array().unwrap_or_else(|| panic!("no {list}: {}", self.body));
        rows.iter().any(|row| row["id"] == *id || row["quote_id"] == *id)
    }

    fn is_fresh(&self) -> bool {
        assert_eq!(self.age.is_none(), self.body["as_of"].is_null(), "{self:?}");
        self.age.is_none()
    }
}

impl Served {
    async fn submit(&self) -> Value {
        let call = http_client().post(format!("{}/v1/quotes", self.base_url)).bearer_auth("shop-token");
        let answer = call.json(&a_quote()).send().await.unwrap();
        assert_eq!(answer.status(), 201);
        answer.json::<Value>().await.unwrap()["id"].clone()
    }

    async fn get(&self, token: &str, path: &str, cache_control: &str) -> Answer {
        let call = http_client().get(format!("{}{path}", self.base_url)).bearer_auth(token);
        let call = if cache_control.is_empty() { call } else { call.header(CACHE_CONTROL, cache_control) };
        let answer = call.send().await.unwrap();
        assert_eq!(answer.status(), 200, "{path}");
        let age = answer.headers().get(AGE).map(|age| age.to_str().unwrap().parse().unwrap());
        Answer { age, body: answer.json().await.unwrap() }
    }

    async fn seen(&self, path: &str) -> Answer {
        self.get("eye-token", path, "").await
    }

    /// Returns when the replica answers, with this quote.
    async fn replica_has(&self, quote: &Value) -> Answer {
        eventually("the replica answers", LIMIT, async || {
            let list = self.seen("/v1/quotes").await;
            (!list.is_fresh() && list.has("quotes", quote)).then_some(list)
        })
        .await
    }
}

async fn answers(pair: &Pair) {
    let served = pair.serve(HOUR).await;
    let old = served.submit().await;
    served.replica_has(&old).await;
    pair.pause().await;
    let new = served.submit().await;

    for (path, list) in [("/v1/quotes", "quotes"), ("/v1/outbox", "events")] {
        let stale = served.seen(path).await;
        assert!(!stale.is_fresh() && stale.has(list, &old) && !stale.has(list, &new), "{stale:?}");
        for fresh in ["no-cache", "max-age=0"] {
            let fresh = served.get("eye-token", path, fresh).await;
            assert!(fresh.is_fresh() && fresh.has(list, &new), "{fresh:?}");
        }
    }
    let what = "what the replica has is older than a second";
    let newer = eventually(what, LIMIT, async || {
        let list = served.get("eye-token", "/v1/quotes", "max-age=1").await;
        list.is_fresh().then_some(list)
    })
    .await;
    assert!(newer.has("quotes", &new), "{newer:?}");
    let stats = served.seen("/v1/stats").await;
    assert!(!stats.is_fresh() && stats.body["destinations"][0]["events"]["pending"] == 1, "{stats:?}");
    for path in ["/v1/causes", "/v1/stats/series"] {
        assert!(!served.seen(path).await.is_fresh(), "{path}");
    }
    // What must be fresh: a quote by its id, and what submitters find.
    let quote = served.seen(&format!("/v1/quotes/{}", new.as_str().unwrap())).await;
    assert!(quote.age.is_none() && quote.body["id"] == new, "{quote:?}");
    let own = served.get("shop-token", "/v1/quotes", "").await;
    assert!(own.is_fresh() && own.has("quotes", &new), "{own:?}");

    // One that may be a second old is not read for as long as it falls behind.
    let strict = pair.serve("1s").await;
    let list = strict.seen("/v1/quotes").await;
    assert!(list.is_fresh() && list.has("quotes", &new), "{list:?}");
    let metrics = http_client().get(format!("{}/metrics", strict.base_url)).send().await.unwrap().text().await.unwrap();
    let counted = r#"feebox_stale_reads_total{server="primary",why="behind"} 1"#;
    assert!(metrics.contains(counted), "{metrics}");
    let told = |lines: Vec<String>| lines.iter().filter(|line| line.contains("the replica is not used")).count();
    assert_eq!(told(strict.process.lines()), 1, "{:#?}", strict.process.lines());
    pair.resume().await;
    strict.replica_has(&new).await;
    // An idle primary makes no replica old.
    assert!(served.replica_has(&new).await.age.is_some_and(|age| age < 60));
}

async fn audits(pair: &Pair) {
    let db = &pair.stage.db;
    let reads = pair.reads(db, &pair.replica_url).await;
    let quotes = pair.stage.submit(5).await;
    let audit = async || {
        let mut found = vec![];
        let report = audit_showing(&reads, WEEK, |violation| found.push(violation.quote_id), |_| ()).await.unwrap();
        (found, report)
    };
    pair.set_status(quotes[0], "cancelled").await;
    eventually("the replica shows the violation", LIMIT, async || {
        let (found, report) = audit().await;
        (found == [quotes[0]] && report.as_of.is_some()).then_some(())
    })
    .await;
    pair.pause().await;
    pair.set_status(quotes[0], "pending").await;
    let (found, report) = audit().await;
    assert!(report.as_of.is_some(), "it was read: {report:?}");
    assert!(found.is_empty(), "the primary has what the replica lacks");

    // What the primary knows is not cleared by a replica that has not seen it.
    pair.set_status(quotes[1], "cancelled").await;
    let all = Limits { all: Duration::from_mins(5), ..Limits::default() };
    assert_eq!(watch(db, WEEK, all, nobody).await.unwrap().violations, 1);
    let watched = watch(reads.clone(), WEEK, all, nobody).await.unwrap();
    assert!(watched.is_whole && watched.violations == 1, "{watched:?}");
    pair.set_status(quotes[1], "pending").await;
    assert_eq!(watch(reads.clone(), WEEK, all, nobody).await.unwrap().violations, 0, "the primary clears it");
    pair.resume().await;

    // A server that follows nobody is no replica, though it has all that there is.
    let itself = pair.reads(db, pair.stage.database.url()).await;
    assert!(itself.replica(Duration::MAX).await.is_none());
}

fn nobody(_: &Violation) {}

async fn a_dead_replica_costs_nothing(pair: &Pair) {
    let served = pair.serve(HOUR).await;
    let quote = served.submit().await;
    served.replica_has(&quote).await;
    let findings = pair.doctor().await;
    let of_replica = findings.iter().find(|finding| finding["check"] == "replica").expect("the replica is looked at");
    assert_eq!(of_replica["state"], "fine", "{of_replica}");
    pair.server.command("crash 2", "crashed");
    let list = served.seen("/v1/quotes").await;
    assert!(list.is_fresh() && list.has("quotes", &quote), "{list:?}");
    let told = |line: &str| line.contains("the replica is not used") && line.contains("unavailable");
    served.process.wait_for_line(LIMIT, told).await;
    let list = served.seen("/v1/quotes").await;
    assert!(list.is_fresh() && list.has("quotes", &quote), "{list:?}");
    assert_named(&pair.doctor().await, "replica", "");
}
