//! What operators do over HTTP: who may, what they send and what they get.

use feebox::outbox::Outcome;
use feebox::settings::Role;
use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::{Api, Desk, a_quote, desk_tests};

desk_tests!(
    each_role_may_do_only_what_it_should,
    events_are_listed_by_page_and_filter,
    an_event_is_shown_and_explained,
    retrying_a_dead_event_is_logged_with_the_operator,
    a_bulk_retry_revives_matching_events,
    an_event_is_cancelled,
    cancelling_a_quote_as_operator_is_logged,
    a_destination_is_paused_and_resumed,
    a_destination_is_limited,
    stats_and_timeline_are_readable,
    invalid_requests_get_all_errors_at_once,
);

const TOKENS: [(&str, &str, Role); 3] = [
    ("shop", "shop-token", Role::Submitter),
    ("eye", "eye-token", Role::Viewer),
    ("boss", "boss-token", Role::Operator),
];

async fn each_role_may_do_only_what_it_should(desk: Desk) {
    let api = desk.api().await;
    let (quote_id, event) = desk.submit().await;
    let reads = [
        format!("/v1/quotes/{quote_id}/timeline"),
        "/v1/outbox".into(),
        format!("/v1/outbox/{event}"),
        format!("/v1/outbox/{event}/explain"),
        "/v1/actions".into(),
        "/v1/stats".into(),
    ];
    for path in &reads {
        for (token, status) in [("", 401), ("shop-token", 403), ("eye-token", 200), ("boss-token", 200)] {
            assert_eq!(call(&api, Method::GET, path, token, None).await.0, status, "{path} {token}");
        }
    }
    let changes = [
        format!("/v1/outbox/{event}/retry"),
        format!("/v1/outbox/{event}/cancel"),
        "/v1/destinations/fee-server/pause".into(),
        "/v1/destinations/fee-server/resume".into(),
    ];
    for path in &changes {
        for (token, status) in [("", 401), ("shop-token", 403), ("eye-token", 403), ("boss-token", 200)] {
            assert_eq!(call(&api, Method::POST, path, token, None).await.0, status, "{path} {token}");
        }
    }
    for (token, status) in [("", 401), ("shop-token", 403), ("eye-token", 403), ("boss-token", 200)] {
        let body = Some(json!({ "status": "dead" }));
        assert_eq!(call(&api, Method::POST, "/v1/outbox:retry", token, body).await.0, status, "{token}");
    }
}

async fn events_are_listed_by_page_and_filter(desk: Desk) {
    let api = desk.api().await;
    let (_, dead) = desk.submit_refused().await;
    desk.submit_many(4).await;
    let (mut ids, mut cursor) = (vec![], String::new());
    loop {
        let page = get(&api, &format!("/v1/outbox?limit=2{cursor}")).await;
        let events = page["events"].as_array().unwrap();
        assert!(events.len() <= 2);
        ids.extend(events.iter().map(|event| event["id"].as_str().unwrap().to_owned()));
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(ids.len(), 5);
    assert!(ids.is_sorted_by(|newer, older| newer > older), "newest first");
    let page = get(&api, "/v1/outbox?status=dead&destination=fee-server&event_type=quote.submitted").await;
    assert_eq!((page["events"].as_array().unwrap().len(), &page["next"]), (1, &Value::Null));
    let event = &page["events"][0];
    assert_eq!((&event["id"], &event["status"], &event["attempts"]), (&json!(dead), &json!("dead"), &json!(1)));
    assert_eq!(event["last_error"], "422 Unprocessable Entity: no");
    let of_quote = get(&api, &format!("/v1/outbox?quote_id={}", event["quote_id"].as_str().unwrap())).await;
    assert_eq!(of_quote["events"], page["events"]);
}

async fn an_event_is_shown_and_explained(desk: Desk) {
    let api = desk.api().await;
    let (quote_id, event) = desk.submit().await;
    desk.fail(Outcome::Retry("500 Internal Server Error: oh".into())).await;
    let shown = get(&api, &format!("/v1/outbox/{event}")).await;
    assert_eq!(shown["payload"]["quote_id"], json!(quote_id));
    let failure = &shown["failures"][0];
    assert_eq!((&failure["attempt"], &failure["outcome"]), (&json!(1), &json!("retry")));
    let explained = get(&api, &format!("/v1/outbox/{event}/explain")).await;
    assert!(explained["sentence"].as_str().unwrap().contains("attempt 1 came to"), "{explained}");
    assert_eq!(explained["due_at"], shown["due_at"]);
    for path in ["", "/explain"] {
        let missing = format!("/v1/outbox/{}{path}", Uuid::now_v7());
        let (status, problem) = call(&api, Method::GET, &missing, "eye-token", None).await;
        assert_eq!((status, &problem["type"]), (404, &json!("/problems/not-found")));
    }
}

async fn retrying_a_dead_event_is_logged_with_the_operator(desk: Desk) {
    let api = desk.api().await;
    let (quote_id, event) = desk.submit_refused().await;
    let retry = format!("/v1/outbox/{event}/retry");
    let retried = post(&api, &retry, json!({ "reason": "mended" })).await;
    assert_eq!((&retried["status"], &retried["attempts"]), (&json!("pending"), &json!(0)));
    assert_eq!(get(&api, &format!("/v1/quotes/{quote_id}")).await["status"], "pending");
    let actions = get(&api, &format!("/v1/actions?quote_id={quote_id}")).await;
    let action = &actions["actions"][0];
    assert_eq!((&action["actor"], &action["action"]), (&json!("boss"), &json!("event.retry")));
    assert_eq!((&action["target"], &action["reason"]), (&json!(event), &json!("mended")));
    desk.deliver().await;
    let (status, problem) = call(&api, Method::POST, &retry, "boss-token", None).await;
    assert_eq!((status, &problem["type"]), (409, &json!("/problems/wrong-state")));
    assert!(problem["detail"].as_str().unwrap().contains("delivered already"), "{problem}");
}

async fn a_bulk_retry_revives_matching_events(desk: Desk) {
    let api = desk.api().await;
    desk.submit_many(3).await;
    desk.fail(Outcome::Refused("422: no".into())).await;
    let filter = json!({ "status": "dead", "destination": "fee-server", "error_contains": "422", "dry_run": true });
    let planned = post(&api, "/v1/outbox:retry", filter).await;
    assert_eq!((&planned["bulk_id"], &planned["matched"], &planned["revived"]), (&Value::Null, &json!(3), &json!(0)));
    let filter = json!({ "status": "dead", "event_type": "quote.submitted", "per_second": 10, "reason": "mended" });
    let done = post(&api, "/v1/outbox:retry", filter).await;
    assert_eq!((&done["matched"], &done["revived"], &done["status"]), (&json!(3), &json!(3), &json!("finished")));
    let id = done["bulk_id"].as_str().unwrap();
    assert_eq!(get(&api, &format!("/v1/bulk/{id}")).await, done);
    let (status, _) = call(&api, Method::POST, &format!("/v1/bulk/{id}/abort"), "boss-token", None).await;
    assert_eq!(status, 409, "it is over");
    let actions = get(&api, "/v1/actions?limit=1").await;
    assert_eq!((&actions["actions"][0]["action"], &actions["next"]), (&json!("outbox.retry"), &Value::Null));
    assert_eq!(actions["actions"][0]["details"]["per_second"], 10);
}

async fn an_event_is_cancelled(desk: Desk) {
    let api = desk.api().await;
    let (quote_id, event) = desk.submit().await;
    let cancel = format!("/v1/outbox/{event}/cancel");
    assert_eq!(post(&api, &cancel, json!({})).await["status"], "cancelled");
    assert_eq!(get(&api, &format!("/v1/quotes/{quote_id}")).await["status"], "cancelled");
    assert_eq!(call(&api, Method::POST, &cancel, "boss-token", None).await.0, 409);
}

async fn cancelling_a_quote_as_operator_is_logged(desk: Desk) {
    let api = desk.api().await;
    let by_operator = desk.submit().await.0;
    let (_, submitted) = call(&api, Method::POST, "/v1/quotes", "shop-token", Some(a_quote())).await;
    let by_submitter: Uuid = submitted["id"].as_str().unwrap().parse().unwrap();
    let cancel = |id: Uuid| format!("/v1/quotes/{id}/cancel");
    post(&api, &cancel(by_operator), json!({ "reason": "ordered twice" })).await;
    assert_eq!(call(&api, Method::POST, &cancel(by_submitter), "shop-token", None).await.0, 200);
    post(&api, &cancel(by_operator), json!({ "reason": "again" })).await;
    let actions = get(&api, "/v1/actions").await;
    let [action] = &actions["actions"].as_array().unwrap()[..] else { panic!("one line: {actions}") };
    assert_eq!((&action["actor"], &action["action"]), (&json!("boss"), &json!("quote.cancel")));
    assert_eq!((&action["quote_id"], &action["reason"]), (&json!(by_operator), &json!("ordered twice")));
}

async fn a_destination_is_paused_and_resumed(desk: Desk) {
    let api = desk.api().await;
    let paused = post(&api, "/v1/destinations/fee-server/pause", json!({ "reason": "upgrade" })).await;
    assert_eq!((&paused["paused"]["by"], &paused["paused"]["reason"]), (&json!("boss"), &json!("upgrade")));
    desk.submit().await;
    assert!(desk.claim().await.is_empty());
    let resumed = post(&api, "/v1/destinations/fee-server/resume", Value::Null).await;
    assert_eq!((&resumed["name"], &resumed["paused"]), (&json!("fee-server"), &Value::Null));
    assert_eq!(desk.claim().await.len(), 1);
    assert_eq!(call(&api, Method::POST, "/v1/destinations/moon/pause", "boss-token", None).await.0, 404);
}

async fn a_destination_is_limited(desk: Desk) {
    let (api, path) = (desk.api().await, "/v1/destinations/fee-server/limits");
    let limited = post(&api, path, json!({ "per_second": 5, "in_flight": 2, "reason": "upgrade" })).await;
    assert_eq!(limited["limits"], json!({ "per_second": 5, "in_flight": 2 }));
    let limited = post(&api, path, json!({ "per_second": null, "reason": "it is well again" })).await;
    assert_eq!(limited["limits"], json!({ "per_second": null, "in_flight": 2 }), "what is left out stays");
    assert_eq!(get(&api, "/v1/stats").await["destinations"][0]["limits"], limited["limits"]);
    let action = &get(&api, "/v1/actions?limit=1").await["actions"][0];
    assert_eq!((&action["action"], &action["reason"]), (&json!("destination.limit"), &json!("it is well again")));
    for token in ["eye-token", "shop-token"] {
        let body = Some(json!({ "in_flight": null, "reason": "no" }));
        assert_eq!(call(&api, Method::POST, path, token, body).await.0, 403, "{token}");
    }
    let wrong = json!({ "per_second": 0, "in_flight": "many", "burst": 1 });
    let (status, problem) = call(&api, Method::POST, path, "boss-token", Some(wrong)).await;
    let errors = problem["errors"].as_array().unwrap();
    let mut pointers: Vec<_> = errors.iter().map(|error| error["pointer"].as_str().unwrap()).collect();
    pointers.sort_unstable();
    assert_eq!((status, pointers), (422, vec!["/burst", "/in_flight", "/per_second", "/reason"]), "{problem}");
    let moon = Some(json!({ "in_flight": 1, "reason": "far" }));
    assert_eq!(call(&api, Method::POST, "/v1/destinations/moon/limits", "boss-token", moon).await.0, 404);
}

async fn stats_and_timeline_are_readable(desk: Desk) {
    let api = desk.api().await;
    let (quote_id, _) = desk.submit().await;
    desk.deliver().await;
    let stats = get(&api, "/v1/stats").await;
    let fee_server = &stats["destinations"][0];
    assert_eq!((&fee_server["name"], &fee_server["events"]["delivered"]), (&json!("fee-server"), &json!(1)));
    assert_eq!(fee_server["oldest_due_seconds"], 0.0);
    assert_eq!(stats["stale_quotes"], json!({ "count": 0, "after_seconds": 86400, "oldest": [] }));
    let timeline = get(&api, &format!("/v1/quotes/{quote_id}/timeline")).await;
    let told: Vec<_> = timeline["entries"].as_array().unwrap().iter().map(|entry| &entry["what"]).collect();
    assert_eq!(told, ["submitted", "event_stored", "delivered", "fee_recorded"]);
    let nobody = format!("/v1/quotes/{}/timeline", Uuid::now_v7());
    assert_eq!(call(&api, Method::GET, &nobody, "eye-token", None).await.0, 404);
}

async fn invalid_requests_get_all_errors_at_once(desk: Desk) {
    let api = desk.api().await;
    let body = json!({
        "status": "gone", "destination": "", "error_contains": 7, "dry_run": "yes", "per_second": 0, "reason": null,
        "colour": "red",
    });
    let (status, problem) = call(&api, Method::POST, "/v1/outbox:retry", "boss-token", Some(body)).await;
    assert_eq!(status, 422, "{problem}");
    let mut pointers: Vec<_> =
        problem["errors"].as_array().unwrap().iter().map(|fault| fault["pointer"].as_str().unwrap()).collect();
    pointers.sort_unstable();
    let expected = ["/colour", "/destination", "/dry_run", "/error_contains", "/per_second", "/reason", "/status"];
    assert_eq!(pointers, expected);
    let (_, event) = desk.submit().await;
    let unfit = json!({ "reason": "" });
    let retry = format!("/v1/outbox/{event}/retry");
    assert_eq!(call(&api, Method::POST, &retry, "boss-token", Some(unfit)).await.0, 422);
    for path in [
        "/v1/outbox?status=gone",
        "/v1/outbox?quote_id=7",
        "/v1/outbox?limit=201",
        "/v1/actions?cursor=x",
        "/v1/outbox/7",
    ] {
        assert_eq!(call(&api, Method::GET, path, "eye-token", None).await.0, 400, "{path}");
    }
    assert_eq!(get(&api, "/v1/actions").await["actions"], json!([]), "nothing was done");
}

impl Desk {
    async fn api(&self) -> Api {
        Api::start_at(self.database.url(), &TOKENS).await
    }
}

async fn get(api: &Api, path: &str) -> Value {
    let (status, body) = call(api, Method::GET, path, "eye-token", None).await;
    assert_eq!(status, 200, "{path}: {body}");
    body
}

async fn post(api: &Api, path: &str, body: Value) -> Value {
    let (status, body) = call(api, Method::POST, path, "boss-token", Some(body)).await;
    assert_eq!(status, 200, "{path}: {body}");
    body
}

async fn call(api: &Api, method: Method, path: &str, token: &str, body: Option<Value>) -> (u16, Value) {
    let mut request = api.request(method, path);
    if !token.is_empty() {
        request = request.bearer_auth(token);
    }
    if let Some(body) = body {
        request = request.json(&body);
    }
    let answer = request.send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}
