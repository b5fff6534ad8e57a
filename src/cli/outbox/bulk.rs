//! What retries and cancels many events: it shows what it would do, asks, and shows how far it is. Also `feebox outbox bulk`.

use std::{
    io::{IsTerminal, Write, stderr, stdin},
    num::NonZeroU32,
};

use clap::Args;
use uuid::Uuid;

use super::super::{operator::Operator, print};
use crate::{
    database::Database,
    operator::{
        BulkView, NewBulk,
        bulk::{self, Step},
    },
    quotes::Relay,
};

/// How a bulk is done.
#[derive(Args, Debug)]
pub struct How {
    /// Only count the events that match
    #[arg(long)]
    dry_run: bool,
    /// At most this many events per second
    #[arg(long, value_name = "NUMBER")]
    pub(super) per_second: Option<NonZeroU32>,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

/// Options of `feebox outbox bulk`.
#[derive(Args, Debug)]
pub struct Bulk {
    /// The id of a bulk retry or cancellation
    #[arg(value_name = "BULK")]
    id: Uuid,
    /// Stop it; what was changed stays changed
    #[arg(long)]
    abort: bool,
    #[command(flatten)]
    operator: Operator,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl How {
    /// Does `new`, if the user agrees.
    pub(super) async fn carry_out(
        &self,
        db: &Database,
        relay: Relay,
        operator: &Operator,
        new: &NewBulk,
        json: bool,
    ) -> anyhow::Result<()> {
        let planned = operator.acting(async |operator| bulk::dry_run(db, operator, new).await).await?;
        if self.dry_run {
            return show(&planned, json);
        }
        if !self.yes && !agrees(&planned)? {
            say!("nothing was changed");
            return Ok(());
        }
        let id = operator.acting(async |operator| bulk::begin(db, operator, new).await).await?;
        let is_watched = stderr().is_terminal();
        loop {
            let step = bulk::step(db, relay, id).await?;
            if is_watched {
                let BulkView { matched, revived, cancelled, skipped, .. } = bulk::get(db, id).await?;
                let done = revived.or(cancelled).unwrap_or(0) + skipped;
                eprint!("\r{done} of {matched} events done; a worker goes on with bulk {id} if this is interrupted");
            }
            match step {
                Step::Again => {}
                Step::After(wait) => tokio::time::sleep(wait).await,
                Step::Ended => break,
            }
        }
        if is_watched {
            eprintln!();
        }
        show(&bulk::get(db, id).await?, json)
    }
}

impl Bulk {
    pub(super) async fn run(self, db: &Database) -> anyhow::Result<()> {
        let bulk = if self.abort {
            self.operator.acting(async |operator| bulk::abort(db, operator, self.id).await).await?
        } else {
            bulk::get(db, self.id).await?
        };
        show(&bulk, self.json)
    }
}

fn agrees(planned: &BulkView) -> anyhow::Result<bool> {
    let BulkView { kind, matched, filter, per_second, .. } = planned;
    anyhow::ensure!(
        stdin().is_terminal(),
        "this would {kind} {matched} events; add --yes to do it without a question, or --dry-run to count them only"
    );
    let pace = per_second.map(|number| format!(", {number} a second")).unwrap_or_default();
    eprint!("This would {kind} {matched} events{pace}: {filter}\nGo on? [y/N] ");
    stderr().flush()?;
    let mut answer = String::new();
    stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

fn show(bulk: &BulkView, json: bool) -> anyhow::Result<()> {
    if json {
        return print::json(bulk);
    }
    let BulkView { bulk_id, status, matched, revived, cancelled, skipped, .. } = bulk;
    let changed = match (revived, cancelled) {
        (Some(revived), _) => format!("{revived} revived"),
        (None, cancelled) => format!("{} cancelled", cancelled.unwrap_or(0)),
    };
    let skipped = if *skipped > 0 { format!(", {skipped} passed over") } else { String::new() };
    match bulk_id {
        None => say!("{matched} events matched, {changed}"),
        Some(id) => say!("{matched} events matched, {changed}{skipped}; bulk {id} is {status}"),
    }
    Ok(())
}
