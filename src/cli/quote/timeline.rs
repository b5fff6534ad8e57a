//! `feebox quote timeline`

use clap::Args;
use serde_json::Value;
use uuid::Uuid;

use super::super::print::{self, time};
use crate::{
    database::Database,
    quotes::CancelError,
    timeline::{self, TimelineEntry},
};

/// Options of `feebox quote timeline`.
#[derive(Args, Debug)]
pub struct Timeline {
    /// The quote's id
    quote: Uuid,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Timeline {
    pub(super) async fn run(self, db: &Database) -> anyhow::Result<()> {
        let entries = timeline::timeline(db, self.quote).await?.ok_or(CancelError::NotFound)?;
        if self.json {
            return print::json(&entries);
        }
        let rows = entries.iter().map(row).collect::<anyhow::Result<Vec<_>>>()?;
        say!("{}", print::table(["at", "what", "details"], rows));
        Ok(())
    }
}

/// The facts of an entry, each with its name; ids of events are left out.
fn row(entry: &TimelineEntry) -> anyhow::Result<[String; 3]> {
    let facts = serde_json::to_value(&entry.event)?;
    let facts = facts.as_object().cloned().unwrap_or_default();
    let what = facts.get("what").and_then(Value::as_str).unwrap_or_default().replace('_', " ");
    let shown = facts.iter().filter(|(name, value)| !matches!(name.as_str(), "what" | "event_id") && !value.is_null());
    let shown = shown.map(|(name, value)| match value {
        Value::String(text) => format!("{}: {text}", name.replace('_', " ")),
        other => format!("{}: {other}", name.replace('_', " ")),
    });
    Ok([time(entry.at), what, shown.collect::<Vec<_>>().join(", ")])
}
