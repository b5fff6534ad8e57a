//! The dashboard at `/`: static files, embedded, which call the public API. They load nothing from other hosts, and no script or
//! style is inline. `main.js` is the way in: a page's address says what it shows, `live.js` keeps it up to date, `dom.js`
//! changes only what differs.

mod files;
mod live;

use std::{collections::HashMap, sync::LazyLock};

use axum::{
    Router,
    extract::Path,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    middleware::from_fn_with_state,
    response::{IntoResponse, Response},
    routing::get,
};
use sha2::{Digest, Sha256};

use super::{
    AppState,
    access::{self, Permission},
    problem::{Kind, Problem},
};

pub(super) use live::Live;

const PAGE_POLICY: &str = "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// By file: what is in it, and a tag that changes with it. Built once per process.
static FILES: LazyLock<HashMap<&str, (&str, String)>> = LazyLock::new(|| {
    let tagged = |&(name, text): &(&'static str, &'static str)| (name, (text, tag(text)));
    files::FILES.iter().map(tagged).collect()
});

pub(super) fn routes() -> Router<AppState> {
    let viewers = from_fn_with_state(Permission::ReadAll, access::require);
    Router::new()
        .route("/dashboard/live", get(live::listen).route_layer(viewers))
        .route("/", get(async |headers: HeaderMap| file("page.html", &headers)))
        .route("/dashboard/{*file}", get(async |Path(name): Path<String>, headers: HeaderMap| file(&name, &headers)))
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
        _ => "text/html; charset=utf-8",
    }
}

fn tag(text: &str) -> String {
    let hash = Sha256::digest(text);
    let number = hash.iter().take(8).fold(0_u64, |number, byte| (number << 8) | u64::from(*byte));
    format!("\"{number:016x}\"")
}
