//! Who calls.

use axum::{Extension, Json};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    AppState, TIME_LIMIT,
    access::{Caller, Permission},
    guarded,
};
use crate::settings::Role;

/// Who a token identifies.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Caller)]
struct View {
    /// The token's name; `anonymous` if no tokens are configured.
    name: String,
    /// `submitter`, `viewer` or `operator`.
    role: &'static str,
    /// Whether tokens are configured.
    has_token: bool,
}

pub(super) fn routes() -> OpenApiRouter<AppState> {
    guarded(OpenApiRouter::new().routes(routes!(show)), Permission::ReadQuotes, TIME_LIMIT)
}

/// Show who calls, and with which role
#[utoipa::path(
    get, path = "/v1/caller", operation_id = "read_caller", tag = "operations", security(("token" = [])),
    responses((status = 200, description = "The caller", body = View))
)]
async fn show(Extension(caller): Extension<Caller>) -> Json<View> {
    let has_token = caller.submits_as().is_some();
    let role = match caller.role() {
        Role::Submitter => "submitter",
        Role::Viewer => "viewer",
        Role::Operator => "operator",
    };
    Json(View { name: caller.name, role, has_token })
}
