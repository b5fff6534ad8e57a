//! `feebox dev`

use anyhow::Context;
use clap::Args;
use migration::MigratorTrait;
use secrecy::ExposeSecret;

use super::Overrides;
use crate::{
    app::{App, Roles, StopSignals},
    database::Database,
    lab::sample_fee_server::{Faults, SampleFeeServer},
    settings::{InvalidSetting, Origin, Settings, SettingsError},
};

/// Options of `feebox dev`.
#[derive(Args, Debug)]
pub struct Dev {
    /// Address of the HTTP API
    #[arg(long, value_name = "ADDRESS")]
    bind: Option<String>,
    /// Address of the sample fee server
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8081")]
    fee_server_bind: std::net::SocketAddr,
    #[command(flatten)]
    faults: Faults,
}

impl Dev {
    pub(super) async fn run(self, overrides: Overrides) -> anyhow::Result<()> {
        let fee_server = SampleFeeServer::start(self.fee_server_bind, self.faults)
            .await
            .with_context(|| format!("the sample fee server cannot listen on {}", self.fee_server_bind))?;
        // Nobody sends callers elsewhere first.
        let overrides = overrides.with("server.bind", self.bind).with("server.drain", Some("0s"));
        let settings = overrides.with("fee_server.base_url", Some(fee_server.base_url())).settings_with_logs()?;
        refuse_inherited_server(&settings)?;
        let db = Database::connect(&settings.database).await?;
        db.find().await?;
        migration::Migrator::up(db.connection(), None).await.context("the database could not be migrated")?;
        db.close().await?;
        let signals = StopSignals::listen()?;
        let app = App::start(settings, Roles { api: true, worker: true }).await?;
        say!("Feebox: http://{}   API: http://{0}/docs   fee server: {}", app.address(), fee_server.base_url());
        let ended = app.run_until(signals).await;
        fee_server.stop().await;
        ended
    }
}

/// A database server that the environment or a file names may be in production: its quotes would get sample fees.
fn refuse_inherited_server(settings: &Settings) -> Result<(), SettingsError> {
    let key = "database.url";
    let origin = settings.redacted().values.get(key).map_or(Origin::Default, |in_force| in_force.origin.clone());
    if origin == Origin::CommandLine || settings.database.url.expose_secret().starts_with("sqlite:") {
        return Ok(());
    }
    let problem = "names a database server, and `feebox dev` stores sample fees for every quote in it".to_owned();
    let advice = "unset it, or pass --database-url if you mean that server".to_owned();
    Err(SettingsError { invalid: vec![InvalidSetting { key: key.to_owned(), origin, problem, advice }] })
}
