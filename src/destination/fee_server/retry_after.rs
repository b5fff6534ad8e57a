//! `Retry-After`: how long the fee server asks not to be called (RFC 9110, section 10.2.3).

use std::time::{Duration, SystemTime};

use reqwest::header::{HeaderMap, RETRY_AFTER};

/// The wait that `headers` ask for: seconds, or a date in any of RFC 9110's three forms. A number that is too large is the
/// largest wait, and a date in the past is none. `None` without the header, with several, and with another text.
pub(super) fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let mut values = headers.get_all(RETRY_AFTER).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return None };
    let value = value.to_str().ok()?.trim();
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(Duration::from_secs(value.parse().unwrap_or(u64::MAX)));
    }
    let date = httpdate::parse_http_date(value).ok()?;
    Some(date.duration_since(now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wait(values: &[&str]) -> Option<Duration> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(RETRY_AFTER, value.parse().expect("a header"));
        }
        // 1994-11-06T08:49:27Z, ten seconds before the date of RFC 9110's examples.
        retry_after(&headers, SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_767))
    }

    #[test]
    fn seconds_and_each_form_of_a_date_are_understood() {
        assert_eq!(wait(&["120"]), Some(Duration::from_mins(2)));
        assert_eq!(wait(&["0"]), Some(Duration::ZERO));
        let forms = ["Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"];
        for form in forms {
            assert_eq!(wait(&[form]), Some(Duration::from_secs(10)), "{form}");
        }
        assert_eq!(wait(&["Sun, 06 Nov 1994 08:49:17 GMT"]), Some(Duration::ZERO), "it is over");
    }

    #[test]
    fn a_number_that_is_too_large_is_the_largest_wait() {
        assert_eq!(wait(&["99999999999999999999999999"]), Some(Duration::from_secs(u64::MAX)));
    }

    #[test]
    fn whatever_is_sent_as_a_retry_after_is_a_wait_or_nothing() {
        crate::fuzz::fuzz("retry_after", |input| {
            let mut headers = HeaderMap::new();
            let Ok(value) = reqwest::header::HeaderValue::from_bytes(input) else { return "no header".into() };
            headers.insert(RETRY_AFTER, value);
            let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_767);
            match retry_after(&headers, now) {
                None => "none".into(),
                Some(Duration::ZERO) => "over".into(),
                Some(wait) => format!("{}", wait.as_secs().checked_ilog10().unwrap_or(0)),
            }
        });
    }

    #[test]
    fn other_texts_and_contradictions_ask_for_nothing() {
        for text in ["", "-1", "+5", "1.5", "soon", "Sun, 99 Nov 1994 08:49:37 GMT", "12 34"] {
            assert_eq!(wait(&[text]), None, "{text}");
        }
        assert_eq!((wait(&[]), wait(&["1", "2"])), (None, None));
    }
}
