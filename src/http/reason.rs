//! Who acts, and why: bodies that hold an optional reason.

use axum::extract::{FromRequest, Request};
use utoipa::ToSchema;

use super::{
    AppState,
    access::Caller,
    input::{FieldErrors, Node, OptionalJsonBody},
    problem::Problem,
};
use crate::operator::{Operator, parse_reason};

/// The reason for an action.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "says in the API document what `Acting` reads")]
pub(super) struct Reason {
    /// The reason, for the log of operator actions.
    #[schema(min_length = 1, max_length = 500, nullable = false, example = "ordered twice")]
    reason: Option<String>,
}

/// The caller, and the reason in the body, if there is one.
#[derive(Debug)]
pub(super) struct Acting {
    pub caller: Caller,
    pub reason: Option<String>,
}

impl Acting {
    pub fn operator(&self) -> Operator<'_> {
        Operator { name: &self.caller.name, reason: self.reason.as_deref() }
    }
}

impl FromRequest<AppState> for Acting {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &AppState) -> Result<Self, Problem> {
        let caller = request.extensions().get::<Caller>().cloned();
        let caller = caller.ok_or_else(|| Problem::internal("a route reads a reason without authentication"))?;
        let OptionalJsonBody(body) = OptionalJsonBody::from_request(request, state).await?;
        let Some(body) = body else { return Ok(Self { caller, reason: None }) };
        let mut errors = FieldErrors::default();
        let root = Node::root(&body);
        let reason = root.object(&["reason"], &mut errors).map(|body| reason(body.optional("reason"), &mut errors));
        Ok(Self { caller, reason: errors.or_read(reason)? })
    }
}

/// Reads the reason at `node`.
pub(super) fn reason(node: Option<Node<'_>>, errors: &mut FieldErrors) -> Option<String> {
    node?.text(parse_reason, errors)
}
