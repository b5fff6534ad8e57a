//! `feebox dev`

use anyhow::Context;
use clap::Args;
use migration::MigratorTrait;
use secrecy::ExposeSecret;

use super::{Overrides, told_to_stop};
use crate::{
    app::{App, Roles},
    database::Database,
    lab::sample_fee_server::{Faults, SampleFeeServer},
    settings::{Fault, Origin, Settings, SettingsFaults},
};

/// API, worker, dashboard and sample fee server in one process.
#[derive(Args, Debug)]
pub struct Dev {
    /// Where the HTTP API listens
    #[arg(long, value_name = "ADDRESS")]
    bind: Option<String>,
    /// Where the sample fee server listens
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
        let overrides = overrides.with("server.bind", self.bind);
        let settings = overrides.with("fee_server.base_url", Some(fee_server.base_url())).settings_with_logs()?;
        refuse_found_server(&settings)?;
        let db = Database::connect(&settings.database).await?;
        migration::Migrator::up(db.connection(), None).await.context("the migrations failed")?;
        db.close().await?;
        let app = App::start(settings, Roles { api: true, worker: true }).await?;
        say!("Feebox: http://{}   API: http://{0}/docs   fee server: {}", app.address(), fee_server.base_url());
        let ended = app.run_until(told_to_stop()).await;
        fee_server.stop().await;
        ended
    }
}

/// A database server that the environment or a file happens to name may be the one in production: its quotes would be given
/// sample fees.
fn refuse_found_server(settings: &Settings) -> Result<(), SettingsFaults> {
    let key = "database.url";
    let origin = settings.redacted().values.get(key).map_or(Origin::Default, |in_force| in_force.origin.clone());
    if origin == Origin::CommandLine || settings.database.url.expose_secret().starts_with("sqlite:") {
        return Ok(());
    }
    let wrong = "names a database server, and `feebox dev` makes sample fees for every quote in it".to_owned();
    let mend = "leave it out, or name the server by --database-url if you mean it".to_owned();
    Err(SettingsFaults { faults: vec![Fault { key: key.to_owned(), origin, wrong, mend }] })
}
