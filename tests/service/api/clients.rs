//! Clients that are generated from the document work as they are: each generator's client calls the running server.

use std::process::Command;

use feebox::lab::sample_fee_server::Faults;

use crate::support::{Engine, Stage};

/// SHA-256 of `boss-token`.
const TOKENS: &str = "[{name = 'boss', role = 'operator', \
    sha256 = '673e0b86626e1976dc1d5d4723c64674b0057b4f5b0f65f51758814a3d82c458'}]";

async fn works(generator: &str) {
    let stage = Stage::new(Engine::Sqlite, Faults::default()).await;
    let (_serve, base_url) = stage.serve(&[("access.tokens", TOKENS)], &[]).await;
    let mut run = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients/run"));
    run.args([generator, &base_url, "boss-token"]);
    let output = tokio::task::spawn_blocking(move || run.output()).await.unwrap().unwrap();
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{generator}: {}", String::from_utf8_lossy(&said));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_client_of_openapi_python_client_works() {
    works("openapi-python-client").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_client_of_openapi_generator_works() {
    works("openapi-generator").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_client_of_openapi_typescript_works() {
    works("openapi-typescript").await;
}
