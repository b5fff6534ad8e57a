//! Reading the fee server's list page by page, to its end.

use std::hash::{BuildHasher, RandomState};

use crate::{
    destination::{FeePage, LedgerError},
    printable::printable,
};

/// After this many consecutive pages without a fee, a list counts as endless.
const EMPTY_PAGES_MAX: u32 = 1_000;
/// How much of a cursor is shown, in characters.
const CURSOR_LENGTH_MAX: usize = 80;

/// The position in the list. One earlier page is remembered, and replaced by a later one from time to time: a list with a
/// cycle comes back to it, after at most three times the length of the cycle (Brent's algorithm).
pub(super) struct Pages {
    cursor: Option<String>,
    hasher: RandomState,
    remembered: Option<Turned>,
    turned: u64,
    remember_at: u64,
    empty_in_a_row: u32,
}

struct Turned {
    cursor: Option<String>,
    /// A hash of its fees; none if it was empty.
    fees: Option<u64>,
}

impl Pages {
    pub(super) fn new() -> Self {
        Self {
            cursor: None,
            hasher: RandomState::new(),
            remembered: None,
            turned: 0,
            remember_at: 1,
            empty_in_a_row: 0,
        }
    }

    /// The cursor of the page to read.
    pub(super) fn cursor(&self) -> Option<&str> {
        self.cursor.as_deref()
    }

    /// Moves on from `page`; false if it was the last one.
    ///
    /// # Errors
    /// The list has no end.
    pub(super) fn turn(&mut self, page: FeePage) -> Result<bool, LedgerError> {
        let Some(next) = page.next else { return Ok(false) };
        let fees = (!page.fees.is_empty()).then(|| self.hasher.hash_one(&page.fees));
        self.empty_in_a_row = if fees.is_some() { 0 } else { self.empty_in_a_row + 1 };
        if self.cursor.as_ref() == Some(&next) {
            return Err(endless(&next, "it is the one of the page itself"));
        }
        if self.empty_in_a_row > EMPTY_PAGES_MAX {
            return Err(endless(&next, &format!("{EMPTY_PAGES_MAX} pages before it held no fee")));
        }
        if let Some(remembered) = &self.remembered {
            if remembered.cursor.as_ref() == Some(&next) {
                return Err(endless(&next, "the list goes round in a circle"));
            }
            if fees.is_some() && remembered.fees == fees {
                return Err(endless(&next, "the page before it was there before"));
            }
        }
        self.turned += 1;
        if self.turned == self.remember_at {
            self.remember_at *= 2;
            self.remembered = Some(Turned { cursor: self.cursor.take(), fees });
        }
        self.cursor = Some(next);
        Ok(true)
    }
}

fn endless(cursor: &str, why: &str) -> LedgerError {
    LedgerError(format!("the cursor {:?} leads nowhere: {why}", printable(cursor, CURSOR_LENGTH_MAX)))
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::destination::ListedFee;

    fn page(fees: usize, next: &str) -> FeePage {
        let fee = |_| ListedFee { fee_id: "f".into(), quote_id: Uuid::now_v7(), amount_minor: 1 };
        FeePage { fees: (0..fees).map(fee).collect(), next: Some(next.into()) }
    }

    /// How many pages are turned until the list is found to have no end.
    fn turned(mut page: impl FnMut(u64) -> FeePage) -> (u64, String) {
        let mut pages = Pages::new();
        for number in 0..10_000 {
            match pages.turn(page(number)) {
                Ok(true) => {}
                Ok(false) => panic!("it ended"),
                Err(error) => return (number, error.to_string()),
            }
        }
        panic!("it goes on for ever");
    }

    #[test]
    fn a_list_ends_with_its_last_page() {
        let mut pages = Pages::new();
        for number in 0..100 {
            assert!(pages.turn(page(2, &number.to_string())).expect("a page"));
            assert_eq!(pages.cursor(), Some(number.to_string().as_str()));
        }
        assert!(!pages.turn(FeePage { fees: vec![], next: None }).expect("the end"));
    }

    #[test]
    fn cursors_that_go_round_in_a_circle_or_stay_are_an_error_that_names_one() {
        for (lead, circle) in [(0, 1), (0, 2), (5, 1), (3, 7), (100, 40)] {
            let next = |number| if number < lead { number } else { lead + (number - lead) % circle };
            let (number, error) = turned(|number| page(1, &format!("c{}", next(number))));
            assert!(number <= 3 * (lead + circle) + 2, "{lead} {circle}: {number}");
            assert!(error.contains("the cursor \"c"), "{error}");
        }
    }

    #[test]
    fn the_same_page_under_ever_new_cursors_is_an_error() {
        let same = page(3, "");
        let (number, error) = turned(|number| FeePage { fees: same.fees.clone(), next: Some(number.to_string()) });
        assert!(number <= 3 && error.contains("was there before"), "{error}");
    }

    #[test]
    fn empty_pages_without_an_end_are_an_error() {
        let (number, error) = turned(|number| page(0, &number.to_string()));
        assert!(number == 1_000 && error.contains("held no fee"), "{number}: {error}");
    }
}
