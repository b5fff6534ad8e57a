//! Why a command failed: one line, with what helps.

use sea_orm::DbErr;
use secrecy::ExposeSecret;
use url::Url;

use super::Overrides;
use crate::database::{self, Kind, Servers};

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

/// Hosts and ports, or the file: nothing secret.
fn place(overrides: Overrides) -> Option<String> {
    let settings = overrides.settings().ok()?;
    let url = settings.database.url;
    if let Some(file) = url.expose_secret().strip_prefix("sqlite:") {
        return Some(format!("sqlite:{}", file.split('?').next().unwrap_or_default()));
    }
    let servers = Servers::of(&url).ok()?.urls;
    let places = servers.iter().map(|url| {
        let url = Url::parse(url.expose_secret()).ok()?;
        let of_socket = || {
            url.query_pairs().find(|(name, _)| name == "host" || name == "socket").map(|(_, place)| place.into_owned())
        };
        let host = url.host_str().filter(|host| !host.is_empty()).map(str::to_owned).or_else(of_socket)?;
        Some(format!("{host}{}", url.port().map(|port| format!(":{port}")).unwrap_or_default()))
    });
    Some(places.collect::<Option<Vec<_>>>()?.join(" or "))
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
