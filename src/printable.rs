//! Makes foreign text safe to store, log and show.
//!
//! Databases refuse some characters (PostgreSQL accepts no NUL, neither in text nor in JSON), terminals execute some, and
//! browsers reorder text by some. None of them matters in an error's text, so they are replaced here, in one place.

use std::{error::Error, iter};

/// Up to `chars_max` characters of `text` that print on one line: white space becomes a space, and other control and
/// formatting characters become U+FFFD.
#[must_use]
pub fn printable(text: &str, chars_max: usize) -> String {
    text.chars().take(chars_max).map(replace).collect()
}

fn replace(char: char) -> char {
    match char {
        '\t' | '\n' | '\u{b}' | '\u{c}' | '\r' | '\u{85}' | '\u{2028}' | '\u{2029}' => ' ',
        _ if char.is_control() || is_format(char) || is_noncharacter(char) => char::REPLACEMENT_CHARACTER,
        _ => char,
    }
}

/// Bidirectional controls, interlinear annotations, tags and the byte order mark.
fn is_format(char: char) -> bool {
    matches!(char,
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}'
        | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// Unicode noncharacters: U+FDD0 to U+FDEF, and the last two of each plane.
fn is_noncharacter(char: char) -> bool {
    matches!(char, '\u{fdd0}'..='\u{fdef}') || u32::from(char) & 0xfffe == 0xfffe
}

/// Checks that every database accepts `text`: `PostgreSQL` refuses NUL in every column and comparison, with an error that looks
/// like an internal one. Feebox stores no control characters, so a search for one is a mistake of the caller.
///
/// # Errors
/// What is wrong, to follow the name of a field or parameter.
pub fn check(text: &str) -> Result<(), &'static str> {
    if text.contains(char::is_control) { Err("has control characters; send printable text") } else { Ok(()) }
}

/// An error and its causes, in one line.
pub fn chain(error: &(dyn Error + 'static)) -> String {
    causes(error).map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// `error` and its causes.
pub fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    iter::successors(Some(error), |error| (*error).source())
}

#[cfg(test)]
mod tests {
    use super::printable;

    #[test]
    fn unprintable_characters_are_replaced() {
        assert_eq!(printable("a\0b\u{1b}[31m\u{9b}c\u{7f}", 100), "a\u{fffd}b\u{fffd}[31m\u{fffd}c\u{fffd}");
        assert_eq!(printable("two\r\nlines\tand\u{2028}more\u{85}", 100), "two  lines and more ");
        assert_eq!(printable("\u{202e}txt.exe\u{2069}\u{feff}\u{fffe}\u{fdd0}", 100), {
            "\u{fffd}txt.exe\u{fffd}\u{fffd}\u{fffd}\u{fffd}"
        });
    }

    #[test]
    fn letters_of_all_scripts_are_kept() {
        let text = "Gebühr 수수료 👩‍💻 שלום \u{10fffd} z\u{301}";
        assert_eq!(printable(text, 100), text);
    }

    #[test]
    fn the_limit_counts_characters_and_not_bytes() {
        assert_eq!(printable("수수료가 없다", 3), "수수료");
        assert_eq!(printable("abc", 0), "");
    }
}
