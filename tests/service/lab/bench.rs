//! `feebox bench` with small numbers: it asks its questions and checks what it counts.

use std::time::Duration;

use sea_orm::{ConnectionTrait, DbBackend, Statement};
use serde_json::Value;

use crate::support::{Process, Server};

const LIMIT: Duration = Duration::from_mins(5);

#[tokio::test]
async fn each_question_is_measured_beside_what_is_written_by_hand() {
    let postgres = Server::own_postgres();
    let questions = ["submissions", "lone-caller", "wake-up", "drain", "drain-with-failures"];
    let mut arguments = vec!["bench", "--rounds", "1", "--time", "500ms", "--events", "500", "--out", "out"];
    arguments.extend(["--callers", "4,1", "--server", postgres.url(), "--server", "sqlite:"]);
    arguments.extend(questions.iter().flat_map(|question| ["--question", *question]));
    let bench = Process::start(&arguments, &[]);
    assert!(bench.wait(LIMIT).await.success(), "{:#?}", bench.lines());
    let report = std::fs::read_to_string(bench.directory().join("out/bench.json")).unwrap();
    let report: Value = serde_json::from_str(&report).unwrap();
    let rows = report["rows"].as_array().unwrap();
    for question in questions {
        for database in ["PostgreSQL", "SQLite"] {
            let by_feebox = |row: &&Value| {
                row["question"] == question && row["database"] == database && row["contestant"] == "feebox"
            };
            let row = rows.iter().find(by_feebox).unwrap_or_else(|| panic!("{question} on {database}: {report:#}"));
            let figures = row["figures"].as_object().unwrap();
            assert!(figures.values().all(|figure| figure["median"].as_f64().unwrap() >= 0.0), "{row}");
        }
    }
    let by_callers =
        |callers: u64| rows.iter().filter(|row| row["question"] == "submissions" && row["callers"] == callers).count();
    // By Feebox on two databases, and by hand on one: transactions are shared by several callers alone, and made in steps for one.
    assert_eq!([4, 1].map(by_callers), [4, 4], "{report:#}");
    let picture = std::fs::read_to_string(bench.directory().join("out/bench.svg")).unwrap();
    for part in
        ["PostgreSQL: submissions a second", "SQLite: submissions a second", "callers side by side", "99.9", "by hand"]
    {
        assert!(picture.contains(part), "{part} in {picture}");
    }
    let ratio = rows.iter().find_map(|row| row["ratios"]["by hand, together"]["per_second"].as_f64());
    assert!(ratio.is_some_and(|ratio| ratio > 0.0), "{report:#}");
}

#[tokio::test]
async fn overload_exceeds_what_each_database_stores() {
    let (postgres, mariadb) = (Server::own_postgres(), Server::own_mariadb());
    let mut arguments = vec!["bench", "--rounds", "1", "--time", "7s", "--question", "overload", "--out", "out"];
    arguments.extend(["--server", "sqlite:", "--server", postgres.url(), "--server", mariadb.url()]);
    let bench = Process::start(&arguments, &[]);
    assert!(bench.wait(LIMIT).await.success(), "{:#?}", bench.lines());
    let report = std::fs::read_to_string(bench.directory().join("out/bench.json")).unwrap();
    let report: Value = serde_json::from_str(&report).unwrap();
    let rows = report["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 3, "{report:#}");
    for row in rows {
        let figure = |name: &str| row["figures"][name]["median"].as_f64().unwrap_or_else(|| panic!("{name}: {row}"));
        assert!(figure("worst_of_capacity") > 0.2, "{row}");
        // It was an overload: about half of what was offered was refused. SQLite computes, on a machine that may be busy at first.
        assert!(row["database"] == "SQLite" || figure("per_second") < 1.5 * figure("capacity"), "{row}");
        // Bounds that only a queue without an end exceeds.
        assert!(figure("p99_ms") < 5_000.0, "{row}");
        assert_eq!((figure("failed"), figure("not_ready")), (0.0, 0.0), "{row}");
    }
}

#[tokio::test]
async fn a_backlog_of_many_partners_is_drained_to_the_last_event() {
    let mut arguments = vec!["bench", "--question", "drain", "--rounds", "1", "--out", "out"];
    // Some have one more than others.
    arguments.extend(["--events", "130", "--partners", "40", "--server", "sqlite:"]);
    let bench = Process::start(&arguments, &[]);
    assert!(bench.wait(LIMIT).await.success(), "{:#?}", bench.lines());
    // The database of the contestant behind the four that are written by hand.
    let file = bench.directory().join("out/4_1.db");
    let db = sea_orm::Database::connect(format!("sqlite://{}", file.display())).await.unwrap();
    let counted = "SELECT count(*), count(DISTINCT partner), sum(status = 'delivered') FROM outbox_event";
    let row = db.query_one_raw(Statement::from_string(DbBackend::Sqlite, counted)).await.unwrap().unwrap();
    let counts = [0, 1, 2].map(|column| row.try_get_by_index::<i64>(column).unwrap());
    assert_eq!(counts, [130, 40, 130]);
}

#[tokio::test]
async fn partners_wait_no_longer_beside_a_backlog_of_another_than_a_fee_takes_twice() {
    let (postgres, mariadb) = (Server::own_postgres(), Server::own_mariadb());
    let mut arguments = vec!["bench", "--question", "fairness", "--rounds", "1", "--time", "4s", "--out", "out"];
    // 500 ms each, 16 at a time: the backlog alone would take a minute.
    arguments.extend(["--events", "2000", "--fee-time", "500ms", "--concurrency", "16"]);
    arguments.extend(["--server", "sqlite:", "--server", postgres.url(), "--server", mariadb.url()]);
    let bench = Process::start(&arguments, &[]);
    assert!(bench.wait(LIMIT).await.success(), "{:#?}", bench.lines());
    let report = std::fs::read_to_string(bench.directory().join("out/bench.json")).unwrap();
    let report: Value = serde_json::from_str(&report).unwrap();
    let rows = report["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 3, "{report:#}");
    for row in rows {
        let p99 = row["figures"]["p99_ms"]["median"].as_f64().unwrap();
        // Twice the time of a fee and a second; the machine may be busy.
        assert!(p99 < 4_000.0, "{row}");
    }
}

#[tokio::test]
async fn each_call_of_the_lists_is_measured_beside_a_history() {
    let (postgres, mariadb) = (Server::own_postgres(), Server::own_mariadb());
    let mut arguments =
        vec!["bench", "--question", "tables", "--rows", "2000", "--waiting", "300", "--calls", "2", "--out", "out"];
    arguments.extend(["--server", postgres.url(), "--server", mariadb.url()]);
    let bench = Process::start(&arguments, &[]);
    assert!(bench.wait(LIMIT).await.success(), "{:#?}", bench.lines());
    let report = std::fs::read_to_string(bench.directory().join("out/bench.json")).unwrap();
    let report: Value = serde_json::from_str(&report).unwrap();
    let calls = report["calls"].as_array().unwrap();
    for call in ["/v1/stats", "/metrics", "/v1/outbox?status=dead&error_contains=unavailable"] {
        for database in ["PostgreSQL", "MariaDB"] {
            let measured = calls.iter().find(|it| it["call"] == call && it["database"] == database);
            let measured = measured.unwrap_or_else(|| panic!("{call} on {database}: {report:#}"));
            assert!(measured["p50_ms"].as_f64() <= measured["p95_ms"].as_f64(), "{measured}");
        }
    }
}

#[tokio::test]
async fn what_open_dashboards_ask_is_measured_beside_submissions() {
    let postgres = Server::own_postgres();
    let mut arguments = vec!["bench", "--question", "dashboards", "--rows", "2000", "--waiting", "300"];
    arguments.extend(["--rounds", "1", "--time", "1s", "--out", "out", "--server", postgres.url()]);
    let bench = Process::start(&arguments, &[]);
    assert!(bench.wait(LIMIT).await.success(), "{:#?}", bench.lines());
    let report = std::fs::read_to_string(bench.directory().join("out/bench.json")).unwrap();
    let report: Value = serde_json::from_str(&report).unwrap();
    let calls = report["calls"].as_array().unwrap();
    let asked = ["POST /v1/quotes, no dashboard open", "POST /v1/quotes, 20 dashboards open", "/causes?status=dead"];
    for call in asked {
        let measured = calls.iter().find(|it| it["call"] == call).unwrap_or_else(|| panic!("{call}: {report:#}"));
        assert!(measured["p50_ms"].as_f64() <= measured["p99_ms"].as_f64(), "{measured}");
    }
}

#[tokio::test]
async fn fleets_of_several_workers_are_measured_and_one_of_many_is_simulated() {
    let postgres = Server::own_postgres();
    let mut arguments = vec!["bench", "--question", "workers", "--question", "fleet", "--workers", "20"];
    arguments.extend(["--rounds", "1", "--time", "1s", "--out", "out", "--server", postgres.url()]);
    let bench = Process::start(&arguments, &[]);
    assert!(bench.wait(LIMIT).await.success(), "{:#?}", bench.lines());
    let report = std::fs::read_to_string(bench.directory().join("out/bench.json")).unwrap();
    let report: Value = serde_json::from_str(&report).unwrap();
    let row = report["rows"].as_array().unwrap().iter().find(|row| row["question"] == "workers");
    let figures = &row.unwrap_or_else(|| panic!("{report:#}"))["figures"];
    for figure in ["one_worker", "two_workers", "four_workers", "eight_workers", "eight_of_linear"] {
        assert!(figures[figure]["median"].as_f64().unwrap() > 0.0, "{figure}: {figures}");
    }
    let fleet = report["fleet"].as_array().unwrap();
    assert!(fleet.len() == 7 && fleet.iter().all(|row| row["phases"].as_array().unwrap().len() > 4), "{report:#}");
}
