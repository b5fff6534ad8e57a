//! Path parameters.

use axum::{
    extract::{FromRequestParts, Path},
    http::request::Parts,
};
use uuid::Uuid;

use crate::{
    http::problem::{Kind, Problem},
    printable,
};

/// The `{id}` of a path.
#[derive(Clone, Copy, Debug)]
pub(in crate::http) struct Id(pub Uuid);

impl<S: Send + Sync> FromRequestParts<S> for Id {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let id = Path::<String>::from_request_parts(parts, state).await;
        let id = id.ok().and_then(|Path(id)| Uuid::try_parse(&id).ok());
        id.map(Self).ok_or_else(|| Problem::new(Kind::InvalidParameter, "the id in the path is not a UUID"))
    }
}

/// The `{name}` of a path.
#[derive(Clone, Debug)]
pub(in crate::http) struct Name(pub String);

impl<S: Send + Sync> FromRequestParts<S> for Name {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let name = Path::<String>::from_request_parts(parts, state).await;
        name.ok()
            .filter(|Path(name)| printable::check(name).is_ok())
            .map(|Path(name)| Self(name))
            .ok_or_else(|| Problem::new(Kind::InvalidParameter, "the name in the path is not printable text"))
    }
}
