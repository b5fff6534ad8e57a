//! A broker that speaks TLS and asks who we are: by whom we are let in, and whom we believe.

use std::path::Path;

use entity::outbox_event::Status;

use super::{IMPATIENT, QUOTES, Relayed, ids, read_of};
use crate::support::{Authority, Identity, Server, TlsFront};

/// What the settings of one process name.
struct Trust<'a> {
    authority: &'a Path,
    own: Option<&'a Identity>,
}

async fn relayed_to(front: &TlsFront, trust: Trust<'_>) -> Relayed {
    let path = |path: &Path| path.to_str().unwrap().to_owned();
    let mut files = vec![("kafka.ssl_ca_location", path(trust.authority))];
    if let Some(own) = trust.own {
        files.push(("kafka.ssl_certificate_location", path(&own.certificate)));
        files.push(("kafka.ssl_key_location", path(&own.key)));
    }
    let files = files.iter().map(|(key, value)| (*key, value.as_str()));
    let secured: Vec<_> = [("kafka.security_protocol", "ssl")].into_iter().chain(files).collect();
    Relayed::with(&front.addr().to_string(), IMPATIENT, &secured).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_is_reached_that_speaks_tls_and_wants_a_certificate() {
    let broker = Server::shared_kafka();
    let authority = Authority::new("ours");
    let own = authority.vouch_for("feebox");
    let front = TlsFront::before(broker.addr(), &authority.vouch_for("127.0.0.1"), &authority).await;
    let relayed = relayed_to(&front, Trust { authority: &authority.certificate(), own: Some(&own) }).await;
    let recorded = relayed.record(3).await;
    relayed.run_to_the_end().await;
    for (quote, events) in &recorded {
        assert_eq!(ids(&read_of(broker.url(), QUOTES, [quote])[quote]), *events);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_trust_between_the_sides_nothing_is_sent_and_the_reason_is_logged() {
    let broker = Server::shared_kafka();
    // So that there is a topic to find nothing in.
    let unsecured = Relayed::to(broker.url(), IMPATIENT).await;
    unsecured.record(1).await;
    unsecured.run_to_the_end().await;

    let [authority, stranger] = ["ours", "theirs"].map(Authority::new);
    let [feebox, stranger_to_them] = [&authority, &stranger].map(|authority| authority.vouch_for("feebox"));
    let here = "127.0.0.1";
    let cases = [
        ("nobody we trust vouches for it", &stranger, here, Some(&feebox), "certificate verify failed"),
        ("its certificate is another host's", &authority, "kafka.example", Some(&feebox), "certificate verify failed"),
        ("we show no certificate", &authority, here, None, "certificate required"),
        ("nobody they trust vouches for us", &authority, here, Some(&stranger_to_them), "certificate required"),
    ];
    for (case, voucher, name, own, why) in cases {
        let front = TlsFront::before(broker.addr(), &voucher.vouch_for(name), &authority).await;
        let relayed = relayed_to(&front, Trust { authority: &authority.certificate(), own }).await;
        let quote = relayed.submit(1).await[0];
        let report = relayed.worker().run_once().await.unwrap();
        assert_eq!((report.delivered, report.retried), (0, 1), "{case}: {report}");
        let waiting = relayed.with_status(Status::Pending).await.remove(0);
        let error = waiting.last_error.unwrap();
        assert!(error.contains(why), "{case}: {error}");
        assert!(read_of(broker.url(), QUOTES, [&quote])[&quote].is_empty(), "{case}");
    }
}
