//! A quote as it comes in, and the quote that it becomes if nothing is wrong with it.

use iso_currency::Currency;
use serde::{Deserialize, Serialize};

const CUSTOMER_ID_LENGTH_MAX: usize = 64;
const DESCRIPTION_LENGTH_MAX: usize = 200;
const LINES_MAX: usize = 100;
const QUANTITY_MAX: i64 = 1_000_000;
const UNIT_PRICE_MINOR_MAX: i64 = 1_000_000_000_000;

/// A quote as a client wrote it: well-typed, not yet checked.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RawQuote {
    /// Who asks.
    pub customer_id: String,
    /// ISO 4217 code.
    pub currency: String,
    /// What for.
    pub lines: Vec<RawLine>,
}

/// A line of it.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RawLine {
    /// What it is.
    pub description: String,
    /// How many.
    pub quantity: i64,
    /// The price of one, in minor units.
    pub unit_price_minor: i64,
}

/// A line that can't be wrong.
pub type Line = RawLine;

/// A quote that can't be wrong.
#[derive(Clone, Debug, Serialize)]
pub struct NewQuote {
    customer_id: String,
    currency: String,
    lines: Vec<Line>,
    amount_minor: i64,
}

/// One thing that is wrong with a body.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// Where, as an RFC 6901 JSON pointer.
    pub pointer: String,
    /// What, and how to mend it.
    pub detail: String,
}

impl NewQuote {
    /// Checks `raw`, which stands at `pointer` of its body.
    ///
    /// # Errors
    /// Every fault at once.
    pub fn parse(raw: RawQuote, pointer: &str) -> Result<Self, Vec<Fault>> {
        let mut faults = Faults { pointer, found: Vec::new() };
        faults.length("/customer_id", &raw.customer_id, CUSTOMER_ID_LENGTH_MAX);
        if Currency::from_code(&raw.currency).is_none() {
            let detail =
                format!("{:?} is no ISO 4217 currency code; send three capital letters such as EUR", raw.currency);
            faults.add("/currency", detail);
        }
        if raw.lines.is_empty() || raw.lines.len() > LINES_MAX {
            faults.add("/lines", format!("has {} lines; send 1 to {LINES_MAX}", raw.lines.len()));
        }
        for (index, line) in raw.lines.iter().take(LINES_MAX).enumerate() {
            faults.length(&format!("/lines/{index}/description"), &line.description, DESCRIPTION_LENGTH_MAX);
            faults.range(&format!("/lines/{index}/quantity"), line.quantity, 1, QUANTITY_MAX);
            faults.range(&format!("/lines/{index}/unit_price_minor"), line.unit_price_minor, 0, UNIT_PRICE_MINOR_MAX);
        }
        let sum =
            raw.lines.iter().map(|line| i128::from(line.quantity) * i128::from(line.unit_price_minor)).sum::<i128>();
        let amount_minor = i64::try_from(sum);
        if amount_minor.is_err() && faults.found.is_empty() {
            faults.add("/lines", format!("add up to {sum}; the sum may be at most {}", i64::MAX));
        }
        match amount_minor {
            Ok(amount_minor) if faults.found.is_empty() => {
                Ok(Self { customer_id: raw.customer_id, currency: raw.currency, lines: raw.lines, amount_minor })
            }
            _ => Err(faults.found),
        }
    }

    /// Who asks: 1 to 64 characters.
    #[must_use]
    pub fn customer_id(&self) -> &str {
        &self.customer_id
    }

    /// ISO 4217 code.
    #[must_use]
    pub fn currency(&self) -> &str {
        &self.currency
    }

    /// 1 to 100 lines.
    #[must_use]
    pub fn lines(&self) -> &[Line] {
        &self.lines
    }

    /// The sum of the lines, in minor units, not negative.
    #[must_use]
    pub fn amount_minor(&self) -> i64 {
        self.amount_minor
    }
}

struct Faults<'a> {
    pointer: &'a str,
    found: Vec<Fault>,
}

impl Faults<'_> {
    fn add(&mut self, below: &str, detail: String) {
        self.found.push(Fault { pointer: format!("{}{below}", self.pointer), detail });
    }

    fn length(&mut self, below: &str, text: &str, max: usize) {
        let length = text.chars().count();
        if length == 0 || length > max {
            self.add(below, format!("has {length} characters; send 1 to {max}"));
        } else if text.chars().any(char::is_control) {
            self.add(below, "has control characters; send printable text".into());
        }
    }

    fn range(&mut self, below: &str, number: i64, min: i64, max: i64) {
        if !(min..=max).contains(&number) {
            self.add(below, format!("is {number}; send {min} to {max}"));
        }
    }
}
