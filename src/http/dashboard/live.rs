//! What open pages show, told when it changes: a stream of server-sent events (HTML Living Standard, 9.2) with the answers to those calls
//! of the API that a page names. The calls are made in this process, with the rights of the one who listens. Pages that show the same share a
//! question, however many are open, and nothing is asked when nobody listens.

use std::{collections::HashMap, convert::Infallible, future::ready, sync::Arc, time::Duration};

use axum::{
    Extension, Router,
    body::{Body, to_bytes},
    extract::{RawQuery, Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Uri, header},
    response::{
        IntoResponse, Response,
        sse::{Event, Sse},
    },
};
use futures_util::{StreamExt, stream};
use parking_lot::Mutex;
use serde::de::IgnoredAny;
use serde_json::Value;
use tokio::{
    sync::watch,
    time::{Instant, sleep, sleep_until},
};
use tower::ServiceExt;
use url::form_urlencoded;

use super::super::{
    AppState,
    access::Caller,
    problem::{Kind, Problem},
};

/// The pause between two questions, at least: nobody reads faster.
const PAUSE_MIN: Duration = Duration::from_secs(2);
/// A pause is so many times as long as the answer took, so that one question keeps a connection busy for a twentieth of the time.
const PAUSE_FACTOR: u32 = 20;
/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(15);
/// How often a listener is told that its stream goes on: what changes seldom is then known to be up to date.
const BEAT: Duration = Duration::from_secs(3);
/// A stream ends after this, sooner than an idle connection is closed; who listens comes again, with the rights that it has by then.
const LIFE: Duration = Duration::from_secs(55);
/// The calls of one page at most.
const CALLS_MAX: usize = 8;
/// The questions of all pages at most.
const QUESTIONS_MAX: usize = 256;
/// The longest call.
const CALL_BYTES_MAX: usize = 2048;
/// No answer of the API to a page is larger.
const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;

/// What is asked for those who listen.
#[derive(Clone)]
pub(in crate::http) struct Live {
    api: Router,
    questions: Arc<Mutex<HashMap<Question, watch::Sender<Told>>>>,
    /// [`PAUSE_MIN`].
    pause_min: Duration,
}

/// A call, and with whose rights it is made.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Question {
    caller: Caller,
    call: String,
    /// Something was changed then, by the clock of who listens: an answer from before, or of a replica, will not do.
    fresh_since: Option<u64>,
}

/// The last answer, as the data of an event; none before the first.
type Told = Option<Arc<str>>;

impl Live {
    /// For calls of `api`.
    pub fn of(api: Router) -> Self {
        Self { api, questions: Arc::default(), pause_min: PAUSE_MIN }
    }

    /// The answers to `question`, from the last one on; none if too much is asked already. `headers` are those of a request with the
    /// rights of its caller.
    fn answers(&self, call: Uri, question: Question, headers: &HeaderMap) -> Option<watch::Receiver<Told>> {
        let mut questions = self.questions.lock();
        if let Some(asked) = questions.get(&question) {
            let mut answers = asked.subscribe();
            answers.mark_changed();
            return Some(answers);
        }
        if questions.len() >= QUESTIONS_MAX {
            return None;
        }
        let (sender, answers) = watch::channel(None);
        questions.insert(question.clone(), sender.clone());
        let headers = for_call(headers, question.fresh_since.is_some());
        let asked = Asked { live: self.clone(), question, call, headers, sender };
        tokio::spawn(asked.ask());
        Some(answers)
    }
}

/// A question that somebody listens to. It is taken off the list when this is dropped, however that comes about.
struct Asked {
    live: Live,
    question: Question,
    call: Uri,
    headers: HeaderMap,
    sender: watch::Sender<Told>,
}

impl Asked {
    /// Asks until nobody listens.
    async fn ask(self) {
        loop {
            let begun = Instant::now();
            let told = self.answer().await;
            let took = begun.elapsed();
            self.sender.send_if_modified(|last| {
                let is_new = last.as_deref() != Some(&*told);
                if is_new {
                    *last = Some(told);
                }
                is_new
            });
            let pause = (took * PAUSE_FACTOR).clamp(self.live.pause_min, PAUSE_MAX);
            tokio::select! {
                () = sleep(pause) => {}
                () = self.sender.closed() => {
                    let mut questions = self.live.questions.lock();
                    // Somebody may have come since.
                    if self.sender.is_closed() {
                        questions.remove(&self.question);
                        return;
                    }
                }
            }
        }
    }

    /// The data of an event: `{"call": …, "status": …, "age": …, "body": …}`.
    async fn answer(&self) -> Arc<str> {
        let mut request = Request::new(Body::empty());
        *request.uri_mut() = self.call.clone();
        *request.headers_mut() = self.headers.clone();
        let Ok(answer) = self.live.api.clone().oneshot(request).await;
        let (status, age) = (answer.status().as_u16(), answer.headers().get(header::AGE).cloned());
        let age = age.and_then(|age| age.to_str().ok()?.parse::<u64>().ok()).unwrap_or_default();
        let body = to_bytes(answer.into_body(), ANSWER_BYTES_MAX).await.unwrap_or_default();
        let body = serde_json::from_slice::<IgnoredAny>(&body).ok().and_then(|_| str::from_utf8(&body).ok());
        let (call, body) = (Value::from(&*self.question.call), body.unwrap_or("null"));
        format!(r#"{{"call":{call},"status":{status},"age":{age},"body":{body}}}"#).into()
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        let mut questions = self.live.questions.lock();
        if questions.get(&self.question).is_some_and(|sender| sender.same_channel(&self.sender)) {
            questions.remove(&self.question);
        }
    }
}

/// `GET /dashboard/live?call=/v1/stats&call=…`, and `&fresh=1790000000000` if something was changed then. The stream has an event `answer` for each call's
/// first answer and for each that differs from the one before, and a `beat` every few seconds; it closes with an `end`.
pub(super) async fn listen(
    State(state): State<AppState>,
    Extension(live): Extension<Live>,
    Extension(caller): Extension<Caller>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let (calls, fresh_since) = read(query.as_deref().unwrap_or_default())?;
    let answers = calls.into_iter().map(|call| {
        let question = Question { caller: caller.clone(), call: call.to_string(), fresh_since };
        live.answers(call, question, &headers)
    });
    let answers: Option<Vec<_>> = answers.collect();
    let answers =
        answers.ok_or_else(|| Problem::new(Kind::Overloaded, "too many pages are open; ask for each answer"))?;
    let told = answers.into_iter().map(|answers| {
        stream::unfold(answers, async |mut answers| {
            answers.changed().await.ok()?;
            let told = answers.borrow_and_update().clone();
            Some((told, answers))
        })
        .boxed()
    });
    let told =
        stream::select_all(told).filter_map(|told| ready(told.map(|told| Event::default().event("answer").data(told))));
    let beats = stream::unfold((), async |()| {
        sleep(BEAT).await;
        Some((Event::default().event("beat").data(""), ()))
    });
    let end = Instant::now() + LIFE;
    let over = async move {
        tokio::select! {
            () = sleep_until(end) => {}
            () = state.health.leaving().cancelled() => {}
            () = state.drain.cancelled() => {}
        }
    };
    let last = stream::once(ready(Event::default().event("end").data("")));
    let events = stream::select(told, beats.boxed()).take_until(over).chain(last).map(Ok::<_, Infallible>);
    // A proxy that collects answers would keep them from the page.
    Ok(([(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"))], Sse::new(events))
        .into_response())
}

/// The calls that `query` names, and since when they must be fresh.
fn read(query: &str) -> Result<(Vec<Uri>, Option<u64>), Problem> {
    let (mut calls, mut fresh_since, mut errors) = (Vec::new(), None, Vec::new());
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        match (&*name, &*value) {
            ("call", value) => match call(value) {
                Some(call) => calls.push(call),
                None => errors.push(format!("call is {value:?}; send a path of the API, such as /v1/stats")),
            },
            ("fresh", value) => match value.parse() {
                Ok(since) => fresh_since = Some(since),
                Err(_) => errors.push(format!("fresh is {value:?}; send a time in milliseconds")),
            },
            _ => errors.push(format!("{name:?} is unknown; the known parameters are call, fresh")),
        }
    }
    if !(1..=CALLS_MAX).contains(&calls.len()) && errors.is_empty() {
        errors.push(format!("there are {} calls; send 1 to {CALLS_MAX}", calls.len()));
    }
    if errors.is_empty() {
        Ok((calls, fresh_since))
    } else {
        Err(Problem::new(Kind::InvalidParameter, errors.join("; and ")))
    }
}

/// A call of the API; one that waits for a quote would answer when the page has it already.
fn call(text: &str) -> Option<Uri> {
    let call: Uri = text.parse().ok()?;
    let waits = form_urlencoded::parse(call.query().unwrap_or_default().as_bytes()).any(|(name, _)| name == "wait");
    (text.len() <= CALL_BYTES_MAX && text.starts_with("/v1/") && !waits).then_some(call)
}

/// The headers of a call on behalf of who sent `headers`.
fn for_call(headers: &HeaderMap, is_fresh: bool) -> HeaderMap {
    let mut headers = headers.clone();
    let freshness = if is_fresh { "no-cache" } else { "max-age=86400" };
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(freshness));
    headers
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use axum::routing::get;

    use super::*;
    use crate::{http::access::Access, settings};

    /// An API that answers how often it was asked, but no more than twice.
    fn counting() -> (Live, Arc<AtomicU32>) {
        let asked = Arc::new(AtomicU32::new(0));
        let count = Arc::clone(&asked);
        let api = Router::new()
            .route("/v1/count", get(async move || (count.fetch_add(1, Ordering::Relaxed) + 1).min(2).to_string()));
        (Live { pause_min: Duration::from_millis(1), ..Live::of(api) }, asked)
    }

    async fn next(answers: &mut watch::Receiver<Told>) -> String {
        answers.changed().await.expect("an answer");
        answers.borrow_and_update().as_deref().expect("an answer").to_owned()
    }

    #[tokio::test]
    async fn who_listens_to_the_same_shares_a_question_and_nothing_is_asked_when_nobody_listens() {
        let (live, asked) = counting();
        let caller = Access::new(&settings::Access { tokens: vec![] }).caller(&HeaderMap::new()).expect("everybody");
        let listen = |fresh_since| {
            let question = Question { caller: caller.clone(), call: "/v1/count".into(), fresh_since };
            live.answers(Uri::from_static("/v1/count"), question, &HeaderMap::new()).expect("room")
        };
        let mut first = listen(None);
        assert_eq!(next(&mut first).await, r#"{"call":"/v1/count","status":200,"age":0,"body":1}"#);
        let mut second = listen(None);
        next(&mut second).await;
        assert_eq!(live.questions.lock().len(), 1);
        assert!(next(&mut first).await.ends_with(r#""body":2}"#));
        while asked.load(Ordering::Relaxed) < 5 {
            tokio::task::yield_now().await;
        }
        assert!(!first.has_changed().expect("it goes on"), "the same answer is not told again");
        // Something was changed then: what was answered before is not told.
        let last = second.borrow_and_update().clone();
        let mut fresh = listen(Some(7));
        assert!(!fresh.has_changed().expect("it goes on"));
        next(&mut fresh).await;
        assert_eq!(*fresh.borrow(), last);
        drop((first, second, fresh));
        while !live.questions.lock().is_empty() {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn no_more_is_asked_than_the_limit_permits() {
        let (live, _) = counting();
        let caller = Access::new(&settings::Access { tokens: vec![] }).caller(&HeaderMap::new()).expect("everybody");
        let listen = |number: u64| {
            let question = Question { caller: caller.clone(), call: "/v1/count".into(), fresh_since: Some(number) };
            live.answers(Uri::from_static("/v1/count"), question, &HeaderMap::new())
        };
        let most: Vec<_> = (0..QUESTIONS_MAX as u64).map(|number| listen(number).expect("room")).collect();
        assert!(listen(u64::MAX).is_none());
        assert!(listen(0).is_some(), "what is asked already has more listeners");
        drop(most);
    }

    #[test]
    fn a_page_names_calls_of_the_api_and_nothing_else() {
        let calls = |query: &str| read(query).map(|(calls, fresh_since)| (calls.len(), fresh_since)).ok();
        assert_eq!(calls("call=/v1/stats"), Some((1, None)));
        assert_eq!(calls("call=%2Fv1%2Foutbox%3Flimit%3D50&call=/v1/causes&fresh=7"), Some((2, Some(7))));
        for wrong in [
            "",
            "call=/metrics",
            "call=/dashboard/live",
            "call=https://elsewhere.example/v1/stats",
            "call=//elsewhere.example/v1/",
            "call=/v1/quotes/1%3Fwait%3D10s",
            "call=/v1/stats&fresh=no",
            "call=/v1/stats&every=1s",
            &format!("call=/v1/{}", "x".repeat(CALL_BYTES_MAX)),
            &"call=/v1/stats&".repeat(CALLS_MAX + 1),
        ] {
            assert_eq!(calls(wrong), None, "{wrong}");
        }
    }
}
