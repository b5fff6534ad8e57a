//! Shows that the ground holds on which the other tests stand.

use std::path::Path;
use std::time::Duration;

use sea_orm::{ConnectionTrait, Database, DatabaseConnection, Statement};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use crate::support::{Engine, Process, Proxy, Server, TestDatabase, eventually, free_port};

const LIMIT: Duration = Duration::from_secs(30);
const A_MOMENT: Duration = Duration::from_millis(200);

#[tokio::test]
async fn postgres_survives_a_crash_and_leaves_nothing_behind() {
    let server = Server::own_postgres();
    keeps_what_was_committed(&server, Engine::Postgres).await;
    leaves_nothing_behind(server, "SHOW data_directory").await;
}

#[tokio::test]
async fn mariadb_survives_a_crash_and_leaves_nothing_behind() {
    let server = Server::own_mariadb();
    keeps_what_was_committed(&server, Engine::MariaDb).await;
    leaves_nothing_behind(server, "SELECT @@datadir").await;
}

async fn keeps_what_was_committed(server: &Server, engine: Engine) {
    let database = TestDatabase::create_on(server, engine).await;
    let connection = database.connect().await;
    execute(&connection, "CREATE TABLE kept (n int)").await;
    execute(&connection, "INSERT INTO kept VALUES (7)").await;

    server.crash();
    assert!(TcpStream::connect(database.server_addr()).await.is_err());
    server.start();
    assert_eq!(number(&database.connect().await, "SELECT n FROM kept").await, 7);

    server.stop();
    server.start();
    assert_eq!(number(&database.connect().await, "SELECT n FROM kept").await, 7);
}

async fn leaves_nothing_behind(server: Server, query: &str) {
    let connection = Database::connect(server.url()).await.unwrap();
    let row = one(&connection, query).await;
    let directory: String = row.try_get_by_index(0).unwrap();
    let directory = Path::new(&directory);
    assert!(directory.exists());
    drop(server);
    assert!(!directory.exists());
    assert!(!directory.parent().unwrap().exists());
}

#[tokio::test]
async fn each_test_has_a_database_of_its_own_on_each_engine() {
    for engine in Engine::ALL {
        let first = TestDatabase::create(engine).await;
        let second = TestDatabase::create(engine).await;
        execute(&first.connect().await, "CREATE TABLE same (n int)").await;
        execute(&second.connect().await, "CREATE TABLE same (n int)").await;
        assert_ne!(first.url(), second.url());
    }
}

#[tokio::test]
async fn pgbouncer_pools_transactions() {
    let server = Server::shared_postgres();
    let database = TestDatabase::create(Engine::Postgres).await;
    let pooler = Server::pgbouncer(server.url());
    let addr = addr_of(&pooler);
    let connection = Database::connect(database.url_through(addr)).await.unwrap();
    // A plain statement: this mode lets no prepared one outlive its transaction.
    execute(&connection, "CREATE TABLE pooled (n int)").await;
    let direct = database.connect().await;
    assert_eq!(number(&direct, "SELECT count(*)::int FROM pooled").await, 0);
}

#[tokio::test]
async fn a_proxy_can_pause_lose_and_cut() {
    let echo = echo_server().await;
    let proxy = Proxy::start(echo).await;
    let mut stream = TcpStream::connect(proxy.addr()).await.unwrap();
    assert_eq!(ask(&mut stream, b'a').await, b'a');

    proxy.pause();
    stream.write_all(b"b").await.unwrap();
    assert!(timeout(A_MOMENT, stream.read_u8()).await.is_err());
    proxy.resume();
    assert_eq!(stream.read_u8().await.unwrap(), b'b');

    proxy.lose_answers();
    stream.write_all(b"c").await.unwrap();
    assert!(timeout(A_MOMENT, stream.read_u8()).await.is_err());
    proxy.black_hole();
    stream.write_all(b"d").await.unwrap();
    assert!(timeout(A_MOMENT, stream.read_u8()).await.is_err());
    proxy.resume();
    assert_eq!(ask(&mut stream, b'e').await, b'e');

    proxy.cut();
    assert!(stream.read_u8().await.is_err());
    let mut later = TcpStream::connect(proxy.addr()).await.unwrap();
    assert_eq!(ask(&mut later, b'f').await, b'f');

    let addr = proxy.addr();
    drop(proxy);
    assert!(later.read_u8().await.is_err());
    eventually("nobody listens", LIMIT, async || TcpStream::connect(addr).await.is_err().then_some(())).await;
}

#[tokio::test]
async fn the_real_binary_runs() {
    let process = Process::start(&["--version"], &[]);
    assert!(process.wait(LIMIT).await.success());
}

#[test]
fn free_ports_differ() {
    let mut ports: Vec<u16> = (0..100).map(|_| free_port()).collect();
    ports.sort_unstable();
    ports.dedup();
    assert_eq!(ports.len(), 100);
}

async fn echo_server() -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                while let Ok(byte) = stream.read_u8().await {
                    stream.write_u8(byte).await.unwrap();
                }
            });
        }
    });
    addr
}

async fn ask(stream: &mut TcpStream, byte: u8) -> u8 {
    stream.write_u8(byte).await.unwrap();
    stream.read_u8().await.unwrap()
}

fn addr_of(server: &Server) -> std::net::SocketAddr {
    let url = url::Url::parse(server.url()).unwrap();
    url.socket_addrs(|| None).unwrap()[0]
}

async fn execute(connection: &DatabaseConnection, sql: &str) {
    connection.execute_unprepared(sql).await.unwrap();
}

async fn one(connection: &DatabaseConnection, sql: &str) -> sea_orm::QueryResult {
    let statement = Statement::from_string(connection.get_database_backend(), sql);
    connection.query_one_raw(statement).await.unwrap().unwrap()
}

async fn number(connection: &DatabaseConnection, sql: &str) -> i32 {
    one(connection, sql).await.try_get_by_index(0).unwrap()
}
