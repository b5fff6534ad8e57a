//! A Galera cluster all of whose nodes take writes: a process of Feebox at each.

use std::slice::from_ref;

use feebox::database::{Kind, is_refused, kind};
use feebox::lab::sample_fee_server::Faults;
use reqwest::header::HeaderValue;
use reqwest::{Client, Response, StatusCode};
use sea_orm::{ConnectionTrait, DbBackend, Statement};
use serde_json::Value;
use uuid::Uuid;

use crate::support::{Galera, Load, Stage, TestDatabase, a_quote, http_client};

const CLIENTS: usize = 4;
const QUOTES: usize = 600;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conflicts_between_nodes_are_tried_again_and_no_event_is_sent_twice() {
    let galera = Galera::turn().await;
    let database = TestDatabase::create_on_all(&galera).await;
    let nodes = [1, 2, 3].map(|node| galera.node(&database, node).url().to_owned());
    let at = |node: usize| [("database.url", nodes[node].as_str())];
    let stage = Stage::on(database, Faults::default()).await;
    let ((_one, first), (_two, second)) = (stage.serve(&at(0), &[]).await, stage.serve(&at(1), &[]).await);
    let _workers = [stage.worker(&at(0)).await, stage.worker(&at(1)).await, stage.worker(&at(2)).await];

    let load = Load::start(CLIENTS, &[first, second]);
    load.accepts(QUOTES).await;
    assert_eq!(load.server_errors(), 0);
    let accepted: Vec<_> = load.end().await.into_iter().map(|(id, _)| id).collect();
    stage.accept(&accepted);
    stage.drained().await;
    let books = stage.books().await;
    books.assert_sound();
    books.assert_each_sent_once();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_is_sent_to_two_nodes_at_once_stores_one_quote() {
    let galera = Galera::turn().await;
    let database = TestDatabase::create_on_all(&galera).await;
    let nodes = [1, 2].map(|node| galera.node(&database, node).url().to_owned());
    let stage = Stage::on(database, Faults::default()).await;
    let (_one, first) = stage.serve(&[("database.url", &nodes[0])], &[]).await;
    let (_two, second) = stage.serve(&[("database.url", &nodes[1])], &[]).await;
    let client = http_client();
    let mut stored = vec![];
    for _ in 0..100 {
        let key = Uuid::new_v4().to_string();
        let (one, two) = tokio::join!(post(&client, &first, &key), post(&client, &second, &key));
        let mut ids = vec![];
        for (mut answer, base_url) in [(one, &first), (two, &second)] {
            // The other call is under way: it is over soon.
            while answer.status() == StatusCode::CONFLICT {
                answer = post(&client, base_url, &key).await;
            }
            assert_eq!(answer.status(), StatusCode::CREATED);
            ids.push(id_in(answer).await);
        }
        assert_eq!(ids[0], ids[1], "both callers are told of the one quote");
        stored.push(ids[0]);
    }
    stage.accept(&stored);
    let _worker = stage.worker(&[]).await;
    stage.drained().await;
    stage.books().await.assert_sound();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_stored_through_one_node_is_found_through_another_at_once() {
    let galera = Galera::turn().await;
    let database = TestDatabase::create_on_all(&galera).await;
    let nodes = [1, 2].map(|node| galera.node(&database, node).url().to_owned());
    let stage = Stage::on(database, Faults::default()).await;
    let (_one, first) = stage.serve(&[("database.url", &nodes[0])], &[]).await;
    let (_two, second) = stage.serve(&[("database.url", &nodes[1])], &[]).await;
    // Whoever reads meets a node that has others' writes to apply.
    let load = Load::start(CLIENTS, from_ref(&first));
    let client = http_client();
    let mut stored = vec![];
    for _ in 0..200 {
        let key = Uuid::new_v4().to_string();
        let id = id_in(post(&client, &first, &key).await).await;
        let found = client.get(format!("{second}/v1/quotes/{id}")).send().await.unwrap();
        assert_eq!(found.status(), StatusCode::OK, "quote {id}");
        let again = post(&client, &second, &key).await;
        assert_eq!(again.headers().get("idempotency-replayed").map(HeaderValue::as_bytes), Some(&b"true"[..]));
        stored.push(id);
    }
    stored.extend(load.end().await.into_iter().map(|(id, _)| id));
    stage.accept(&stored);
    let _worker = stage.worker(&[]).await;
    stage.drained().await;
    stage.books().await.assert_sound();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_that_its_node_gave_up_stores_nothing_of_what_follows() {
    let galera = Galera::turn().await;
    let database = TestDatabase::create_on_all(&galera).await;
    let db = galera.node(&database, 1).open().await;
    let other = galera.node(&database, 2).open().await;
    db.connection().execute_unprepared("CREATE TABLE t (id INT PRIMARY KEY)").await.unwrap();
    let count = async || {
        let row = Statement::from_string(DbBackend::MySql, "SELECT COUNT(*) AS count FROM t");
        other.connection().query_one_raw(row).await.unwrap().unwrap().try_get::<i64>("", "count").unwrap()
    };

    let txn = db.begin().await.unwrap();
    txn.execute_unprepared("INSERT INTO t VALUES (1)").await.unwrap();
    // As for another node's transaction, but that no statement is answered with the error.
    txn.execute_unprepared("ROLLBACK").await.unwrap();
    txn.execute_unprepared("INSERT INTO t VALUES (2)").await.unwrap();
    let refused = txn.commit().await.unwrap_err();
    assert_eq!(kind(&refused), Kind::Conflict, "{refused}");
    assert!(is_refused(&refused), "nothing is stored");
    assert_eq!(count().await, 0);
    // The session is used again, for single statements and for transactions.
    db.connection().execute_unprepared("INSERT INTO t VALUES (3)").await.unwrap();
    assert_eq!(count().await, 1);
    let txn = db.begin().await.unwrap();
    txn.execute_unprepared("INSERT INTO t VALUES (4)").await.unwrap();
    txn.commit().await.unwrap();
    assert_eq!(count().await, 2);
}

async fn post(client: &Client, base_url: &str, key: &str) -> Response {
    let call = client.post(format!("{base_url}/v1/quotes")).json(&a_quote()).header("idempotency-key", key);
    call.send().await.unwrap()
}

async fn id_in(answer: Response) -> Uuid {
    let quote: Value = answer.json().await.unwrap();
    quote["id"].as_str().unwrap().parse().unwrap()
}
