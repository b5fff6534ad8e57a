//! Bodies that say no more than why.

use serde_json::Value;
use utoipa::ToSchema;

use super::{
    input::{Faults, Node},
    problem::Problem,
};
use crate::quotes::new_quote::printable;

/// Most characters of a reason.
const REASON_LENGTH_MAX: usize = 500;

/// Why something is done.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "says in the API document what `read` reads")]
pub(super) struct Reason {
    /// What its readers are to know.
    #[schema(min_length = 1, max_length = 500, nullable = false, example = "ordered twice")]
    reason: Option<String>,
}

/// The reason of `body`, if there is one.
pub(super) fn read(body: Option<&Value>) -> Result<Option<String>, Problem> {
    let Some(body) = body else {
        return Ok(None);
    };
    let mut faults = Faults::default();
    let root = Node::root(body);
    let reason = root.object(&["reason"], &mut faults).map(|body| reason(body.optional("reason"), &mut faults));
    faults.or_whole(reason)
}

/// The reason at `node`.
pub(super) fn reason(node: Option<Node<'_>>, faults: &mut Faults) -> Option<String> {
    node?.text(|text| printable(text, REASON_LENGTH_MAX), faults)
}
