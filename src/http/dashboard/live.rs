//! An open page, told anew when it changes: a stream of server-sent events (HTML Living Standard, 9.2), each of which is the whole page.
//! What the page needs is asked with the rights of the one who listens ([`Questions`]).

use std::{convert::Infallible, future::ready, sync::Arc, time::Duration};

use axum::{
    Extension,
    extract::{RawQuery, State},
    http::{HeaderMap, HeaderName, HeaderValue, Uri},
    response::{
        IntoResponse, Response,
        sse::{Event, Sse},
    },
};
use chrono::Utc;
use futures_util::{
    StreamExt,
    future::{join_all, select_all},
    stream,
};
use tokio::{
    sync::watch,
    time::{Instant, sleep, sleep_until},
};
use url::form_urlencoded;

use super::{
    super::{
        AppState,
        access::Caller,
        problem::{Kind, Problem},
    },
    address::Address,
    layout,
    questions::{Question, Questions, Told},
    text::Language,
    view::{Answers, Reader, View, calls},
};

/// An open page is written again at most so often, in step with its beginning: several answers make one page, and not all listeners are
/// told at the same moment.
const STEP: Duration = Duration::from_secs(2);
/// How often a listener is told that its stream goes on: what changes seldom is then known to be up to date.
const BEAT: Duration = Duration::from_secs(3);
/// A stream ends after this, sooner than an idle connection is closed; who listens comes again, with the rights that it has by then.
const LIFE: Duration = Duration::from_secs(55);
/// The longest address.
const ADDRESS_BYTES_MAX: usize = 2048;

/// A page that somebody has open.
struct Open {
    questions: Questions,
    headers: HeaderMap,
    reader: Reader,
    address: Address,
    fresh_since: Option<u64>,
    asked: Vec<(&'static str, watch::Receiver<Told>)>,
    answers: Answers,
    opened_at: Instant,
    told: String,
}

impl Open {
    /// Asks what the page needs and has not asked yet; false if too much is asked already.
    fn ask(&mut self) -> bool {
        for (name, call) in calls(&self.address, &self.answers, Utc::now()) {
            if self.asked.iter().any(|(asked, _)| *asked == name) {
                continue;
            }
            let question = Question { caller: self.reader.caller.clone(), call, fresh_since: self.fresh_since };
            let Some(answers) = self.questions.answers(question, &self.headers) else { return false };
            self.asked.push((name, answers));
        }
        true
    }

    /// Takes in what was answered since; what is not answered at all is waited for.
    async fn learn(&mut self) -> Option<()> {
        let now = Utc::now();
        let (asked, known) = (&mut self.asked, &mut self.answers);
        let unanswered = asked.iter_mut().filter(|(name, _)| !known.contains_key(name));
        let first =
            join_all(unanswered.map(async |(_, answers)| answers.wait_for(Option::is_some).await.is_ok())).await;
        for (name, answers) in asked.iter_mut() {
            let answer = answers.borrow_and_update().clone();
            known.entry(name).or_default().learn(answer?, now);
        }
        first.into_iter().all(|is_answered| is_answered).then_some(())
    }

    /// The page as soon as it is another than was told; none when its stream is over.
    async fn next(&mut self) -> Option<String> {
        loop {
            if !self.told.is_empty() {
                let changes = self.asked.iter_mut().map(|(_, answers)| Box::pin(answers.changed()));
                select_all(changes).await.0.ok()?;
                sleep(until_next_step(self.opened_at.elapsed())).await;
            }
            self.learn().await?;
            // Some things can be asked for only now.
            let before = self.asked.len();
            if !self.ask() {
                return None;
            }
            if self.asked.len() > before {
                self.learn().await?;
            }
            let view = View { address: &self.address, reader: &self.reader, answers: &self.answers, now: Utc::now() };
            let page = layout::page(&view).into_string();
            if page != self.told {
                self.told.clone_from(&page);
                return Some(page);
            }
        }
    }
}

/// How long it is from `passed` to the next whole [`STEP`].
fn until_next_step(passed: Duration) -> Duration {
    let since_last = u64::try_from(passed.as_nanos() % STEP.as_nanos()).unwrap_or_default();
    STEP.saturating_sub(Duration::from_nanos(since_last))
}

/// `GET /dashboard/live?page=/events%3Fstatus%3Ddead`, and `&fresh=1790000000000` if something was changed then. The stream has an event
/// `page` with the page's HTML, one more for each change, and a `beat` every few seconds; it closes with an `end`.
pub(super) async fn listen(
    State(state): State<AppState>,
    Extension(questions): Extension<Questions>,
    Extension(caller): Extension<Caller>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let (address, fresh_since) = read(query.as_deref().unwrap_or_default())?;
    let reader = Reader { caller, language: Language::of(&headers) };
    let (asked, answers, opened_at, told) = (Vec::new(), Answers::new(), Instant::now(), String::new());
    let mut open = Open { questions, headers, reader, address, fresh_since, asked, answers, opened_at, told };
    if !open.ask() {
        return Err(Problem::new(Kind::Overloaded, "too many pages are open; ask for each page"));
    }
    let pages = stream::unfold(open, async |mut open| {
        let page = open.next().await?;
        Some((Event::default().event("page").data(page), open))
    });
    // A page that can no longer be told ends its stream, beats or not.
    let over = Arc::new(tokio::sync::Notify::new());
    let is_over = Arc::clone(&over);
    let pages = pages.chain(stream::once(async move {
        is_over.notify_one();
        Event::default().comment("over")
    }));
    let beats = stream::unfold((), async |()| {
        sleep(BEAT).await;
        Some((Event::default().event("beat").data(""), ()))
    });
    let end = Instant::now() + LIFE;
    let over = async move {
        tokio::select! {
            () = sleep_until(end) => {}
            () = over.notified() => {}
            () = state.health.leaving().cancelled() => {}
            () = state.drain.cancelled() => {}
        }
    };
    let last = stream::once(ready(Event::default().event("end").data("")));
    let events = stream::select(pages.boxed(), beats.boxed()).take_until(over).chain(last).map(Ok::<_, Infallible>);
    // A proxy that collects answers would keep them from the page.
    Ok(([(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"))], Sse::new(events))
        .into_response())
}

/// The page that `query` names, and since when its answers must be fresh.
fn read(query: &str) -> Result<(Address, Option<u64>), Problem> {
    let (mut pages, mut fresh_since, mut errors) = (Vec::new(), None, Vec::new());
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        match (&*name, &*value) {
            ("page", value) => match page(value) {
                Some(page) => pages.push(page),
                None => errors.push(format!("page is {value:?}; send the address of a page, such as /events")),
            },
            ("fresh", value) => match value.parse() {
                Ok(since) => fresh_since = Some(since),
                Err(_) => errors.push(format!("fresh is {value:?}; send a time in milliseconds")),
            },
            _ => errors.push(format!("{name:?} is unknown; the known parameters are page, fresh")),
        }
    }
    if pages.len() != 1 && errors.is_empty() {
        errors.push(format!("there are {} pages; send one", pages.len()));
    }
    match pages.pop() {
        Some(page) if errors.is_empty() => Ok((page, fresh_since)),
        _ => Err(Problem::new(Kind::InvalidParameter, errors.join("; and "))),
    }
}

fn page(text: &str) -> Option<Address> {
    let uri: Uri = (text.len() <= ADDRESS_BYTES_MAX && text.starts_with('/')).then(|| text.parse().ok())??;
    uri.authority().is_none().then(|| Address::read(&uri))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_written_again_in_step_with_its_beginning() {
        let next = |ms| until_next_step(Duration::from_millis(ms)).as_millis();
        assert_eq!([0, 1, 1999, 2000, 5300].map(next), [2000, 1999, 1, 2000, 700]);
    }

    #[test]
    fn one_page_is_named_and_nothing_else() {
        let read = |query: &str| read(query).map(|(page, fresh_since)| (page.path, fresh_since)).ok();
        assert_eq!(read("page=/"), Some(("/".into(), None)));
        assert_eq!(read("page=%2Fevents%3Fstatus%3Ddead&fresh=7"), Some(("/events".into(), Some(7))));
        for wrong in [
            "",
            "page=/metrics",
            "page=/v1/stats",
            "page=/dashboard/live",
            "page=https://elsewhere.example/events",
            "page=//elsewhere.example/events",
            "page=/&page=/events",
            "page=/&fresh=no",
            "page=/&every=1s",
            &format!("page=/events/{}", "x".repeat(ADDRESS_BYTES_MAX)),
        ] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
