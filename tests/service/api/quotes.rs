//! Submitting quotes over HTTP, reading them and taking them back.

use std::time::{Duration, Instant};

use reqwest::{Method, StatusCode};
use sea_orm::EntityTrait;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::{Api, Engine, TestDatabase, a_quote, eventually};

const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

async fn api(engine: Engine) -> (TestDatabase, Api) {
    let database = TestDatabase::migrated(engine).await;
    let api = Api::start(&database).await;
    (database, api)
}

#[tokio::test]
async fn a_submitted_quote_is_stored_with_its_event_and_can_be_read() {
    for engine in Engine::ALL {
        let (_database, api) = api(engine).await;
        let answer = api.post("/v1/quotes", &a_quote()).await;
        assert_eq!(answer.status(), 201, "{engine:?}");
        let location = answer.headers()["location"].to_str().unwrap().to_owned();
        let quote: Value = answer.json().await.unwrap();
        let id = quote["id"].as_str().unwrap();
        assert_eq!(location, format!("/v1/quotes/{id}"));
        assert_eq!(id.parse::<Uuid>().unwrap().get_version_num(), 7);
        let submitted_at = quote["submitted_at"].as_str().unwrap();
        assert!(submitted_at.ends_with('Z'), "{submitted_at}");
        let mut expected = json!({
            "id": id, "customer_id": "cust-42", "currency": "EUR", "minor_unit_digits": 2, "amount_minor": 26_000,
            "lines": a_quote()["lines"], "status": "pending", "submitted_at": submitted_at, "fee": null,
        });
        assert_eq!(quote, expected, "{engine:?}");

        // Who reads all quotes sees whose it is.
        expected["submitted_by"] = Value::Null;
        let mut read: Value = api.get(&location).await.json().await.unwrap();
        let delivery = read.as_object_mut().unwrap().remove("delivery").unwrap();
        assert_eq!(read, expected, "{engine:?}");
        assert_eq!((&delivery["attempts"], &delivery["last_error"]), (&json!(0), &Value::Null));
        assert!(delivery["due_at"].as_str().unwrap().ends_with('Z'));
        assert_eq!(api.stored().await, (1, 1), "{engine:?}");
    }
}

#[tokio::test]
async fn a_batch_is_stored_as_a_whole_and_answered_in_order() {
    for engine in Engine::ALL {
        let (_database, api) = api(engine).await;
        let quotes: Vec<Value> = (0..1_000)
            .map(|n| {
                let mut quote = a_quote();
                quote["customer_id"] = json!(format!("cust-{n}"));
                quote
            })
            .collect();
        let answer = api.post("/v1/quotes:batch", &json!({ "quotes": quotes })).await;
        assert_eq!(answer.status(), 201, "{engine:?}");
        assert!(answer.headers().get("location").is_none());
        let stored: Value = answer.json().await.unwrap();
        let customers: Vec<_> = stored["quotes"].as_array().unwrap().iter().map(|it| &it["customer_id"]).collect();
        let expected: Vec<_> = quotes.iter().map(|it| &it["customer_id"]).collect();
        assert_eq!(customers, expected, "{engine:?}");
        assert_eq!(api.stored().await, (1_000, 1_000), "{engine:?}");
    }
}

#[tokio::test]
async fn the_fee_and_the_reason_are_shown_once_known() {
    let (_database, api) = api(Engine::Sqlite).await;
    let quote = api.submit().await;
    let id = quote["id"].as_str().unwrap();
    confirm(&api).await;
    let read: Value = api.get(&format!("/v1/quotes/{id}")).await.json().await.unwrap();
    assert_eq!(read["status"], "confirmed");
    let fee = json!({"fee_id": "fee-1", "amount_minor": 650, "currency": "EUR", "minor_unit_digits": 2, "rate_bps": 250,
        "calculated_at": "2026-11-22T10:00:00Z"});
    assert_eq!(read["fee"], fee);
    assert_eq!(read.get("delivery"), None);
    api.execute("UPDATE quote SET status = 'rejected', status_reason = 'unknown customer'").await;
    let read: Value = api.get(&format!("/v1/quotes/{id}")).await.json().await.unwrap();
    assert_eq!((&read["status"], &read["status_reason"]), (&json!("rejected"), &json!("unknown customer")));
}

#[tokio::test]
async fn an_event_continues_the_callers_trace_or_starts_one() {
    let (_database, api) = api(Engine::Sqlite).await;
    let call = api.request(Method::POST, "/v1/quotes").json(&a_quote());
    assert_eq!(call.header("traceparent", TRACE).send().await.unwrap().status(), 201);
    assert_eq!(trace(&api).await, TRACE);
    api.execute("DELETE FROM outbox_event").await;
    let call = api.request(Method::POST, "/v1/quotes").json(&a_quote());
    assert_eq!(call.header("traceparent", "nonsense").send().await.unwrap().status(), 201);
    let trace = trace(&api).await;
    assert!(feebox::telemetry::TraceContext::parse(&trace).is_some(), "{trace}");
}

#[tokio::test]
async fn lists_are_newest_first_and_pages_follow_each_other() {
    for engine in Engine::ALL {
        let (_database, api) = api(engine).await;
        let mut ids = Vec::new();
        for n in 0..5 {
            let mut quote = a_quote();
            quote["customer_id"] = json!(if n % 2 == 0 { "even" } else { "odd" });
            let stored: Value = api.post("/v1/quotes", &quote).await.json().await.unwrap();
            ids.insert(0, stored["id"].clone());
        }
        let (page, next) = list(&api, "?limit=2").await;
        assert_eq!(page, ids[..2], "{engine:?}");
        let (page, next) = list(&api, &format!("?limit=2&cursor={}", next.unwrap())).await;
        assert_eq!(page, ids[2..4], "{engine:?}");
        let (page, next) = list(&api, &format!("?limit=2&cursor={}", next.unwrap())).await;
        assert_eq!((page, next), (ids[4..].to_vec(), None), "{engine:?}");
        assert_eq!(list(&api, "").await, (ids.clone(), None), "{engine:?}");
        assert_eq!(list(&api, "?limit=5").await.1, None, "{engine:?}");

        assert_eq!(list(&api, "?customer_id=odd&status=pending").await.0, [ids[1].clone(), ids[3].clone()]);
        assert_eq!(list(&api, "?customer_id=ODD").await.0, [] as [Value; 0], "{engine:?}");
        assert_eq!(list(&api, "?status=confirmed").await.0, [] as [Value; 0], "{engine:?}");
    }
}

#[tokio::test]
async fn waiting_ends_as_soon_as_this_process_settles_the_quote() {
    let (_database, api) = api(Engine::Sqlite).await;
    let id = api.submit().await["id"].as_str().unwrap().to_owned();
    let began = Instant::now();
    let waiting = tokio::spawn(api.request(Method::GET, &format!("/v1/quotes/{id}?wait=30")).send());
    a_call_waits(&api).await;
    confirm(&api).await;
    api.signals.settled.send();
    let quote: Value = waiting.await.unwrap().unwrap().json().await.unwrap();
    assert_eq!(quote["status"], "confirmed");
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}

#[tokio::test]
async fn waiting_notices_what_another_process_settled() {
    let (database, api) = api(Engine::Postgres).await;
    let other = Api::start(&database).await;
    let id = api.submit().await["id"].as_str().unwrap().to_owned();
    let waiting = tokio::spawn(api.request(Method::GET, &format!("/v1/quotes/{id}?wait=30")).send());
    let cancelled = other.request(Method::POST, &format!("/v1/quotes/{id}/cancel")).send().await.unwrap();
    assert_eq!(cancelled.status(), 200);
    let began = Instant::now();
    let quote: Value = waiting.await.unwrap().unwrap().json().await.unwrap();
    assert_eq!(quote["status"], "cancelled");
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}

#[tokio::test]
async fn waiting_ends_with_its_limit_and_with_the_server() {
    let (_database, api) = api(Engine::Sqlite).await;
    let id = api.submit().await["id"].as_str().unwrap().to_owned();
    let began = Instant::now();
    let quote: Value = api.get(&format!("/v1/quotes/{id}?wait=1")).await.json().await.unwrap();
    assert_eq!(quote["status"], "pending");
    assert!((1..3).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());

    let waiting = tokio::spawn(api.request(Method::GET, &format!("/v1/quotes/{id}?wait=30")).send());
    a_call_waits(&api).await;
    let began = Instant::now();
    api.signals.drain.cancel();
    assert_eq!(waiting.await.unwrap().unwrap().status(), 200);
    let mut api = api;
    (&mut api.ended).await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}

#[tokio::test]
async fn cancelling_twice_is_one_cancellation() {
    for engine in Engine::ALL {
        let (_database, api) = api(engine).await;
        let id = api.submit().await["id"].as_str().unwrap().to_owned();
        let path = format!("/v1/quotes/{id}/cancel");
        let answer = api.post(&path, &json!({"reason": "ordered twice"})).await;
        assert_eq!(answer.status(), 200, "{engine:?}");
        let quote: Value = answer.json().await.unwrap();
        assert_eq!((&quote["status"], &quote["status_reason"]), (&json!("cancelled"), &json!("ordered twice")));
        assert_eq!(quote.get("delivery"), None, "{engine:?}");
        let without_body = api.request(Method::POST, &path);
        for again in [without_body.send().await.unwrap(), api.post(&path, &Value::Null).await] {
            assert_eq!(again.status(), 200, "{engine:?}");
            assert_eq!(again.json::<Value>().await.unwrap(), quote, "{engine:?}");
        }
        // Nothing was sent, so nothing must be voided.
        assert_eq!(api.stored().await, (1, 1), "{engine:?}");
    }
}

#[tokio::test]
async fn cancelling_a_confirmed_quote_stores_an_event_that_voids_its_fee() {
    let (_database, api) = api(Engine::Sqlite).await;
    let id = api.submit().await["id"].as_str().unwrap().to_owned();
    confirm(&api).await;
    let answer = api.post(&format!("/v1/quotes/{id}/cancel"), &json!({})).await;
    assert_eq!(answer.status(), 200);
    let quote: Value = answer.json().await.unwrap();
    assert_eq!((&quote["status"], &quote["fee"]["fee_id"]), (&json!("cancelled"), &json!("fee-1")));
    assert_eq!(api.stored().await, (1, 2));
}

#[tokio::test]
async fn a_rejected_or_unknown_quote_cannot_be_cancelled() {
    let (_database, api) = api(Engine::Sqlite).await;
    let id = api.submit().await["id"].as_str().unwrap().to_owned();
    api.execute("UPDATE quote SET status = 'rejected'").await;
    let answer = api.post(&format!("/v1/quotes/{id}/cancel"), &json!({})).await;
    assert_eq!(answer.status(), 409);
    assert_eq!(answer.json::<Value>().await.unwrap()["type"], "/problems/quote-rejected");
    let answer = api.post(&format!("/v1/quotes/{}/cancel", Uuid::now_v7()), &json!({})).await;
    assert_eq!(answer.status(), 404);
}

#[tokio::test]
async fn an_unavailable_database_is_answered_with_503() {
    let port = crate::support::free_port();
    let api = Api::start_at(&format!("postgres://nobody@127.0.0.1:{port}/none"), &[]).await;
    let id = Uuid::now_v7();
    let calls = [
        api.request(Method::POST, "/v1/quotes").json(&a_quote()),
        api.request(Method::POST, "/v1/quotes").json(&a_quote()).header("Idempotency-Key", "key"),
        api.request(Method::POST, "/v1/quotes:batch").json(&json!({"quotes": [a_quote()]})),
        api.request(Method::GET, "/v1/quotes"),
        api.request(Method::GET, &format!("/v1/quotes/{id}?wait=5")),
        api.request(Method::POST, &format!("/v1/quotes/{id}/cancel")),
        api.request(Method::GET, "/readyz"),
    ];
    // Concurrently, because each waits for the connection timeout.
    for call in calls.map(|call| tokio::spawn(call.send())) {
        let answer = call.await.unwrap().unwrap();
        assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE, "{}", answer.url());
        assert!(answer.headers().contains_key("retry-after"), "{}", answer.url());
        let expected = if answer.url().path() == "/readyz" { "not-ready" } else { "database-unavailable" };
        let problem: Value = answer.json().await.unwrap();
        assert_eq!(problem["type"], format!("/problems/{expected}"));
        assert!(!problem.to_string().contains(&port.to_string()), "{problem}");
    }
    assert_eq!(api.get("/healthz").await.status(), 200);
}

/// Returns when a call waits for a quote to be settled.
async fn a_call_waits(api: &Api) {
    let waits = async || (api.signals.settled.listeners() > 0).then_some(());
    eventually("a call waits", Duration::from_secs(20), waits).await;
}

async fn list(api: &Api, query: &str) -> (Vec<Value>, Option<String>) {
    let answer = api.get(&format!("/v1/quotes{query}")).await;
    assert_eq!(answer.status(), 200);
    let page: Value = answer.json().await.unwrap();
    let ids = page["quotes"].as_array().unwrap().iter().map(|quote| quote["id"].clone()).collect();
    assert!(page.get("next").is_some());
    (ids, page["next"].as_str().map(str::to_owned))
}

async fn trace(api: &Api) -> String {
    let connection = api.db.connection();
    let events = entity::outbox_event::Entity::find().all(connection).await.unwrap();
    let [event] = &events[..] else { panic!("one event") };
    event.trace_context.clone().unwrap()
}

/// Settles all events as a worker would that got their fees.
async fn confirm(api: &Api) {
    api.execute("UPDATE quote SET status = 'confirmed'").await;
    api.execute("UPDATE outbox_event SET status = 'delivered', attempts = 1, settled_at = created_at").await;
    api.execute(
        "INSERT INTO fee_record (id, quote_id, event_id, fee_id, currency, amount_minor, rate_bps, calculated_at, \
         created_at) SELECT id, aggregate_id, id, 'fee-1', 'EUR', 650, 250, '2026-11-22T10:00:00+00:00', created_at \
         FROM outbox_event",
    )
    .await;
}

#[tokio::test]
async fn a_row_that_cannot_be_read_costs_itself_and_not_its_page() {
    for engine in Engine::ALL {
        let (_database, api) = api(engine).await;
        let mut ids = vec![];
        for _ in 0..3 {
            ids.push(api.submit().await["id"].as_str().unwrap().to_owned());
        }
        let spoilt = &ids[1];
        for table in
            ["quote SET status = 'unheard-of' WHERE id", "outbox_event SET status = 'unheard-of' WHERE aggregate_id"]
        {
            let id = if engine == Engine::Postgres {
                format!("'{spoilt}'")
            } else {
                format!("x'{}'", spoilt.replace('-', ""))
            };
            api.execute(&format!("UPDATE {table} = {id}")).await;
        }
        let page: Value = api.get("/v1/quotes").await.json().await.unwrap();
        let read: Vec<_> =
            page["quotes"].as_array().unwrap().iter().map(|quote| quote["id"].as_str().unwrap()).collect();
        assert_eq!(
            (read, &page["unreadable"]),
            (vec![ids[2].as_str(), ids[0].as_str()], &json!([spoilt])),
            "{engine:?}"
        );
        let page: Value = api.get("/v1/outbox").await.json().await.unwrap();
        let (read, unreadable) =
            (page["events"].as_array().unwrap().len(), page["unreadable"].as_array().unwrap().len());
        assert_eq!((read, unreadable), (2, 1), "{engine:?}");
        // The same page by page.
        let (mut seen, mut path) = (0, "/v1/quotes?limit=1".to_owned());
        loop {
            let page: Value = api.get(&path).await.json().await.unwrap();
            seen += 1;
            let Some(next) = page["next"].as_str() else { break };
            path = format!("/v1/quotes?limit=1&cursor={next}");
        }
        assert_eq!(seen, 3, "{engine:?}");
        let answer = api.get(&format!("/v1/quotes/{spoilt}")).await;
        assert_eq!(answer.status(), 500, "{engine:?}: to try again would be in vain");
    }
}
