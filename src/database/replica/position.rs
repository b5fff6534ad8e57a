//! How far a server has come, as its own kind of database counts it.

use std::collections::BTreeMap;

/// A place in the history of a database. Whatever was committed before it was read from the primary is in the state of a replica that
/// [has reached](Self::has_reached) it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Position {
    /// `PostgreSQL`: bytes of the write-ahead log.
    Log(u64),
    /// `MariaDB`: the last sequence number of each replication domain (<https://mariadb.com/kb/en/gtid/>).
    Transactions(BTreeMap<u32, u64>),
}

impl Position {
    /// `16/B374D848`, as `pg_lsn` is written.
    pub fn of_log(text: &str) -> Option<Self> {
        let (high, low) = text.split_once('/')?;
        let part = |digits| u64::from_str_radix(digits, 16).ok().filter(|part| u32::try_from(*part).is_ok());
        Some(Self::Log((part(high)? << 32) | part(low)?))
    }

    /// `0-1-5,1-2-7`: domain, server and sequence number of each last transaction. None if there is none: such a server keeps no
    /// record of them.
    pub fn of_transactions(text: &str) -> Option<Self> {
        let mut domains = BTreeMap::new();
        for id in text.split(',').map(str::trim).filter(|id| !id.is_empty()) {
            let mut parts = id.split('-');
            let (domain, _, number) = (parts.next()?, parts.next()?, parts.next()?);
            // A server that had another role before names a domain twice.
            let last = domains.entry(domain.parse().ok()?).or_insert(0);
            *last = number.parse::<u64>().ok()?.max(*last);
        }
        (!domains.is_empty()).then_some(Self::Transactions(domains))
    }

    /// Whether a server that has come to `self` has everything that comes before `other`.
    pub fn has_reached(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Log(own), Self::Log(other)) => own >= other,
            (Self::Transactions(own), Self::Transactions(other)) => {
                other.iter().all(|(domain, number)| own.get(domain) >= Some(number))
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_in_the_log_is_compared_as_a_number() {
        let at = |text| Position::of_log(text).expect("a position");
        assert!(at("1/0").has_reached(&at("0/FFFFFFFF")));
        assert!(at("16/B374D848").has_reached(&at("16/B374D848")));
        assert!(!at("16/B374D847").has_reached(&at("16/B374D848")));
        for text in ["", "16", "16/", "x/1", "16/B374D8480"] {
            assert_eq!(Position::of_log(text), None, "{text:?}");
        }
    }

    #[test]
    fn every_domain_of_transactions_must_be_reached() {
        let at = |text| Position::of_transactions(text).expect("a position");
        assert!(at("0-1-5,1-2-7").has_reached(&at("0-9-5")));
        assert!(at("0-1-5, 0-2-7").has_reached(&at("0-1-7")));
        assert!(!at("0-1-5").has_reached(&at("0-1-5,1-2-7")));
        assert!(!at("0-1-4,1-2-7").has_reached(&at("0-1-5,1-2-7")));
        for text in ["", "0-1", "a-1-2", "0-1-x"] {
            assert_eq!(Position::of_transactions(text), None, "{text:?}");
        }
    }
}
