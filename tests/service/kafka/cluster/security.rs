//! The brokers ask who we are: by a certificate, or by a login. Certificates are replaced while a worker runs.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use entity::outbox_event::Status;
use feebox::quotes::{QUOTE_REJECTED, QUOTE_SUBMITTED};
use tempfile::TempDir;

use super::super::{IMPATIENT, PATIENT, Relayed, settings_for};
use super::{LIMIT, QUOTES, Telling, ids, read_of};
use crate::support::{Authority, Identity, KafkaCluster, eventually};

/// Longer than it takes until changed files are read again.
const READ_AGAIN: Duration = Duration::from_secs(4);

/// What the settings of a process name.
struct Files(TempDir);

impl Files {
    fn new(trusted: &[&Authority], own: &Identity) -> Files {
        let files = Files(tempfile::tempdir().unwrap());
        files.trust(trusted);
        files.show(own);
        files
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn trust(&self, authorities: &[&Authority]) {
        let texts: Vec<_> = authorities.iter().map(|it| fs::read_to_string(it.certificate()).unwrap()).collect();
        replace(&self.path("ca.pem"), &texts.concat());
    }

    fn show(&self, own: &Identity) {
        replace(&self.path("own.pem"), &fs::read_to_string(&own.certificate).unwrap());
        replace(&self.path("key.pem"), &fs::read_to_string(&own.key).unwrap());
    }

    fn settings(&self) -> Vec<(&'static str, String)> {
        let text = |name| self.path(name).to_str().unwrap().to_owned();
        vec![
            ("kafka.security_protocol", "ssl".into()),
            ("kafka.ssl_ca_location", text("ca.pem")),
            ("kafka.ssl_certificate_location", text("own.pem")),
            ("kafka.ssl_key_location", text("key.pem")),
        ]
    }
}

/// At once, as those do who renew certificates.
fn replace(path: &Path, text: &str) {
    let new = path.with_extension("new");
    fs::write(&new, text).unwrap();
    fs::rename(new, path).unwrap();
}

fn borrowed<'a>(settings: &'a [(&'static str, String)]) -> Vec<(&'static str, &'a str)> {
    settings.iter().map(|(key, value)| (*key, value.as_str())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_by_scram_is_accepted_and_one_with_a_wrong_password_spends_no_attempt() {
    let cluster = KafkaCluster::turn().await;
    let ca = cluster.authority().certificate();
    for (mechanism, password) in [("SCRAM-SHA-256", "secret"), ("SCRAM-SHA-512", "secret"), ("SCRAM-SHA-512", "guess")]
    {
        let settings = [
            ("kafka.security_protocol", "sasl_ssl"),
            ("kafka.sasl_mechanism", mechanism),
            ("kafka.sasl_username", "feebox"),
            ("kafka.sasl_password", password),
            ("kafka.ssl_ca_location", ca.to_str().unwrap()),
        ];
        let is_right = password == "secret";
        let patience = if is_right { PATIENT } else { IMPATIENT };
        let relayed = Relayed::with(cluster.brokers_with_scram(), patience, &settings).await;
        let recorded = relayed.record(1).await;
        let (quote, events) = recorded.iter().next().unwrap();
        if is_right {
            relayed.run_to_the_end().await;
            assert_eq!(ids(&read_of(cluster.brokers(), QUOTES, [quote])[quote]), *events, "{mechanism}");
            continue;
        }
        relayed.worker().run_once().await.unwrap();
        let waiting = relayed.with_status(Status::Pending).await;
        assert_eq!((waiting.len(), waiting.iter().map(|event| event.attempts).max()), (3, Some(0)));
        let errors: Vec<_> = waiting.iter().filter_map(|event| event.last_error.as_ref()).collect();
        assert!(errors.iter().any(|error| error.contains("Authentication failed")), "{errors:?}");
        assert!(read_of(cluster.brokers(), QUOTES, [quote])[quote].is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_brokers_refuse_is_replaced_without_a_restart() {
    let cluster = KafkaCluster::turn().await;
    let (authority, stranger) = (cluster.authority(), Authority::new("stranger"));
    let files = Files::new(&[authority], &stranger.vouch_for("feebox"));
    let relayed = Relayed::with(cluster.brokers_with_tls(), IMPATIENT, &borrowed(&files.settings())).await;
    let recorded = relayed.record(1).await;
    let (quote, events) = recorded.iter().next().unwrap();
    assert_eq!(relayed.worker().run_once().await.unwrap().delivered, 0);
    files.show(&authority.vouch_for("feebox"));
    relayed.run_to_the_end().await;
    assert_eq!(ids(&read_of(cluster.brokers(), QUOTES, [quote])[quote]), *events);
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_of_both_sides_that_are_replaced_under_load_lose_nothing_and_repeat_nothing() {
    let cluster = KafkaCluster::turn().await;
    let (before, after) = (cluster.authority(), Authority::new("after"));
    let files = Files::new(&[before], &before.vouch_for("feebox"));
    let mut telling = Telling::by_nobody(&cluster).await;
    telling.work("a", &settings_for(cluster.brokers_with_tls(), &borrowed(&files.settings())));
    let replacing = async {
        let first = async || (telling.delivered(&QUOTE_SUBMITTED).await > 0).then_some(());
        eventually("the first is told", LIMIT, first).await;
        files.trust(&[before, &after]);
        files.show(&before.vouch_for("feebox-2"));
        telling.pass(READ_AGAIN).await;
        cluster.show(&after.vouch_for("127.0.0.1")).await;
        // Whoever connects from now on must trust the new authority.
        files.show(&before.vouch_for("feebox-3"));
        telling.pass(READ_AGAIN).await;
    };
    telling.under_load(replacing).await;
    telling.all_are_delivered().await;
    telling.told_once_and_in_order(QUOTES, &[&QUOTE_SUBMITTED, &QUOTE_REJECTED]).await;
    let again = telling.outbox.events().await.into_iter().filter(|event| event.attempts != 1).count();
    assert_eq!(again, 0, "attempts beyond the first");
    cluster.show(&before.vouch_for("127.0.0.1")).await;
}
