//! Text that a query may search for.
//!
//! PostgreSQL refuses NUL in every column and comparison, with an error that looks like an internal one. Feebox stores no
//! control characters, so a search for one is a mistake of the caller.

/// Checks that every database accepts `text`.
///
/// # Errors
/// What is wrong, to follow the parameter's name.
pub(super) fn check(text: &str) -> Result<(), &'static str> {
    if text.contains(char::is_control) { Err("has control characters; send printable text") } else { Ok(()) }
}
