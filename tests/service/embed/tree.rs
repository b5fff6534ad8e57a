//! What a service that embeds the engine alone has to build.

use std::process::Command;

/// What the engine needs none of.
const LEFT_OUT: [&str; 12] = [
    "axum",
    "clap",
    "governor",
    "hyper",
    "metrics-exporter-prometheus",
    "plotters",
    "rdkafka",
    "reqwest",
    "tokio-cron-scheduler",
    "toml",
    "tower-http",
    "utoipa",
];

#[test]
fn the_engine_alone_needs_no_web_server_no_command_line_and_no_kafka() {
    let names = needed_by(&["--no-default-features"]);
    assert!(["sea-orm", "entity", "migration"].iter().all(|name| has(&names, name)), "{names:?}");
    let found: Vec<_> = LEFT_OUT.iter().filter(|name| has(&names, name)).collect();
    assert!(found.is_empty(), "{found:?} in {names:?}");
}

/// So that the test above does not pass because crates have other names by now.
#[test]
fn the_whole_command_needs_all_that_the_engine_leaves_out() {
    let names = needed_by(&["--features", "kafka"]);
    let missing: Vec<_> = LEFT_OUT.iter().filter(|name| !has(&names, name)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

fn has(names: &[String], name: &str) -> bool {
    names.iter().any(|it| it == name)
}

/// The names of all crates in the build.
fn needed_by(features: &[&str]) -> Vec<String> {
    let arguments = ["tree", "--locked", "--offline", "--package", "feebox", "--edges", "normal", "--prefix", "none"];
    let output = Command::new(env!("CARGO"))
        .args(arguments)
        .args(["--format", "{p}"])
        .args(features)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines = String::from_utf8(output.stdout).unwrap();
    lines.lines().filter_map(|line| line.split(' ').next()).map(str::to_owned).collect()
}
