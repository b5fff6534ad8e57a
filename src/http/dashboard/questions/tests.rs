use std::sync::atomic::{AtomicU32, Ordering};

use axum::routing::get;

use super::*;
use crate::{http::access::Access, settings};

/// An API that answers how often it was asked, but no more than twice.
fn counting() -> (Questions, Arc<AtomicU32>) {
    let asked = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&asked);
    let api = Router::new()
        .route("/v1/count", get(async move || (count.fetch_add(1, Ordering::Relaxed) + 1).min(2).to_string()));
    (Questions { pause_min: Duration::from_millis(1), ..Questions::of(api) }, asked)
}

fn ask(questions: &Questions, fresh_since: Option<u64>) -> Option<watch::Receiver<Told>> {
    ask_for(questions, "/v1/count", fresh_since)
}

fn ask_for(questions: &Questions, call: &str, fresh_since: Option<u64>) -> Option<watch::Receiver<Told>> {
    let caller = Access::new(&settings::Access { tokens: vec![] }).caller(&HeaderMap::new()).expect("everybody");
    questions.answers(Question { caller, call: call.into(), fresh_since }, &HeaderMap::new())
}

async fn next(answers: &mut watch::Receiver<Told>) -> Arc<Answer> {
    answers.changed().await.expect("an answer");
    answers.borrow_and_update().clone().expect("an answer")
}

#[tokio::test]
async fn who_listens_to_the_same_shares_a_question_and_nothing_is_asked_when_nobody_listens() {
    let (questions, asked) = counting();
    let mut first = ask(&questions, None).expect("room");
    assert_eq!(*next(&mut first).await, Answer { status: 200, age: 0, body: 1.into() });
    let mut second = ask(&questions, None).expect("room");
    next(&mut second).await;
    assert_eq!(questions.asked.lock().len(), 1);
    assert_eq!(next(&mut first).await.body, 2);
    while asked.load(Ordering::Relaxed) < 5 {
        tokio::task::yield_now().await;
    }
    assert!(!first.has_changed().expect("it goes on"), "the same answer is not told again");
    // Something was changed then: what was answered before is not told.
    let last = second.borrow_and_update().clone();
    let mut fresh = ask(&questions, Some(7)).expect("room");
    assert!(!fresh.has_changed().expect("it goes on"));
    next(&mut fresh).await;
    assert_eq!(*fresh.borrow(), last);
    drop((first, second, fresh));
    while !questions.asked.lock().is_empty() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn who_comes_back_before_it_is_asked_again_gets_the_last_answer() {
    let (questions, asked) = counting();
    let questions = Questions { pause_min: PAUSE_MAX, ..questions };
    for _ in 0..3 {
        let mut answers = ask(&questions, None).expect("room");
        assert_eq!(next(&mut answers).await.body, 1);
    }
    assert_eq!(asked.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_question_rests_the_longer_the_more_all_of_them_take() {
    let (questions, _) = counting();
    let _listeners = [ask(&questions, None), ask(&questions, Some(1))];
    let all: Vec<_> = questions.asked.lock().keys().cloned().collect();
    let pause = |index: usize, ms| questions.pause_after(&all[index], Duration::from_millis(ms), true).as_millis();
    assert_eq!([pause(0, 10), pause(1, 30), pause(0, 5), pause(1, 0)], [1_000, 4_000, 3_500, 500]);
    assert_eq!(pause(1, 1_000), PAUSE_MAX.as_millis());
    let failed = questions.pause_after(&all[1], Duration::from_mins(1), false);
    assert_eq!(failed, PAUSE_AFTER_FAILURE_MAX, "it may be over");
    assert_eq!(pause(0, 0), 1, "never less than the least; a failure counts for nothing");
}

#[tokio::test]
async fn questions_take_turns_and_a_slow_one_holds_up_nobody() {
    let room = Arc::new(Semaphore::new(1));
    let quick = async move || {
        let turn = room.try_acquire();
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
        turn.is_ok().to_string()
    };
    let slow = async || std::future::pending::<&str>().await;
    let questions = Questions::of(Router::new().route("/v1/quick/{of}", get(quick)).route("/v1/slow", get(slow)));
    // Longer than a machine stands still.
    let questions = Questions { turn_max: Duration::from_mins(1), ..questions };
    let mut answers: Vec<_> = (0..8).map(|of| ask_for(&questions, &format!("/v1/quick/{of}"), None)).collect();
    for answers in &mut answers {
        assert_eq!(next(answers.as_mut().expect("room")).await.body, true, "two at a time");
    }
    let questions = Questions { turn_max: Duration::from_millis(1), ..questions };
    let mut last = ["/v1/slow", "/v1/quick/8"].map(|call| ask_for(&questions, call, None).expect("room"));
    let after = timeout(Duration::from_mins(1), next(&mut last[1])).await;
    assert_eq!(after.expect("it goes ahead").body, true);
}

#[tokio::test]
async fn a_fresh_answer_is_told_to_who_listens() {
    let (questions, asked) = counting();
    let questions = Questions { pause_min: PAUSE_MAX, ..questions };
    let mut answers = ask(&questions, None).expect("room");
    assert_eq!(next(&mut answers).await.body, 1);
    let caller = questions.asked.lock().keys().next().expect("a question").caller.clone();
    let fresh = questions.fresh_answer(&caller, "/v1/count", &HeaderMap::new()).await;
    assert_eq!((&fresh.body, &next(&mut answers).await.body), (&2.into(), &2.into()));
    assert_eq!(asked.load(Ordering::Relaxed), 2);
    let before = Instant::now().checked_sub(PAUSE_MAX).expect("a time");
    let older = Arc::new(Answer { status: 200, age: 0, body: 1.into() });
    for entry in questions.asked.lock().values_mut() {
        entry.learn(Arc::clone(&older), before);
    }
    assert!(!answers.has_changed().expect("it goes on"), "an answer that comes late is not told");
}

#[tokio::test]
async fn no_more_is_asked_than_the_limit_permits() {
    let (questions, _) = counting();
    let most: Vec<_> = (0..QUESTIONS_MAX as u64).map(|number| ask(&questions, Some(number)).expect("room")).collect();
    assert!(ask(&questions, Some(u64::MAX)).is_none());
    assert!(ask(&questions, Some(0)).is_some(), "what is asked already has more listeners");
    drop(most);
    assert!(ask(&questions, Some(u64::MAX)).is_some(), "answers that nobody waits for make room");
}
