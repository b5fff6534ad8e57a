//! A fleet that could have more calls in flight than the fee server has places for.

use std::time::Duration;

use entity::{circuit_opening, destination};
use feebox::lab::sample_fee_server::Faults;
use reqwest::StatusCode;
use sea_orm::{EntityTrait, PaginatorTrait};

use crate::support::{Engine, LIMIT, Stage, eventually};

/// As many failures in a row as by default, and a cool-down that is soon over.
const SETTINGS: [(&str, &str); 3] =
    [("worker.concurrency", "64"), ("circuit.failures", "10"), ("circuit.cool_down", "1s")];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fleet_recovers_from_an_outage_of_a_fee_server_that_refuses_beyond_its_places_on_postgres() {
    recovers(Engine::Postgres).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fleet_recovers_from_an_outage_of_a_fee_server_that_refuses_beyond_its_places_on_mariadb() {
    recovers(Engine::MariaDb).await;
}

/// Four workers may have 256 calls in flight, and 40 are taken: five of six could be refused.
async fn recovers(engine: Engine) {
    let down = Faults { fail_rate: 1.0, fail_status: StatusCode::SERVICE_UNAVAILABLE, ..Faults::default() };
    let stage = Stage::new(engine, down).await;
    stage.submit(800).await;
    let _workers: [_; 4] = stage.workers(&SETTINGS).await;
    eventually("the circuit opens", LIMIT, async || {
        let row = stage.destination().await?;
        (row.circuit == destination::Circuit::Open).then_some(())
    })
    .await;
    let small = Faults { latency: Duration::from_millis(200), places: Some(40), ..Faults::default() };
    stage.fee_server.set_faults(small);
    stage.drained().await;
    let openings = circuit_opening::Entity::find().count(stage.db.connection()).await.unwrap();
    assert_eq!(openings, 1, "the fee server has always answered 40 calls at a time since the outage");
    stage.books().await.assert_sound();
}
