//! Quotes, actions and the fleet on the command line, in tables that fit a terminal.

use entity::quote::Status;
use feebox::operator;
use feebox::outbox::Outcome;
use migration::{Migrator, MigratorTrait};
use uuid::Uuid;

use crate::support::{ANN, Desk, desk_tests};

desk_tests!(
    quotes_are_listed_shown_and_cancelled,
    tables_fit_a_terminal_of_80_columns,
    many_are_cancelled_by_their_cause,
    the_state_of_a_newer_schema_is_shown,
    a_database_without_a_schema_is_one_line_with_what_helps,
);

async fn quotes_are_listed_shown_and_cancelled(desk: Desk) {
    let (rejected, event) = desk.submit_refused().await;
    let (pending, _) = desk.submit().await;
    let listed = desk.feebox_json("quote list --json").await;
    assert_eq!((&listed[0]["id"], &listed[1]["id"]), (&pending.to_string().into(), &rejected.to_string().into()));
    let prefix = pending.to_string();
    let found = desk.feebox_json(&format!("quote list --id-prefix {} --status pending --json", &prefix[..23])).await;
    assert_eq!(found[0]["id"], pending.to_string());
    let shown = desk.feebox_json(&format!("quote show {rejected} --json")).await;
    assert_eq!((&shown["status"], &shown["events"][0]["id"]), (&"rejected".into(), &event.to_string().into()));
    assert_eq!(shown["events"][0]["why"], "refused: 422 Unprocessable Entity: no");
    let timeline = desk.feebox_json(&format!("quote timeline {rejected} --json")).await;
    let what: Vec<_> = timeline.as_array().unwrap().iter().map(|entry| entry["what"].as_str().unwrap()).collect();
    assert_eq!(what, ["submitted", "event_stored", "attempt_failed", "dead", "rejected"]);
    let (code, said) = desk.feebox(&format!("quote cancel {pending} --reason twice --as bob")).await;
    assert_eq!((code, desk.quote(pending).await.status), (0, Status::Cancelled), "{said}");
    let done = desk.feebox_json("actions --json").await;
    assert_eq!((&done[0]["actor"], &done[0]["reason"]), (&"bob".into(), &"twice".into()));
    assert_eq!(desk.feebox(&format!("quote show {}", Uuid::now_v7())).await.0, 1);
}

async fn tables_fit_a_terminal_of_80_columns(desk: Desk) {
    let (quote, event) = desk.submit_refused().await;
    desk.submit().await;
    desk.fail(Outcome::Retry(format!("503 Service Unavailable: {}", "a long story ".repeat(30)))).await;
    operator::pause(&desk.db, ANN, "fee-server").await.unwrap();
    for command in [
        "outbox list".to_owned(),
        format!("outbox show {event}"),
        "outbox stats".into(),
        "quote list".into(),
        format!("quote show {quote}"),
        format!("quote timeline {quote}"),
        "actions".into(),
        "causes".into(),
        "workers".into(),
        "destination list".into(),
    ] {
        let (code, said) = desk.feebox_with(&command, &[("COLUMNS", "80")]).await;
        assert_eq!(code, 0, "{command}: {said}");
        // Sentences below a table may be longer: the terminal breaks them.
        let table: Vec<_> = said.lines().take_while(|line| !line.ends_with('.') || line.starts_with(' ')).collect();
        let widest = table.iter().map(|line| line.chars().count()).max().unwrap();
        assert!(table.len() > 3 && widest <= 80, "{command} has {widest} columns:\n{said}");
    }
    let (_, said) = desk.feebox_with("outbox list", &[("COLUMNS", "80")]).await;
    assert!(said.contains(&event.to_string()), "an id stays in one piece:\n{said}");
}

async fn many_are_cancelled_by_their_cause(desk: Desk) {
    let (quote, _) = desk.submit_refused().await;
    let (other, _) = desk.submit().await;
    desk.fail(Outcome::Refused("422 Unprocessable Entity: customer-7 is blocked".into())).await;
    let causes = desk.feebox_json("causes --json").await;
    let cause = causes["causes"].as_array().unwrap().iter().find(|it| it["cause"].as_str().unwrap().contains("block"));
    let cause = cause.unwrap()["cause"].as_str().unwrap().to_owned();
    let arguments = ["outbox", "cancel", "--status", "dead", "--cause", &cause, "--yes", "--json"];
    let (code, said) = desk.feebox_by(&arguments, &[]).await;
    assert_eq!(code, 0, "{said}");
    assert_eq!(serde_json::from_str::<serde_json::Value>(&said).unwrap()["cancelled"], 1);
    assert_eq!(desk.quote(other).await.status, Status::Cancelled);
    assert_eq!(desk.quote(quote).await.status, Status::Rejected);
}

async fn the_state_of_a_newer_schema_is_shown(desk: Desk) {
    let (code, said) = desk.feebox("migrate status").await;
    assert_eq!(code, 0, "{said}");
    desk.sql("INSERT INTO seaql_migrations (version, applied_at) VALUES ('m20990101_000001_later', 1)").await;
    let (code, said) = desk.feebox("migrate status").await;
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("m20990101_000001_later (of a newer version of Feebox)"), "{said}");
    assert!(said.contains("The schema is newer than this version"), "{said}");
}

async fn a_database_without_a_schema_is_one_line_with_what_helps(desk: Desk) {
    Migrator::down(desk.db.connection(), None).await.unwrap();
    for command in ["outbox list", "quote list", "workers", "causes"] {
        let (code, said) = desk.feebox(command).await;
        assert_eq!((code, said.lines().count()), (1, 1), "{command}: {said}");
        assert!(said.ends_with("run `feebox migrate up`"), "{command}: {said}");
    }
}
