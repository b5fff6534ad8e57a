//! `database.*`: where quotes, events and fee records live.

use secrecy::{ExposeSecret, SecretString};
use url::Url;

use super::fields::{Fields, Invalid};
use super::secret::without_secrets;
pub use crate::database::Options as Database;
use crate::database::{ReplicaOptions, Servers, with_all_hosts};

const URL: &str = "database.url";
const FILE: &str = "database.url_file";
const REPLICA_URL: &str = "database.replica_url";
const REPLICA_FILE: &str = "database.replica_url_file";

impl Database {
    pub(super) fn read(fields: &mut Fields) -> Self {
        let (url, max_connections) = (read_url(fields), fields.count::<u32>("database.max_connections", 1..=1000));
        let acquire_timeout = fields.duration("database.acquire_timeout", ["10ms", "5m"]);
        let max_age = fields.duration("database.replica_max_age", ["1s", "1h"]);
        let replica = read_replica_url(fields, &url).map(|url| ReplicaOptions {
            url,
            url_file: fields.optional_path(REPLICA_FILE),
            // As many as readers have of the primary.
            max_connections: (max_connections / 4).max(1),
            acquire_timeout,
            max_age,
        });
        Self { url, url_file: fields.optional_path(FILE), max_connections, acquire_timeout, replica }
    }
}

fn read_url(fields: &mut Fields) -> SecretString {
    let url = fields.secret(URL, FILE).unwrap_or_default();
    show(fields, URL, FILE, &url);
    url
}

/// The replica's, if there is one.
fn read_replica_url(fields: &mut Fields, primary: &SecretString) -> Option<SecretString> {
    let url = fields.secret(REPLICA_URL, REPLICA_FILE)?;
    show(fields, REPLICA_URL, REPLICA_FILE, &url);
    if fields.are_valid(&[URL, FILE, REPLICA_URL, REPLICA_FILE]) {
        if url.expose_secret().starts_with("sqlite:") || primary.expose_secret().starts_with("sqlite:") {
            let advice = format!("remove {REPLICA_URL}, or use PostgreSQL or MariaDB");
            fields.refuse(REPLICA_URL, "is set, and an SQLite file has no replica", advice);
        } else if is_postgres(&url) != is_postgres(primary) {
            fields.refuse(REPLICA_URL, format!("names another kind of database than {URL}"), "name a replica of it");
        }
    }
    Some(url)
}

fn is_postgres(url: &SecretString) -> bool {
    url.expose_secret().starts_with("postgres")
}

/// Checks the URL in `key`, and shows it without its secrets.
fn show(fields: &mut Fields, key: &str, file_key: &str, url: &SecretString) {
    if fields.are_valid(&[key, file_key]) {
        match printable(url) {
            Ok(shown) => fields.show(key, shown, fields.origin(key)),
            Err((problem, advice)) => fields.refuse(key, problem, advice),
        }
    }
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
