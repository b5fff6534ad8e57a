//! `fee_server.*`: how the fee server is called.

use std::path::PathBuf;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use url::Url;

use super::fields::{Fields, Invalid};
use super::typed::as_text;

const CA: &str = "fee_server.ssl_ca_location";
const CERTIFICATE: &str = "fee_server.ssl_certificate_location";
const KEY: &str = "fee_server.ssl_key_location";

/// How the fee server is called.
#[derive(Clone, Debug)]
pub struct FeeServer {
    /// Its address, ending in `/` so that `join("v1/fees")` keeps a path. No user, password, query or fragment.
    pub base_url: Url,
    /// The bearer token that Feebox sends: visible ASCII.
    pub token: Option<SecretString>,
    /// The file that the token was read from. It is read again when the fee server refuses the token.
    pub token_file: Option<PathBuf>,
    /// Longest time of one call, from connecting to the end of the answer.
    pub timeout: Duration,
    /// Longest time to connect; at most `timeout`.
    pub connect_timeout: Duration,
    /// Longest time that a connection is reused.
    pub connection_max_age: Duration,
    /// Upper limit of a Retry-After.
    pub retry_after_max: Duration,
    /// Whether to look up an existing fee when an attempt's outcome is unknown.
    pub lookup: bool,
    /// Trusted CA certificates, a PEM file; the system's by default.
    pub ssl_ca_location: Option<PathBuf>,
    /// The client certificate, a PEM file; present if its key is.
    pub ssl_certificate_location: Option<PathBuf>,
    /// The private key of the client certificate, a PEM file without a passphrase.
    pub ssl_key_location: Option<PathBuf>,
}

impl FeeServer {
    pub(super) fn read(fields: &mut Fields) -> Self {
        let timeout = fields.duration("fee_server.timeout", ["10ms", "10m"]);
        let fee_server = Self {
            base_url: fields.read("fee_server.base_url", |value| parse_base_url(as_text(value)?)),
            token: read_token(fields),
            token_file: fields.optional_path("fee_server.token_file"),
            timeout,
            connect_timeout: read_connect_timeout(fields, timeout),
            connection_max_age: fields.duration("fee_server.connection_max_age", ["10ms", "1h"]),
            retry_after_max: fields.duration("fee_server.retry_after_max", ["0s", "7d"]),
            lookup: fields.flag("fee_server.lookup"),
            ssl_ca_location: fields.optional_path(CA),
            ssl_certificate_location: fields.optional_path(CERTIFICATE),
            ssl_key_location: fields.optional_path(KEY),
        };
        fee_server.refuse_half_certificate(fields);
        fee_server.refuse_unused_files(fields);
        fee_server
    }

    fn refuse_half_certificate(&self, fields: &mut Fields) {
        let (missing, given) = match (&self.ssl_certificate_location, &self.ssl_key_location) {
            (None, Some(_)) => (CERTIFICATE, KEY),
            (Some(_), None) => (KEY, CERTIFICATE),
            _ => return,
        };
        fields.refuse(missing, format!("is empty, but {given} is set"), "set both, or neither");
    }

    /// The operator who names certificates expects TLS.
    fn refuse_unused_files(&self, fields: &mut Fields) {
        if self.base_url.scheme() == "https" || !fields.are_valid(&["fee_server.base_url"]) {
            return;
        }
        let files = [(CA, &self.ssl_ca_location), (CERTIFICATE, &self.ssl_certificate_location)];
        for (key, _) in files.iter().filter(|(_, file)| file.is_some()) {
            fields.refuse(key, "is set, but fee_server.base_url is not https", "write https://…, or leave it empty");
        }
    }
}

/// The error does not quote the URL, which may hold a password.
pub(super) fn parse_base_url(text: &str) -> Result<Url, Invalid> {
    let advice = || "write http://host:port or https://host".to_owned();
    let mut url = Url::parse(text).map_err(|err| (format!("is not a URL: {err}"), advice()))?;
    if !["http", "https"].contains(&url.scheme()) {
        return Err(("is neither http nor https".to_owned(), advice()));
    }
    if !url.username().is_empty() || url.password().is_some() {
        let advice = "use fee_server.token or fee_server.token_file for credentials";
        return Err(("contains a user name or password".to_owned(), advice.to_owned()));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(("contains a query or fragment".to_owned(), advice()));
    }
    if !url.path().ends_with('/') {
        url.set_path(&format!("{}/", url.path()));
    }
    Ok(url)
}

fn read_token(fields: &mut Fields) -> Option<SecretString> {
    let token = fields.secret("fee_server.token", "fee_server.token_file")?;
    // A header cannot carry anything else, and the first call would be a late time to find out.
    if !token.expose_secret().bytes().all(|byte| byte.is_ascii_graphic()) {
        let advice = "write the bare token, without spaces, quotes or line breaks";
        fields.refuse("fee_server.token", "contains characters other than visible ASCII", advice);
    }
    Some(token)
}

fn read_connect_timeout(fields: &mut Fields, timeout: Duration) -> Duration {
    let key = "fee_server.connect_timeout";
    let connect_timeout = fields.duration(key, ["10ms", "10m"]);
    if connect_timeout <= timeout || !fields.are_valid(&[key, "fee_server.timeout"]) {
        return connect_timeout;
    }
    if fields.is_default(key) {
        return fields.adapt_default(key, timeout, "fee_server.timeout");
    }
    fields.refuse(
        key,
        format!("is longer than fee_server.timeout ({})", fields.origin("fee_server.timeout")),
        "shorten it, or lengthen fee_server.timeout",
    );
    connect_timeout
}
