//! Text of foreign origin, made fit to be stored, logged and shown.
//!
//! A database refuses some characters (`PostgreSQL` takes no NUL, neither in text nor in JSON), a terminal obeys some, and a
//! browser reorders by some. None of them carries meaning in an error's text, so they are replaced here, in one place.

/// At most `chars_max` characters of `text`, without what cannot be printed on one line: white space other than a blank
/// becomes a blank, other control and formatting characters become U+FFFD.
#[must_use]
pub fn printable(text: &str, chars_max: usize) -> String {
    text.chars().take(chars_max).map(printed).collect()
}

fn printed(char: char) -> char {
    match char {
        '\t' | '\n' | '\u{b}' | '\u{c}' | '\r' | '\u{85}' | '\u{2028}' | '\u{2029}' => ' ',
        _ if char.is_control() || formats(char) || is_noncharacter(char) => char::REPLACEMENT_CHARACTER,
        _ => char,
    }
}

/// Turns the direction of the text around it, annotates it, or is invisible by design.
fn formats(char: char) -> bool {
    matches!(char,
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}'
        | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// Reserved for the inside of programs: U+FDD0 to U+FDEF, and the last two of each plane.
fn is_noncharacter(char: char) -> bool {
    matches!(char, '\u{fdd0}'..='\u{fdef}') || u32::from(char) & 0xfffe == 0xfffe
}

#[cfg(test)]
mod tests {
    use super::printable;

    #[test]
    fn what_cannot_be_printed_on_one_line_is_replaced() {
        assert_eq!(printable("a\0b\u{1b}[31m\u{9b}c\u{7f}", 100), "a\u{fffd}b\u{fffd}[31m\u{fffd}c\u{fffd}");
        assert_eq!(printable("two\r\nlines\tand\u{2028}more\u{85}", 100), "two  lines and more ");
        assert_eq!(printable("\u{202e}txt.exe\u{2069}\u{feff}\u{fffe}\u{fdd0}", 100), {
            "\u{fffd}txt.exe\u{fffd}\u{fffd}\u{fffd}\u{fffd}"
        });
    }

    #[test]
    fn letters_of_all_scripts_are_left_as_they_are() {
        let text = "Gebühr 수수료 👩‍💻 שלום \u{10fffd} z\u{301}";
        assert_eq!(printable(text, 100), text);
    }

    #[test]
    fn it_is_cut_at_a_number_of_characters_and_not_of_bytes() {
        assert_eq!(printable("수수료가 없다", 3), "수수료");
        assert_eq!(printable("abc", 0), "");
    }
}
