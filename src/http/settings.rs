//! The effective settings of this process, and where the fleet differs.

use std::sync::Arc;

use axum::{Json, extract::State};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{AppState, TIME_LIMIT, access::Permission, guarded, problem::Problem};
use crate::{
    fleet::{self, Workers},
    settings::{InForce, Redacted},
};

/// What this process is called, and its settings.
#[derive(Clone, Debug, Default)]
pub(super) struct Own {
    pub(super) process: String,
    pub(super) settings: Arc<Redacted>,
}

/// The settings of a process.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Settings)]
struct View {
    /// The process that answers: host and process.
    process: String,
    /// Its version of Feebox.
    version: &'static str,
    /// All settings, in alphabetical order.
    settings: Vec<Setting>,
}

/// An effective setting.
#[derive(Debug, Serialize, ToSchema)]
struct Setting {
    /// For example `worker.lease`.
    #[schema(example = "worker.lease")]
    key: String,
    /// The value as TOML, as `feebox config` prints it; `***` in place of a secret.
    #[schema(example = "\"30s\"")]
    value: String,
    /// Where it comes from: `default`, a file, an environment variable, or the command line.
    #[schema(example = "default")]
    source: String,
    /// The default is in force.
    is_default: bool,
    /// If it should be the same in the whole fleet and is not: its value in each process that is alive, as TOML.
    differs: Vec<Differing>,
}

/// The value of a setting in a process.
#[derive(Debug, Serialize, ToSchema)]
struct Differing {
    /// Host and process.
    process: String,
    /// As TOML.
    value: String,
}

pub(super) fn routes() -> OpenApiRouter<AppState> {
    guarded(OpenApiRouter::new().routes(routes!(show)), Permission::ReadAll, TIME_LIMIT)
}

/// Show the effective settings of the process that answers
///
/// Secrets are masked. Settings that should be the same in the whole fleet and are not have each process's value.
#[utoipa::path(
    get, path = "/v1/settings", operation_id = "show_settings", tag = "operations", security(("token" = [])),
    responses((status = 200, description = "The settings", body = View))
)]
async fn show(State(state): State<AppState>) -> Result<Json<View>, Problem> {
    let fleet = fleet::workers(&state.reads).await?;
    let Own { process, settings } = &state.own;
    let settings = settings.values.iter().map(|(key, in_force)| Setting::new(key, in_force, &fleet)).collect();
    Ok(Json(View { process: process.clone(), version: env!("CARGO_PKG_VERSION"), settings }))
}

impl Setting {
    fn new(key: &str, in_force: &InForce, fleet: &Workers) -> Self {
        let alive = fleet.processes.iter().filter(|process| process.alive);
        let differs = alive.filter_map(|process| {
            Some(Differing { process: process.name.clone(), value: process.differs.get(key)?.clone() })
        });
        Self {
            key: key.to_owned(),
            value: in_force.value.to_string(),
            source: in_force.origin.to_string(),
            is_default: in_force.origin.is_default(),
            differs: differs.collect(),
        }
    }
}
