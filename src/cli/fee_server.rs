//! `feebox fee-server`

use std::net::SocketAddr;

use anyhow::Context;
use clap::Args;
use tokio_util::sync::CancellationToken;

use super::{Overrides, stop_signal};
use crate::lab::sample_fee_server::{Faults, SampleFeeServer};

/// Options of `feebox fee-server`.
#[derive(Args, Debug)]
pub struct FeeServer {
    /// Address to listen on
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8081")]
    bind: SocketAddr,
    #[command(flatten)]
    faults: Faults,
}

impl FeeServer {
    pub(super) async fn run(self, overrides: Overrides) -> anyhow::Result<()> {
        overrides.settings_with_logs()?;
        let stop = CancellationToken::new();
        let stopping = stop.clone();
        tokio::spawn(async move {
            if stop_signal().await.is_ok() {
                stopping.cancel();
            }
        });
        let context = || format!("the sample fee server cannot listen on {}", self.bind);
        SampleFeeServer::run_until(self.bind, self.faults, stop).await.with_context(context)
    }
}
