//! Statements fit into what the database takes, and what cannot fit is told as what it is.

use sea_orm::ConnectionTrait;
use serde_json::{Value, json};

use crate::support::{Api, Engine, Server, TestDatabase};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_larger_than_max_allowed_packet_is_stored() {
    let server = Server::own_mariadb();
    let database = limited(&server, 1024 * 1024).await;
    let api = Api::start(&database).await;
    let quotes: Vec<Value> = (0..100).map(|_| a_large_quote("x")).collect();
    let body = json!({ "quotes": quotes });
    assert!(body.to_string().len() > 2_000_000);
    let answer = api.post("/v1/quotes:batch", &body).await;
    assert_eq!(answer.status(), 201, "{}", answer.text().await.unwrap());
    assert_eq!(api.stored().await, (100, 100));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_quote_larger_than_max_allowed_packet_is_refused_with_the_name_of_the_setting() {
    let server = Server::own_mariadb();
    let database = limited(&server, 64 * 1024).await;
    let api = Api::start(&database).await;
    let answer = api.post("/v1/quotes", &a_large_quote("🪙")).await;
    assert_eq!(answer.status(), 413);
    let problem: Value = answer.json().await.unwrap();
    assert_eq!(problem["type"], "/problems/too-large-for-database");
    assert!(problem["detail"].as_str().unwrap().contains("max_allowed_packet = 65536"), "{problem}");
    assert_eq!(api.stored().await, (0, 0));
    // Other quotes are not affected.
    api.submit().await;
}

/// The limit holds for sessions that begin from now on.
async fn limited(server: &Server, bytes: usize) -> TestDatabase {
    use migration::MigratorTrait;
    let database = TestDatabase::create_on(server, Engine::MariaDb).await;
    let admin = database.connect().await;
    migration::Migrator::up(&admin, None).await.unwrap();
    admin.execute_unprepared(&format!("SET GLOBAL max_allowed_packet = {bytes}")).await.unwrap();
    admin.close().await.unwrap();
    database
}

/// A quote with 100 lines of 200 letters, each of as many bytes as `letter` takes.
fn a_large_quote(letter: &str) -> Value {
    let line = json!({ "description": letter.repeat(200), "quantity": 1, "unit_price_minor": 100 });
    json!({ "customer_id": "customer", "currency": "EUR", "lines": vec![line; 100] })
}
