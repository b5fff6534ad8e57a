//! Secrets that are given in files, where they may be replaced while a process runs.

use std::path::Path;

use secrecy::{ExposeSecret, SecretString};

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
