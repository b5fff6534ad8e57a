//! A quote belongs to the token that submitted it.

use feebox::settings::Role;
use migration::{Migrator, MigratorTrait};
use reqwest::{Method, Response};
use sea_orm::ConnectionTrait;
use serde_json::{Value, json};

use crate::support::{Api, Engine, TestDatabase, a_quote};

/// The second token replaces the first one: both are of the same shop.
const TOKENS: [(&str, &str, Role); 5] = [
    ("shop", "shop-token", Role::Submitter),
    ("shop", "new-shop-token", Role::Submitter),
    ("other-shop", "other-token", Role::Submitter),
    ("eye", "eye-token", Role::Viewer),
    ("boss", "boss-token", Role::Operator),
];

async fn call(api: &Api, method: Method, path: &str, token: &str) -> Response {
    api.request(method, path).bearer_auth(token).send().await.unwrap()
}

async fn read(api: &Api, path: &str, token: &str) -> Value {
    let answer = call(api, Method::GET, path, token).await;
    assert_eq!(answer.status(), 200, "{path} by {token}");
    answer.json().await.unwrap()
}

async fn submit(api: &Api, token: &str) -> String {
    let answer = api.request(Method::POST, "/v1/quotes").json(&a_quote()).bearer_auth(token).send().await.unwrap();
    assert_eq!(answer.status(), 201);
    answer.json::<Value>().await.unwrap()["id"].as_str().unwrap().to_owned()
}

/// The ids of the quotes that `token` sees in the list at `path`.
async fn listed(api: &Api, path: &str, token: &str) -> Vec<String> {
    let page = read(api, path, token).await;
    page["quotes"].as_array().unwrap().iter().map(|quote| quote["id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_submitter_sees_lists_and_cancels_the_quotes_of_its_own_token_name_only() {
    for engine in Engine::ALL {
        let database = TestDatabase::migrated(engine).await;
        let api = Api::start_at(database.url(), &TOKENS).await;
        let (own, other) = (submit(&api, "shop-token").await, submit(&api, "other-token").await);
        let of_boss = submit(&api, "boss-token").await;
        for (token, seen) in [("shop-token", &own), ("new-shop-token", &own), ("other-token", &other)] {
            assert_eq!(listed(&api, "/v1/quotes", token).await, [seen.as_str()], "{engine:?} {token}");
            assert_eq!(listed(&api, "/v1/quotes?status=pending", token).await, [seen.as_str()], "{engine:?} {token}");
            assert_eq!(listed(&api, "/v1/quotes?customer_id=cust-42", token).await, [seen.as_str()], "{engine:?}");
            assert_eq!(listed(&api, "/v1/quotes?status=confirmed", token).await, [] as [&str; 0], "{engine:?}");
        }
        for token in ["eye-token", "boss-token"] {
            let all = listed(&api, "/v1/quotes", token).await;
            assert_eq!(all, [of_boss.as_str(), other.as_str(), own.as_str()], "{engine:?} {token}");
            assert_eq!(read(&api, &format!("/v1/quotes/{own}"), token).await["submitted_by"], "shop", "{engine:?}");
        }

        let another = format!("/v1/quotes/{other}");
        let unknown = format!("/v1/quotes/{}", uuid::Uuid::now_v7());
        for (method, rest) in [(Method::GET, ""), (Method::GET, "?wait=30"), (Method::POST, "/cancel")] {
            for path in [&another, &unknown] {
                let answer = call(&api, method.clone(), &format!("{path}{rest}"), "shop-token").await;
                assert_eq!(answer.status(), 404, "{engine:?} {method} {path}{rest}");
                let problem: Value = answer.json().await.unwrap();
                assert_eq!(problem["type"], "/problems/not-found", "{engine:?} {problem}");
            }
        }
        assert_eq!(read(&api, &another, "other-token").await["status"], "pending", "{engine:?}");
        let timeline = call(&api, Method::GET, &format!("/v1/quotes/{own}/timeline"), "shop-token").await;
        assert_eq!(timeline.status(), 403, "{engine:?}");

        let seen = read(&api, &format!("/v1/quotes/{own}"), "new-shop-token").await;
        assert_eq!((&seen["status"], seen.get("submitted_by")), (&json!("pending"), None), "{engine:?}");
        let cancelled = call(&api, Method::POST, &format!("/v1/quotes/{own}/cancel"), "new-shop-token").await;
        assert_eq!(cancelled.status(), 200, "{engine:?}");
    }
}

#[tokio::test]
async fn a_key_is_replayed_to_each_token_of_its_name_and_to_no_other() {
    let database = TestDatabase::migrated(Engine::Sqlite).await;
    let api = Api::start_at(database.url(), &TOKENS).await;
    let post = async |token: &str| {
        let call = api.request(Method::POST, "/v1/quotes").json(&a_quote()).header("Idempotency-Key", "key");
        let answer = call.bearer_auth(token).send().await.unwrap();
        let replayed = answer.headers().contains_key("idempotency-replayed");
        (answer.json::<Value>().await.unwrap()["id"].as_str().unwrap().to_owned(), replayed)
    };
    let (first, replayed) = post("shop-token").await;
    assert!(!replayed);
    assert_eq!(post("new-shop-token").await, (first.clone(), true));
    let (other, replayed) = post("other-token").await;
    assert!(other != first && !replayed);
}

#[tokio::test]
async fn a_timeline_names_who_cancelled_a_quote_and_why() {
    for engine in Engine::ALL {
        let database = TestDatabase::migrated(engine).await;
        let api = Api::start_at(database.url(), &TOKENS).await;
        for (token, name) in [("shop-token", "shop"), ("boss-token", "boss")] {
            let id = submit(&api, "shop-token").await;
            let cancel = api.request(Method::POST, &format!("/v1/quotes/{id}/cancel")).bearer_auth(token);
            let answer = cancel.json(&json!({ "reason": "ordered twice" })).send().await.unwrap();
            assert_eq!(answer.status(), 200, "{engine:?} {name}");
            let timeline = read(&api, &format!("/v1/quotes/{id}/timeline"), "eye-token").await;
            let entries = timeline["entries"].as_array().unwrap();
            let of = |what: &str| entries.iter().find(|entry| entry["what"] == what);
            assert_eq!(of("submitted").unwrap()["by"], "shop", "{engine:?}");
            let cancelled = of("cancelled").unwrap();
            assert_eq!((&cancelled["by"], &cancelled["reason"]), (&json!(name), &json!("ordered twice")), "{engine:?}");
            // What operators do is in the log of their actions, too.
            let action = of("operator_action").map(|action| (&action["actor"], &action["reason"]));
            let logged = (json!("boss"), json!("ordered twice"));
            assert_eq!(action, (name == "boss").then_some((&logged.0, &logged.1)), "{engine:?}");
        }
    }
}

#[tokio::test]
async fn without_tokens_quotes_are_nobodys_and_everybody_sees_them() {
    for engine in Engine::ALL {
        let database = TestDatabase::migrated(engine).await;
        let api = Api::start(&database).await;
        let id = api.submit().await["id"].as_str().unwrap().to_owned();
        let quote: Value = api.get(&format!("/v1/quotes/{id}")).await.json().await.unwrap();
        assert_eq!(quote.get("submitted_by"), Some(&Value::Null), "{engine:?}");
        // With tokens they stay so: only viewers and operators see them.
        let api = Api::start_at(database.url(), &TOKENS).await;
        assert_eq!(listed(&api, "/v1/quotes", "shop-token").await, [] as [&str; 0], "{engine:?}");
        assert_eq!(listed(&api, "/v1/quotes", "eye-token").await, [id.as_str()], "{engine:?}");
        assert_eq!(call(&api, Method::GET, &format!("/v1/quotes/{id}"), "shop-token").await.status(), 404);
    }
}

#[tokio::test]
async fn an_older_quote_belongs_to_the_name_that_its_key_was_scoped_to() {
    for engine in Engine::ALL {
        let database = TestDatabase::migrated(engine).await;
        let api = Api::start_at(database.url(), &TOKENS).await;
        let post = async |key: Option<&str>| {
            let mut call = api.request(Method::POST, "/v1/quotes").json(&a_quote()).bearer_auth("shop-token");
            if let Some(key) = key {
                call = call.header("Idempotency-Key", key);
            }
            call.send().await.unwrap().json::<Value>().await.unwrap()["id"].as_str().unwrap().to_owned()
        };
        let (with_key, without_key) = (post(Some("key")).await, post(None).await);
        let anonymous = Api::start(&database).await;
        let nobodys = anonymous.post_with_key("/v1/quotes", &a_quote(), "key").await.json::<Value>().await.unwrap();

        let later = Migrator::migrations().iter().rev().position(|it| it.name().contains("_000018_")).unwrap() + 1;
        Migrator::down(api.db.connection(), Some(u32::try_from(later).unwrap())).await.unwrap();
        Migrator::up(api.db.connection(), None).await.unwrap();
        let partners = "SELECT partner FROM outbox_event ORDER BY id";
        let backend = api.db.connection().get_database_backend();
        let rows = api.db.connection().query_all_raw(sea_orm::Statement::from_string(backend, partners)).await.unwrap();
        let partners: Vec<String> = rows.iter().map(|row| row.try_get_by_index(0).unwrap()).collect();
        assert_eq!(partners, ["shop", "", ""], "{engine:?}");

        let api = Api::start_at(database.url(), &TOKENS).await;
        assert_eq!(listed(&api, "/v1/quotes", "shop-token").await, [with_key.as_str()], "{engine:?}");
        for (id, submitted_by) in [
            (with_key.as_str(), json!("shop")),
            (&without_key, json!(null)),
            (nobodys["id"].as_str().unwrap(), json!(null)),
        ] {
            assert_eq!(read(&api, &format!("/v1/quotes/{id}"), "eye-token").await["submitted_by"], submitted_by);
        }
    }
}

/// While a fleet is upgraded, v0.1.0 stores quotes without an owner beside this version.
#[tokio::test]
async fn a_quote_that_an_older_version_stores_meanwhile_is_its_submitters_as_soon_as_it_is_asked_for() {
    for engine in Engine::ALL {
        let database = TestDatabase::migrated(engine).await;
        let api = Api::start_at(database.url(), &TOKENS).await;
        let mut stored = vec![];
        for number in 0..3 {
            let call = api.request(Method::POST, "/v1/quotes").bearer_auth("shop-token").json(&a_quote());
            let call = if number < 2 { call.header("Idempotency-Key", format!("key-{number}")) } else { call };
            let quote: Value = call.send().await.unwrap().json().await.unwrap();
            stored.push(format!("/v1/quotes/{}", quote["id"].as_str().unwrap()));
        }
        api.execute("UPDATE quote SET submitted_by = NULL").await;
        for (path, token, status) in [
            (&stored[0], "other-token", 404),
            (&stored[0], "new-shop-token", 200),
            (&stored[0], "other-token", 404),
            // Without a key nobody knows whose it is.
            (&stored[2], "shop-token", 404),
        ] {
            assert_eq!(call(&api, Method::GET, path, token).await.status(), status, "{engine:?} {path} by {token}");
        }
        for (token, status) in [("other-token", 404), ("shop-token", 200)] {
            let cancelled = call(&api, Method::POST, &format!("{}/cancel", stored[1]), token).await;
            assert_eq!(cancelled.status(), status, "{engine:?} by {token}");
        }
    }
}
