use std::net::SocketAddr;

use feebox::settings::{Settings, Sources};
use migration::{Migrator, MigratorTrait};
use sea_orm::{ConnectionTrait, Database, DatabaseConnection};
use tempfile::TempDir;
use url::Url;
use uuid::Uuid;

use super::Server;

/// The databases that Feebox runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    Sqlite,
    Postgres,
    MariaDb,
}

impl Engine {
    pub const ALL: [Engine; 3] = [Engine::Sqlite, Engine::Postgres, Engine::MariaDb];
}

/// An empty database for one test.
///
/// An `SQLite` file goes with the value. A database on a server stays until the server's data directory is deleted,
/// which happens when the test process ends; on a running server that a variable names it stays.
pub struct TestDatabase {
    engine: Engine,
    url: String,
    _directory: Option<TempDir>,
}

impl TestDatabase {
    /// Creates one on this process's shared server.
    pub async fn create(engine: Engine) -> TestDatabase {
        match engine {
            Engine::Sqlite => TestDatabase::sqlite(),
            Engine::Postgres => TestDatabase::create_on(Server::shared_postgres(), engine).await,
            Engine::MariaDb => TestDatabase::create_on(Server::shared_mariadb(), engine).await,
        }
    }

    /// Creates one on a server of the test's own, which it may stop and start.
    pub async fn create_on(server: &Server, engine: Engine) -> TestDatabase {
        TestDatabase::create_named(server, engine, &format!("test_{}", Uuid::now_v7().simple())).await
    }

    /// The same by this name: servers that take over from each other have one database.
    pub async fn create_named(server: &Server, engine: Engine, name: &str) -> TestDatabase {
        let admin = Database::connect(server.url()).await.unwrap();
        admin.execute_unprepared(&format!("CREATE DATABASE {name}")).await.unwrap();
        admin.close().await.unwrap();
        let mut url = Url::parse(server.url()).unwrap();
        url.set_path(name);
        TestDatabase { engine, url: url.into(), _directory: None }
    }

    /// Creates one on several servers that follow the first of them; its URL names all.
    pub async fn create_on_all(servers: &Server) -> TestDatabase {
        let name = format!("test_{}", Uuid::now_v7().simple());
        let (hosts, admin) = servers.url().rsplit_once('/').unwrap();
        let engine = if hosts.starts_with("mysql") { Engine::MariaDb } else { Engine::Postgres };
        let first = format!("{}/{admin}", hosts.split(',').next().unwrap());
        let admin = Database::connect(first).await.unwrap();
        admin.execute_unprepared(&format!("CREATE DATABASE {name}")).await.unwrap();
        admin.close().await.unwrap();
        TestDatabase { engine, url: format!("{hosts}/{name}"), _directory: None }
    }

    /// The same database by `addr`, a server of several or what stands before them.
    pub fn at(&self, addr: &str) -> TestDatabase {
        let (user, hosts) = self.url.rsplit_once('@').unwrap();
        let (_, name) = hosts.split_once('/').unwrap();
        TestDatabase { engine: self.engine, url: format!("{user}@{addr}/{name}"), _directory: None }
    }

    /// Creates one with all tables.
    pub async fn migrated(engine: Engine) -> TestDatabase {
        let database = TestDatabase::create(engine).await;
        let connection = database.connect().await;
        Migrator::up(&connection, None).await.unwrap();
        connection.close().await.unwrap();
        database
    }

    /// Opens it as Feebox does. Each call is another process of the fleet, with a clock of its own.
    pub async fn open(&self) -> feebox::database::Database {
        let settings = Settings::load(&Sources::overrides([("database.url", &self.url)])).unwrap();
        feebox::database::Database::connect(&settings.database).await.unwrap()
    }

    fn sqlite() -> TestDatabase {
        let directory = tempfile::Builder::new().prefix("feebox-sqlite.").tempdir().unwrap();
        TestDatabase {
            engine: Engine::Sqlite,
            url: format!("sqlite://{}/test.db?mode=rwc", directory.path().display()),
            _directory: Some(directory),
        }
    }

    pub fn engine(&self) -> Engine {
        self.engine
    }

    /// What `database.url` is set to.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The same database through whatever forwards to its server from `addr`, such as a proxy or a pooler.
    pub fn url_through(&self, addr: SocketAddr) -> String {
        let mut url = Url::parse(&self.url).unwrap();
        url.set_ip_host(addr.ip()).unwrap();
        url.set_port(Some(addr.port())).unwrap();
        url.into()
    }

    /// A connection as any other program might open it.
    pub async fn connect(&self) -> DatabaseConnection {
        Database::connect(&self.url).await.unwrap()
    }

    /// The address of its server.
    pub fn server_addr(&self) -> SocketAddr {
        let url = Url::parse(&self.url).unwrap();
        let addrs = url.socket_addrs(|| None).unwrap();
        *addrs.first().unwrap()
    }
}
