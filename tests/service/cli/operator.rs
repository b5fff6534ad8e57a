//! What operators type: tables for them, JSON for programs, exit codes for scripts.

use entity::outbox_event::Status as EventStatus;
use entity::quote::Status;
use feebox::operator::ActionFilter;
use feebox::outbox::Outcome;
use serde_json::Value;
use uuid::Uuid;

use crate::support::{Desk, desk_tests};

desk_tests!(
    events_are_listed_shown_and_explained,
    foreign_text_is_printable_wherever_it_is_shown,
    one_event_or_many_are_retried,
    an_event_is_cancelled,
    a_destination_is_paused_and_resumed,
    a_destination_is_limited_and_not_any_more,
    an_audit_exits_with_3_if_a_promise_is_broken,
    invalid_usage_exits_with_2_and_failure_with_1,
);

async fn events_are_listed_shown_and_explained(desk: Desk) {
    let (quote_id, event) = desk.submit_refused().await;
    desk.submit().await;
    let (code, table) = desk.feebox("outbox list --status dead").await;
    assert_eq!(code, 0, "{table}");
    assert!(table.contains(&event.to_string()) && table.contains("422 Unprocessable Entity: no"), "{table}");
    let listed = desk.feebox_json("outbox list --json --limit 5").await;
    assert_eq!(listed.as_array().unwrap().len(), 2);
    assert_eq!((&listed[1]["id"], &listed[1]["quote_id"]), (&event.to_string().into(), &quote_id.to_string().into()));
    let shown = desk.feebox_json(&format!("outbox show {event} --json")).await;
    assert_eq!((&shown["status"], &shown["failures"][0]["outcome"]), (&"dead".into(), &"refused".into()));
    assert_eq!(shown["payload"]["quote_id"], quote_id.to_string());
    let (_, shown) = desk.feebox(&format!("outbox show {event}")).await;
    assert!(shown.contains("payload") && shown.contains("worker-1"), "{shown}");
    let (_, sentence) = desk.feebox(&format!("outbox explain {event}")).await;
    assert!(sentence.contains("has been dead since"), "{sentence}");
    assert_eq!(desk.feebox_json(&format!("outbox explain {event} --json")).await["status"], "dead");
    let stats = desk.feebox_json("outbox stats --json").await;
    assert_eq!(stats["destinations"][0]["events"]["dead"], 1);
    let (_, stats) = desk.feebox("outbox stats").await;
    assert!(stats.contains("fee-server"), "{stats}");
}

async fn foreign_text_is_printable_wherever_it_is_shown(desk: Desk) {
    let (_, event) = desk.submit().await;
    // As an older version, or somebody else, may have left it in the tables.
    let hostile = "'\u{1b}]0;title\u{7}\u{9b}31m \u{202e}txt\u{200b}'";
    desk.sql(&format!("UPDATE outbox_event SET last_error = {hostile}, leased_by = {hostile}")).await;
    for command in [&format!("outbox show {event}"), "outbox list --json"] {
        let (code, said) = desk.feebox(command).await;
        assert_eq!(code, 0, "{said}");
        let unsafe_char = |char: char| char != '\n' && (char.is_control() || "\u{202e}\u{200b}".contains(char));
        assert!(said.contains("title") && !said.contains(unsafe_char), "{said:?}");
    }
    let reason = "why\u{202e}\u{9b}";
    let (code, said) = desk.feebox(&format!("outbox cancel {event} --reason {reason}")).await;
    assert_eq!(code, 2, "{said}");
    assert!(said.contains("control characters") && !said.contains('\u{9b}'), "{said:?}");
    let (code, said) = desk.feebox(&format!("outbox cancel {event} --reason why\u{202e}")).await;
    assert_eq!(code, 0, "{said}");
    let done = feebox::operator::actions::list(desk.db.connection(), &ActionFilter::default(), 10).await.unwrap().rows;
    assert_eq!(done[0].reason.as_deref(), Some("why\u{fffd}"));
}

async fn one_event_or_many_are_retried(desk: Desk) {
    let (quote_id, event) = desk.submit_refused().await;
    desk.submit_refused().await;
    let (_, said) = desk.feebox(&format!("outbox retry {event} --reason mended")).await;
    assert!(said.contains("is pending and due at"), "{said}");
    assert_eq!(desk.quote(quote_id).await.status, Status::Pending);
    desk.fail(Outcome::Refused("422: no".into())).await;
    let many = "outbox retry --status dead --error-contains 422 --per-second 5 --reason mended";
    let (_, said) = desk.feebox(&format!("{many} --dry-run")).await;
    assert_eq!(said.trim(), "2 events matched, 0 revived");
    let (code, said) = desk.feebox(many).await;
    assert_eq!(code, 1, "nobody is there to be asked: {said}");
    assert!(said.contains("this would retry 2 events; add --yes"), "{said}");
    let said = desk.feebox_json(&format!("{many} --yes --as bob --json")).await;
    assert_eq!((&said["matched"], &said["revived"]), (&2.into(), &2.into()));
    let done = feebox::operator::actions::list(desk.db.connection(), &ActionFilter::default(), 10).await.unwrap().rows;
    assert_eq!(done.len(), 2);
    assert_eq!(done.iter().map(|action| action.actor.as_str()).collect::<Vec<_>>(), ["bob", "ann"]);
    assert!(done.iter().all(|action| action.reason.as_deref() == Some("mended")));
    let bulk = desk.feebox_json(&format!("outbox bulk {} --json", said["bulk_id"].as_str().unwrap())).await;
    assert_eq!(bulk["status"], "finished");
}

async fn an_event_is_cancelled(desk: Desk) {
    let (quote_id, event) = desk.submit().await;
    let (_, said) = desk.feebox(&format!("outbox cancel {event}")).await;
    assert!(said.contains("is cancelled"), "{said}");
    assert_eq!(desk.event(event).await.status, EventStatus::Cancelled);
    assert_eq!(desk.quote(quote_id).await.status_reason.as_deref(), Some("given up by ann"));
}

async fn a_destination_is_limited_and_not_any_more(desk: Desk) {
    let (code, said) = desk.feebox("destination limit fee-server --per-second 50 --in-flight 4 --reason upgrade").await;
    assert_eq!((code, said.contains("50 calls a second and 4 in flight")), (0, true), "{said}");
    assert!(desk.feebox("destination list").await.1.contains("50 calls a second and 4 in flight"));
    desk.feebox("destination limit fee-server --in-flight none").await;
    let listed = desk.feebox_json("destination list --json").await;
    assert_eq!((&listed[0]["limits"]["per_second"], &listed[0]["limits"]["in_flight"]), (&50.into(), &Value::Null));
    for wrong in ["destination limit fee-server", "destination limit fee-server --per-second 0"] {
        assert_eq!(desk.feebox(wrong).await.0, 2, "{wrong}");
    }
}

async fn a_destination_is_paused_and_resumed(desk: Desk) {
    desk.feebox("destination pause fee-server --reason upgrade").await;
    let (_, table) = desk.feebox("destination list").await;
    assert!(table.contains("by ann since") && table.contains("upgrade"), "{table}");
    desk.feebox("destination resume fee-server").await;
    let listed = desk.feebox_json("destination list --json").await;
    assert_eq!((&listed[0]["name"], &listed[0]["paused"]), (&"fee-server".into(), &Value::Null));
}

async fn an_audit_exits_with_3_if_a_promise_is_broken(desk: Desk) {
    let (quote_id, _) = desk.submit().await;
    desk.deliver().await;
    let (code, said) = desk.feebox("audit --remote").await;
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("1 quotes, 0 broken") && said.contains("1 fees at the fee server, 0 broken"), "{said}");
    desk.sql("DELETE FROM fee_record").await;
    let (code, said) = desk.feebox("audit").await;
    assert_eq!(code, 3, "{said}");
    assert!(said.contains(&format!("promise 5 is broken: quote {quote_id}")), "{said}");
    let (code, said) = desk.feebox("audit --remote --json --set submission.strategy=after-commit").await;
    let said: Value = serde_json::from_str(&said).unwrap();
    assert_eq!((code, &said["local"]["violations"], &said["remote"]["violations"]), (3, &1.into(), &1.into()));
    assert_eq!(said["violations"][1]["promise"], 2);
    assert_eq!(said["not_promised"][0]["promise"], 2);
}

async fn invalid_usage_exits_with_2_and_failure_with_1(desk: Desk) {
    let nobody = Uuid::now_v7();
    for wrong in ["outbox retry", "outbox retry --dry-run", "outbox list --status gone", "audit --created-after now"] {
        assert_eq!(desk.feebox(wrong).await.0, 2, "{wrong}");
    }
    assert_eq!(desk.feebox(&format!("outbox retry {nobody} --status dead")).await.0, 2);
    for command in ["show", "explain", "retry", "cancel"] {
        let (code, said) = desk.feebox(&format!("outbox {command} {nobody}")).await;
        assert_eq!(code, 1, "{said}");
        assert!(said.contains(&format!("there is no event {nobody}")), "{said}");
    }
    let (code, said) = desk.feebox("destination pause moon").await;
    assert_eq!(code, 1, "{said}");
}
