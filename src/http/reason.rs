//! Bodies that hold an optional reason.

use serde_json::Value;
use utoipa::ToSchema;

use super::{
    input::{FieldErrors, Node},
    problem::Problem,
};
use crate::quotes::new_quote::printable;

/// Most characters of a reason.
const REASON_LENGTH_MAX: usize = 500;

/// The reason for an action.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "says in the API document what `read` reads")]
pub(super) struct Reason {
    /// The reason, for the log of operator actions.
    #[schema(min_length = 1, max_length = 500, nullable = false, example = "ordered twice")]
    reason: Option<String>,
}

/// Reads the reason from `body`, if there is one.
pub(super) fn read(body: Option<&Value>) -> Result<Option<String>, Problem> {
    let Some(body) = body else {
        return Ok(None);
    };
    let mut errors = FieldErrors::default();
    let root = Node::root(body);
    let reason = root.object(&["reason"], &mut errors).map(|body| reason(body.optional("reason"), &mut errors));
    errors.or_read(reason)
}

/// Reads the reason at `node`.
pub(super) fn reason(node: Option<Node<'_>>, errors: &mut FieldErrors) -> Option<String> {
    node?.text(|text| printable(text, REASON_LENGTH_MAX), errors)
}
