//! `database.*`: where quotes, events and fee records live.

use secrecy::{ExposeSecret, SecretString};
use url::Url;

use super::fields::{Fields, Invalid};
use super::secret::without_secrets;
pub use crate::database::Options as Database;
use crate::database::{Servers, with_all_hosts};

impl Database {
    pub(super) fn read(fields: &mut Fields) -> Self {
        Self {
            url: read_url(fields),
            url_file: fields.optional_path("database.url_file"),
            max_connections: fields.count("database.max_connections", 1..=1000),
            acquire_timeout: fields.duration("database.acquire_timeout", ["10ms", "5m"]),
        }
    }
}

fn read_url(fields: &mut Fields) -> SecretString {
    let key = "database.url";
    let url = fields.secret(key, "database.url_file").unwrap_or_default();
    if fields.are_valid(&[key, "database.url_file"]) {
        match printable(&url) {
            Ok(shown) => fields.show(key, shown, fields.origin(key)),
            Err((problem, advice)) => fields.refuse(key, problem, advice),
        }
    }
    url
}

/// Checks `url` and returns it without its secrets. The error quotes nothing of it.
fn printable(url: &SecretString) -> Result<String, Invalid> {
    let text = url.expose_secret();
    // SQLite's URLs are paths, which may contain spaces and hold no password.
    if text.starts_with("sqlite:") {
        return Ok(text.to_owned());
    }
    let invalid = |problem: &str| {
        let advice = "write sqlite://…, postgres://user:password@host/name or mysql://user:password@host/name, \
                    with %XX for special characters in the password; several hosts are separated by commas, and a Unix socket is \
                    postgres://user@%2Fdirectory/name or mysql://user@localhost/name?socket=/file";
        (problem.to_owned(), advice.to_owned())
    };
    let servers = Servers::of(url).map_err(|problem| {
        let advice = "write any, read-write, primary, read-only, standby or prefer-standby";
        (problem.to_owned(), advice.to_owned())
    })?;
    let mut shown = None;
    for server in &servers.urls {
        let parsed = Url::parse(server.expose_secret()).map_err(|err| invalid(&format!("is not a URL: {err}")))?;
        let names = |parameter: &str| parsed.query_pairs().any(|(name, value)| name == parameter && !value.is_empty());
        let has_host = parsed.host_str().is_some_and(|host| !host.is_empty());
        match parsed.scheme() {
            "postgres" | "postgresql" if has_host || names("host") => {}
            "mysql" if has_host || names("socket") => {}
            "postgres" | "postgresql" | "mysql" => return Err(invalid("names no host")),
            _ => return Err(invalid("names an unsupported database")),
        }
        shown = shown.or_else(|| Some(without_secrets(&parsed)));
    }
    Ok(with_all_hosts(&shown.unwrap_or_default(), text))
}
