//! When a failed attempt is followed by another, and when by none.

use std::time::Duration;

use entity::outbox_event::Status;
use feebox::outbox::{Disposition, Outcome};

use crate::support::{TestOutbox, on_each_engine, retry, unknown};

on_each_engine!(
    delays_follow_the_policy_from_one_attempt_to_the_next,
    a_delay_counts_from_the_end_of_the_attempt,
    an_event_is_dead_after_its_last_attempt,
    a_dead_event_is_not_tried_again,
    what_spends_no_attempt_never_makes_an_event_dead,
    a_retry_after_puts_its_event_off_until_then,
    a_retry_after_is_believed_up_to_a_limit,
    a_retry_after_of_nothing_still_waits_a_little,
    a_large_number_of_attempts_does_not_overflow_the_delay,
);

async fn delays_follow_the_policy_from_one_attempt_to_the_next(outbox: TestOutbox) {
    let event = outbox.submit(1).await[0];
    for (seconds, outcome) in [(10, retry()), (20, unknown()), (40, retry()), (60, retry()), (60, unknown())] {
        let Disposition::Pending(due_at) = outbox.deliver("a", outcome).await else { panic!("it is tried again") };
        assert_eq!(outbox.event(event).await.due_at, due_at);
        outbox.advance(Duration::from_secs(seconds - 1));
        assert!(outbox.claim("a", 1).await.is_empty(), "before {seconds} s");
        outbox.advance(Duration::from_secs(1));
    }
    assert_eq!(outbox.claim("a", 1).await[0].attempt, 6);
}

async fn a_delay_counts_from_the_end_of_the_attempt(outbox: TestOutbox) {
    let event = outbox.submit(1).await[0];
    let claimed = outbox.claim("a", 1).await.remove(0);
    outbox.advance(Duration::from_secs(20));
    let before = outbox.now().await;
    outbox.settle_one("a", &claimed, retry()).await;
    let after = outbox.now().await;
    let ended_at = outbox.event(event).await.due_at - Duration::from_secs(10);
    assert!((before..=after).contains(&ended_at));
}

async fn an_event_is_dead_after_its_last_attempt(outbox: TestOutbox) {
    let event = outbox.submit(1).await[0];
    for _ in 1..6 {
        assert!(matches!(outbox.deliver("a", retry()).await, Disposition::Pending(_)));
        outbox.advance(Duration::from_mins(1));
    }
    let Disposition::Dead(why) = outbox.deliver("a", unknown()).await else { panic!("it is given up") };
    assert!(why.contains("retry.max_attempts = 6"), "{why}");
    let row = outbox.event(event).await;
    assert_eq!((row.status, row.attempts, row.last_error.as_deref()), (Status::Dead, 6, Some("no answer")));
    assert!(row.outcome_unknown && row.settled_at.is_some() && row.leased_until.is_none());
}

async fn a_dead_event_is_not_tried_again(outbox: TestOutbox) {
    let event = outbox.submit(1).await[0];
    outbox.deliver("a", Outcome::Broken("not a fee".into())).await;
    let before = outbox.event(event).await;
    assert_eq!(before.status, Status::Dead);

    outbox.advance(Duration::from_hours(24 * 365));
    assert!(outbox.claim("a", 1).await.is_empty());
    assert!(outbox.rescue("a").await.is_empty());
    assert_eq!(outbox.event(event).await, before);
}

async fn what_spends_no_attempt_never_makes_an_event_dead(mut outbox: TestOutbox) {
    outbox.policy.retry_after_max = Duration::from_secs(1);
    let event = outbox.submit(1).await[0];
    outbox.advance(Duration::from_hours(2));
    for _ in 0..8 {
        outbox.deliver("a", Outcome::RetryAfter("429".into(), Duration::from_secs(1))).await;
        outbox.advance(Duration::from_secs(10));
        outbox.deliver("a", Outcome::NotSent("drained".into())).await;
    }
    outbox.deliver("a", Outcome::Unauthorised("401".into())).await;
    let row = outbox.event(event).await;
    assert_eq!((row.status, row.attempts), (Status::Pending, 0));
}

async fn a_retry_after_puts_its_event_off_until_then(outbox: TestOutbox) {
    let event = outbox.submit(1).await[0];
    let wait = Duration::from_secs(90);
    let before = outbox.now().await;
    let became = outbox.deliver("a", Outcome::RetryAfter("503".into(), wait)).await;
    let after = outbox.now().await;
    let row = outbox.event(event).await;
    assert_eq!(became, Disposition::Pending(row.due_at));
    assert!((before + wait..=after + wait).contains(&row.due_at));
    assert_eq!((row.attempts, row.failures[0]["outcome"].as_str()), (0, Some("retry")));
}

async fn a_retry_after_is_believed_up_to_a_limit(outbox: TestOutbox) {
    let event = outbox.submit(1).await[0];
    outbox.deliver("a", Outcome::RetryAfter("503".into(), Duration::MAX)).await;
    let latest = outbox.now().await + outbox.policy.retry_after_max;
    assert!(outbox.event(event).await.due_at <= latest);
    assert!(outbox.fee_server().await.not_before.unwrap() <= latest);
}

/// Nothing is spent, so that nothing else would ever end the calls.
async fn a_retry_after_of_nothing_still_waits_a_little(outbox: TestOutbox) {
    outbox.submit(1).await;
    outbox.deliver("a", Outcome::RetryAfter("503".into(), Duration::ZERO)).await;
    outbox.advance(Duration::from_secs(9));
    assert!(outbox.claim("a", 1).await.is_empty());
    outbox.advance(Duration::from_secs(1));
    assert_eq!(outbox.claim("a", 1).await.len(), 1);
}

async fn a_large_number_of_attempts_does_not_overflow_the_delay(outbox: TestOutbox) {
    use feebox::outbox::RetryPolicy;
    use feebox::settings::Retry;
    use sea_orm::{ActiveValue::Set, EntityTrait};
    let policy = RetryPolicy::new(Retry {
        initial_interval: Duration::from_hours(24),
        multiplier: 10.0,
        randomization_factor: 1.0,
        max_interval: Duration::from_hours(24),
        max_attempts: 10_000,
        give_up_after: Duration::from_hours(24 * 366),
    });
    let outbox = TestOutbox { policy: feebox::outbox::Policy { retry: policy, ..outbox.policy.clone() }, ..outbox };
    let event = outbox.submit(1).await[0];
    let many = entity::outbox_event::ActiveModel { attempts: Set(9_990), ..Default::default() };
    entity::outbox_event::Entity::update_many().set(many).exec(outbox.db.connection()).await.unwrap();

    outbox.deliver("a", retry()).await;
    let row = outbox.event(event).await;
    assert_eq!((row.status, row.attempts), (Status::Pending, 9_991));
    assert!(row.due_at <= outbox.now().await + Duration::from_hours(48));
}
