//! Why a command failed: one line, with what helps.

use sea_orm::DbErr;
use secrecy::ExposeSecret;
use url::Url;

use super::Overrides;
use crate::database::{self, Kind};

/// The error with its causes, each said once, and what helps if that is known.
pub(super) fn line(error: &anyhow::Error, overrides: Overrides) -> String {
    let mut said = String::new();
    for cause in error.chain() {
        let text = cause.to_string();
        // Many libraries repeat their cause in their own text.
        if !said.contains(&text) {
            said = if said.is_empty() { text } else { format!("{said}: {text}") };
        }
    }
    let said = said.replace('\n', " ");
    let Some(of_database) = error.chain().find_map(|cause| cause.downcast_ref::<DbErr>()) else { return said };
    let place = match database::kind(of_database) {
        Kind::Unavailable | Kind::Denied => place(overrides).map(|place| format!("the database at {place}: ")),
        _ => None,
    };
    let advice = advice(of_database).map(|advice| format!("; {advice}"));
    format!("{}{said}{}", place.unwrap_or_default(), advice.unwrap_or_default())
}

/// Host and port, or the file: nothing secret.
fn place(overrides: Overrides) -> Option<String> {
    let settings = overrides.settings().ok()?;
    let url = settings.database.url.expose_secret();
    match Url::parse(url).ok() {
        Some(url) if url.scheme() != "sqlite" => {
            let port = url.port().map(|port| format!(":{port}"));
            Some(format!("{}{}", url.host_str()?, port.unwrap_or_default()))
        }
        _ => Some(url.split('?').next().unwrap_or_default().to_owned()),
    }
}

fn advice(error: &DbErr) -> Option<&'static str> {
    if database::lacks_table(error) {
        return Some("the database has no schema of this version: run `feebox migrate up`");
    }
    database::advice(error).or(match database::kind(error) {
        Kind::Unavailable => Some("is it up, and database.url right? `feebox config` shows it"),
        Kind::Denied => Some("check the user and the password in database.url; `feebox config` shows it"),
        Kind::ReadOnly => Some("this is a standby, or a fenced primary: name the primary in database.url"),
        Kind::Full => Some("free space on the database's disk"),
        Kind::Conflict | Kind::Busy => Some("try again"),
        Kind::TooLarge | Kind::Internal => None,
    })
}
