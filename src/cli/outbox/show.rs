//! `feebox outbox show` and `feebox outbox explain`

use clap::Args;
use uuid::Uuid;

use super::super::print::{self, or_dash, time};
use crate::{
    database::Database,
    inspection::{self, EventDetail},
    operator::OperatorError,
    outbox::{self, Failure},
};

/// Options of `feebox outbox show`.
#[derive(Args, Debug)]
pub struct Show {
    /// The event's id
    event: Uuid,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Options of `feebox outbox explain`.
#[derive(Args, Debug)]
pub struct Explain {
    /// The event's id
    event: Uuid,
    /// Print the explanation and its facts as JSON
    #[arg(long)]
    json: bool,
}

impl Show {
    pub(super) async fn run(self, db: &Database) -> anyhow::Result<()> {
        let found =
            outbox::get(db.connection(), self.event).await?.ok_or_else(|| OperatorError::no_event(self.event))?;
        let found = inspection::detail(db, found).await?;
        if self.json {
            return print::json(&found);
        }
        let EventDetail {
            event,
            payload,
            trace_context,
            outcome_unknown,
            withdrawn,
            live_since,
            receipt,
            failures,
            trace_url: _,
        } = found;
        let facts = [
            ("event", event.id.to_string()),
            ("quote", event.quote_id.to_string()),
            ("type", event.event_type.clone()),
            ("destination", event.destination.clone()),
            ("place", event.sequence.to_string()),
            ("status", event.status.clone()),
            ("attempts", event.attempts.to_string()),
            ("stored", time(event.created_at)),
            ("alive since", time(live_since)),
            ("due", time(event.due_at)),
            ("leased by", or_dash(event.leased_by.as_ref())),
            ("leased until", or_dash(event.leased_until.map(time))),
            ("settled", or_dash(event.settled_at.map(time))),
            ("receipt", or_dash(receipt.as_ref())),
            ("outcome unknown", outcome_unknown.to_string()),
            ("withdrawn", withdrawn.to_string()),
            ("trace", or_dash(trace_context.as_ref())),
            ("payload", payload.to_string()),
        ];
        say!("{}", print::table(["", ""], facts.map(|(name, value)| [name.to_owned(), value])));
        if !failures.is_empty() {
            say!("{}", print::table(["attempt", "at", "took", "by", "outcome", "error"], failures.iter().map(row)));
        }
        Ok(())
    }
}

impl Explain {
    pub(super) async fn run(self, db: &Database) -> anyhow::Result<()> {
        let explanation =
            inspection::explain(db, self.event).await?.ok_or_else(|| OperatorError::no_event(self.event))?;
        if self.json {
            return print::json(&explanation);
        }
        say!("{}", explanation.sentence);
        Ok(())
    }
}

fn row(failure: &Failure) -> [String; 6] {
    [
        failure.attempt.to_string(),
        time(failure.at),
        format!("{} ms", failure.duration_ms),
        failure.by.clone(),
        failure.outcome.clone(),
        failure.error.clone(),
    ]
}
