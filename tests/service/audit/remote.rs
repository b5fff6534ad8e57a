//! The audit holds the fee records against the fee server's own list, both ways.

use feebox::audit::audit_remote;
use feebox::destination::FeeServer;
use feebox::lab::sample_fee_server::Faults;
use feebox::settings::{Settings, Sources};
use serde_json::json;
use uuid::Uuid;

use crate::support::{Desk, Engine, RawServer, Reply, desk_tests, http_client};

desk_tests!(
    a_sound_house_is_silent,
    a_stray_fee_is_named,
    a_second_fee_is_named,
    a_fee_that_was_lost_on_the_way_is_named,
    a_fee_that_the_server_does_not_know_is_named,
    the_valid_fee_of_a_cancelled_quote_is_named,
    only_fees_made_after_a_time_are_compared,
);

async fn a_sound_house_is_silent(desk: Desk) {
    // More than a page of the server's list.
    desk.submit_many(1_100).await;
    for _ in 0..2 {
        desk.deliver().await;
    }
    let (quote_id, _) = desk.submit().await;
    let leased = desk.claim().await;
    make_fee(&desk, quote_id).await;
    assert_eq!(desk.audit_remote().await, [], "the fee of a quote whose event is in flight is no stray");
    drop(leased);
}

async fn a_stray_fee_is_named(desk: Desk) {
    let nobody = Uuid::now_v7();
    make_fee(&desk, nobody).await;
    assert_eq!(desk.audit_remote().await, [(4, nobody)]);
}

async fn a_second_fee_is_named(desk: Desk) {
    let (recorded, _) = desk.submit().await;
    desk.deliver().await;
    make_fee(&desk, recorded).await;
    let (pending, _) = desk.submit().await;
    make_fee(&desk, pending).await;
    assert_eq!(desk.audit_remote().await, [(3, recorded)]);
    make_fee(&desk, pending).await;
    assert_eq!(desk.audit_remote().await, [(3, recorded), (3, pending)]);
}

async fn a_fee_that_was_lost_on_the_way_is_named(desk: Desk) {
    let (quote_id, _) = desk.submit().await;
    desk.deliver().await;
    desk.sql("DELETE FROM fee_record").await;
    assert_eq!(desk.audit_remote().await, [(2, quote_id)]);
}

async fn a_fee_that_the_server_does_not_know_is_named(desk: Desk) {
    let (falsified, _) = desk.submit().await;
    desk.deliver().await;
    let (unknown, _) = desk.submit().await;
    desk.deliver().await;
    void(&desk, unknown).await;
    assert_eq!(desk.audit_remote().await, [(2, unknown)]);
    desk.sample.set_faults(Faults { no_lookup: true, ..Faults::default() });
    assert_eq!(desk.audit_remote().await, [(2, unknown)], "also without a look-up");
    desk.sql(&format!("UPDATE fee_record SET amount_minor = 1 WHERE quote_id = {}", desk.quoted(falsified))).await;
    assert_eq!(desk.audit_remote().await, [(2, unknown), (3, falsified)]);
}

async fn the_valid_fee_of_a_cancelled_quote_is_named(desk: Desk) {
    let (quote_id, _) = desk.submit().await;
    desk.deliver().await;
    desk.submission.cancel(quote_id, None, None).await.unwrap();
    assert_eq!(desk.audit_remote().await, [], "its void is on the way");
    desk.deliver().await;
    assert_eq!(desk.audit_remote().await, []);
    make_fee(&desk, quote_id).await;
    assert_eq!(desk.audit_remote().await, [(3, quote_id)], "and yet another fee");
    desk.sql("DELETE FROM fee_record").await;
    assert_eq!(desk.audit_remote().await, [(4, quote_id)]);
}

async fn only_fees_made_after_a_time_are_compared(desk: Desk) {
    make_fee(&desk, Uuid::now_v7()).await;
    let then = desk.sample.fees()[0].calculated_at;
    let mut found = 0;
    let report = audit_remote(&desk.db, &desk.fee_server, Some(then), |_| found += 1).await.unwrap();
    assert_eq!((report.checked, report.violations, found), (0, 0, 0));
    desk.sample.down().await.unwrap();
    let error = audit_remote(&desk.db, &desk.fee_server, None, |_| {}).await.unwrap_err();
    assert!(error.to_string().contains("cannot be read"), "{error}");
}

#[tokio::test]
async fn a_list_without_an_end_is_an_error_that_names_its_cursor() {
    let desk = Desk::open(Engine::Sqlite).await;
    let page = |next: &str| {
        let fee = json!({ "fee_id": next, "quote_id": Uuid::now_v7(), "amount_minor": 1 });
        Reply::Answer(200, &["content-type: application/json"], json!({ "fees": [fee], "next": next }).to_string())
    };
    let circle: Vec<_> = ["a", "b", "c"].iter().cycle().take(30).map(|next| page(next)).collect();
    for (replies, names) in [(vec![page("same")], "\"same\""), (circle, "goes round in a circle")] {
        let server = RawServer::start(replies).await;
        let settings = Settings::load(&Sources::overrides([("fee_server.base_url", server.base_url())])).unwrap();
        let fee_server = FeeServer::new(&settings.fee_server, 1).unwrap();
        let error = audit_remote(&desk.db, &fee_server, None, |_| {}).await.unwrap_err().to_string();
        assert!(error.contains("cannot be read") && error.contains(names), "{error}");
        assert!(server.requests().len() <= 12, "{}", server.requests().len());
    }
}

#[tokio::test]
async fn a_fee_that_cannot_be_stored_does_not_keep_the_others_from_being_compared() {
    let desk = Desk::open(Engine::Sqlite).await;
    let (poisoned, nobody) = (desk.submit().await.0, Uuid::now_v7());
    let fees = [
        json!({ "fee_id": "a\u{0}b", "quote_id": poisoned, "amount_minor": -1, "calculated_at": "0001-01-01T00:00:00Z" }),
        json!({ "fee_id": "stray\u{1b}[31m", "quote_id": nobody, "amount_minor": 1 }),
    ];
    let server = RawServer::start([Reply::Answer(200, &[], json!({ "fees": fees }).to_string())]).await;
    let settings = Settings::load(&Sources::overrides([("fee_server.base_url", server.base_url())])).unwrap();
    let fee_server = FeeServer::new(&settings.fee_server, 1).unwrap();
    let mut found = vec![];
    audit_remote(&desk.db, &fee_server, None, |violation| found.push(violation)).await.unwrap();
    assert_eq!(found.len(), 1, "{found:?}");
    assert!((found[0].promise, found[0].quote_id) == (4, nobody) && !found[0].sentence.contains(char::is_control));
}

/// As a call that Feebox did not make.
async fn make_fee(desk: &Desk, quote_id: Uuid) {
    let body = json!({
        "quote_id": quote_id,
        "customer_id": "acme",
        "currency": "EUR",
        "amount_minor": 10_000,
        "submitted_at": "2026-01-01T00:00:00Z",
    });
    let request = http_client().post(format!("{}/v1/fees", desk.sample.base_url())).json(&body);
    request.send().await.unwrap().error_for_status().unwrap();
}

async fn void(desk: &Desk, quote_id: Uuid) {
    let url = format!("{}/v1/fees/void", desk.sample.base_url());
    let request = http_client().post(url).json(&json!({ "quote_id": quote_id }));
    request.send().await.unwrap().error_for_status().unwrap();
}
