//! `kafka.*`: where events are relayed besides the fee server.

use std::{path::PathBuf, time::Duration};

use secrecy::SecretString;

use super::{Worker, fields::Fields};

/// The shortest lease that leaves enough time to distinguish a failed record from a late one.
const LEASE_MIN: Duration = Duration::from_secs(10);

/// How Kafka is reached. The names are librdkafka's.
#[derive(Clone, Debug)]
pub struct Kafka {
    /// `host:port,host:port`; without brokers nothing is relayed.
    pub brokers: Option<String>,
    /// `plaintext`, `ssl`, `sasl_plaintext` or `sasl_ssl`.
    pub security_protocol: String,
    /// `PLAIN`, `SCRAM-SHA-256` or `SCRAM-SHA-512`; present if the protocol is `sasl_*`.
    pub sasl_mechanism: Option<String>,
    /// Present if the protocol is `sasl_*`.
    pub sasl_username: Option<String>,
    /// Present if the protocol is `sasl_*`.
    pub sasl_password: Option<SecretString>,
    /// How long a record may stay unacknowledged before it has failed. Longer than the election of a leader.
    pub delivery_timeout: Duration,
    /// Most records that one worker has in flight: 1 to 10000.
    pub in_flight: usize,
    /// Trusted CA certificates, a PEM file; the system's by default.
    pub ssl_ca_location: Option<PathBuf>,
    /// The client certificate, a PEM file; present if its key is.
    pub ssl_certificate_location: Option<PathBuf>,
    /// The private key of the client certificate, a PEM file without a passphrase.
    pub ssl_key_location: Option<PathBuf>,
}

impl Kafka {
    pub(super) fn read(fields: &mut Fields) -> Self {
        let protocols = ["plaintext", "ssl", "sasl_plaintext", "sasl_ssl"];
        let mechanisms = ["", "PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"];
        let kafka = Self {
            brokers: fields.optional_text("kafka.brokers"),
            security_protocol: fields.choice("kafka.security_protocol", &protocols.map(|word| (word, word))).to_owned(),
            sasl_mechanism: Some(fields.choice("kafka.sasl_mechanism", &mechanisms.map(|word| (word, word))))
                .filter(|word| !word.is_empty())
                .map(str::to_owned),
            sasl_username: fields.optional_text("kafka.sasl_username"),
            sasl_password: fields.secret("kafka.sasl_password", "kafka.sasl_password_file"),
            delivery_timeout: fields.duration("kafka.delivery_timeout", ["1s", "10m"]),
            in_flight: fields.count("kafka.in_flight", 1..=10_000),
            ssl_ca_location: fields.optional_path("kafka.ssl_ca_location"),
            ssl_certificate_location: fields.optional_path("kafka.ssl_certificate_location"),
            ssl_key_location: fields.optional_path("kafka.ssl_key_location"),
        };
        kafka.refuse_without_client(fields);
        kafka.refuse_half_credentials(fields);
        kafka.refuse_half_certificate(fields);
        kafka
    }

    /// Without a Kafka client nobody would deliver the events.
    fn refuse_without_client(&self, fields: &mut Fields) {
        if self.brokers.is_some() && !cfg!(feature = "kafka") {
            fields.refuse(
                "kafka.brokers",
                "is set, but this feebox was built without Kafka",
                "leave it empty, or build with `cargo build --features kafka`",
            );
        }
    }

    /// librdkafka would only report that all brokers are down.
    fn refuse_half_credentials(&self, fields: &mut Fields) {
        let is_sasl = self.security_protocol.starts_with("sasl_");
        for (key, is_missing) in [
            ("kafka.sasl_mechanism", self.sasl_mechanism.is_none()),
            ("kafka.sasl_username", self.sasl_username.is_none()),
            ("kafka.sasl_password", self.sasl_password.is_none()),
        ] {
            let may_judge = fields.are_valid(&[key, "kafka.security_protocol", "kafka.sasl_password_file"]);
            if may_judge && is_sasl && is_missing {
                fields.refuse(
                    key,
                    format!("is empty, but kafka.security_protocol is {}", self.security_protocol),
                    "set it, or choose plaintext or ssl",
                );
            }
        }
    }

    /// librdkafka would connect without a certificate, and only report a failed handshake.
    fn refuse_half_certificate(&self, fields: &mut Fields) {
        let [certificate, key] = ["kafka.ssl_certificate_location", "kafka.ssl_key_location"];
        let (missing, given) = match (&self.ssl_certificate_location, &self.ssl_key_location) {
            (None, Some(_)) => (certificate, key),
            (Some(_), None) => (key, certificate),
            _ => return,
        };
        fields.refuse(missing, format!("is empty, but {given} is set"), "set both, or neither");
    }
}

/// Events for Kafka are leased for one and a half times `kafka.delivery_timeout`, if `worker.lease` is shorter. Of a short time too
/// little would be left to settle: the client checks once a second which records have timed out.
pub(super) fn refuse_short_lease(kafka: &Kafka, worker: &Worker, fields: &mut Fields) {
    let lease = worker.lease.max(kafka.delivery_timeout * 3 / 2);
    let is_valid = fields.are_valid(&["worker.lease", "kafka.brokers", "kafka.delivery_timeout"]);
    if kafka.brokers.is_none() || lease >= LEASE_MIN || !is_valid {
        return;
    }
    let [lease, min, timeout] = [lease, LEASE_MIN, kafka.delivery_timeout].map(humantime::format_duration);
    fields.refuse(
        "worker.lease",
        format!("events for Kafka would be leased for {lease} with kafka.delivery_timeout = {timeout}; at least {min} are needed"),
        "lengthen the lease or kafka.delivery_timeout, or unset kafka.brokers",
    );
}
