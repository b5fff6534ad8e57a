//! Makes foreign text safe to store, log and show.
//!
//! Databases refuse some characters (PostgreSQL accepts no NUL, neither in text nor in JSON), terminals execute some, and
//! browsers reorder text by some. None of them matters in an error's text, so they are replaced here, in one place.

use std::{borrow::Cow, error::Error, fmt::Write as _, iter};

/// Up to `chars_max` characters of `text` that print on one line: white space becomes a space, and other characters that are
/// not visible become U+FFFD.
#[must_use]
pub fn printable(text: &str, chars_max: usize) -> String {
    let line = text.chars().take(chars_max).map(|char| if breaks_line(char) { ' ' } else { char });
    replaced(line).collect()
}

/// `text` in its lines, without anything else that a terminal would not print as it is. `keep` names further characters to
/// leave alone.
pub fn lines(text: &str, keep: impl Fn(char) -> bool) -> Cow<'_, str> {
    if text.bytes().all(|byte| matches!(byte, b' '..=b'~' | b'\n')) {
        return text.into();
    }
    let kept = |char| matches!(char, '\n' | '\t') || keep(char);
    let pairs = text.chars().zip(replaced(text.chars()));
    pairs.map(|(char, replaced)| if kept(char) { char } else { replaced }).collect::<String>().into()
}

/// JSON that prints as it is and means the same: characters that are not visible are written as `\u` escapes. Outside of its
/// strings JSON has none of them but white space.
#[must_use]
pub fn json(text: &str) -> Cow<'_, str> {
    let is_hidden = |char: char| char != '\n' && (char.is_control() || is_hidden(char) || is_joiner(char));
    if !text.contains(is_hidden) {
        return text.into();
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for char in text.chars() {
        if is_hidden(char) {
            let mut units = [0; 2];
            for unit in char.encode_utf16(&mut units) {
                let _ = write!(escaped, "\\u{unit:04x}");
            }
        } else {
            escaped.push(char);
        }
    }
    escaped.into()
}

/// Replaces what is not visible. Joiners stay where they join: between letters of other scripts than ours, and in emoji.
fn replaced(chars: impl Iterator<Item = char>) -> impl Iterator<Item = char> {
    chars.scan('\0', |before, char| {
        let joins = is_joiner(char) && !before.is_ascii() && !is_joiner(*before);
        *before = char;
        let is_visible = joins || !(char.is_control() || is_hidden(char) || is_joiner(char));
        Some(if is_visible { char } else { char::REPLACEMENT_CHARACTER })
    })
}

fn breaks_line(char: char) -> bool {
    matches!(char, '\t' | '\n' | '\u{b}' | '\u{c}' | '\r' | '\u{85}' | '\u{2028}' | '\u{2029}')
}

/// Zero-width non-joiner and joiner.
fn is_joiner(char: char) -> bool {
    matches!(char, '\u{200c}' | '\u{200d}')
}

/// Characters that take no space or reorder others: soft hyphen, combining grapheme joiner, Hangul fillers, zero-width spaces,
/// bidirectional controls, line separators, invisible operators, annotations, tags, the byte order mark, and noncharacters.
fn is_hidden(char: char) -> bool {
    matches!(char,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180e}' | '\u{200b}'
        | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{feff}' | '\u{ffa0}'
        | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
        || is_noncharacter(char)
}

/// Unicode noncharacters: U+FDD0 to U+FDEF, and the last two of each plane.
fn is_noncharacter(char: char) -> bool {
    matches!(char, '\u{fdd0}'..='\u{fdef}') || u32::from(char) & 0xfffe == 0xfffe
}

/// Checks that `text` is visible as it is, so that two identifiers never look alike by what nobody sees.
///
/// # Errors
/// What is wrong, to follow the name of a field or parameter.
pub fn check_identifier(text: &str) -> Result<(), &'static str> {
    if text.chars().all(char::is_whitespace) {
        return Err("has only blanks; send visible text");
    }
    if text.contains(|char| is_hidden(char) || is_joiner(char)) {
        return Err("has invisible or text-reordering characters; send visible text");
    }
    Ok(())
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
    use super::{check_identifier, json, lines, printable};

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
    fn what_takes_no_space_is_replaced_and_joiners_stay_where_they_join() {
        assert_eq!(printable("pay\u{200d}pal\u{200b}\u{ad}\u{3164}", 100), "pay\u{fffd}pal\u{fffd}\u{fffd}\u{fffd}");
        assert_eq!(printable("\u{200d}\u{200d}", 100), "\u{fffd}\u{fffd}");
        assert_eq!(printable("می\u{200c}خواهم", 100), "می\u{200c}خواهم");
    }

    #[test]
    fn lines_keep_their_ends_and_what_is_asked_for() {
        let text = "one\ttwo\n\u{1b}[31mred\u{9b}\u{202e}\n";
        assert_eq!(lines(text, |_| false), "one\ttwo\n\u{fffd}[31mred\u{fffd}\u{fffd}\n");
        assert_eq!(lines(text, |char| char == '\u{1b}'), "one\ttwo\n\u{1b}[31mred\u{fffd}\u{fffd}\n");
        assert!(matches!(lines("plain\n", |_| false), std::borrow::Cow::Borrowed(_)));
    }

    #[test]
    fn escaped_json_means_the_same() {
        let value = serde_json::json!({ "a\u{202e}": "x\u{9b}y\u{1b}\u{e0041}\u{200d}", "b": [1, "ä\n"] });
        let text = serde_json::to_string_pretty(&value).expect("JSON");
        let escaped = json(&text);
        assert!(escaped.chars().all(|char| char == '\n' || char == 'ä' || (' '..='~').contains(&char)), "{escaped}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&escaped).expect("JSON"), value);
    }

    #[test]
    fn an_identifier_has_nothing_that_nobody_sees() {
        for text in ["", " ", "\u{a0}", "a\u{200b}", "a\u{202e}b", "\u{feff}a", "a\u{200d}b", "\u{3164}"] {
            assert!(check_identifier(text).is_err(), "{text:?}");
        }
        for text in ["a b", "수수료", "שלום", "z\u{301}"] {
            assert!(check_identifier(text).is_ok(), "{text:?}");
        }
    }

    #[test]
    fn the_limit_counts_characters_and_not_bytes() {
        assert_eq!(printable("수수료가 없다", 3), "수수료");
        assert_eq!(printable("abc", 0), "");
    }
}
