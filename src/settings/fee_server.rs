//! `fee_server.*`: how the fee server is called.

use std::path::PathBuf;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use url::Url;

use super::fields::{Fields, Unfit};
use super::typed::as_text;

/// How the fee server is called.
#[derive(Clone, Debug)]
pub struct FeeServer {
    /// Its address, ending in `/` so that `join("v1/fees")` keeps a path. No user, password, query or fragment.
    pub base_url: Url,
    /// The bearer token that Feebox shows: visible ASCII.
    pub token: Option<SecretString>,
    /// The file that the token came from: it is read again when the token is refused.
    pub token_file: Option<PathBuf>,
    /// Longest that one call may take, from connecting to the end of the answer.
    pub timeout: Duration,
    /// Longest that connecting may take; not above `timeout`.
    pub connect_timeout: Duration,
    /// Longest that a connection is kept for further calls.
    pub connection_max_age: Duration,
    /// Longest wait that a Retry-After can ask of us.
    pub retry_after_max: Duration,
    /// Whether to ask for an existing fee when an attempt's outcome is unknown.
    pub lookup: bool,
}

impl FeeServer {
    pub(super) fn read(fields: &mut Fields) -> Self {
        let timeout = fields.duration("fee_server.timeout", ["10ms", "10m"]);
        Self {
            base_url: fields.read("fee_server.base_url", |value| parse_base_url(as_text(value)?)),
            token: read_token(fields),
            token_file: fields.secret_file("fee_server.token_file"),
            timeout,
            connect_timeout: read_connect_timeout(fields, timeout),
            connection_max_age: fields.duration("fee_server.connection_max_age", ["10ms", "1h"]),
            retry_after_max: fields.duration("fee_server.retry_after_max", ["0s", "7d"]),
            lookup: fields.flag("fee_server.lookup"),
        }
    }
}

/// The faults do not quote the URL: one that holds a password is among the refused.
fn parse_base_url(text: &str) -> Result<Url, Unfit> {
    let mend = || "write http://host:port or https://host".to_owned();
    let mut url = Url::parse(text).map_err(|err| (format!("is not a URL: {err}"), mend()))?;
    if !["http", "https"].contains(&url.scheme()) {
        return Err(("is neither http nor https".to_owned(), mend()));
    }
    if !url.username().is_empty() || url.password().is_some() {
        let mend = "use fee_server.token or fee_server.token_file for credentials";
        return Err(("holds a user name or password".to_owned(), mend.to_owned()));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(("holds a query or fragment".to_owned(), mend()));
    }
    if !url.path().ends_with('/') {
        url.set_path(&format!("{}/", url.path()));
    }
    Ok(url)
}

fn read_token(fields: &mut Fields) -> Option<SecretString> {
    let token = fields.secret("fee_server.token", "fee_server.token_file")?;
    // A header can't carry anything else, and finding that out at the first call would be late.
    if !token.expose_secret().bytes().all(|byte| byte.is_ascii_graphic()) {
        let mend = "write the bare token, without blanks, quotes or line breaks";
        fields.refuse("fee_server.token", "holds other characters than visible ASCII", mend);
    }
    Some(token)
}

fn read_connect_timeout(fields: &mut Fields, timeout: Duration) -> Duration {
    let key = "fee_server.connect_timeout";
    let connect_timeout = fields.duration(key, ["10ms", "10m"]);
    if connect_timeout <= timeout || !fields.are_fit(&[key, "fee_server.timeout"]) {
        return connect_timeout;
    }
    if fields.is_default(key) {
        return fields.make_fit(key, timeout, "fee_server.timeout");
    }
    fields.refuse(
        key,
        format!("is longer than fee_server.timeout ({})", fields.origin("fee_server.timeout")),
        "shorten it, or lengthen the other",
    );
    connect_timeout
}
