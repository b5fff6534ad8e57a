//! An audit reads the tables in slices, and finds what one read of everything would find.

use std::time::Duration;

use feebox::audit::{Checker, Violation};
use feebox::outbox::Outcome;
use uuid::Uuid;

use crate::support::{Desk, desk_tests};

desk_tests!(
    violations_of_each_promise_are_found_in_slices_of_any_size,
    a_violation_that_heals_between_two_reads_is_not_reported,
    a_slice_is_bounded_also_where_only_events_or_fee_records_are_left,
);

const WEEK: Duration = Duration::from_hours(7 * 24);

/// Breaks promises 1 to 6, three times each, with sound quotes in between.
async fn break_promises(desk: &Desk) {
    for _ in 0..3 {
        let (orphaned, _) = desk.submit().await;
        desk.sql(&format!("DELETE FROM quote WHERE id = {}", desk.quoted(orphaned))).await;
        let (_, lost) = desk.submit().await;
        desk.sql(&format!("DELETE FROM outbox_event WHERE id = {}", desk.quoted(lost))).await;
        // Its event has no quote that a fee record could refer to.
        desk.sql(&format!("UPDATE outbox_event SET due_at = {} WHERE status = 'pending'", later(desk))).await;
        let mut delivered = vec![];
        for _ in 0..5 {
            delivered.push(desk.submit().await);
        }
        desk.deliver().await;
        let of = |n: usize| desk.quoted(delivered[n].0);
        desk.sql(&format!("UPDATE fee_record SET currency = 'USD' WHERE quote_id = {}", of(0))).await;
        desk.sql(&format!("UPDATE quote SET status = 'cancelled' WHERE id = {}", of(1))).await;
        desk.sql(&format!("DELETE FROM fee_record WHERE quote_id = {}", of(2))).await;
        desk.submission.cancel(delivered[3].0, None, None).await.unwrap();
        desk.deliver().await;
        let event = desk.quoted(delivered[3].1);
        desk.sql(&format!("UPDATE outbox_event SET status = 'pending', due_at = {} WHERE id = {event}", later(desk)))
            .await;
        desk.submit_refused().await;
    }
}

fn later(desk: &Desk) -> &'static str {
    use sea_orm::DbBackend;
    match desk.db.connection().get_database_backend() {
        DbBackend::Sqlite => "'2999-01-01T00:00:00+00:00'",
        _ => "'2999-01-01 00:00:00'",
    }
}

async fn violations_of_each_promise_are_found_in_slices_of_any_size(desk: Desk) {
    break_promises(&desk).await;
    let mut at_once = in_slices(&desk, 10_000).await;
    assert_eq!(at_once.len(), 1, "everything fits into one slice");
    let at_once = at_once.remove(0);
    for promise in 1..=6 {
        let found = at_once.iter().filter(|violation| violation.promise == promise).count();
        assert!(found >= 3, "promise {promise}: {at_once:#?}");
    }
    for rows in [1, 2, 3, 7] {
        let slices = in_slices(&desk, rows).await;
        assert!(slices.len() as u64 > 20 / rows, "{rows} at a time");
        let mut found = slices.concat();
        found.sort();
        assert_eq!(found, at_once, "{rows} at a time");
    }
}

async fn a_violation_that_heals_between_two_reads_is_not_reported(desk: Desk) {
    let quotes = desk.submit_many(2).await;
    let all = "UPDATE outbox_event SET status = 'cancelled'";
    desk.sql(all).await;
    let mut checker = Checker::new(&desk.db, WEEK, 100);
    let scope = checker.following(Uuid::nil()).await.unwrap().scope;
    let suspected = checker.suspected(&scope).await.unwrap();
    assert_eq!(suspected.len(), 2);
    let healed = desk.quoted(quotes[0].1);
    desk.sql(&format!("UPDATE outbox_event SET status = 'pending' WHERE id = {healed}")).await;
    let confirmed = checker.confirmed(&scope, suspected.clone()).await.unwrap();
    assert_eq!(confirmed.iter().map(|it| it.quote_id).collect::<Vec<_>>(), [quotes[1].0]);
    assert_eq!(checker.following(Uuid::nil()).await.unwrap().violations, confirmed);
    desk.sql("UPDATE outbox_event SET status = 'pending'").await;
    assert_eq!(checker.confirmed(&scope, suspected).await.unwrap(), []);
    desk.fail(Outcome::Retry("503".into())).await;
    assert_eq!(desk.audit().await, []);
}

async fn a_slice_is_bounded_also_where_only_events_or_fee_records_are_left(desk: Desk) {
    desk.submit_many(40).await;
    desk.sql("DELETE FROM quote").await;
    desk.submit_many(3).await;
    let slices = in_slices(&desk, 2).await;
    assert_eq!(slices.concat().len(), 40);
    // Four events a quote.
    assert!(slices.iter().all(|found| found.len() <= 8), "{slices:#?}");
}

/// What an audit finds that checks so many quotes at a time, slice by slice.
async fn in_slices(desk: &Desk, rows: u64) -> Vec<Vec<Violation>> {
    let (mut checker, mut after, mut slices) = (Checker::new(&desk.db, WEEK, rows), Uuid::nil(), vec![]);
    loop {
        let slice = checker.following(after).await.unwrap();
        assert!(slice.quotes <= rows, "{} quotes", slice.quotes);
        let mut found = slice.violations;
        found.sort();
        slices.push(found);
        match slice.scope {
            feebox::audit::Scope::Between { through: Some(through), .. } => {
                assert!(through > after);
                after = through;
            }
            _ => return slices,
        }
    }
}
