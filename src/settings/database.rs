//! `database.*`: where quotes, events and fee records live.

use std::{path::PathBuf, time::Duration};

use secrecy::{ExposeSecret, SecretString};
use url::Url;

use super::fields::{Fields, Invalid};
use super::secret::without_secrets;

/// How the database is reached.
#[derive(Clone, Debug)]
pub struct Database {
    /// `sqlite://…`, `postgres://…` or `mysql://…`.
    pub url: SecretString,
    /// The file that the URL was read from. It is read again when the server refuses the credentials.
    pub url_file: Option<PathBuf>,
    /// Most open connections of this process: 1 to 1000.
    pub max_connections: u32,
    /// How long to wait for a free connection.
    pub acquire_timeout: Duration,
}

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
        match printable(url.expose_secret()) {
            Ok(shown) => fields.show(key, shown, fields.origin(key)),
            Err((problem, advice)) => fields.refuse(key, problem, advice),
        }
    }
    url
}

/// Checks `url` and returns it without its secrets. The error quotes nothing of it.
fn printable(url: &str) -> Result<String, Invalid> {
    // SQLite's URLs are paths, which may contain spaces and hold no password.
    if url.starts_with("sqlite:") {
        return Ok(url.to_owned());
    }
    let invalid = |problem: &str| {
        let advice = "write sqlite://…, postgres://user:password@host/name or mysql://user:password@host/name, \
                    with %XX for special characters in the password";
        (problem.to_owned(), advice.to_owned())
    };
    let parsed = Url::parse(url).map_err(|err| invalid(&format!("is not a URL: {err}")))?;
    match parsed.scheme() {
        "postgres" | "postgresql" | "mysql" if parsed.has_host() => Ok(without_secrets(&parsed)),
        "postgres" | "postgresql" | "mysql" => Err(invalid("names no host")),
        _ => Err(invalid("names an unsupported database")),
    }
}
