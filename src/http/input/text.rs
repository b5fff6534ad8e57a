//! What text can be asked for. The one place that knows what databases refuse.
//!
//! `PostgreSQL` takes no NUL, in whatever column or comparison, and answers with an error that looks like one of its own.
//! Nothing that Feebox stores has control characters, so that to look for them is a mistake of the caller.

/// Whether every database takes `text`.
///
/// # Errors
/// What is wrong with it, in words that go on after its name.
pub(super) fn fits(text: &str) -> Result<(), &'static str> {
    if text.contains(char::is_control) { Err("has control characters; send printable text") } else { Ok(()) }
}
