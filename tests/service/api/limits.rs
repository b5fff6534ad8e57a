//! Limits of token names: requests a second, and quotes that wait for their fee.

use std::{num::NonZeroU32, time::Duration};

use feebox::{
    http::HttpServer,
    settings::{Limits, Role, Token},
};
use reqwest::{Method, Response, StatusCode};
use sea_orm::ConnectionTrait;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::support::{Api, Engine, TestDatabase, a_quote, eventually};

const TOO_MANY: StatusCode = StatusCode::TOO_MANY_REQUESTS;

/// Both of the shop's tokens have these limits together; the other shop and the operator have none.
async fn api(database: &TestDatabase, per_second: Option<u32>, pending: Option<u32>) -> Api {
    let of_shop = Limits {
        requests_per_second: per_second.and_then(NonZeroU32::new),
        pending_quotes: pending.and_then(NonZeroU32::new),
    };
    let token = |name: &str, token: &str, role, limits| Token {
        name: name.to_owned(),
        sha256: Sha256::digest(token).into(),
        role,
        limits,
    };
    let tokens = vec![
        token("shop", "shop", Role::Submitter, of_shop),
        token("shop", "shop's new one", Role::Submitter, of_shop),
        token("other-shop", "other", Role::Submitter, Limits::default()),
        token("boss", "boss", Role::Operator, Limits::default()),
    ];
    Api::start_for(database.url(), tokens, |listener| HttpServer::new(listener, 10_000)).await
}

async fn submit(api: &Api, token: &str, key: &str) -> Response {
    let call = api.request(Method::POST, "/v1/quotes").json(&a_quote()).header("Idempotency-Key", key);
    call.bearer_auth(token).send().await.unwrap()
}

async fn batch(api: &Api, token: &str, quotes: usize) -> Response {
    let body = json!({ "quotes": vec![a_quote(); quotes] });
    api.request(Method::POST, "/v1/quotes:batch").json(&body).bearer_auth(token).send().await.unwrap()
}

async fn list(api: &Api, token: &str) -> Response {
    api.request(Method::GET, "/v1/quotes").bearer_auth(token).send().await.unwrap()
}

fn header(answer: &Response, name: &str) -> String {
    answer.headers().get(name).map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default()
}

#[tokio::test]
async fn a_name_that_calls_too_often_is_refused_and_told_when_to_retry() {
    let database = TestDatabase::migrated(Engine::Sqlite).await;
    let api = api(&database, Some(3), None).await;
    let mut refused = None;
    // One second's worth may come at once; these come faster than three a second.
    for turn in 0..300 {
        let answer = list(&api, ["shop", "shop's new one"][turn % 2]).await;
        assert_eq!(header(&answer, "ratelimit-policy"), "\"requests\";q=3;w=1");
        if answer.status() == TOO_MANY {
            refused = Some(answer);
            break;
        }
        assert_eq!(answer.status(), 200);
        assert!(header(&answer, "ratelimit").starts_with("\"requests\";r="));
    }
    let refused = refused.expect("more than a hundred times three requests in a row were allowed");
    assert_eq!(header(&refused, "retry-after"), "1");
    assert_eq!(header(&refused, "ratelimit"), "\"requests\";r=0;t=1");
    assert_eq!(header(&refused, "content-type"), "application/problem+json");
    assert_eq!(refused.json::<Value>().await.unwrap()["type"], "/problems/too-many-requests");
    for token in ["other", "boss"] {
        for _ in 0..10 {
            let answer = list(&api, token).await;
            assert_eq!((answer.status(), header(&answer, "ratelimit-policy")), (StatusCode::OK, String::new()));
        }
    }
    eventually("the shop may call again", Duration::from_secs(30), async || {
        (list(&api, "shop").await.status() == 200).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_name_with_as_many_pending_quotes_as_it_may_have_is_refused_until_one_is_settled() {
    for engine in Engine::ALL {
        let database = TestDatabase::migrated(engine).await;
        let api = api(&database, None, Some(3)).await;
        let first = submit(&api, "shop", "1").await;
        assert_eq!(first.status(), 201, "{engine:?}");
        let first: Value = first.json().await.unwrap();
        let too_large = batch(&api, "shop", 3).await;
        assert_eq!((too_large.status(), header(&too_large, "retry-after").as_str()), (TOO_MANY, "1"), "{engine:?}");
        assert_eq!(too_large.json::<Value>().await.unwrap()["type"], "/problems/too-many-pending", "{engine:?}");
        assert_eq!(batch(&api, "shop's new one", 2).await.status(), 201, "{engine:?}");
        // What a worker has under a lease waits, too.
        api.db.connection().execute_unprepared("UPDATE outbox_event SET status = 'leased'").await.unwrap();
        for token in ["shop", "shop's new one"] {
            assert_eq!(submit(&api, token, "4").await.status(), TOO_MANY, "{engine:?}");
        }
        assert_eq!(submit(&api, "other", "1").await.status(), 201, "{engine:?}");
        assert_eq!(batch(&api, "boss", 10).await.status(), 201, "{engine:?}");

        let replayed = submit(&api, "shop", "1").await;
        assert_eq!(
            (replayed.status(), header(&replayed, "idempotency-replayed").as_str()),
            (StatusCode::CREATED, "true")
        );
        assert_eq!(replayed.json::<Value>().await.unwrap()["id"], first["id"], "{engine:?}");

        // A dead event waits for an operator, and keeps nobody from submitting.
        let one_dies = "UPDATE outbox_event SET status = 'dead' WHERE partner = 'shop' AND id = \
            (SELECT id FROM (SELECT min(id) AS id FROM outbox_event WHERE partner = 'shop') AS one)";
        let one_dies = if engine == Engine::Postgres {
            one_dies.replace("min(id)", "(array_agg(id))[1]")
        } else {
            one_dies.to_owned()
        };
        api.db.connection().execute_unprepared(&one_dies).await.unwrap();
        eventually("there is room", Duration::from_secs(30), async || {
            (submit(&api, "shop", "5").await.status() == 201).then_some(())
        })
        .await;
        assert_eq!(submit(&api, "shop", "6").await.status(), TOO_MANY, "{engine:?}");
    }
}
