//! What open pages ask of the API. Pages that show the same share a question, however many are open. Its answer holds until it is asked
//! again, and nothing is asked when nobody listens.

use std::{collections::HashMap, pin::pin, sync::Arc, time::Duration};

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
/// Questions take turns: what is asked of a database on a small machine leaves a processor to submissions. A turn lasts so long at most: the
/// next question does not wait for a slow answer.
const TURN_MAX: Duration = Duration::from_millis(100);
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
    /// [`TURN_MAX`].
    turn_max: Duration,
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
        let turn = Arc::new(Semaphore::new(1));
        Self { api, asked: Arc::default(), turn, turn_max: TURN_MAX, pause_min: PAUSE_MIN }
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
            let turn = self.questions.turn.acquire().await;
            let asked_at = Instant::now();
            let Question { call, fresh_since, .. } = &self.question;
            let mut answer = pin!(self.questions.answer(call, &self.headers, fresh_since.is_some()));
            let in_turn = timeout(self.questions.turn_max, &mut answer).await;
            drop(turn);
            let answer = match in_turn {
                Ok(answer) => Arc::new(answer),
                Err(_) => Arc::new(answer.await),
            };
            let (took, is_good) = (asked_at.elapsed(), answer.is_good());
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
mod tests;
