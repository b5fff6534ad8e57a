//! Authentication and permissions.

use std::{net::IpAddr, str::FromStr, sync::Arc};

use axum::{
    extract::Request,
    http::{HeaderMap, HeaderName, HeaderValue, header, uri::Authority},
    response::{IntoResponse, Response},
};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::{
    allowance::{Allowance, Allowances},
    forwarded::is_forwarded,
    problem::{Kind, Problem},
    refusal::Refusal,
    serve::Client,
    session,
};
use crate::{
    settings::{self, Role, Token},
    telemetry::{Sampled, metrics},
};

static REFUSALS: Sampled = Sampled::new();

/// The caller's name when no tokens are configured.
pub(crate) const ANONYMOUS: &str = "anonymous";

/// Who may call: the owners of the configured tokens or, when none is configured, everybody on this machine.
#[derive(Clone, Debug)]
pub(super) struct Access {
    tokens: Arc<[Token]>,
    allowances: Allowances,
}

/// An authenticated caller. Handlers find it in the request's extensions.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Caller {
    /// The token's name.
    pub name: String,
    role: Role,
    has_token: bool,
}

/// What a route requires.
#[derive(Clone, Copy, Debug)]
pub(super) enum Permission {
    /// Submit and cancel quotes.
    Submit,
    /// Read quotes.
    ReadQuotes,
    /// Read everything.
    ReadAll,
    /// Change what only operators may change.
    Operate,
}

impl Access {
    /// Access for the owners of the configured tokens.
    #[must_use]
    pub fn new(settings: &settings::Access) -> Self {
        Self { tokens: settings.tokens.clone().into(), allowances: Allowances::of(&settings.tokens) }
    }

    pub fn caller(&self, headers: &HeaderMap) -> Result<Caller, Refusal> {
        if self.tokens.is_empty() {
            let caller = Caller { name: ANONYMOUS.to_owned(), role: Role::Operator, has_token: false };
            return if is_from_this_machine(headers) { Ok(caller) } else { Err(Refusal::ForeignPage) };
        }
        let presented: [u8; 32] = Sha256::digest(bearer(headers).ok_or(Refusal::NoToken)?).into();
        let mut caller = None;
        // All hashes are compared, in constant time, so that the response time reveals nothing about them.
        for token in self.tokens.iter() {
            if bool::from(token.sha256.ct_eq(&presented)) {
                caller = Some(Caller { name: token.name.clone(), role: token.role, has_token: true });
            }
        }
        caller.ok_or(Refusal::UnknownToken)
    }

    /// Whether somebody has this token.
    ///
    /// # Errors
    /// The token is unknown.
    pub fn check(&self, token: &str) -> Result<(), Problem> {
        let header = HeaderValue::from_str(&format!("Bearer {token}"));
        let headers = header.map(|header| HeaderMap::from_iter([(header::AUTHORIZATION, header)]));
        match headers.map_err(|_| Refusal::UnknownToken).and_then(|headers| self.caller(&headers)) {
            Ok(_) => Ok(()),
            Err(refusal) => {
                metrics::access_refused(refusal.name());
                Err(Problem::new(Kind::Unauthorized, "the token is unknown; ask the operator for one"))
            }
        }
    }
}

impl Caller {
    /// Whether the caller is an operator, whose actions are logged.
    pub fn is_operator(&self) -> bool {
        self.role == Role::Operator
    }

    /// What it may do.
    pub fn role(&self) -> Role {
        self.role
    }

    /// Whose quotes those are that it submits: none where no tokens are configured.
    pub fn submits_as(&self) -> Option<&str> {
        self.has_token.then_some(&*self.name)
    }

    /// Whose quotes alone it may see and cancel; none if those of all.
    pub fn sees_only(&self) -> Option<&str> {
        (self.role == Role::Submitter).then_some(&*self.name)
    }
}

impl Permission {
    fn is_given_to(self, role: Role) -> bool {
        match self {
            Self::Submit => matches!(role, Role::Submitter | Role::Operator),
            Self::ReadQuotes => true,
            Self::ReadAll => matches!(role, Role::Viewer | Role::Operator),
            Self::Operate => matches!(role, Role::Operator),
        }
    }
}

/// Authenticates the caller. The routes decide whether that is required ([`require`]).
pub(super) fn identify(access: &Access, request: &mut Request) {
    let method = request.method().clone();
    let adopted = session::adopt(request.headers_mut(), &method);
    let caller = adopted.map_err(|_| Refusal::NotFromDashboard).and_then(|()| access.caller(request.headers()));
    if let Some(allowance) = caller.as_ref().ok().and_then(|caller| access.allowances.of_name(&caller.name)) {
        request.extensions_mut().insert(allowance);
    }
    request.extensions_mut().insert(caller);
}

/// Refuses callers without the route's permission, and those that call too often.
pub(super) async fn require(
    permission: Permission,
    mut request: Request,
    next: impl AsyncFnOnce(Request) -> Response,
) -> Response {
    let caller = request.extensions_mut().remove::<Result<Caller, Refusal>>().unwrap_or(Err(Refusal::NoToken));
    match caller {
        Ok(caller) if permission.is_given_to(caller.role) => {
            request.extensions_mut().insert(caller.clone());
            let allowance = request.extensions().get::<Arc<Allowance>>().cloned();
            let mut answer = match allowance {
                Some(allowance) => allowance.spend(request, next).await,
                None => next(request).await,
            };
            // For the access log.
            answer.extensions_mut().insert(caller);
            answer
        }
        Ok(caller) => {
            refused("role", &request);
            let detail = format!("the role of token {:?} does not allow this request", caller.name);
            Problem::new(Kind::Forbidden, detail).into_response()
        }
        Err(refusal) => {
            refused(refusal.name(), &request);
            refusal.into_response()
        }
    }
}

/// Counts a refused request, and logs one of many: somebody may be trying tokens.
pub(super) fn refused(why: &'static str, request: &Request) {
    metrics::access_refused(why);
    if let Some(refused) = REFUSALS.count() {
        let client = request.extensions().get::<Client>().map(|Client(client)| client.to_string());
        let (method, path) = (request.method().as_str(), request.uri().path());
        tracing::warn!(why, refused, client, method, path, "refused requests without the right to make them");
    }
}

/// The token of `Authorization: Bearer <token>`; the scheme may be written in any case (RFC 9110, 11.1).
fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let value = headers.get(header::AUTHORIZATION)?.as_bytes();
    let (scheme, token) = value.split_at_checked("Bearer ".len())?;
    let token = token.trim_ascii();
    (scheme.eq_ignore_ascii_case(b"Bearer ") && !token.is_empty()).then_some(token)
}

/// Refuses requests that a proxy on this machine forwards, from wherever they come, and pages of other sites in a browser on this machine. Where everybody on loopback is operator, such a page could
/// otherwise call the API: by DNS rebinding, or by a cross-site request whose answer it does not read.
fn is_from_this_machine(headers: &HeaderMap) -> bool {
    let text = |name: HeaderName| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    let host = text(header::HOST);
    let origin = text(header::ORIGIN);
    if is_forwarded(headers) {
        return false;
    }
    let is_loopback = host.is_none_or(|host| Authority::from_str(host).is_ok_and(|host| names_loopback(host.host())));
    let is_same_site = origin.is_none_or(|origin| origin.split_once("://").map(|(_, site)| site) == host);
    is_loopback && is_same_site
}

pub(super) fn names_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    address.map_or(host.eq_ignore_ascii_case("localhost"), |address| address.to_canonical().is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Limits;

    fn headers(pairs: &[(HeaderName, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value))).collect()
    }

    fn access() -> Access {
        let token = |name: &str, token: &str, role| Token {
            name: name.to_owned(),
            sha256: Sha256::digest(token).into(),
            role,
            limits: Limits::default(),
        };
        let tokens = vec![token("shop", "s3cret", Role::Submitter), token("eye", "other", Role::Viewer)];
        Access::new(&settings::Access { tokens })
    }

    #[test]
    fn a_token_identifies_its_caller() {
        for sent in ["Bearer s3cret", "bearer s3cret", "BEARER  s3cret "] {
            let caller = access().caller(&headers(&[(header::AUTHORIZATION, sent)]));
            assert_eq!(caller, Ok(Caller { name: "shop".into(), role: Role::Submitter, has_token: true }), "{sent}");
        }
    }

    #[test]
    fn a_missing_or_unknown_token_is_refused() {
        assert_eq!(access().caller(&HeaderMap::new()), Err(Refusal::NoToken));
        for sent in ["", "Bearer", "Bearer ", "Basic s3cret", "s3cret"] {
            assert_eq!(access().caller(&headers(&[(header::AUTHORIZATION, sent)])), Err(Refusal::NoToken), "{sent}");
        }
        for sent in ["Bearer s3cre", "Bearer s3cret s3cret", "Bearer S3CRET"] {
            assert_eq!(
                access().caller(&headers(&[(header::AUTHORIZATION, sent)])),
                Err(Refusal::UnknownToken),
                "{sent}"
            );
        }
    }

    #[test]
    fn without_tokens_this_machine_is_operator_and_a_foreign_page_is_not() {
        let access = Access::new(&settings::Access { tokens: vec![] });
        let known: &[&[(HeaderName, &str)]] = &[
            &[],
            &[(header::HOST, "127.0.0.1:8080")],
            &[(header::HOST, "[::1]:8080")],
            &[(header::HOST, "localhost")],
            &[(header::HOST, "localhost:8080"), (header::ORIGIN, "http://localhost:8080")],
        ];
        for sent in known {
            assert!(access.caller(&headers(sent)).is_ok_and(|caller| caller.role == Role::Operator), "{sent:?}");
        }
        let foreign: &[&[(HeaderName, &str)]] = &[
            &[(header::HOST, "evil.example")],
            &[(header::HOST, "localhost.evil.example:8080")],
            &[(header::HOST, "127.0.0.1:8080"), (header::ORIGIN, "https://evil.example")],
            &[(header::HOST, "127.0.0.1:8080"), (header::ORIGIN, "null")],
            &[(header::HOST, "127.0.0.1:8080"), (header::ORIGIN, "http://127.0.0.1:9999")],
        ];
        for name in ["forwarded", "via", "x-forwarded-for"] {
            let mut sent = headers(&[(header::HOST, "127.0.0.1:8080")]);
            sent.insert(name, HeaderValue::from_static("203.0.113.7"));
            assert_eq!(access.caller(&sent), Err(Refusal::ForeignPage), "{name}");
        }
        for sent in foreign {
            assert_eq!(access.caller(&headers(sent)), Err(Refusal::ForeignPage), "{sent:?}");
        }
    }

    #[test]
    fn whatever_is_sent_as_a_token_opens_nothing_but_by_the_token() {
        crate::fuzz::fuzz("token", |input| {
            let Ok(value) = HeaderValue::from_bytes(input) else { return "no header".into() };
            let known = bearer(&HeaderMap::from_iter([(header::AUTHORIZATION, value.clone())]))
                .is_some_and(|token| token == b"s3cret" || token == b"other");
            match access().caller(&HeaderMap::from_iter([(header::AUTHORIZATION, value)])) {
                Ok(caller) => {
                    assert!(known && input.len() >= "Bearer other".len());
                    caller.name
                }
                Err(refusal) => refusal.name().into(),
            }
        });
    }

    #[test]
    fn a_viewer_changes_nothing() {
        for (role, submits) in [(Role::Submitter, true), (Role::Viewer, false), (Role::Operator, true)] {
            assert_eq!(Permission::Submit.is_given_to(role), submits, "{role:?}");
            assert!(Permission::ReadQuotes.is_given_to(role), "{role:?}");
        }
    }
}
