//! List cursors. They are opaque to clients, so that their format can change.

use data_encoding::BASE64URL_NOPAD;
use uuid::Uuid;

/// The version of the format.
const VERSION: u8 = 1;

/// The cursor of the page that follows the row `last`.
pub(super) fn after(last: Uuid) -> String {
    let mut bytes = vec![VERSION];
    bytes.extend_from_slice(last.as_bytes());
    BASE64URL_NOPAD.encode(&bytes)
}

/// The row that the page of `cursor` follows.
pub(super) fn parse(cursor: &str) -> Result<Uuid, String> {
    let bytes = BASE64URL_NOPAD.decode(cursor.as_bytes()).unwrap_or_default();
    let last = bytes.strip_prefix(&[VERSION]).and_then(|bytes| Uuid::from_slice(bytes).ok());
    last.ok_or_else(|| "is not a cursor; send the `next` value of the previous page".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_leads_back_to_its_quote() {
        let id = Uuid::now_v7();
        assert_eq!(parse(&after(id)), Ok(id));
    }

    #[test]
    fn whatever_is_sent_as_a_cursor_is_one_or_is_refused() {
        crate::fuzz::fuzz("cursor", |input| match std::str::from_utf8(input).map(parse) {
            Ok(Ok(id)) => {
                assert_eq!(after(id).as_bytes(), input, "one cursor for each row");
                "read".into()
            }
            Ok(Err(error)) => error,
            Err(_) => "no text".into(),
        });
    }

    #[test]
    fn an_invalid_cursor_is_refused() {
        let id = Uuid::now_v7();
        let other_version = BASE64URL_NOPAD.encode(&[&[2], id.as_bytes().as_slice()].concat());
        for wrong in ["", "x", "ä", &id.to_string(), &after(id)[1..], &format!("{}A", after(id)), &other_version] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
