use std::fs;
use std::time::Duration;

use secrecy::ExposeSecret;

use super::*;

mod access;
mod any_text;
mod secrets;

const SHA256: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

fn load(overrides: &[(&str, &str)]) -> Result<Settings, SettingsError> {
    Settings::load(&Sources::overrides(overrides.iter().copied()))
}

fn refused(overrides: &[(&str, &str)]) -> String {
    load(overrides).expect_err("an error").to_string()
}

fn from_env(env: &[(&str, &str)]) -> Sources {
    Sources {
        env: env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        ..Sources::default()
    }
}

#[test]
fn the_engine_alone_has_the_same_defaults() {
    let settings = load(&[]).expect("defaults");
    assert_eq!(settings.retry, Retry::default());
    assert_eq!(settings.circuit, Circuit::default());
    assert_eq!(settings.fee_server.retry_after_max, crate::outbox::Policy::default().retry_after_max);
    assert_eq!(crate::worker::Settings::from(settings.worker), crate::worker::Settings::default());
}

#[test]
fn every_default_is_the_documented_one() {
    let settings = load(&[]).expect("defaults");
    let promised = "
        database.url = sqlite://feebox.db?mode=rwc
        server.bind = 127.0.0.1:8080
        worker.schedule = */5 * * * * *
        worker.wakeup = true
        worker.batch_size = 500
        worker.concurrency = 256
        worker.lease = 30s
        worker.shutdown_grace = 20s
        worker.bind = 127.0.0.1:9090
        fee_server.base_url = http://127.0.0.1:8081
        fee_server.token =
        fee_server.timeout = 10s
        fee_server.connect_timeout = 2s
        fee_server.connection_max_age = 30s
        fee_server.retry_after_max = 1h
        fee_server.lookup = true
        retry.initial_interval = 1s
        retry.multiplier = 2.0
        retry.randomization_factor = 0.5
        retry.max_interval = 10m
        retry.max_attempts = 25
        retry.give_up_after = 72h
        circuit.failures = 10
        circuit.cool_down = 15s
        submission.strategy = outbox
        sweeper.schedule = 0 * * * * *
        sweeper.stale_after = 24h
        sweeper.action = alert
        retention.schedule = 0 17 * * * *
        retention.delivered_for = 7d
        kafka.brokers =";
    for line in promised.trim().lines() {
        let (key, value) = line.trim().split_once(" =").expect("key = value");
        let in_force = &settings.redacted().values[key].value;
        let shown = in_force.as_str().map_or_else(|| in_force.to_string(), str::to_owned);
        assert_eq!(shown, value.trim(), "{key}");
    }
}

#[test]
fn defaults_reach_the_typed_fields() {
    let settings = load(&[]).expect("defaults");
    assert_eq!(settings.database.url.expose_secret(), "sqlite://feebox.db?mode=rwc");
    assert_eq!(settings.database.max_connections, 16);
    assert_eq!(settings.fee_server.base_url.as_str(), "http://127.0.0.1:8081/");
    assert!(settings.fee_server.token.is_none());
    assert_eq!(settings.retry.give_up_after, Duration::from_hours(72));
    assert_eq!(settings.retention.idempotency_keys_for, Duration::from_hours(7 * 24));
    assert_eq!(settings.submission.strategy, Strategy::Outbox);
    assert_eq!(settings.sweeper.action, SweepAction::Alert);
    assert_eq!(settings.log.format, LogFormat::Auto);
    assert!(settings.kafka.brokers.is_none());
    assert!(settings.access.tokens.is_empty());
}

#[test]
fn each_layer_overrides_the_lower_ones() {
    let dir = tempfile::tempdir().expect("directory");
    fs::create_dir(dir.path().join("config")).expect("config/");
    let file = "[retry]\nmax_attempts = 2\nmultiplier = 3\n[circuit]\nfailures = 2\n[worker]\n";
    fs::write(dir.path().join("config/blue.toml"), file).expect("blue.toml");
    let settings = Settings::load(&Sources {
        dir: dir.path().to_owned(),
        overrides: vec![("circuit.failures".to_owned(), "4".to_owned())],
        ..from_env(&[
            ("FEEBOX_ENV", "blue"),
            ("FEEBOX__RETRY__MAX_ATTEMPTS", "3"),
            ("FEEBOX__CIRCUIT__FAILURES", "3"),
            ("HOME", "/"),
        ])
    })
    .expect("settings");
    assert!((settings.retry.multiplier - 3.0).abs() < f64::EPSILON);
    assert_eq!(settings.retry.max_attempts, 3);
    assert_eq!(settings.circuit.failures, 4);

    let shown = settings.redacted().to_string();
    for line in [
        "batch_size = 500 # default\n",
        "multiplier = 3 # file config/blue.toml\n",
        "max_attempts = 3 # variable FEEBOX__RETRY__MAX_ATTEMPTS\n",
        "failures = 4 # command line\n",
    ] {
        assert!(shown.contains(line), "{line} not in\n{shown}");
    }
}

#[test]
fn the_feebox_variable_overrides_database_url() {
    let both = [("DATABASE_URL", "sqlite://theirs.db"), ("FEEBOX__DATABASE__URL", "sqlite://ours.db")];
    let url = |env| Settings::load(&from_env(env)).expect("settings").database.url;
    assert_eq!(url(&both[..1]).expose_secret(), "sqlite://theirs.db");
    assert_eq!(url(&both).expose_secret(), "sqlite://ours.db");
}

#[test]
fn a_missing_or_broken_file_is_an_error_that_quotes_nothing() {
    let missing = Settings::load(&from_env(&[("FEEBOX_ENV", "nowhere")])).expect_err("an error");
    assert!(missing.to_string().contains("(file config/nowhere.toml): the file does not exist"));

    let dir = tempfile::tempdir().expect("directory");
    fs::create_dir(dir.path().join("config")).expect("config/");
    fs::write(dir.path().join("config/blue.toml"), "[fee_server]\ntoken = hunter2\n").expect("blue.toml");
    let broken = Settings::load(&Sources { dir: dir.path().to_owned(), ..from_env(&[("FEEBOX_ENV", "blue")]) });
    let broken = broken.expect_err("an error").to_string();
    assert!(broken.contains("line 2 is not TOML"), "{broken}");
    assert!(!broken.contains("hunter2"), "{broken}");
}

#[test]
fn all_errors_are_reported_at_once() {
    let all = refused(&[
        ("worker.batch_size", "many"),
        ("worker.concurrency", "0"),
        ("worker.schedule", "* * * * *"),
        ("worker.leese", "5s"),
        ("worker.wakeup", "maybe"),
        ("retry.multiplier", "0.5"),
        ("retry.give_up_after", "soon"),
        ("sweeper.schedule", "0 0 0 30 2 *"),
        ("server.bind", "localhost:8080"),
        ("fee_server.base_url", "ftp://fees"),
        ("database.url", "oracle://db"),
        ("submission.strategy", "hope"),
        ("log.filter", "a=b=c"),
    ]);
    assert_eq!(all.lines().count(), 13, "{all}");
    for part in [
        "worker.batch_size (command line): is a string; write a whole number",
        "worker.concurrency (command line): 0 is out of range; write 1 to 10000",
        "worker.schedule (command line): \"* * * * *\" is not a schedule",
        "worker.leese (command line): is not a known key; did you mean worker.lease?",
        "retry.multiplier (command line): 0.5 is out of range; write 1 to 10",
        "submission.strategy (command line): \"hope\" is not an option; write one of \"outbox\"",
        "sweeper.schedule (command line): \"0 0 0 30 2 *\" is not a schedule",
    ] {
        assert!(all.contains(part), "{part} not in\n{all}");
    }
}

#[test]
fn an_unknown_key_is_refused_from_every_layer() {
    let err = Settings::load(&from_env(&[("FEEBOX__SERVER__LEASE", "1s")])).expect_err("an error");
    let wanted = "server.lease (variable FEEBOX__SERVER__LEASE): is not a known key; did you mean worker.lease?";
    assert_eq!(err.to_string(), wanted);
    let stranger = refused(&[("weather.forecast_provider", "rain")]);
    assert!(stranger.contains("config/default.toml lists all keys"), "{stranger}");
}

#[test]
fn dangerous_combinations_are_refused() {
    let lease = refused(&[("worker.lease", "10s")]);
    assert!(lease.contains("10s is not longer than fee_server.timeout, 10s (default)"), "{lease}");
    assert!(refused(&[("fee_server.timeout", "30s")]).starts_with("worker.lease (default)"));

    let connect = [("fee_server.timeout", "1s"), ("fee_server.connect_timeout", "3s")];
    assert!(refused(&connect).starts_with("fee_server.connect_timeout"));
    let intervals = [("retry.initial_interval", "5s"), ("retry.max_interval", "4s")];
    assert!(refused(&intervals).starts_with("retry.max_interval"));

    let half = refused(&[("kafka.security_protocol", "sasl_ssl"), ("kafka.sasl_username", "me")]);
    assert!(half.contains("kafka.sasl_mechanism") && half.contains("kafka.sasl_password"), "{half}");
    for (given, missing) in [("certificate", "key"), ("key", "certificate")] {
        let half = refused(&[(&format!("kafka.ssl_{given}_location"), "me.pem")]);
        let error = format!("kafka.ssl_{missing}_location (default): is empty, but kafka.ssl_{given}_location is set");
        assert!(half.contains(&error), "{half}");
    }
}

#[test]
fn brokers_are_refused_without_a_client_or_with_a_short_lease() {
    if cfg!(feature = "kafka") {
        let short = [
            ("kafka.brokers", "b:9092"),
            ("worker.lease", "9s"),
            ("fee_server.timeout", "2s"),
            ("kafka.delivery_timeout", "6s"),
        ];
        let error =
            "worker.lease (command line): events for Kafka would be leased for 9s with kafka.delivery_timeout = 6s";
        assert!(refused(&short).contains(error), "{}", refused(&short));
        assert!(load(&short[..3]).is_ok(), "half as long again as the default of kafka.delivery_timeout");
    } else {
        assert!(refused(&[("kafka.brokers", "b:9092")]).contains("build with `cargo build --features kafka`"));
    }
}

#[test]
fn a_default_is_adapted_to_a_set_value() {
    let settings = load(&[("fee_server.timeout", "1s"), ("retry.max_interval", "100ms")]).expect("settings");
    assert_eq!(settings.fee_server.connect_timeout, Duration::from_secs(1));
    assert_eq!(settings.retry.initial_interval, Duration::from_millis(100));
    let shown = settings.redacted().to_string();
    let line = "initial_interval = \"100ms\" # default, adapted to retry.max_interval";
    assert!(shown.contains(line), "{shown}");

    let settings = load(&[("retry.initial_interval", "20m")]).expect("settings");
    assert_eq!(settings.retry.max_interval, Duration::from_mins(20));
}

#[test]
fn a_path_in_the_base_url_survives_a_join() {
    let settings = load(&[("fee_server.base_url", "https://pay.example/api")]).expect("settings");
    let fees = settings.fee_server.base_url.join("v1/fees").expect("URL");
    assert_eq!(fees.as_str(), "https://pay.example/api/v1/fees");
}

#[test]
fn the_default_file_explains_every_key() {
    let mut line_before = "";
    for line in layers::DEFAULTS.lines() {
        if !line.starts_with(['#', '[']) && !line.is_empty() {
            assert!(line_before.starts_with("# "), "no comment above {line}");
        }
        line_before = line;
    }
}

#[test]
fn a_link_to_traces_is_an_address_with_a_place_for_the_id() {
    let link = |text| load(&[("traces.link", text)]).map(|settings| settings.traces.link);
    assert_eq!(link("").expect("none"), None);
    assert!(link("https://traces.example/{trace_id}").expect("a link").is_some());
    for text in ["https://traces.example", "javascript:alert('{trace_id}')", "{trace_id}"] {
        assert!(refused(&[("traces.link", text)]).contains("is no link to a trace"), "{text}");
    }
}

#[test]
fn a_replica_is_one_of_the_same_kind_of_database_and_its_password_is_not_shown() {
    let url = |key: &'static str, url: &'static str| (key, url);
    let primary = url("database.url", "postgres://feebox@one/fees");
    let settings =
        load(&[primary, url("database.replica_url", "postgres://feebox:s3cret@two/fees")]).expect("settings");
    let replica = settings.database.replica.as_ref().expect("a replica");
    assert_eq!((replica.max_connections, replica.max_age), (4, Duration::from_mins(1)));
    assert!(!settings.redacted().to_string().contains("s3cret"));
    assert!(load(&[primary]).expect("settings").database.replica.is_none());
    let refused = [
        refused(&[url("database.replica_url", "sqlite://copy.db")]),
        refused(&[url("database.replica_url", "postgres://feebox@two/fees")]),
        refused(&[primary, url("database.replica_url", "mysql://feebox@two/fees")]),
        refused(&[primary, url("database.replica_url", "postgres://")]),
    ];
    for (refused, why) in
        refused.iter().zip(["an SQLite file", "an SQLite file", "another kind of database", "no host"])
    {
        assert!(refused.contains("database.replica_url") && refused.contains(why), "{refused}");
    }
}
