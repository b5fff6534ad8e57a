//! After an attempt of unknown outcome the fee server is asked whether the fee exists, before anything is sent again.

use std::sync::Arc;
use std::time::Duration;

use entity::outbox_event::Status::{Dead, Delivered, Pending};
use entity::{outbox_event, quote};
use feebox::destination::FeeServer;
use feebox::settings::{Settings, Sources};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::{Engine, RawServer, Reply, TestOutbox, http_client, worker_settings};

/// A quote whose first attempt was cut, at a server that answers further calls with `replies` of the quote's id, and then
/// with its fee.
struct Asked {
    outbox: TestOutbox,
    server: RawServer,
    destination: Arc<FeeServer>,
    settings: Settings,
}

impl Asked {
    async fn of(replies: impl FnOnce(Uuid) -> Vec<Reply>) -> Asked {
        // Its first call installs what TLS needs.
        let _ = http_client();
        let outbox = TestOutbox::open(Engine::Sqlite).await;
        let event = outbox.submit(1).await.remove(0);
        let quote_id = outbox.event(event).await.aggregate_id;
        let fee = Reply::Answer(201, &[], a_fee(quote_id).to_string());
        let server = RawServer::start([vec![Reply::Cut], replies(quote_id), vec![fee]].concat()).await;
        let settings = [("fee_server.base_url", server.base_url()), ("fee_server.timeout", "300ms".into())];
        let settings = Settings::load(&Sources::overrides(settings)).unwrap();
        let destination = Arc::new(FeeServer::new(&settings.fee_server, 8).unwrap().sharing(&outbox.db));
        let asked = Asked { outbox, server, destination, settings };
        asked.attempt().await;
        asked.outbox.advance(Duration::from_mins(1));
        asked.attempt().await;
        asked
    }

    /// Another process takes over.
    fn restarted(mut self) -> Asked {
        let fresh = FeeServer::new(&self.settings.fee_server, 8).unwrap();
        self.destination = Arc::new(fresh.sharing(&self.outbox.db));
        self
    }

    async fn attempt(&self) {
        self.outbox.worker("w", &self.destination, worker_settings()).run_once().await.unwrap();
    }

    async fn event(&self) -> outbox_event::Model {
        self.outbox.events().await.remove(0)
    }

    fn calls(&self) -> Vec<String> {
        let requests = self.server.requests();
        requests.iter().map(|request| request.split(' ').next().unwrap().to_owned()).collect()
    }
}

fn a_fee(quote_id: Uuid) -> Value {
    json!({ "fee_id": "fee-1", "quote_id": quote_id, "currency": "EUR", "amount_minor": 63, "rate_bps": 250,
            "calculated_at": "2026-11-22T10:00:00Z" })
}

fn list(list: &Value) -> Reply {
    Reply::Answer(200, &["content-type: application/json"], list.to_string())
}

fn page(status: u16) -> Reply {
    Reply::Answer(status, &["content-type: text/html"], "<h1>nginx</h1>".into())
}

#[tokio::test]
async fn a_fee_that_a_look_up_finds_is_taken_as_the_answer() {
    let asked = Asked::of(|quote_id| vec![list(&json!({ "fees": [a_fee(quote_id)] }))]).await;
    let event = asked.event().await;
    let quote = asked.outbox.quote(event.aggregate_id).await;
    assert_eq!((event.status, quote.status), (Delivered, quote::Status::Confirmed));
    assert_eq!(asked.calls(), ["POST", "GET"]);
}

#[tokio::test]
async fn a_fee_is_found_among_those_of_other_quotes_on_whatever_page() {
    let others =
        |next: Option<&str>| list(&json!({ "fees": [a_fee(Uuid::now_v7()), a_fee(Uuid::now_v7())], "next": next }));
    let asked = Asked::of(|quote_id| {
        let last = list(&json!({ "fees": [a_fee(Uuid::now_v7()), a_fee(quote_id)] }));
        vec![others(Some("a")), others(Some("b")), last]
    })
    .await;
    assert_eq!(asked.event().await.status, Delivered);
    assert_eq!(asked.calls(), ["POST", "GET", "GET", "GET"]);
    assert!(asked.server.requests()[3].contains("cursor=b"));

    let asked = Asked::of(|_| vec![others(None)]).await;
    assert_eq!(asked.event().await.status, Delivered, "fees of others are none of ours");
    assert_eq!(asked.calls(), ["POST", "GET", "POST"]);
}

#[tokio::test]
async fn a_fee_that_a_look_up_finds_is_judged_as_an_answer_is() {
    let asked = Asked::of(|quote_id| {
        let mut fee = a_fee(quote_id);
        fee["currency"] = json!("USD");
        vec![list(&json!({ "fees": [fee] }))]
    })
    .await;
    assert_eq!(asked.event().await.status, Dead);
}

#[tokio::test]
async fn after_a_look_up_that_finds_nothing_the_same_key_is_sent_again() {
    let replies = [
        list(&json!({ "fees": [] })),
        Reply::Answer(404, &[], String::new()),
        Reply::Answer(405, &[], String::new()),
        Reply::Answer(501, &[], String::new()),
    ];
    for reply in replies {
        let asked = Asked::of(|_| vec![reply.clone()]).await;
        let event = asked.event().await;
        assert_eq!(event.status, Delivered, "{reply:?}");
        assert_eq!(asked.calls(), ["POST", "GET", "POST"], "{reply:?}");
        let key = format!("idempotency-key: {}", event.id);
        assert!(asked.server.requests().iter().all(|request| request.to_ascii_lowercase().contains(&key)));
    }
}

#[tokio::test]
async fn after_a_look_up_that_failed_nothing_is_sent() {
    let replies = [
        Reply::Cut,
        Reply::Hang,
        Reply::Answer(500, &[], String::new()),
        Reply::Answer(422, &["content-type: application/json"], "{}".into()),
        Reply::Answer(200, &["content-type: application/json"], "{\"fees\": [".into()),
        list(&json!({ "fees": 7 })),
        list(&json!({ "fees": [{}] })),
    ];
    for reply in replies {
        let asked = Asked::of(|_| vec![reply.clone()]).await;
        let event = asked.event().await;
        assert_eq!((event.status, event.attempts), (Pending, 2), "{reply:?}");
        assert!(event.outcome_unknown, "{reply:?}");
        assert_eq!(asked.calls(), ["POST", "GET"], "{reply:?}");
    }
}

#[tokio::test]
async fn a_list_without_an_end_is_read_up_to_its_limit_and_leaves_the_outcome_unknown() {
    // The fee is in it, behind more than a megabyte.
    let long = |quote_id| {
        let others = (0..10_000).map(|_| a_fee(Uuid::now_v7()));
        list(&json!({ "fees": others.chain([a_fee(quote_id)]).collect::<Vec<_>>() }))
    };
    // A next page that is always the same.
    let circle = || list(&json!({ "fees": [], "next": "again" }));
    for asked in [Asked::of(|quote_id| vec![long(quote_id)]).await, Asked::of(|_| vec![circle(), circle()]).await] {
        let event = asked.event().await;
        assert_eq!((event.status, event.outcome_unknown), (Pending, true), "{:?}", event.last_error);
        assert_eq!(asked.calls().iter().filter(|call| *call == "POST").count(), 1, "{:?}", asked.calls());
    }
}

#[tokio::test]
async fn a_page_is_no_answer_to_a_look_up() {
    for reply in [page(200), page(302), page(422), Reply::Answer(200, &[], String::new())] {
        let asked = Asked::of(|_| vec![reply.clone()]).await;
        let event = asked.event().await;
        assert_eq!((event.status, event.outcome_unknown), (Pending, true), "{reply:?}");
        assert_eq!(asked.calls(), ["POST", "GET"], "{reply:?}");
        assert_eq!(event.attempts, 1, "it spends no attempt: {reply:?}");
    }
}

#[tokio::test]
async fn a_404_means_no_look_up_only_until_one_was_answered_with_a_list_in_whatever_process() {
    for status in [404, 405, 501] {
        let empty = json!({ "fees": [] });
        let mut asked = Asked::of(|_| vec![list(&empty), Reply::Cut, page(status), page(status)]).await;
        assert_eq!(asked.calls(), ["POST", "GET", "POST"]);
        for attempts in 1..=2 {
            asked = asked.restarted();
            asked.outbox.advance(Duration::from_mins(2));
            asked.attempt().await;
            let event = asked.event().await;
            assert_eq!((event.status, event.outcome_unknown), (Pending, true), "{status}");
            assert_eq!(asked.calls().len(), 3 + attempts, "asked again, and nothing was sent: {status}");
        }
        asked.outbox.advance(Duration::from_mins(2));
        asked.attempt().await;
        assert_eq!(asked.calls()[3..], ["GET", "GET", "GET"], "{status}");
    }
}

#[tokio::test]
async fn a_list_at_another_address_says_nothing_about_this_one() {
    let mut asked = Asked::of(|_| vec![list(&json!({ "fees": [] })), Reply::Cut]).await;
    let quote_id = asked.event().await.aggregate_id;
    let fee = Reply::Answer(201, &[], a_fee(quote_id).to_string());
    asked.server = RawServer::start(vec![page(404), fee]).await;
    asked.settings.fee_server.base_url = asked.server.base_url().parse().unwrap();
    asked = asked.restarted();
    asked.outbox.advance(Duration::from_mins(2));
    asked.attempt().await;
    assert_eq!((asked.event().await.status, asked.calls()), (Delivered, vec!["GET".into(), "POST".into()]));
}
