//! The dashboard at `/`. It uses the public API, with the token that the operator enters, and loads nothing from other
//! hosts.

use axum::{
    Router,
    http::header,
    response::{IntoResponse, Response},
    routing::get,
};

use super::AppState;

const PAGE_POLICY: &str = "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

pub(super) fn routes() -> Router<AppState> {
    Router::new()
        .route("/", get(async || file("text/html; charset=utf-8", include_str!("page.html"))))
        .route("/dashboard.css", get(async || file("text/css; charset=utf-8", include_str!("page.css"))))
        .route("/dashboard.js", get(async || file("text/javascript; charset=utf-8", include_str!("page.js"))))
}

fn file(media_type: &'static str, text: &'static str) -> Response {
    ([(header::CONTENT_TYPE, media_type), (header::CONTENT_SECURITY_POLICY, PAGE_POLICY)], text).into_response()
}
