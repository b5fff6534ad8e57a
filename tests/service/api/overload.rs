//! When more comes in than the database stores, the surplus is refused at once, and everybody else is served.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{Api, Engine, LIMIT, TestDatabase, a_quote, eventually};

/// What makes each stored quote take this many milliseconds, whoever stores it.
async fn slow_down(database: &TestDatabase, engine: Engine, ms: u32) {
    let connection = database.connect().await;
    let statements: Vec<String> = match engine {
        Engine::Postgres => vec![
            format!(
                "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS \
                 'BEGIN PERFORM pg_sleep({ms} / 1000.0); RETURN NEW; END'"
            ),
            "CREATE TRIGGER slow BEFORE INSERT ON quote FOR EACH ROW EXECUTE FUNCTION slow()".to_owned(),
        ],
        Engine::MariaDb => {
            vec![format!("CREATE TRIGGER slow BEFORE INSERT ON quote FOR EACH ROW DO SLEEP({ms} / 1000.0)")]
        }
        // It has no function that sleeps: this one computes.
        Engine::Sqlite => vec![format!(
            "CREATE TRIGGER slow BEFORE INSERT ON quote BEGIN SELECT length(hex(randomblob({ms} * 150000))); END"
        )],
    };
    for statement in statements {
        sea_orm::ConnectionTrait::execute_unprepared(&connection, &statement).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_surplus_is_refused_and_what_is_accepted_is_stored() {
    for engine in Engine::ALL {
        let database = TestDatabase::migrated(engine).await;
        slow_down(&database, engine, 10).await;
        let api = Api::start(&database).await;
        let quote = a_quote();
        let call = async || {
            let begun = Instant::now();
            let answer = api.post("/v1/quotes", &quote).await;
            (answer, begun.elapsed())
        };
        // The first teach it what the database stores.
        join_all((0..200).map(|_| call())).await;
        let before = api.stored().await.0;
        let answers = join_all((0..600).map(|_| call())).await;
        let accepted = answers.iter().filter(|(answer, _)| answer.status() == 201).count();
        assert_eq!(api.stored().await.0 - before, i64::try_from(accepted).unwrap(), "{engine:?}");
        assert!((4..400).contains(&accepted), "{engine:?}: {accepted}");
        let slowest = answers.iter().map(|(_, took)| *took).max().unwrap();
        assert!(slowest < Duration::from_secs(9), "{engine:?}: {slowest:?}");
        let (refused, _) = answers.into_iter().find(|(answer, _)| answer.status() != 201).unwrap();
        assert_eq!((refused.status().as_u16(), &refused.headers()["retry-after"]), (503, &"1".parse().unwrap()));
        assert_eq!(refused.json::<Value>().await.unwrap()["type"], "/problems/overloaded");
        let page = api.get("/metrics").await.text().await.unwrap();
        let counted = |line: &&str| line.starts_with(r#"feebox_submissions_refused_total{why="queue_full"}"#);
        assert!(!page.lines().find(counted).unwrap().ends_with(" 0"), "{engine:?}");
        // The flood is over: everybody is served again.
        eventually("calm", LIMIT, async || (api.post("/v1/quotes", &quote).await.status() == 201).then_some(())).await;
        for _ in 0..10 {
            assert_eq!(api.post("/v1/quotes", &quote).await.status(), 201, "{engine:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_and_readiness_are_quick_while_submissions_flood_the_database() {
    for engine in Engine::ALL {
        let database = TestDatabase::migrated(engine).await;
        slow_down(&database, engine, 10).await;
        let api = Api::start(&database).await;
        let (quote, ended) = (a_quote(), std::sync::atomic::AtomicBool::new(false));
        let flood = async {
            join_all((0..100).map(async |_| {
                while !ended.load(std::sync::atomic::Ordering::SeqCst) {
                    let status = api.post("/v1/quotes", &quote).await.status();
                    assert!(status == 201 || status == 503, "{engine:?}: {status}");
                }
            }))
            .await;
        };
        let questions = async {
            for _ in 0..20 {
                for path in ["/readyz", "/healthz", "/v1/quotes", "/v1/stats"] {
                    let begun = Instant::now();
                    assert_eq!(api.get(path).await.status(), 200, "{engine:?} {path}");
                    assert!(begun.elapsed() < Duration::from_secs(4), "{engine:?} {path}: {:?}", begun.elapsed());
                }
                let paused = api.post("/v1/destinations/fee-server/pause", &serde_json::json!({})).await;
                let (status, begun) = (paused.status(), Instant::now());
                assert_eq!(status, 200, "{engine:?}: {} {:?}", paused.text().await.unwrap(), begun.elapsed());
            }
            ended.store(true, std::sync::atomic::Ordering::SeqCst);
        };
        tokio::join!(flood, questions);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_surplus_is_refused_before_its_body_is_read() {
    let database = TestDatabase::migrated(Engine::Sqlite).await;
    slow_down(&database, Engine::Sqlite, 10).await;
    let api = Api::start(&database).await;
    let (quote, ended) = (a_quote(), std::sync::atomic::AtomicBool::new(false));
    let flood = async {
        join_all((0..100).map(async |_| {
            while !ended.load(std::sync::atomic::Ordering::SeqCst) {
                api.post("/v1/quotes", &quote).await;
            }
        }))
        .await;
    };
    // This client sends its body only when it is asked for it, which is how it would see that it is read.
    let polite = async {
        let head = "POST /v1/quotes HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 60000\r\n\
                    expect: 100-continue\r\n\r\n";
        eventually("a refusal", LIMIT, async || {
            let mut stream = TcpStream::connect(api.addr()).await.unwrap();
            stream.write_all(head.as_bytes()).await.unwrap();
            let mut answer = vec![0; 4096];
            let length = stream.read(&mut answer).await.unwrap();
            let answer = String::from_utf8_lossy(&answer[..length]).into_owned();
            // Others of these calls are admitted, and asked to go on.
            assert!(answer.starts_with("HTTP/1.1 503 ") || answer.starts_with("HTTP/1.1 100 "), "{answer}");
            (answer.starts_with("HTTP/1.1 503 ") && answer.contains("/problems/overloaded")).then_some(())
        })
        .await;
        ended.store(true, std::sync::atomic::Ordering::SeqCst);
    };
    tokio::join!(flood, polite);
}
