//! The pictures in the docs: an incident, with what led to it.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use chrono::{DateTime, TimeDelta, Utc};
use entity::{cause_count, destination, outbox_event, series};
use feebox::audit::{Occasion, run};
use feebox::outbox::Outcome;
use feebox::series::Step;
use sea_orm::{ActiveValue::Set, ColumnTrait, EntityTrait, QueryFilter};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::Console;
use super::screens::{is_loaded, speak};
use crate::support::{Desk, Engine};

/// Set, it is where the pictures go.
const PICTURES: &str = "FEEBOX_TEST_PICTURES";
const REFUSED: &str = "422 Unprocessable Entity: unknown customer";
const BROKEN: &str = "200 OK without a fee for this quote";
const CUT: &str = "connection reset after the request was sent";
/// Since so many minutes the fee server has failed.
const INCIDENT: i64 = 14;

/// `FEEBOX_TEST_PICTURES=docs/images cargo test --features kafka --test service pictures` takes them anew.
#[tokio::test(flavor = "multi_thread")]
async fn pictures_of_the_docs_are_taken() {
    let (desk, event) = scene().await;
    let console = Console::open(&desk).await;
    console.browser.open(&console.base_url).await;
    let wanted = std::env::var(PICTURES).ok().map(|folder| Path::new(env!("CARGO_MANIFEST_DIR")).join(folder));
    let pictures = [
        ("en", "dashboard", String::new()),
        ("en", "dashboard-causes", "causes".to_owned()),
        ("en", "dashboard-event", format!("events/{event}")),
    ];
    for (language, name, address) in pictures {
        speak(&console, language).await;
        console.browser.show(1200, 760, "light").await;
        console.go(&address).await;
        is_loaded(&console).await;
        let picture = console.browser.screenshot().await;
        assert!(picture.len() > 10_000, "{name}");
        if let Some(folder) = &wanted {
            write_base64(&folder.join(format!("{name}.png")), &picture);
        }
    }
}

fn write_base64(path: &Path, text: &str) {
    let file = fs::File::create(path).unwrap();
    let mut decode = Command::new("base64").arg("-d").stdin(Stdio::piped()).stdout(file).spawn().unwrap();
    decode.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    assert!(decode.wait().unwrap().success());
}

/// Returns one of its events.
async fn scene() -> (Desk, Uuid) {
    let desk = Desk::open(Engine::Sqlite).await;
    desk.submit_many(12).await;
    desk.deliver().await;
    let now = desk.now().await;
    let (_, event) = desk.submit().await;
    desk.fail(Outcome::Unknown(CUT.into())).await;
    attempts(&desk, event, now).await;
    let refused = desk.submit_many(23).await;
    desk.fail(Outcome::Refused(REFUSED.into())).await;
    let broken = desk.submit_many(8).await;
    desk.fail(Outcome::Broken(BROKEN.into())).await;
    desk.submit_many(3).await;
    circuit(&desk, now).await;
    for (events, minutes) in [(refused, 42), (broken, 9)] {
        for (n, (_, event)) in (0..).zip(events) {
            happened(&desk, event, now - TimeDelta::minutes(minutes) + TimeDelta::seconds(11 * n)).await;
        }
    }
    charts(&desk, now).await;
    let week = std::time::Duration::from_hours(7 * 24);
    run(&desk.db, "worker-1", Occasion::Schedule, week, &CancellationToken::new(), |_| ()).await.unwrap();
    (desk, event)
}

/// The event died at this time.
async fn happened(desk: &Desk, event: Uuid, at: DateTime<Utc>) {
    let then = outbox_event::ActiveModel {
        created_at: Set(at - TimeDelta::seconds(2)),
        failed_at: Set(Some(at)),
        settled_at: Set(Some(at)),
        ..Default::default()
    };
    let of_it = outbox_event::Entity::update_many().set(then).filter(outbox_event::Column::Id.eq(event));
    of_it.exec(desk.db.connection()).await.unwrap();
}

/// It has been open since the incident began.
async fn circuit(desk: &Desk, now: DateTime<Utc>) {
    let open = destination::ActiveModel {
        circuit: Set(destination::Circuit::Open),
        circuit_opened_at: Set(Some(now - TimeDelta::minutes(INCIDENT))),
        circuit_reason: Set(Some(CUT.into())),
        probe_at: Set(Some(now + TimeDelta::seconds(20))),
        ..Default::default()
    };
    let fee_server = destination::Entity::update_many().set(open).filter(destination::Column::Name.eq("fee-server"));
    fee_server.exec(desk.db.connection()).await.unwrap();
}

/// The event was tried four times since the incident began.
async fn attempts(desk: &Desk, event: Uuid, now: DateTime<Utc>) {
    let begun = now - TimeDelta::seconds(190);
    let failure = |number: i32, after: i64, took: u64, outcome: &str, error: &str| -> Value {
        let at = begun + TimeDelta::seconds(after);
        json!({ "attempt": number, "outcome": outcome, "error": error, "at": at, "duration_ms": took, "by": "worker-1" })
    };
    let failures = json!([
        failure(1, 11, 10_012, "unknown", "no answer within 10 s"),
        failure(2, 38, 2_340, "retry", "503 Service Unavailable: overloaded"),
        failure(3, 84, 6_120, "unknown", CUT),
        failure(4, 160, 4_875, "unknown", CUT),
    ]);
    let tried = outbox_event::ActiveModel {
        attempts: Set(4),
        due_at: Set(now + TimeDelta::seconds(40)),
        created_at: Set(begun),
        failed_at: Set(Some(begun + TimeDelta::seconds(160))),
        failures: Set(failures),
        ..Default::default()
    };
    let of_it = outbox_event::Entity::update_many().set(tried).filter(outbox_event::Column::Id.eq(event));
    of_it.exec(desk.db.connection()).await.unwrap();
}

/// An hour of deliveries, and a day of failures.
async fn charts(desk: &Desk, now: DateTime<Utc>) {
    let mut rows = vec![];
    for ago in 0..60_i64 {
        let wave = (ago * ago * 7 + ago * 3) % 9;
        let submitted = 26 - (ago - 30).abs() / 6 + wave;
        let failing = ago < INCIDENT;
        let mut numbers =
            vec![("submitted", submitted), ("delivered", if failing { 3 + wave / 4 } else { submitted - wave % 3 })];
        numbers.push(("waiting", if failing { (INCIDENT - ago) * 21 } else { wave / 3 }));
        numbers.extend(if failing { vec![("unknown", 9 + wave / 2), ("retry", 4)] } else { vec![("retry", wave / 5)] });
        numbers.extend((35..43).contains(&ago).then_some(("refused", 3)));
        // About 0.4 s; 6 s while it fails.
        numbers.extend(if failing {
            [("fee_lag_042", 2), ("fee_lag_050", 1)]
        } else {
            [("fee_lag_033", 24), ("fee_lag_037", 1)]
        });
        rows.extend(numbers.into_iter().map(|(name, number)| series::ActiveModel {
            step_seconds: Set(60),
            at: Set(Step::Minute.of(now - TimeDelta::minutes(ago))),
            name: Set(name.into()),
            number: Set(number),
        }));
    }
    series::Entity::insert_many(rows).exec_without_returning(desk.db.connection()).await.unwrap();
    let mut counts = vec![];
    for (ago, cause, number) in (0..144).flat_map(|ago| {
        let refused = if (3..5).contains(&ago) { 12 } else { 1 };
        let cut = if ago < 2 { 30 - 8 * ago } else { 0 };
        [
            (ago, "refused 422: Unprocessable Entity: unknown customer", refused),
            (ago, "broken 200: OK without a fee for this quote", i64::from(ago == 1) * 8),
            (ago, "unknown: connection reset after the request was sent", cut),
        ]
    }) {
        if number > 0 {
            let ten_minutes = now.timestamp() / 600 - ago;
            counts.push(cause_count::ActiveModel {
                at: Set(DateTime::from_timestamp(600 * ten_minutes, 0).unwrap()),
                destination: Set("fee-server".into()),
                cause: Set(cause.into()),
                number: Set(number),
            });
        }
    }
    cause_count::Entity::insert_many(counts).exec_without_returning(desk.db.connection()).await.unwrap();
}
