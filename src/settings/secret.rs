//! Secrets: given inline or in a file, and never shown.

use std::path::Path;

use secrecy::{ExposeSecret, SecretString};
use url::Url;

use super::Origin;
use super::fields::Fields;

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

/// Reads the secret in the file at `path`.
///
/// # Errors
/// The file cannot be read, or is empty.
pub(crate) fn secret_in(path: &Path) -> Result<SecretString, String> {
    let text = std::fs::read_to_string(path).map(SecretString::from);
    let text = text.map_err(|error| format!("cannot be read: {error}"))?;
    // Editors and `echo` add a line break that is not part of the secret.
    let secret = text.expose_secret().trim_end_matches(['\r', '\n']);
    if secret.is_empty() { Err("is empty".into()) } else { Ok(secret.into()) }
}

/// Masks the password of `url`, in the user info and in the query.
pub(super) fn without_password(url: &Url) -> String {
    let mut shown = url.clone();
    if url.password().is_some() && shown.set_password(Some(MASK)).is_err() {
        return MASK.to_owned();
    }
    // PostgreSQL drivers also read it from the query: ?password=…
    if url.query_pairs().any(|(name, _)| is_password(&name)) {
        shown.query_pairs_mut().clear().extend_pairs(url.query_pairs().map(|(name, value)| {
            let value = if is_password(&name) { MASK.into() } else { value };
            (name, value)
        }));
    }
    shown.into()
}

fn is_password(parameter: &str) -> bool {
    parameter.to_ascii_lowercase().contains("password")
}
