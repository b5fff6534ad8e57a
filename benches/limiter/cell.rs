//! One cell of the table: a latency, a kind of failure and its share.

use std::time::Duration;

use crate::{
    setup::Setup,
    support::{Feebox, free_address, wait_until_ready},
};

/// How calls fail.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// `503`, after the latency.
    Refused,
    /// The connection is reset.
    Reset,
    /// No answer comes.
    TimedOut,
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Self::Refused => "503",
            Self::Reset => "reset",
            Self::TimedOut => "timeout",
        }
    }

    fn flag(self) -> &'static str {
        match self {
            Self::Refused => "--fail-rate",
            Self::Reset => "--reset-rate",
            Self::TimedOut => "--hang-rate",
        }
    }
}

/// What one cell measures.
#[derive(Clone, Copy, Debug)]
pub struct Cell {
    pub latency: Duration,
    pub kind: Kind,
    pub percent: u32,
    pub concurrency: usize,
    pub seconds: u64,
}

impl Cell {
    /// Five times the latency, and never so short that a busy machine makes time-outs of its own.
    fn timeout(&self) -> Duration {
        match self.kind {
            Kind::TimedOut => (self.latency * 5).max(Duration::from_millis(500)),
            Kind::Refused | Kind::Reset => (self.latency * 5).max(Duration::from_secs(10)),
        }
    }

    /// Fees a second.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "counts far below 2^52"
    )]
    pub async fn measure(&self, setup: &mut Setup) -> anyhow::Result<f64> {
        let (address, latency) = (free_address()?.to_string(), humantime::format_duration(self.latency).to_string());
        let share = format!("{}", f64::from(self.percent) / 100.0);
        let args = [
            "fee-server",
            "--bind",
            &address,
            "--latency",
            &latency,
            "--seed",
            "7",
            self.kind.flag(),
            &share,
            "--fail-status",
            "503",
        ];
        let fee_server = Feebox::start(&args)?;
        let url = format!("http://{address}");
        wait_until_ready(&format!("{url}/healthz")).await?;
        let rate_max = self.concurrency as f64 / self.latency.as_secs_f64();
        let warm_up = (self.latency * 5).max(Duration::from_secs(2));
        let wanted = rate_max.min(4_000.0) * (warm_up.as_secs_f64() + self.seconds as f64 + 2.0);
        setup.ensure_backlog(wanted as usize).await?;
        let worker = setup.worker(&url, self.concurrency, self.timeout()).await?;
        tokio::time::sleep(warm_up).await;
        let before = setup.fees().await?;
        tokio::time::sleep(Duration::from_secs(self.seconds)).await;
        let fees = setup.fees().await? - before;
        drop((worker, fee_server));
        Ok(fees as f64 / self.seconds as f64)
    }

    /// The lowest acceptable ratio to the rate without failures.
    pub fn target(&self) -> f64 {
        let share = f64::from(self.percent) / 100.0;
        let place_time = match self.kind {
            Kind::TimedOut => 1.0 - share + share * self.timeout().as_secs_f64() / self.latency.as_secs_f64(),
            Kind::Refused | Kind::Reset => 1.0,
        };
        0.85 * (1.0 - share) / place_time
    }
}
