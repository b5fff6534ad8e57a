//! Lists of ids in statements.

use uuid::Uuid;

/// The ids, padded to a power of two by repeating the last one, so that few different statements are prepared.
#[must_use]
pub fn padded(ids: impl IntoIterator<Item = Uuid>) -> Vec<Uuid> {
    let mut ids: Vec<_> = ids.into_iter().collect();
    if let Some(last) = ids.last().copied() {
        ids.resize(ids.len().next_power_of_two(), last);
    }
    ids
}
