//! A fee server behind TLS that asks who we are: whom we trust, what we show, and files that are replaced.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use entity::outbox_event::Status::{Delivered, Pending};
use feebox::destination::FeeServer;
use feebox::lab::sample_fee_server::{Faults, SampleFeeServer};
use feebox::settings::{Settings, Sources};

use crate::support::{
    Authority, Engine, Identity, LIMIT, TestOutbox, TlsFront, eventually, http_client, worker_settings,
};

/// A front whose certificate `voucher` signed for `name`; it lets those in whose certificate `authority` signed.
async fn front(voucher: &Authority, name: &str, authority: &Authority) -> (SampleFeeServer, TlsFront) {
    let sample = SampleFeeServer::start("127.0.0.1:0".parse().unwrap(), Faults::default()).await.unwrap();
    let front = TlsFront::before(sample.addr(), &voucher.vouch_for(name), authority).await;
    (sample, front)
}

/// Puts what Feebox is to trust and to show where its settings look.
fn place(dir: &Path, trusted: &Authority, own: &Identity) {
    fs::copy(trusted.certificate(), dir.join("ca.pem")).unwrap();
    fs::copy(&own.certificate, dir.join("certificate.pem")).unwrap();
    fs::copy(&own.key, dir.join("key.pem")).unwrap();
}

const TRUST: (&str, &str) = ("fee_server.ssl_ca_location", "ca.pem");
const SHOW: [(&str, &str); 2] =
    [("fee_server.ssl_certificate_location", "certificate.pem"), ("fee_server.ssl_key_location", "key.pem")];

async fn outbox_and(front: &TlsFront, dir: &Path, files: &[(&str, &str)]) -> (TestOutbox, Arc<FeeServer>) {
    // Its first call installs what TLS needs.
    let _ = http_client();
    let base_url = format!("https://127.0.0.1:{}", front.addr().port());
    let settings = [("fee_server.base_url", base_url.as_str()), ("fee_server.connection_max_age", "10ms")];
    let settings = settings.into_iter().chain(files.iter().copied());
    let settings = Settings::load(&Sources { dir: dir.to_owned(), ..Sources::overrides(settings) }).unwrap();
    let destination = Arc::new(FeeServer::new(&settings.fee_server, 8).unwrap());
    (TestOutbox::open(Engine::Sqlite).await, destination)
}

#[tokio::test]
async fn only_a_server_that_we_trust_gets_quotes_and_only_if_it_trusts_us() {
    let [ours, theirs] = ["ours", "theirs"].map(Authority::new);
    let [own, strange] = [&ours, &theirs].map(|authority| authority.vouch_for("feebox"));
    let here = "127.0.0.1";
    let cases = [
        ("all is well", &ours, here, &own, true, None),
        ("an authority that we do not trust", &theirs, here, &own, true, Some("certificate")),
        ("a certificate of another host", &ours, "fees.example", &own, true, Some("certificate")),
        ("we show nothing", &ours, here, &own, false, Some("certificate")),
        ("we show what they do not trust", &ours, here, &strange, true, Some("unknownca")),
    ];
    for (case, voucher, name, shown, shows, error) in cases {
        let (sample, front) = front(voucher, name, &ours).await;
        let dir = tempfile::tempdir().unwrap();
        place(dir.path(), &ours, shown);
        let files: Vec<_> = [TRUST].into_iter().chain(SHOW.into_iter().filter(|_| shows)).collect();
        let (outbox, destination) = outbox_and(&front, dir.path(), &files).await;
        outbox.submit(1).await;
        outbox.worker("w", &destination, worker_settings()).run_once().await.unwrap();
        let event = outbox.events().await.remove(0);
        match error {
            None => assert_eq!((event.status, sample.stats().requests), (Delivered, 1), "{case}: {event:?}"),
            Some(error) => {
                let last_error = event.last_error.unwrap_or_default();
                assert_eq!((event.status, sample.stats().requests), (Pending, 0), "{case}: {last_error}");
                assert!(last_error.to_lowercase().contains(error), "{case}: {last_error}");
            }
        }
    }
}

#[tokio::test]
async fn files_that_were_replaced_are_read_again_and_unusable_ones_are_not_used() {
    let [ours, theirs] = ["ours", "theirs"].map(Authority::new);
    let [own, strange] = [&ours, &theirs].map(|authority| authority.vouch_for("feebox"));
    let (sample, front) = front(&ours, "127.0.0.1", &ours).await;
    let dir = tempfile::tempdir().unwrap();
    let files = [TRUST, SHOW[0], SHOW[1]];
    place(dir.path(), &theirs, &strange);
    let (outbox, destination) = outbox_and(&front, dir.path(), &files).await;
    let worker = outbox.worker("w", &destination, worker_settings());
    outbox.submit(1).await;
    worker.run_once().await.unwrap();
    assert_eq!(outbox.events().await[0].status, Pending);

    place(dir.path(), &ours, &own);
    // By the next set of connections.
    let delivered = async || {
        outbox.advance(Duration::from_mins(1));
        worker.run_once().await.unwrap();
        (outbox.events().await[0].status == Delivered).then_some(())
    };
    eventually("the files are read again", LIMIT, delivered).await;

    // Half replaced, cut off, gone: what is in use stays.
    let half = |dir: &Path| assert!(fs::copy(&strange.key, dir.join("key.pem")).is_ok());
    let cut = |dir: &Path| fs::write(dir.join("ca.pem"), "-----BEGIN CERTIFICATE-----\nAAAA").unwrap();
    let gone = |dir: &Path| fs::remove_file(dir.join("certificate.pem")).unwrap();
    for break_files in [&half as &dyn Fn(&Path), &cut, &gone] {
        break_files(dir.path());
        outbox.submit(1).await;
        worker.run_once().await.unwrap();
        let events = outbox.events().await;
        assert!(events.iter().all(|event| event.status == Delivered), "{events:?}");
    }
    assert_eq!(sample.stats().requests, 4);
}

#[test]
fn unusable_files_are_refused_at_the_start() {
    let _ = http_client();
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("text"), "no PEM").unwrap();
    let load = |files: &[(&str, &str)]| {
        let https = ("fee_server.base_url", "https://fees.example");
        let settings = [https].into_iter().chain(files.iter().copied());
        Settings::load(&Sources { dir: dir.path().to_owned(), ..Sources::overrides(settings) })
    };
    for (file, why) in [("text", "holds no PEM"), ("nowhere", "cannot be read")] {
        let settings = load(&[("fee_server.ssl_ca_location", file)]).unwrap();
        let error = FeeServer::new(&settings.fee_server, 1).unwrap_err();
        let error = feebox::printable::chain(&error);
        assert!(error.contains(why) && error.contains(file), "{error}");
    }
    for (files, why) in [
        (&[("fee_server.ssl_key_location", "text")][..], "is empty, but fee_server.ssl_key_location is set"),
        (&[("fee_server.ssl_ca_location", "text"), ("fee_server.base_url", "http://fees.example")], "is not https"),
    ] {
        let error = load(files).unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    }
}
