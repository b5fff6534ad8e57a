//! What makes failures alike: outcome, HTTP status, and the error's text without ids and numbers. It is kept with the event, so
//! that five thousand failures of one kind can be found, counted and retried as one.

use super::Failure;
use crate::printable::printable;

/// Most characters of a cause: below what its column holds.
const LENGTH_MAX: usize = 160;
/// What stands for an id or a number.
const BLANK: char = '#';
/// How the error of a rescue ends. Before it stands the name of a worker.
pub(super) const LEFT_NO_RESULT: &str = "left no result before its lease ended";

/// The cause of a failure with this outcome and error.
pub(crate) fn cause(outcome: &str, error: &str) -> String {
    let status = Failure::status_in(error);
    let text = if error.ends_with(LEFT_NO_RESULT) {
        format!("a worker {LEFT_NO_RESULT}")
    } else {
        without_ids(&error.replacen(&status.map(|status| format!("{status} ")).unwrap_or_default(), "", 1))
    };
    let cause = match status {
        Some(status) => format!("{outcome} {status}: {text}"),
        None => format!("{outcome}: {text}"),
    };
    printable(cause.trim_end(), LENGTH_MAX)
}

/// The outcome and the HTTP status that `cause` begins with.
pub(crate) fn parts(cause: &str) -> (&str, Option<u16>) {
    let (head, _) = cause.split_once(':').unwrap_or((cause, ""));
    match head.split_once(' ') {
        Some((outcome, status)) => match status.parse() {
            Ok(status) => (outcome, Some(status)),
            Err(_) => ("unknown", None),
        },
        None => (head, None),
    }
}

/// `text` with each word that has digits, such as an id, an address or an amount, replaced by one mark. The letters before it stay:
/// `customer-77` and `customer-78` are the same, and `order-77` is another.
fn without_ids(text: &str) -> String {
    let mut result = String::with_capacity(text.len());
    let mut words = text.split_inclusive(|c: char| !c.is_alphanumeric());
    for word in &mut words {
        let (word, end) = match word.char_indices().next_back() {
            Some((at, last)) if !last.is_alphanumeric() => (&word[..at], Some(last)),
            _ => (word, None),
        };
        if word.contains(|c: char| c.is_numeric()) || is_part_of_an_id(&result, word) {
            // What joins two of them belongs to them: an address, a time, a UUID.
            if let Some(before) = result.strip_suffix(['-', '.', ':', '_', '+']).filter(|it| it.ends_with(BLANK)) {
                result.truncate(before.len());
            } else {
                result.push(BLANK);
            }
        } else {
            result.push_str(word);
        }
        result.extend(end);
    }
    result
}

/// A part of a UUID can consist of letters alone.
fn is_part_of_an_id(before: &str, word: &str) -> bool {
    let is_hexadecimal = matches!(word.len(), 4 | 8 | 12) && word.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_hexadecimal && before.ends_with("#-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_that_differ_by_ids_and_numbers_have_one_cause() {
        for (error, cause_of_it) in [
            ("503 Service Unavailable: busy", "retry 503: Service Unavailable: busy"),
            ("look-up: 500 Internal Server Error: oh", "retry 500: look-up: Internal Server Error: oh"),
            ("customer-77 is 1,250.50 short", "retry: customer-# is #,# short"),
            ("quote 0190c2f4-7a6e-7bcd-abcd-feedfacecafe of 2026-11-26T09:00:00Z", "retry: quote # of #"),
            ("connect to 127.0.0.1:8081 and [::1]:80", "retry: connect to # and [::#]:#"),
            ("no answer within 10s", "retry: no answer within #"),
            ("", "retry:"),
        ] {
            assert_eq!(cause("retry", error), cause_of_it, "{error}");
        }
        assert_ne!(cause("retry", "503 Service Unavailable: a"), cause("unknown", "503 Service Unavailable: a"));
        assert_ne!(cause("retry", "502 Bad Gateway: a"), cause("retry", "504 Gateway Timeout: a"));
    }

    #[test]
    fn whose_lease_ended_is_no_part_of_a_cause() {
        let one = cause("unknown", "host-a:7 left no result before its lease ended");
        assert_eq!(one, cause("unknown", "another.host:9 left no result before its lease ended"));
    }

    #[test]
    fn a_cause_fits_its_column() {
        let long = "a long 1 story ".repeat(100);
        assert!(cause("unauthorised", &long).chars().count() <= LENGTH_MAX + 1);
        assert_eq!(cause("retry", &"é7 ".repeat(300)), cause("retry", &"é8 ".repeat(300)));
    }
}
