//! Sessions of the dashboard: a cookie that no script can read, in place of a token that a page would have to keep.
//!
//! The cookie holds the token itself, so that every process of the fleet knows it, and a token that is removed ends its sessions
//! (ADR 33). Browsers send cookies also for other pages on the same host, so a request that changes something must show that it
//! comes from the dashboard ([`adopt`]).

use std::time::Duration;

use axum::{
    Router,
    extract::State,
    http::{HeaderMap, HeaderValue, Method, StatusCode, header, uri::Authority},
    response::{AppendHeaders, IntoResponse, Response},
    routing::post,
};
use data_encoding::HEXLOWER;

use super::{
    AppState,
    access::names_loopback,
    input::{FieldErrors, JsonBody, Node},
    problem::Problem,
};

const COOKIE: &str = "feebox_session";
/// Only a page of the same origin can send a header of its own without being asked first (CORS).
const PROOF: &str = "feebox-dashboard";
/// After this, the browser forgets the token.
const LIFE: Duration = Duration::from_hours(12);

pub(super) fn routes() -> Router<AppState> {
    Router::new().route("/session", post(begin)).route("/session/end", post(end))
}

/// Logs in: `{"token": "…"}`.
async fn begin(
    State(state): State<AppState>,
    headers: HeaderMap,
    JsonBody(body): JsonBody,
) -> Result<Response, Problem> {
    let mut errors = FieldErrors::default();
    let root = Node::root(&body);
    let token = root.object(&["token"], &mut errors).and_then(|body| body.field("token").text(token, &mut errors));
    let token = errors.or_read(token)?;
    state.access.check(&token)?;
    Ok(with_cookie(&cookie(&headers, &HEXLOWER.encode(token.as_bytes()), LIFE)))
}

/// Logs out.
async fn end(headers: HeaderMap) -> Response {
    with_cookie(&cookie(&headers, "", Duration::ZERO))
}

fn token(text: &str) -> Result<String, String> {
    let is_sendable = (1..=1024).contains(&text.len()) && HeaderValue::from_str(text).is_ok();
    is_sendable
        .then(|| text.to_owned())
        .ok_or_else(|| "is no token; send 1 to 1024 bytes without control characters".into())
}

fn with_cookie(cookie: &str) -> Response {
    match HeaderValue::from_str(cookie) {
        Ok(cookie) => (StatusCode::NO_CONTENT, AppendHeaders([(header::SET_COOKIE, cookie)])).into_response(),
        Err(error) => Problem::internal(&format!("a session's cookie: {error}")).into_response(),
    }
}

/// Only HTTPS carries it, but on this machine.
fn cookie(headers: &HeaderMap, value: &str, life: Duration) -> String {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()?.parse::<Authority>().ok());
    let secure = if host.is_some_and(|host| names_loopback(host.host())) { "" } else { "; Secure" };
    let seconds = life.as_secs();
    format!("{COOKIE}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}")
}

/// Why a session's cookie was not accepted.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NotFromDashboard;

/// Turns a session's cookie into the token that it stands for, as if the caller had sent that.
///
/// # Errors
/// The request changes something and does not come from the dashboard: another page made the browser send it.
pub(super) fn adopt(headers: &mut HeaderMap, method: &Method) -> Result<(), NotFromDashboard> {
    if headers.contains_key(header::AUTHORIZATION) {
        return Ok(());
    }
    let Some(token) = session(headers) else { return Ok(()) };
    let site = headers.get("sec-fetch-site").map(HeaderValue::as_bytes);
    let from_here = site.is_none_or(|site| site == b"same-origin") && headers.contains_key(PROOF);
    if !method.is_safe() && !from_here {
        return Err(NotFromDashboard);
    }
    let value = [b"Bearer ", &token[..]].concat();
    if let Ok(mut value) = HeaderValue::from_bytes(&value) {
        value.set_sensitive(true);
        headers.insert(header::AUTHORIZATION, value);
    }
    Ok(())
}

/// The token in the session's cookie.
fn session(headers: &HeaderMap) -> Option<Vec<u8>> {
    let cookies = headers.get_all(header::COOKIE).into_iter().filter_map(|cookies| cookies.to_str().ok());
    let mut pairs = cookies.flat_map(|cookies| cookies.split(';')).filter_map(|pair| pair.trim().split_once('='));
    let (_, value) = pairs.find(|(name, _)| *name == COOKIE)?;
    HEXLOWER.decode(value.as_bytes()).ok().filter(|token| !token.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn adopted(method: &Method, sent: &[(&'static str, &str)]) -> (Result<(), NotFromDashboard>, Option<HeaderValue>) {
        let pairs = sent
            .iter()
            .map(|&(name, value)| (name.parse().expect("a name"), HeaderValue::from_str(value).expect("a value")));
        let mut headers = pairs.collect::<HeaderMap>();
        let result = adopt(&mut headers, method);
        (result, headers.get(header::AUTHORIZATION).cloned())
    }

    #[test]
    fn a_cookie_stands_for_its_token() {
        let cookie = format!("theme=dark; {COOKIE}={}", HEXLOWER.encode("s3cret é".as_bytes()));
        let (result, header) = adopted(&Method::GET, &[("cookie", &cookie)]);
        assert_eq!(result, Ok(()));
        assert_eq!(header.expect("a token").as_bytes(), "Bearer s3cret é".as_bytes());
        for wrong in ["", "theme=dark", "feebox_session=", "feebox_session=6", "feebox_session=zz", "feebox_session=é0"]
        {
            assert_eq!(adopted(&Method::GET, &[("cookie", wrong)]), (Ok(()), None), "{wrong}");
        }
    }

    #[test]
    fn a_change_must_come_from_the_dashboard() {
        let cookie = ("cookie", &*format!("{COOKIE}={}", HEXLOWER.encode(b"s3cret")));
        for foreign in [
            &[cookie][..],
            &[cookie, ("sec-fetch-site", "same-origin")],
            &[cookie, (PROOF, "1"), ("sec-fetch-site", "same-site")],
            &[cookie, (PROOF, "1"), ("sec-fetch-site", "cross-site")],
        ] {
            assert_eq!(adopted(&Method::POST, foreign), (Err(NotFromDashboard), None), "{foreign:?}");
        }
        let (result, header) = adopted(&Method::POST, &[cookie, (PROOF, "1"), ("sec-fetch-site", "same-origin")]);
        assert!(result.is_ok() && header.is_some());
        let (result, header) = adopted(&Method::POST, &[cookie, ("authorization", "Bearer other")]);
        assert_eq!((result, header.expect("a header")), (Ok(()), HeaderValue::from_static("Bearer other")));
    }

    #[test]
    fn only_https_carries_a_session_but_on_this_machine() {
        for (host, is_secure) in [("127.0.0.1:8080", false), ("localhost", false), ("feebox.example", true)] {
            let headers = HeaderMap::from_iter([(header::HOST, HeaderValue::from_static(host))]);
            let cookie = cookie(&headers, "00", LIFE);
            assert_eq!(cookie.ends_with("; HttpOnly; SameSite=Strict; Secure"), is_secure, "{cookie}");
            assert!(cookie.contains("; Max-Age=43200; HttpOnly; SameSite=Strict"), "{cookie}");
        }
    }
}
