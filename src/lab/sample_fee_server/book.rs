//! What the server remembers: fees, their idempotency keys, and voids.

use std::collections::HashMap;

use chrono::{DateTime, SubsecRound, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::fee::{Fee, FeeRequest, RATE_BPS, fee_on};

/// The most fees on one page of the list.
pub(super) const PAGE_MAX: usize = 1000;

/// The answer of `GET /stats`; all counts are since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stats {
    /// `POST /v1/fees` requests that arrived, whatever the result.
    pub requests: u64,
    /// Different idempotency keys among them.
    pub distinct_keys: u64,
    /// Requests whose key had been seen before.
    pub duplicates: u64,
    /// Fees made, voided ones included.
    pub fees: u64,
    /// Fees made beyond a quote's first; voiding does not lower it.
    pub double_fees: u64,
    /// Quotes whose fees were voided.
    pub voids: u64,
}

/// The result of a request for a fee.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Made {
    New(Fee),
    /// The fee that an earlier request made with the same key.
    Existing(Fee),
    /// The key was used with another body.
    OtherBody,
}

/// Everything stays in memory: the server runs for a demo, a test or a benchmark.
#[derive(Default)]
pub(super) struct Book {
    stats: Stats,
    /// In order of creation, so that a cursor is a position.
    entries: Vec<Entry>,
    /// Every key that arrived, and its fee if one was made.
    keys: HashMap<Box<str>, Option<(FeeRequest, usize)>>,
    /// Positions of each quote's fees.
    quotes: HashMap<Uuid, Vec<usize>>,
}

struct Entry {
    fee: Fee,
    voided: bool,
}

impl Book {
    pub fn stats(&self) -> Stats {
        self.stats
    }

    /// Counts a request for a fee, before anything can go wrong.
    pub fn arrive(&mut self, key: Option<&str>) {
        self.stats.requests += 1;
        let Some(key) = key else { return };
        if self.keys.contains_key(key) {
            self.stats.duplicates += 1;
        } else {
            self.stats.distinct_keys += 1;
            self.keys.insert(key.into(), None);
        }
    }

    /// Makes a fee, unless the key has one already. Without a key every request makes a new fee.
    pub fn make(&mut self, key: Option<&str>, request: FeeRequest, now: DateTime<Utc>) -> Made {
        if let Some(Some((earlier, position))) = key.and_then(|key| self.keys.get(key)) {
            if *earlier != request {
                return Made::OtherBody;
            }
            return Made::Existing(self.entries[*position].fee.clone());
        }
        let position = self.entries.len();
        let fee = Fee {
            fee_id: Uuid::now_v7(),
            quote_id: request.quote_id,
            currency: request.currency.clone(),
            amount_minor: fee_on(request.amount_minor),
            rate_bps: RATE_BPS,
            calculated_at: self.no_earlier(now),
        };
        let of_quote = self.quotes.entry(fee.quote_id).or_default();
        self.stats.fees += 1;
        self.stats.double_fees += u64::from(!of_quote.is_empty());
        of_quote.push(position);
        if let Some(key) = key {
            self.keys.insert(key.into(), Some((request, position)));
        }
        self.entries.push(Entry { fee: fee.clone(), voided: false });
        Made::New(fee)
    }

    /// Voids all fees of the quote; returns false if it never had any. Repeating it changes nothing.
    pub fn void(&mut self, quote_id: Uuid) -> bool {
        let Some(positions) = self.quotes.get(&quote_id) else { return false };
        let mut any = false;
        for position in positions {
            any |= !std::mem::replace(&mut self.entries[*position].voided, true);
        }
        self.stats.voids += u64::from(any);
        true
    }

    /// The quote's fees that were not voided.
    pub fn of_quote(&self, quote_id: Uuid) -> Vec<Fee> {
        let positions = self.quotes.get(&quote_id).into_iter().flatten();
        positions.map(|position| &self.entries[*position]).filter_map(Entry::valid).collect()
    }

    /// Every fee ever made, voided ones included, in creation order.
    pub fn all(&self) -> Vec<Fee> {
        self.entries.iter().map(|entry| entry.fee.clone()).collect()
    }

    /// Every fee that was not voided, in creation order.
    pub fn in_force(&self) -> Vec<Fee> {
        self.entries.iter().filter_map(Entry::valid).collect()
    }

    /// Up to [`PAGE_MAX`] fees that are not voided, from `cursor` or else made after `created_after`, and the cursor of
    /// the next page if there is one.
    pub fn page(&self, created_after: Option<DateTime<Utc>>, cursor: Option<usize>) -> (Vec<Fee>, Option<usize>) {
        let made_by_then = |entry: &Entry| created_after.is_some_and(|instant| entry.fee.calculated_at <= instant);
        let start = cursor.unwrap_or_else(|| self.entries.partition_point(made_by_then));
        let mut fees = Vec::new();
        for (position, entry) in self.entries.iter().enumerate().skip(start) {
            if fees.len() == PAGE_MAX {
                return (fees, Some(position));
            }
            fees.extend(entry.valid());
        }
        (fees, None)
    }

    /// The time in whole microseconds, as databases store it. A clock that is set back does not break the order.
    fn no_earlier(&self, now: DateTime<Utc>) -> DateTime<Utc> {
        let now = now.trunc_subsecs(6);
        self.entries.last().map_or(now, |last| now.max(last.fee.calculated_at))
    }
}

impl Entry {
    fn valid(&self) -> Option<Fee> {
        (!self.voided).then(|| self.fee.clone())
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;

    fn request(quote_id: Uuid) -> FeeRequest {
        FeeRequest {
            quote_id,
            customer_id: "customer".to_owned(),
            currency: "EUR".to_owned(),
            amount_minor: 10_000,
            submitted_at: DateTime::UNIX_EPOCH,
        }
    }

    #[test]
    fn a_key_has_one_fee_and_belongs_to_one_body() {
        let (mut book, quote_id) = (Book::default(), Uuid::now_v7());
        let Made::New(fee) = book.make(Some("a"), request(quote_id), DateTime::UNIX_EPOCH) else { panic!("not new") };
        assert_eq!(book.make(Some("a"), request(quote_id), Utc::now()), Made::Existing(fee));
        assert_eq!(book.make(Some("a"), request(Uuid::now_v7()), Utc::now()), Made::OtherBody);
        assert_eq!(book.all().len(), 1);
    }

    #[test]
    fn a_second_fee_of_a_quote_stays_counted_after_a_void() {
        let (mut book, quote_id) = (Book::default(), Uuid::now_v7());
        book.make(Some("a"), request(quote_id), DateTime::UNIX_EPOCH);
        assert!(book.void(quote_id) && book.void(quote_id), "voiding is idempotent");
        book.make(Some("b"), request(quote_id), DateTime::UNIX_EPOCH);
        assert_eq!((book.stats().fees, book.stats().double_fees, book.stats().voids), (2, 1, 1));
        assert_eq!(book.of_quote(quote_id).len(), 1, "the voided one is not shown");
        assert!(!book.void(Uuid::now_v7()), "nothing to void");
    }

    #[test]
    fn pages_hold_every_valid_fee_once_in_creation_order() {
        let mut book = Book::default();
        for second in 0..2_500 {
            book.make(None, request(Uuid::now_v7()), DateTime::UNIX_EPOCH + TimeDelta::seconds(second));
        }
        let mut expected = book.all();
        book.void(expected.remove(700).quote_id);
        let expected = expected.split_off(100);

        let mut seen = Vec::new();
        let mut cursor = None;
        loop {
            let (fees, next) = book.page(Some(expected[0].calculated_at - TimeDelta::milliseconds(1)), cursor);
            assert!(fees.len() <= PAGE_MAX);
            seen.extend(fees);
            cursor = next;
            if cursor.is_none() {
                break;
            }
        }
        assert_eq!(seen, expected);
    }

    #[test]
    fn a_clock_put_back_does_not_break_the_order() {
        let mut book = Book::default();
        book.make(None, request(Uuid::now_v7()), DateTime::UNIX_EPOCH + TimeDelta::seconds(9));
        book.make(None, request(Uuid::now_v7()), DateTime::UNIX_EPOCH);
        assert!(book.all().is_sorted_by_key(|fee| fee.calculated_at));
    }
}
