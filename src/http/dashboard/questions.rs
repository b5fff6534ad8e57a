//! What open pages ask of the API. Pages that show the same share a question, however many are open. Its answer holds until it is asked
//! again, and nothing is asked when nobody listens.

use std::{collections::HashMap, sync::Arc, time::Duration};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::Request,
    http::{HeaderMap, HeaderValue, header},
};
use parking_lot::Mutex;
use serde_json::Value;
use tokio::{
    sync::{Semaphore, watch},
    time::{Instant, sleep, timeout},
};
use tower::ServiceExt;

use super::{super::access::Caller, view::Answer};

/// The pause between two questions, at least: nobody reads faster.
const PAUSE_MIN: Duration = Duration::from_secs(2);
/// A pause is so many times as long as all answers took that are asked for, so that the dashboards of a process keep the database busy for a
/// hundredth of the time, or for more where that would need more than [`PAUSE_MAX`].
const PAUSE_FACTOR: u32 = 100;
/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(15);
/// The longest pause after a failure, which may be over by then.
const PAUSE_AFTER_FAILURE_MAX: Duration = Duration::from_secs(5);
/// Questions take turns: what is asked of a database on a small machine leaves a processor to submissions. Who has waited for so long goes
/// ahead, whatever the others' answers take.
const TURN_WAIT_MAX: Duration = Duration::from_millis(100);
/// The questions of all pages at most.
const QUESTIONS_MAX: usize = 256;
/// No answer of the API to a page is larger.
const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;

/// The API, as pages ask it.
#[derive(Clone)]
pub(in crate::http) struct Questions {
    api: Router,
    asked: Arc<Mutex<HashMap<Question, Entry>>>,
    /// Who has it asks.
    turn: Arc<Semaphore>,
    /// [`PAUSE_MIN`].
    pause_min: Duration,
}

/// A call, and with whose rights it is made.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Question {
    pub caller: Caller,
    pub call: String,
    /// Something was changed then, by the clock of who listens: an answer from before, or of a replica, will not do.
    pub fresh_since: Option<u64>,
}

/// The last answer; none before the first.
pub(super) type Told = Option<Arc<Answer>>;

/// What is known of a question.
struct Entry {
    sender: watch::Sender<Told>,
    /// When the last answer was asked for.
    asked_at: Option<Instant>,
    /// How long it took, unless it was a failure.
    took: Duration,
}

impl Entry {
    /// Takes an answer in, unless it is known what was answered to somebody who asked later.
    fn learn(&mut self, answer: Arc<Answer>, asked_at: Instant) {
        if self.asked_at.is_some_and(|last| last > asked_at) {
            return;
        }
        self.asked_at = Some(asked_at);
        self.sender.send_if_modified(|last| {
            let is_new = last.as_deref() != Some(&*answer);
            if is_new {
                *last = Some(answer);
            }
            is_new
        });
    }
}

impl Questions {
    /// Asks `api`.
    pub fn of(api: Router) -> Self {
        Self { api, asked: Arc::default(), turn: Arc::new(Semaphore::new(1)), pause_min: PAUSE_MIN }
    }

    /// An answer to `question`: the last one, if it is asked already, for which nobody waits then. Who reads a page listens to it next, and
    /// that is the same question.
    pub(super) async fn answer_once(&self, question: Question, headers: &HeaderMap) -> Arc<Answer> {
        let call = question.call.clone();
        if let Some(mut answers) = self.answers(question, headers)
            && let Ok(told) = answers.wait_for(Option::is_some).await
            && let Some(answer) = told.clone()
        {
            return answer;
        }
        self.answer(&call, headers, false).await.into()
    }

    /// An answer to `call` that is asked for now. Who listens to the same is told it, too: what a page shows first is not older than what it
    /// hears next.
    pub(super) async fn fresh_answer(&self, caller: &Caller, call: &str, headers: &HeaderMap) -> Arc<Answer> {
        let asked_at = Instant::now();
        let answer = Arc::new(self.answer(call, headers, true).await);
        if answer.is_good() {
            for (question, entry) in self.asked.lock().iter_mut() {
                if question.caller == *caller && question.call == call {
                    entry.learn(Arc::clone(&answer), asked_at);
                }
            }
        }
        answer
    }

    /// The answers to `question`, from the last one on; none if too much is asked already. `headers` are those of a request with the
    /// rights of its caller.
    pub(super) fn answers(&self, question: Question, headers: &HeaderMap) -> Option<watch::Receiver<Told>> {
        let mut all = self.asked.lock();
        if let Some(Entry { sender, .. }) = all.get(&question) {
            let mut answers = sender.subscribe();
            answers.mark_changed();
            return Some(answers);
        }
        if all.len() >= QUESTIONS_MAX {
            // Those whose answers only wait for somebody who may come.
            all.retain(|_, entry| !entry.sender.is_closed());
        }
        if all.len() >= QUESTIONS_MAX {
            return None;
        }
        let (sender, answers) = watch::channel(None);
        all.insert(question.clone(), Entry { sender: sender.clone(), asked_at: None, took: Duration::ZERO });
        // A runtime that shuts down drops at once what it is to spawn, and that takes itself off the list.
        drop(all);
        let asked = Asked { questions: self.clone(), headers: headers.clone(), question, sender };
        tokio::spawn(asked.ask());
        Some(answers)
    }

    /// Notes how long a good answer to `question` took, and returns how long it is to rest.
    fn pause_after(&self, question: &Question, took: Duration, is_good: bool) -> Duration {
        let mut all = self.asked.lock();
        if let Some(entry) = all.get_mut(question) {
            entry.took = if is_good { took } else { Duration::ZERO };
        }
        if !is_good {
            return took.clamp(self.pause_min, PAUSE_AFTER_FAILURE_MAX);
        }
        let is_asked = |(it, entry): &(&Question, &Entry)| *it == question || !entry.sender.is_closed();
        let all_took: Duration = all.iter().filter(is_asked).map(|(_, entry)| entry.took).sum();
        (all_took * PAUSE_FACTOR).clamp(self.pause_min, PAUSE_MAX)
    }

    /// Calls the API on behalf of who sent `headers`. The answer may be that of a replica, unless it must be fresh.
    pub(super) async fn answer(&self, call: &str, headers: &HeaderMap, is_fresh: bool) -> Answer {
        let Ok(uri) = call.parse() else { return Answer { status: 404, age: 0, body: Value::Null } };
        let mut request = Request::new(Body::empty());
        *request.uri_mut() = uri;
        *request.headers_mut() = headers.clone();
        let freshness = if is_fresh { "no-cache" } else { "max-age=86400" };
        request.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static(freshness));
        let Ok(answer) = self.api.clone().oneshot(request).await;
        let (status, age) = (answer.status().as_u16(), answer.headers().get(header::AGE).cloned());
        let age = age.and_then(|age| age.to_str().ok()?.parse::<u64>().ok()).unwrap_or_default();
        let body = to_bytes(answer.into_body(), ANSWER_BYTES_MAX).await.unwrap_or_default();
        Answer { status, age, body: serde_json::from_slice(&body).unwrap_or_default() }
    }
}

/// A question that somebody listens to. It is taken off the list when this is dropped, however that comes about.
struct Asked {
    questions: Questions,
    question: Question,
    headers: HeaderMap,
    sender: watch::Sender<Told>,
}

impl Asked {
    /// Asks until nobody listens when the next answer is due.
    async fn ask(self) {
        loop {
            let turn = timeout(TURN_WAIT_MAX, self.questions.turn.acquire()).await;
            let asked_at = Instant::now();
            let Question { call, fresh_since, .. } = &self.question;
            let answer = Arc::new(self.questions.answer(call, &self.headers, fresh_since.is_some()).await);
            let (took, is_good) = (asked_at.elapsed(), answer.is_good());
            drop(turn);
            if let Some(entry) = self.questions.asked.lock().get_mut(&self.question) {
                entry.learn(answer, asked_at);
            }
            // Who comes within the pause gets this answer, although everybody else may have left.
            sleep(self.questions.pause_after(&self.question, took, is_good)).await;
            let mut all = self.questions.asked.lock();
            if !all.get(&self.question).is_some_and(|entry| entry.sender.same_channel(&self.sender)) {
                return;
            }
            if self.sender.is_closed() {
                all.remove(&self.question);
                return;
            }
        }
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        let mut all = self.questions.asked.lock();
        if all.get(&self.question).is_some_and(|entry| entry.sender.same_channel(&self.sender)) {
            all.remove(&self.question);
        }
    }
}

#[cfg(test)]
mod tests {
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
        let mut answers: Vec<_> = (0..8).map(|of| ask_for(&questions, &format!("/v1/quick/{of}"), None)).collect();
        for answers in &mut answers {
            assert_eq!(next(answers.as_mut().expect("room")).await.body, true, "two at a time");
        }
        let mut last = ["/v1/slow", "/v1/quick/8"].map(|call| ask_for(&questions, call, None).expect("room"));
        assert_eq!(next(&mut last[1]).await.body, true);
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
        let most: Vec<_> =
            (0..QUESTIONS_MAX as u64).map(|number| ask(&questions, Some(number)).expect("room")).collect();
        assert!(ask(&questions, Some(u64::MAX)).is_none());
        assert!(ask(&questions, Some(0)).is_some(), "what is asked already has more listeners");
        drop(most);
        assert!(ask(&questions, Some(u64::MAX)).is_some(), "answers that nobody waits for make room");
    }
}
