//! Where a list goes on. Opaque to clients, so that it may become something else.

use data_encoding::BASE64URL_NOPAD;
use uuid::Uuid;

/// The form of a cursor; another one would have another number.
const VERSION: u8 = 1;

/// The cursor of the page after the thing `last`.
pub(super) fn after(last: Uuid) -> String {
    let mut bytes = vec![VERSION];
    bytes.extend_from_slice(last.as_bytes());
    BASE64URL_NOPAD.encode(&bytes)
}

/// The thing after which the page of `cursor` begins.
pub(super) fn parse(cursor: &str) -> Result<Uuid, String> {
    let bytes = BASE64URL_NOPAD.decode(cursor.as_bytes()).unwrap_or_default();
    let last = bytes.strip_prefix(&[VERSION]).and_then(|bytes| Uuid::from_slice(bytes).ok());
    last.ok_or_else(|| "is no cursor; send the `next` of the page before".to_owned())
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
    fn what_is_no_cursor_is_refused() {
        let id = Uuid::now_v7();
        let other_version = BASE64URL_NOPAD.encode(&[&[2], id.as_bytes().as_slice()].concat());
        for wrong in ["", "x", "ä", &id.to_string(), &after(id)[1..], &format!("{}A", after(id)), &other_version] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
