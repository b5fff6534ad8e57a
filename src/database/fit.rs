//! Statement sizes: no statement may exceed the server's limit.

use std::io;

use sea_orm::{DbErr, Statement, sea_query::Value};

use super::failure::{TooLarge, encoding, failed};

/// The most bytes that a parameter takes besides its value: its type, length and position.
const PARAMETER_BYTES: usize = 12;

/// Splits `rows`, in their order, into runs of up to `rows_max` rows and, by `bytes_of`, up to `bytes_max` bytes. A larger
/// row is a run by itself.
pub fn runs<T>(
    rows: impl IntoIterator<Item = T>,
    rows_max: usize,
    bytes_max: usize,
    bytes_of: impl Fn(&T) -> usize,
) -> Vec<Vec<T>> {
    let mut runs: Vec<Vec<T>> = Vec::new();
    let mut left = 0;
    for row in rows {
        let bytes = bytes_of(&row);
        match runs.last_mut() {
            Some(run) if run.len() < rows_max && bytes <= left => {
                left -= bytes;
                run.push(row);
            }
            _ => {
                left = bytes_max.saturating_sub(bytes);
                runs.push(vec![row]);
            }
        }
    }
    runs
}

/// The length of `value` as JSON text, in bytes.
#[must_use]
pub fn json_bytes(value: &serde_json::Value) -> usize {
    struct Count(usize);
    impl io::Write for Count {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut count = Count(0);
    // Counting cannot fail.
    serde_json::to_writer(&mut count, value).ok();
    count.0
}

/// Refuses a statement of more than `bytes_max` bytes. The server would close the connection while it reads it, which looks
/// like an outage.
pub(super) fn check(statement: &Statement, bytes_max: usize) -> Result<(), DbErr> {
    let values = statement.values.as_ref().map_or(&[][..], |values| &values.0);
    let parameters: usize = values.iter().map(|value| PARAMETER_BYTES + bytes_of(value)).sum();
    let bytes = parameters.max(statement.sql.len()) + PARAMETER_BYTES;
    if bytes <= bytes_max { Ok(()) } else { Err(failed(encoding(TooLarge { bytes, bytes_max }))) }
}

fn bytes_of(value: &Value) -> usize {
    match value {
        Value::String(Some(text)) => text.len(),
        Value::Bytes(Some(bytes)) => bytes.len(),
        Value::Json(Some(json)) => json_bytes(json),
        // Numbers, times, UUIDs.
        _ => 16,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_keep_the_order_and_both_limits() {
        assert_eq!(runs([1, 2, 3, 9, 1], 10, 5, |n| *n), [vec![1, 2], vec![3], vec![9], vec![1]]);
        assert_eq!(runs([1, 1, 1], 2, 5, |n| *n), [vec![1, 1], vec![1]]);
        assert!(runs(Vec::<usize>::new(), 2, 5, |n| *n).is_empty());
    }
}
