//! Secrets: given inline or in a file, and never shown.

use secrecy::{ExposeSecret, SecretString};
use url::Url;

use super::Origin;
use super::fields::Fields;
use crate::secret_file::secret_in;

/// What is shown in place of a secret.
pub(super) const MASK: &str = "***";

impl Fields {
    /// The secret in `key` or in the file that `file_key` names; `None` if neither is set.
    pub(super) fn secret(&mut self, key: &str, file_key: &str) -> Option<SecretString> {
        let path = self.text(file_key);
        // Wrapped at once, so that no plain copy is left in memory.
        let inline = SecretString::from(self.text(key));
        let is_given = !inline.expose_secret().is_empty();
        if is_given {
            self.show(key, MASK, self.origin(key));
        }
        if path.is_empty() {
            return is_given.then_some(inline);
        }
        if is_given && !self.is_default(key) {
            self.refuse(
                key,
                format!("is set here and also by {file_key} ({})", self.origin(file_key)),
                format!("remove one of them (or set {file_key} to \"\")"),
            );
            return Some(inline);
        }
        let from_file = self.secret_in_file(file_key, &path);
        if from_file.is_some() {
            self.show(key, MASK, Origin::File(path.into()));
        }
        from_file
    }

    fn secret_in_file(&mut self, file_key: &str, path: &str) -> Option<SecretString> {
        match secret_in(&self.path(path)) {
            Ok(secret) => Some(secret),
            Err(problem) => {
                let advice = "write the secret to a file that this process can read";
                self.refuse(file_key, format!("{path:?} {problem}"), advice);
                None
            }
        }
    }
}

/// Parameters of database URLs that hold no secret, as far as they are worth showing.
const SHOWN_PARAMETERS: [&str; 14] = [
    "application_name",
    "charset",
    "collation",
    "dbname",
    "host",
    "options",
    "port",
    "socket",
    "ssl-mode",
    "sslmode",
    "sslrootcert",
    "statement-cache-capacity",
    "timezone",
    "user",
];

/// `url` without its secrets: those in the user info, in the query, and what an unescaped `/`, `?` or `#` of a password put
/// elsewhere. Of the query only parameters that are known to hold no secret are shown.
pub(super) fn without_secrets(url: &Url) -> String {
    let mut shown = url.clone();
    if url.password().is_some() && shown.set_password(Some(MASK)).is_err() {
        return MASK.to_owned();
    }
    if url.path().contains(['@', ':', '=']) {
        shown.set_path(MASK);
    }
    if url.fragment().is_some() {
        shown.set_fragment(Some(MASK));
    }
    if url.query().is_some() {
        let pairs = url.query_pairs().map(|(name, value)| {
            if SHOWN_PARAMETERS.contains(&name.as_ref()) {
                return (name, value);
            }
            let is_name = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
            (if is_name && !value.is_empty() { name } else { MASK.into() }, MASK.into())
        });
        shown.query_pairs_mut().clear().extend_pairs(pairs);
    }
    shown.into()
}
