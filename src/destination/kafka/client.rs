//! The settings of librdkafka.

use std::{path::PathBuf, time::Duration};

use rdkafka::ClientConfig;
use secrecy::ExposeSecret;

use crate::settings;

/// How long a broker has to answer before the record is sent again, to the new leader if there is one: a frozen broker keeps its
/// connections open.
const ANSWER_WAIT_MAX: Duration = Duration::from_secs(5);
/// For how long a topic that does not exist may yet come to be.
const NEW_TOPIC_WAIT_MAX: Duration = Duration::from_secs(3);

/// The producer's settings: a record that is not acknowledged within `patience` has failed. Names and meanings are those of
/// librdkafka's `CONFIGURATION.md`.
pub(super) fn config(settings: &settings::Kafka, patience: Duration) -> ClientConfig {
    let mut config = connection(settings);
    for (key, value) in [
        ("client.id", "feebox"),
        ("acks", "all"),
        ("enable.idempotence", "true"),
        // With a second batch of a partition under way, a broker refuses that as out of order when it refused the first, as one that has just
        // lost or won an election does. librdkafka then begins a new epoch for all partitions, in which it stores again what other
        // brokers have stored and not acknowledged yet (librdkafka issue 4953; `rd_kafka_handle_Produce_error_idempotent` in its
        // source). Brokers answer one request of a connection at a time anyway.
        ("max.in.flight.requests.per.connection", "1"),
        // As Java's producer does it, so that a key has the same partition whichever client writes it.
        ("partitioner", "murmur2_random"),
        // A batch is refused as a whole, and then sent again record by record.
        ("batch.size", "65536"),
        // It connects to all brokers at once. Otherwise the first records for each wait for up to a second until the client looks
        // whether somebody needs that broker (`rd_kafka_max_block_ms` in its source).
        ("enable.sparse.connections", "false"),
    ] {
        config.set(key, value);
    }
    for (key, time) in [
        ("delivery.timeout.ms", patience),
        // Time for a second try within the first one's patience: the idempotent one.
        ("socket.timeout.ms", (patience / 3).min(ANSWER_WAIT_MAX)),
        ("topic.metadata.propagation.max.ms", (patience / 2).min(NEW_TOPIC_WAIT_MAX)),
        ("linger.ms", (patience / 100).min(Duration::from_millis(5))),
    ] {
        config.set(key, time.as_millis().to_string());
    }
    config
}

/// What every client needs to reach the brokers.
pub(super) fn connection(settings: &settings::Kafka) -> ClientConfig {
    let mut config = ClientConfig::new();
    for (key, value) in [
        ("socket.nagle.disable", "true"),
        ("socket.keepalive.enable", "true"),
        // The default, 10 s, would keep a broker waiting that is available again.
        ("reconnect.backoff.max.ms", "1000"),
        ("log.connection.close", "false"),
    ] {
        config.set(key, value);
    }
    config.set("bootstrap.servers", settings.brokers.as_deref().unwrap_or_default());
    config.set("security.protocol", &settings.security_protocol);
    let texts = [
        ("sasl.mechanism", settings.sasl_mechanism.as_deref()),
        ("sasl.username", settings.sasl_username.as_deref()),
        ("sasl.password", settings.sasl_password.as_ref().map(ExposeSecret::expose_secret)),
        ("ssl.ca.location", text(settings.ssl_ca_location.as_ref())),
        ("ssl.certificate.location", text(settings.ssl_certificate_location.as_ref())),
        ("ssl.key.location", text(settings.ssl_key_location.as_ref())),
    ];
    for (key, value) in texts {
        if let Some(value) = value {
            config.set(key, value);
        }
    }
    config
}

/// The settings of a producer of many records. librdkafka has one batch of a partition under way at a time. While records that have
/// lingered wait for it, its threads spin, and what they send next is small: so they linger for longer than brokers usually take.
pub(super) fn bulk(mut config: ClientConfig, patience: Duration) -> ClientConfig {
    let linger = (patience / 10).min(Duration::from_millis(100));
    config.set("linger.ms", linger.as_millis().to_string());
    config
}

/// The settings of a producer that sends each record in a batch of its own.
pub(super) fn alone(mut config: ClientConfig) -> ClientConfig {
    config.set("client.id", "feebox-alone").set("batch.num.messages", "1").set("linger.ms", "0");
    config
}

fn text(path: Option<&PathBuf>) -> Option<&str> {
    path.and_then(|path| path.to_str())
}

#[cfg(test)]
mod tests {
    use rdkafka::producer::FutureProducer;

    use super::*;
    use crate::settings::{Settings, Sources};

    fn built(overrides: &[(&str, &str)]) -> Result<FutureProducer, String> {
        let settings = Settings::load(&Sources::overrides(overrides.iter().copied())).expect("settings").kafka;
        config(&settings, Duration::from_secs(30)).create().map_err(|error| error.to_string())
    }

    #[test]
    fn the_client_is_built_with_what_tls_and_sasl_need() {
        let secured = |mechanism| {
            [
                ("kafka.brokers", "127.0.0.1:9"),
                ("kafka.security_protocol", "sasl_ssl"),
                ("kafka.sasl_mechanism", mechanism),
                ("kafka.sasl_username", "feebox"),
                ("kafka.sasl_password", "secret"),
            ]
        };
        for mechanism in ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] {
            assert_eq!(built(&secured(mechanism)).err(), None, "{mechanism}");
        }
    }

    #[test]
    fn the_client_takes_the_settings_of_each_kind_of_producer() {
        let settings = Settings::load(&Sources::overrides([("kafka.brokers", "127.0.0.1:9")])).expect("settings").kafka;
        let patience = Duration::from_secs(30);
        for of_kind in [bulk(config(&settings, patience), patience), alone(config(&settings, patience))] {
            assert_eq!(of_kind.create::<FutureProducer>().err(), None, "{of_kind:?}");
        }
    }

    #[test]
    fn certificates_that_cannot_be_read_are_refused_at_once() {
        let overrides = [
            ("kafka.brokers", "127.0.0.1:9"),
            ("kafka.security_protocol", "ssl"),
            ("kafka.ssl_ca_location", "/nowhere/ca.pem"),
        ];
        assert!(built(&overrides).err().is_some_and(|error| error.contains("ssl.ca.location")));
    }
}
