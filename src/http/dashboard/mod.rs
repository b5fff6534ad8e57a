//! The dashboard at `/`: pages that are rendered here from the answers of the public API, and told anew while they are open. They load
//! nothing from other hosts, and no script or style is inline.
//!
//! A page's address says what it shows ([`address`]), `pages/` what that is; [`live`] tells an open page when it changes, and
//! `main.js` changes only what differs.

mod address;
mod chart;
mod explain;
mod files;
mod format;
mod layout;
mod list;
mod live;
mod pages;
mod questions;
mod text;
mod view;

use std::{collections::HashMap, sync::LazyLock};

use axum::{
    Extension, Router,
    extract::{Path, Request},
    http::{HeaderMap, HeaderValue, StatusCode, Uri, header},
    middleware::{Next, from_fn},
    response::{IntoResponse, Response},
    routing::get,
};
use chrono::Utc;
use futures_util::future::join_all;
use maud::Markup;
use sha2::{Digest, Sha256};

use self::{
    address::{Address, DETAILS, PAGES},
    layout::Instead,
    questions::Question,
    text::Language,
    view::{Answers, Reader, View, calls},
};
use super::{
    AppState,
    access::{self, Caller, Permission},
    problem::{Kind, Problem},
    refusal::Refusal,
};
use crate::settings::Role;

pub(super) use questions::Questions;

const PAGE_POLICY: &str = "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

/// By file: what is in it, and a tag that changes with it. Built once per process.
static FILES: LazyLock<HashMap<&str, (&str, String)>> = LazyLock::new(|| {
    let generated = text::MODULES.iter().map(|(name, text)| (*name, text.as_str()));
    files::FILES.iter().copied().chain(generated).map(|(name, text)| (name, (text, tag(text)))).collect()
});

pub(super) fn routes() -> Router<AppState> {
    let viewers = from_fn(|request, next: Next| {
        access::require(Permission::ReadAll, request, async |request| next.run(request).await)
    });
    let mut routes = Router::new()
        .route("/dashboard/live", get(live::listen).route_layer(viewers))
        .route("/dashboard/{*file}", get(async |Path(name): Path<String>, headers: HeaderMap| file(&name, &headers)));
    for (_, path, _) in PAGES {
        routes = routes.route(path, get(page));
    }
    for (_, begin, _) in DETAILS {
        routes = routes.route(&format!("{begin}{{id}}"), get(page));
    }
    routes
}

/// A page, with the rights of who asks for it; who has none may log in.
async fn page(Extension(questions): Extension<Questions>, uri: Uri, request: Request) -> Response {
    let headers = request.headers();
    let language = Language::of(headers);
    let caller = match request.extensions().get::<Result<Caller, Refusal>>() {
        Some(Ok(caller)) => caller.clone(),
        None | Some(Err(Refusal::NoToken)) => {
            return html(StatusCode::UNAUTHORIZED, &layout::instead(language, &Instead::LogIn(None), None));
        }
        Some(Err(refusal)) => {
            access::refused(refusal.name(), &request);
            let (status, why) = (refusal.status(), refusal.problem().to_string());
            return html(status, &layout::instead(language, &Instead::LogIn(Some(&why)), None));
        }
    };
    if caller.role() == Role::Submitter {
        access::refused("role", &request);
        return html(StatusCode::FORBIDDEN, &layout::instead(language, &Instead::Submitter, Some(&caller)));
    }
    let Some(address) = Address::read(&uri) else {
        return html(StatusCode::NOT_FOUND, &layout::instead(language, &Instead::Unknown, Some(&caller)));
    };
    // Browsers send these when a page is loaded again.
    let is_fresh =
        headers.get(header::CACHE_CONTROL).is_some_and(|it| [&b"no-cache"[..], b"max-age=0"].contains(&it.as_bytes()));
    let reader = Reader { caller, language };
    let answers = answers(&questions, &address, &reader, headers, is_fresh).await;
    let view = View { address: &address, reader: &reader, answers: &answers, now: Utc::now() };
    let status = if view.is_missing() { StatusCode::NOT_FOUND } else { StatusCode::OK };
    let mut answer = html(status, &layout::page(&view));
    // For the access log.
    answer.extensions_mut().insert(view.reader.caller.clone());
    answer
}

/// What the page needs. Some of it can be asked for only when the rest is known.
async fn answers(
    questions: &Questions,
    address: &Address,
    reader: &Reader,
    headers: &HeaderMap,
    is_fresh: bool,
) -> Answers {
    let mut answers = Answers::new();
    loop {
        let calls = calls(address, &answers, Utc::now()).into_iter().filter(|(name, _)| !answers.contains_key(name));
        let asked = calls.map(async |(name, call)| {
            let answer = if is_fresh {
                questions.fresh_answer(&reader.caller, &call, headers).await
            } else {
                let question = Question { caller: reader.caller.clone(), call, fresh_since: None };
                questions.answer_once(question, headers).await
            };
            (name, answer)
        });
        let asked = join_all(asked).await;
        if asked.is_empty() {
            return answers;
        }
        for (name, answer) in asked {
            answers.entry(name).or_default().learn(answer, Utc::now());
        }
    }
}

fn html(status: StatusCode, page: &Markup) -> Response {
    let answer = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CONTENT_SECURITY_POLICY, PAGE_POLICY),
        (header::CACHE_CONTROL, "no-store"),
    ];
    (status, answer, page.0.clone()).into_response()
}

/// A file; only that it is unchanged, if the browser has it.
fn file(name: &str, headers: &HeaderMap) -> Response {
    let Some((text, tag)) = FILES.get(name) else {
        return Problem::new(Kind::NotFound, format!("the dashboard has no file {name:?}")).into_response();
    };
    let answer = [
        (header::CONTENT_TYPE, media_type(name)),
        (header::CONTENT_SECURITY_POLICY, PAGE_POLICY),
        (header::CACHE_CONTROL, "no-cache"),
        (header::ETAG, tag),
    ];
    let has_it = headers.get(header::IF_NONE_MATCH).map(HeaderValue::as_bytes) == Some(tag.as_bytes());
    if has_it { (StatusCode::NOT_MODIFIED, answer).into_response() } else { (answer, *text).into_response() }
}

fn media_type(name: &str) -> &'static str {
    match name.rsplit('.').next() {
        Some("css") => "text/css; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("svg") => "image/svg+xml",
        _ => "application/octet-stream",
    }
}

fn tag(text: &str) -> String {
    let hash = Sha256::digest(text);
    let number = hash.iter().take(8).fold(0_u64, |number, byte| (number << 8) | u64::from(*byte));
    format!("\"{number:016x}\"")
}
