//! What attempts come to, and for whom it still counts.

use std::time::Duration;

use chrono::Utc;
use entity::outbox_event::Status;
use entity::quote;
use feebox::outbox::{Disposition, LeasedEvent, Outcome};
use feebox::quotes::FEE_SERVER;

use crate::support::{TestOutbox, attempt, delivered, fee_server, on_each_engine, refused, retry, unknown, with_fee};

on_each_engine!(
    an_answer_after_another_worker_took_over_changes_nothing,
    an_answer_after_another_worker_has_settled_changes_nothing,
    an_answer_after_a_rescue_changes_nothing,
    a_late_answer_in_a_batch_leaves_its_effects_out_and_the_others_settled,
    a_late_answer_says_nothing_about_the_destination,
    settling_again_after_a_lost_answer_of_the_database_changes_nothing_and_knows_its_own,
    of_two_who_settle_at_once_one_counts,
    only_outcomes_that_blame_the_event_spend_its_attempt,
    a_refused_event_and_a_broken_answer_are_dead_at_once,
    what_may_have_left_a_trace_is_looked_up_until_it_is_settled,
    what_is_handed_back_unsent_stays_where_it_was,
    the_last_twenty_failures_are_kept,
    a_long_error_is_cut_between_characters,
    a_fee_record_and_the_confirmation_come_with_the_delivery,
    a_refusal_rejects_the_quote,
    a_quote_keeps_the_fee_that_it_has,
    a_settle_of_many_settles_all,
    many_failures_of_many_kinds_are_each_written_down,
);

async fn an_answer_after_another_worker_took_over_changes_nothing(outbox: TestOutbox) {
    let (late, current) = taken_over(&outbox).await;
    let before = outbox.event(late.id).await;

    for outcome in [delivered(), retry(), refused(), unknown(), Outcome::NotSent("drained".into())] {
        assert_eq!(outbox.settle_one("a", &late, outcome).await, Disposition::LeaseLost("b".into()));
        assert_eq!(outbox.event(late.id).await, before);
    }
    assert_eq!(outbox.settle_one("b", &current, delivered()).await, Disposition::Delivered);
}

async fn an_answer_after_another_worker_has_settled_changes_nothing(outbox: TestOutbox) {
    let (late, current) = taken_over(&outbox).await;
    outbox.settle_one("b", &current, delivered()).await;
    let before = outbox.event(late.id).await;

    assert!(matches!(outbox.settle_one("a", &late, retry()).await, Disposition::LeaseLost(_)));
    assert_eq!(outbox.event(late.id).await, before);
    assert_eq!(before.status, Status::Delivered);
}

async fn an_answer_after_a_rescue_changes_nothing(outbox: TestOutbox) {
    outbox.submit(1).await;
    let late = outbox.claim("a", 1).await.remove(0);
    outbox.advance(TestOutbox::LEASE * 2);
    outbox.rescue("b").await;
    let before = outbox.event(late.id).await;

    assert!(matches!(outbox.settle_one("a", &late, delivered()).await, Disposition::LeaseLost(_)));
    assert_eq!(outbox.event(late.id).await, before);
}

async fn a_late_answer_in_a_batch_leaves_its_effects_out_and_the_others_settled(outbox: TestOutbox) {
    outbox.submit(1).await;
    let late = outbox.claim("a", 1).await.remove(0);
    outbox.advance(TestOutbox::LEASE * 2);
    outbox.rescue("b").await;
    outbox.claim("b", 1).await;
    outbox.submit(2).await;
    let in_time = outbox.claim("a", 2).await;

    let attempts = [with_fee(&in_time[0]), with_fee(&late), with_fee(&in_time[1])];
    let became = outbox.settle_at(&fee_server(), "a", &attempts).await;
    assert_eq!(became, [Disposition::Delivered, Disposition::LeaseLost("b".into()), Disposition::Delivered]);
    let mut with_record: Vec<_> = outbox.fee_records().await.iter().map(|record| record.event_id).collect();
    with_record.sort_unstable();
    assert_eq!(with_record, [in_time[0].id, in_time[1].id]);
    assert_eq!(outbox.quote(in_time[0].aggregate_id).await.status, quote::Status::Confirmed);
    assert_eq!(outbox.quote(late.aggregate_id).await.status, quote::Status::Pending);
}

async fn a_late_answer_says_nothing_about_the_destination(mut outbox: TestOutbox) {
    outbox.policy.circuit.failures = 2;
    let (late, current) = taken_over(&outbox).await;
    let before = outbox.fee_server().await;

    for outcome in [retry(), unknown(), Outcome::Unauthorised("401".into())] {
        outbox.settle_one("a", &late, outcome).await;
        assert_eq!(outbox.fee_server().await, before);
    }
    outbox.settle_one("a", &late, Outcome::RetryAfter("503".into(), Duration::from_mins(1))).await;
    assert_eq!(outbox.fee_server().await, before);

    outbox.settle_one("b", &current, retry()).await;
    assert_eq!(outbox.fee_server().await.consecutive_failures, 1);
    outbox.settle_one("a", &late, delivered()).await;
    assert_eq!(outbox.fee_server().await.consecutive_failures, 1);
}

/// A worker whose commit went through while its answer was lost settles the same attempts again.
async fn settling_again_after_a_lost_answer_of_the_database_changes_nothing_and_knows_its_own(outbox: TestOutbox) {
    outbox.submit(5).await;
    let claimed = outbox.claim("a", 5).await;
    let outcomes = [delivered(), retry(), unknown(), refused(), Outcome::NotSent("drained".into())];
    let attempts: Vec<_> = claimed.iter().zip(outcomes).map(|(e, o)| attempt(e, o)).collect();
    let became = outbox.settle("a", &attempts).await;
    let (events, fee_server) = (outbox.events().await, outbox.fee_server().await);

    let again = outbox.settle("a", &attempts).await;
    assert!(again.iter().all(|became| matches!(became, Disposition::AlreadySettled(_))), "{again:?}");
    let again: Vec<_> = again.into_iter().map(Disposition::of_any_call).collect();
    assert_eq!(again[..4], became[..4]);
    assert!(matches!(again[4], Disposition::Pending(_)), "it was handed back");
    assert_eq!((outbox.events().await, outbox.fee_server().await), (events, fee_server));

    // What others do with the events since is never taken for our own.
    outbox.advance(Duration::from_mins(2));
    let others = outbox.claim("b", 5).await;
    assert_eq!(others.len(), 3);
    for event in &others {
        outbox.settle_one("b", event, delivered()).await;
    }
    let again = outbox.settle("a", &attempts).await;
    let lost = again.iter().filter(|became| matches!(became, Disposition::LeaseLost(_))).count();
    assert_eq!(lost, 3, "{again:?}");
}

async fn of_two_who_settle_at_once_one_counts(outbox: TestOutbox) {
    for _ in 0..10 {
        outbox.submit(5).await;
        let claimed = outbox.claim("a", 5).await;
        let forwards: Vec<_> = claimed.iter().map(|event| attempt(event, retry())).collect();
        let backwards: Vec<_> = claimed.iter().rev().map(|event| attempt(event, retry())).collect();
        let (one, two) = tokio::join!(outbox.settle("a", &forwards), outbox.settle("a", &backwards));
        let count =
            |became: &[Disposition]| became.iter().filter(|became| matches!(became, Disposition::Pending(_))).count();
        assert_eq!((count(&one) + count(&two), count(&one) % 5), (5, 0));
        for event in &claimed {
            let row = outbox.event(event.id).await;
            assert_eq!((row.attempts, row.failures.as_array().unwrap().len()), (1, 1));
        }
    }
}

async fn only_outcomes_that_blame_the_event_spend_its_attempt(outbox: TestOutbox) {
    let after_a_minute = Outcome::RetryAfter("503".into(), Duration::from_mins(1));
    let cases = [
        (retry(), 1),
        (unknown(), 1),
        (refused(), 1),
        (Outcome::Broken("not JSON".into()), 1),
        (delivered(), 1),
        (Outcome::NotSent("drained".into()), 0),
        (after_a_minute, 0),
        (Outcome::Unauthorised("401".into()), 0),
    ];
    outbox.submit(cases.len()).await;
    let claimed = outbox.claim("a", cases.len()).await;
    for (event, (outcome, spent)) in claimed.iter().zip(cases) {
        let name = outcome.name();
        outbox.settle_one("a", event, outcome).await;
        assert_eq!(outbox.event(event.id).await.attempts, spent, "{name}");
    }
}

async fn a_refused_event_and_a_broken_answer_are_dead_at_once(outbox: TestOutbox) {
    outbox.submit(2).await;
    let claimed = outbox.claim("a", 2).await;
    let broken = Outcome::Broken("200 with a body that is no fee".into());
    for (event, outcome) in claimed.iter().zip([refused(), broken]) {
        let error = outcome.error().unwrap().to_owned();
        assert_eq!(outbox.settle_one("a", event, outcome).await, Disposition::Dead(error.clone()));
        let row = outbox.event(event.id).await;
        assert_eq!((row.status, row.last_error), (Status::Dead, Some(error)));
        assert!(row.settled_at.is_some() && row.leased_until.is_none());
    }
    outbox.advance(Duration::from_hours(1));
    assert!(outbox.claim("a", 2).await.is_empty());
}

async fn what_may_have_left_a_trace_is_looked_up_until_it_is_settled(outbox: TestOutbox) {
    let event = outbox.submit(1).await[0];
    let mut looked_up = vec![];
    for outcome in [retry(), unknown(), retry(), Outcome::NotSent("drained".into()), delivered()] {
        outbox.advance(Duration::from_mins(2));
        let claimed = outbox.claim("a", 1).await.remove(0);
        looked_up.push(claimed.outcome_unknown);
        outbox.settle_one("a", &claimed, outcome).await;
    }
    assert_eq!(looked_up, [false, false, true, true, true]);
    assert_eq!(outbox.event(event).await.status, Status::Delivered);
}

async fn what_is_handed_back_unsent_stays_where_it_was(outbox: TestOutbox) {
    let first = outbox.submit(1).await[0];
    outbox.advance(Duration::from_secs(1));
    outbox.submit(1).await;
    let before = outbox.event(first).await;
    outbox.advance(Duration::from_secs(1));
    let claimed = outbox.claim("a", 1).await.remove(0);
    assert!(matches!(
        outbox.settle_one("a", &claimed, Outcome::NotSent("drained".into())).await,
        Disposition::Pending(_)
    ));
    assert_eq!(outbox.event(first).await, before);
    assert_eq!(outbox.claim("b", 1).await[0].id, first);
}

async fn the_last_twenty_failures_are_kept(mut outbox: TestOutbox) {
    outbox.policy.retry_after_max = Duration::from_secs(1);
    let event = outbox.submit(1).await[0];
    for number in 1..=25 {
        outbox.advance(Duration::from_mins(1));
        outbox.deliver("worker-7", Outcome::RetryAfter(format!("answer {number}"), Duration::from_secs(1))).await;
    }
    let row = outbox.event(event).await;
    let failures = row.failures.as_array().unwrap();
    assert_eq!(failures.len(), 20);
    assert_eq!((&failures[0]["error"], &failures[19]["error"]), (&"answer 6".into(), &"answer 25".into()));
    assert_eq!(row.last_error.as_deref(), Some("answer 25"));
    let last = &failures[19];
    assert_eq!((&last["attempt"], &last["outcome"], &last["by"]), (&1.into(), &"retry".into(), &"worker-7".into()));
    assert_eq!(last["duration_ms"], 3);
    assert!(last["at"].as_str().unwrap().parse::<chrono::DateTime<Utc>>().is_ok());
}

async fn a_long_error_is_cut_between_characters(outbox: TestOutbox) {
    let event = outbox.submit(1).await[0];
    outbox.deliver("a", Outcome::Retry("é€🦀".repeat(1_000))).await;
    let error = outbox.event(event).await.last_error.unwrap();
    assert_eq!(error.chars().count(), 500);
    assert!(error.starts_with("é€🦀é"));
}

async fn a_fee_record_and_the_confirmation_come_with_the_delivery(outbox: TestOutbox) {
    outbox.submit(1).await;
    let claimed = outbox.claim("a", 1).await.remove(0);
    outbox.settle_at(&fee_server(), "a", &[with_fee(&claimed)]).await;

    let records = outbox.fee_records().await;
    assert_eq!(records.len(), 1);
    assert_eq!((records[0].quote_id, records[0].event_id), (claimed.aggregate_id, claimed.id));
    assert_eq!((records[0].amount_minor, records[0].rate_bps), (37, 150));
    assert_eq!(outbox.quote(claimed.aggregate_id).await.status, quote::Status::Confirmed);
    let row = outbox.event(claimed.id).await;
    assert_eq!((row.status, row.attempts), (Status::Delivered, 1));
    assert_eq!(row.settled_at, Some(records[0].created_at));
    assert!(row.leased_until.is_none());
}

async fn a_refusal_rejects_the_quote(outbox: TestOutbox) {
    outbox.submit(1).await;
    let claimed = outbox.claim("a", 1).await.remove(0);
    outbox.settle_at(&fee_server(), "a", &[attempt(&claimed, Outcome::Refused("422: no such customer".into()))]).await;

    let quote = outbox.quote(claimed.aggregate_id).await;
    assert_eq!(
        (quote.status, quote.status_reason.as_deref()),
        (quote::Status::Rejected, Some("422: no such customer"))
    );
    assert!(outbox.fee_records().await.is_empty());
}

async fn a_quote_keeps_the_fee_that_it_has(outbox: TestOutbox) {
    outbox.submit(1).await;
    let first = outbox.claim("a", 1).await.remove(0);
    outbox.settle_at(&fee_server(), "a", &[with_fee(&first)]).await;
    outbox.record(first.aggregate_id, &FEE_SERVER, 2).await;
    let second = outbox.claim("a", 1).await.remove(0);

    let became = outbox.settle_at(&fee_server(), "a", &[with_fee(&second)]).await;
    assert_eq!(became, [Disposition::Delivered]);
    let records = outbox.fee_records().await;
    assert_eq!((records.len(), records[0].event_id), (1, first.id));
}

/// As many as one statement takes on no database.
async fn a_settle_of_many_settles_all(outbox: TestOutbox) {
    const MANY: usize = 4_000;
    for _ in 0..MANY / 1_000 {
        outbox.submit(1_000).await;
    }
    let claimed = outbox.claim("a", MANY).await;
    assert_eq!(claimed.len(), MANY);
    let attempts: Vec<_> = claimed.iter().map(with_fee).collect();
    let became = outbox.settle_at(&fee_server(), "a", &attempts).await;
    assert!(became.iter().all(|became| *became == Disposition::Delivered));
    assert_eq!(outbox.fee_records().await.len(), MANY);
}

/// An event that worker a claimed, lost, and worker b holds: both leases.
async fn taken_over(outbox: &TestOutbox) -> (LeasedEvent, LeasedEvent) {
    outbox.submit(1).await;
    let late = outbox.claim("a", 1).await.remove(0);
    outbox.advance(TestOutbox::LEASE * 2);
    outbox.rescue("b").await;
    let current = outbox.claim("b", 1).await.remove(0);
    assert_eq!(late.id, current.id);
    assert_ne!(late.lease_token, current.lease_token);
    (late, current)
}

/// More than fits into one statement, with 20 failures each.
async fn many_failures_of_many_kinds_are_each_written_down(mut outbox: TestOutbox) {
    outbox.policy.retry_after_max = Duration::from_secs(1);
    let stored = outbox.submit(200).await;
    let long = "💥 \"quoted\" \\ ".repeat(40);
    let mut due = Vec::new();
    for round in 0..21 {
        outbox.advance(Duration::from_mins(2));
        let claimed = outbox.claim("a", 200).await;
        assert_eq!(claimed.len(), 200);
        let wait = Duration::from_secs(1);
        let attempts: Vec<_> = claimed
            .iter()
            .map(|event| attempt(event, Outcome::<()>::RetryAfter(format!("{round} {} {long}", event.id), wait)))
            .collect();
        due = outbox.settle("a", &attempts).await;
    }
    for (id, became) in stored.iter().zip(&due) {
        let row = outbox.event(*id).await;
        let failures = row.failures.as_array().unwrap();
        assert_eq!((row.status, row.attempts, failures.len()), (Status::Pending, 0, 20));
        assert_eq!(*became, Disposition::Pending(row.due_at));
        assert!(
            failures[19]["error"].as_str().unwrap().starts_with(&format!("20 {id} 💥 \"quoted\" \\ ")),
            "{failures:?}"
        );
    }
    outbox.advance(Duration::from_mins(2));
    let claimed = outbox.claim("a", 200).await;
    let kinds = [delivered(), retry(), refused(), Outcome::NotSent("drained".into())];
    let attempts: Vec<_> = claimed.iter().zip(kinds.iter().cycle()).map(|(e, o)| attempt(e, o.clone())).collect();
    outbox.settle("a", &attempts).await;
    let statuses = [Status::Delivered, Status::Pending, Status::Dead, Status::Pending];
    for (event, (status, attempts)) in claimed.iter().zip(statuses.into_iter().zip([1, 1, 1, 0]).cycle()) {
        let row = outbox.event(event.id).await;
        assert_eq!((row.status, row.attempts), (status, attempts));
        assert_eq!(row.receipt.is_some(), status == Status::Delivered);
    }
}
