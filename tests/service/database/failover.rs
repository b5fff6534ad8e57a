//! The database fails over to another server while the sockets to the old one stay open.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use feebox::settings::{Settings, Sources};
use migration::{Migrator, MigratorTrait};
use reqwest::StatusCode;
use sea_orm::{ConnectionTrait, DatabaseConnection};
use url::Url;

use crate::support::{Api, Engine, Proxy, Server, TestDatabase, a_quote, eventually};

const LIMIT: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_postgres_primary_is_used_within_five_seconds() {
    let (old, new) = (Server::own_postgres(), Server::own_postgres());
    let fence = ["ALTER SYSTEM SET default_transaction_read_only = on", "SELECT pg_reload_conf()"];
    fails_over(Engine::Postgres, &old, &new, &fence).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_mariadb_primary_is_used_within_five_seconds() {
    let (old, new) = (Server::own_mariadb(), Server::own_mariadb());
    fails_over(Engine::MariaDb, &old, &new, &["SET GLOBAL read_only = 1"]).await;
}

async fn fails_over(engine: Engine, old: &Server, new: &Server, fence: &[&str]) {
    let (old, new) = (Primary::on(old, engine).await, Primary::on(new, engine).await);
    let name = Proxy::start(old.addr()).await;
    let api = Api::start_at(&old.url_through(name.addr()), &[]).await;
    // Many sessions, all with the old primary.
    let accepted = futures_util::future::join_all((0..16).map(|_| api.submit())).await.len();
    assert_eq!(api.get("/readyz").await.status(), StatusCode::OK);

    for statement in fence {
        old.admin.execute_unprepared(statement).await.unwrap();
    }
    eventually("the fence is noticed", LIMIT, async || {
        (api.get("/readyz").await.status() == StatusCode::SERVICE_UNAVAILABLE).then_some(())
    })
    .await;
    let answer = api.post("/v1/quotes", &a_quote()).await;
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);

    name.switch(new.addr());
    let switched = Instant::now();
    let mut later = 0;
    eventually("a submission is accepted", LIMIT, async || {
        let created = api.post("/v1/quotes", &a_quote()).await.status() == StatusCode::CREATED;
        later += usize::from(created);
        created.then_some(())
    })
    .await;
    println!("{engine:?}: first 201 {:?} after the switch", switched.elapsed());
    assert!(switched.elapsed() < Duration::from_secs(5), "{:?}", switched.elapsed());
    eventually("ready", LIMIT, async || (api.get("/readyz").await.status() == StatusCode::OK).then_some(())).await;
    for _ in 0..40 {
        assert_eq!(api.post("/v1/quotes", &a_quote()).await.status(), StatusCode::CREATED);
        later += 1;
    }
    assert_eq!(old.quotes().await, accepted, "nothing was written to the old one behind the fence");
    assert_eq!(new.quotes().await, later, "all that was accepted later is on the new one");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replaced_password_is_read_again_from_its_file() {
    let server = Server::own_mariadb();
    let primary = Primary::on(&server, Engine::MariaDb).await;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("url");
    let url_with = |password: &str| {
        let mut url = Url::parse(&primary.url).unwrap();
        url.set_password(Some(password)).unwrap();
        url.to_string()
    };
    std::fs::write(&file, url_with("first")).unwrap();
    let set = |password: &str| format!("ALTER USER app IDENTIFIED BY '{password}'");
    primary.admin.execute_unprepared(&set("first")).await.unwrap();
    let path = file.display().to_string();
    let settings = Settings::load(&Sources::overrides([("database.url_file", path.as_str())])).unwrap();
    let db = feebox::database::Database::connect(&settings.database).await.unwrap();
    db.now(db.connection()).await.unwrap();

    primary.admin.execute_unprepared(&set("second")).await.unwrap();
    std::fs::write(&file, url_with("second") + "\n").unwrap();
    // Open sessions stay open; new ones are refused with the old password.
    primary.admin.execute_unprepared("KILL USER app").await.unwrap();
    for _ in 0..5 {
        db.now(db.connection()).await.unwrap();
    }
}

/// A server with all tables, and a user that may write where the server lets users write.
struct Primary {
    url: String,
    admin: DatabaseConnection,
}

impl Primary {
    async fn on(server: &Server, engine: Engine) -> Primary {
        let database = TestDatabase::create_named(server, engine, "fees").await;
        let admin = database.connect().await;
        Migrator::up(&admin, None).await.unwrap();
        let mut url = Url::parse(database.url()).unwrap();
        let statements = match engine {
            Engine::MariaDb => ["CREATE USER app", "GRANT ALL ON fees.* TO app"],
            _ => ["CREATE ROLE app LOGIN", "GRANT ALL ON ALL TABLES IN SCHEMA public TO app"],
        };
        for statement in statements {
            admin.execute_unprepared(statement).await.unwrap();
        }
        url.set_username("app").unwrap();
        Primary { url: url.into(), admin }
    }

    fn addr(&self) -> SocketAddr {
        Url::parse(&self.url).unwrap().socket_addrs(|| None).unwrap()[0]
    }

    fn url_through(&self, addr: SocketAddr) -> String {
        let mut url = Url::parse(&self.url).unwrap();
        url.set_port(Some(addr.port())).unwrap();
        url.into()
    }

    async fn quotes(&self) -> usize {
        use sea_orm::{EntityTrait, PaginatorTrait};
        usize::try_from(entity::quote::Entity::find().count(&self.admin).await.unwrap()).unwrap()
    }
}
