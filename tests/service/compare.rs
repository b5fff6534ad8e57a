//! `feebox compare`, small: it runs every design, and what it tells has the shape that others read.

use std::time::Duration;

use serde_json::Value;

use crate::support::Process;

const LIMIT: Duration = Duration::from_mins(5);

#[tokio::test]
async fn it_measures_every_design_and_the_outbox_loses_invents_and_doubles_nothing() {
    let load = ["--quotes", "20", "--rate", "40", "--latency", "50ms", "--crashes", "1", "--idle", "200ms"];
    let args = [&["compare", "--json", "--out", "out"][..], &load[..]].concat();
    let compare = Process::start(&args, &[]);
    assert!(compare.wait(LIMIT).await.success(), "{:#?}", compare.lines());

    let out = compare.directory().join("out");
    let json = std::fs::read_to_string(out.join("compare.json")).unwrap();
    let report: Value = serde_json::from_str(&json).unwrap();
    let rows = report["rows"].as_array().unwrap();
    let designs: Vec<_> = rows.iter().map(|row| row["design"].as_str().unwrap()).collect();
    assert_eq!(
        designs,
        [
            "in-transaction",
            "before-commit-async",
            "after-commit",
            "after-commit-compensated",
            "outbox-cron",
            "outbox-wakeup"
        ]
    );
    for row in rows {
        for count in ["accepted", "lost", "ghosts", "duplicates", "cancelled"] {
            assert!(row[count].is_u64(), "{count} of {row:#}");
        }
        for time in ["response_ms", "fee_lag_ms"] {
            assert!(row[time]["p50"].is_number() && row[time]["p99"].is_number(), "{time} of {row:#}");
        }
        assert!(row["statements_per_quote"].as_f64().unwrap() > 1.0, "{row:#}");
        let design = row["design"].as_str().unwrap();
        if design.starts_with("outbox") {
            assert_eq!([&row["lost"], &row["ghosts"], &row["duplicates"], &row["cancelled"]], [0, 0, 0, 0], "{row:#}");
        }
        if design == "after-commit-compensated" {
            assert_eq!([&row["lost"], &row["ghosts"]], [0, 0], "{row:#}");
        }
    }

    let page = std::fs::read_to_string(out.join("compare.md")).unwrap();
    let picture = std::fs::read_to_string(out.join("compare.svg")).unwrap();
    for design in designs {
        assert!(page.contains(&format!("| {design} ")), "{page}");
        assert!(picture.contains(design), "{picture}");
    }
}

#[tokio::test]
async fn it_refuses_numbers_that_make_no_sense() {
    for wrong in [["--rate", "0"], ["--quotes", "0"], ["--rollback-rate", "2"], ["--design", "hope"]] {
        let compare = Process::start(&[&["compare"][..], &wrong[..]].concat(), &[]);
        assert_eq!(compare.wait(LIMIT).await.code(), Some(2), "{wrong:?}: {:#?}", compare.lines());
    }
}
