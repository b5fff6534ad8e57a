//! The `Idempotency-Key` header.

use axum::{extract::FromRequestParts, http::request::Parts};

use crate::{
    http::{
        access::Caller,
        problem::{Kind, Problem},
    },
    submission::ClientKey,
};

/// Most characters of a key.
const LENGTH_MAX: usize = 255;

/// The request's key, if it has one. Keys are scoped to the caller: two callers may use the same.
#[derive(Debug)]
pub(super) struct IdempotencyKey(pub Option<ClientKey>);

impl<S: Sync> FromRequestParts<S> for IdempotencyKey {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        let mut given = parts.headers.get_all("idempotency-key").iter();
        let Some(key) = given.next() else {
            return Ok(Self(None));
        };
        let caller = parts.extensions.get::<Caller>();
        let scope = caller
            .ok_or_else(|| Problem::internal("a route reads Idempotency-Key without authentication"))?
            .name
            .clone();
        let is_valid = (1..=LENGTH_MAX).contains(&key.len()) && key.as_bytes().iter().all(u8::is_ascii_graphic);
        match key.to_str() {
            Ok(key) if is_valid && given.next().is_none() => Ok(Self(Some(ClientKey { scope, key: key.to_owned() }))),
            _ => Err(Problem::new(
                Kind::InvalidHeader,
                "Idempotency-Key is invalid; send one key of 1 to 255 visible ASCII characters",
            )),
        }
    }
}
