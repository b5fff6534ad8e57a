//! A valid quote, and the parts that it is made of.
//!
//! Each part is made by its `parse`. For an invalid value this returns what is wrong and what to send instead, in words that
//! follow the name of a field: `is 0; send 1 to 1000000`.

use iso_currency::Currency;
use serde::Serialize;

use super::money::AMOUNT_MINOR_MAX;
use crate::printable::{check, check_identifier};

/// Most characters of a customer's id.
pub const CUSTOMER_ID_LENGTH_MAX: usize = 64;
/// Most characters of a line's description.
pub const DESCRIPTION_LENGTH_MAX: usize = 200;
/// Most lines of a quote.
pub const LINES_MAX: usize = 100;
/// Most pieces of a line.
pub const QUANTITY_MAX: i64 = 1_000_000;
/// The highest price of a piece, in minor units.
pub const UNIT_PRICE_MINOR_MAX: i64 = 1_000_000_000_000;

/// The customer: 1 to 64 printable characters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CustomerId(String);

/// ISO 4217 code.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CurrencyCode(String);

/// What a line is for: 1 to 200 printable characters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Description(String);

/// How many: 1 to 1 000 000.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Quantity(i64);

/// The price of one, in minor units: 0 to 10^12.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct UnitPriceMinor(i64);

/// What is bought.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Line {
    /// What it is.
    pub description: Description,
    /// How many.
    pub quantity: Quantity,
    /// The price of one.
    pub unit_price_minor: UnitPriceMinor,
}

/// 1 to 100 lines whose sum is at most 2^53 - 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lines {
    lines: Vec<Line>,
    amount_minor: i64,
}

/// A valid quote.
///
/// Its fields, and those of its lines, are written in the order of the alphabet: digests of stored keys are made of that text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NewQuote {
    amount_minor: i64,
    currency: CurrencyCode,
    customer_id: CustomerId,
    lines: Vec<Line>,
}

impl CustomerId {
    /// Takes 1 to 64 printable characters.
    ///
    /// # Errors
    /// What is wrong, and what to send instead.
    pub fn parse(text: &str) -> Result<Self, String> {
        let id = parse_text(text, CUSTOMER_ID_LENGTH_MAX)?;
        check_identifier(&id)?;
        Ok(Self(id))
    }

    /// As text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl CurrencyCode {
    /// Takes a code of ISO 4217, in capital letters.
    ///
    /// # Errors
    /// What is wrong, and what to send instead.
    pub fn parse(text: &str) -> Result<Self, String> {
        match Currency::from_code(text) {
            Some(currency) => Ok(Self(currency.code().to_owned())),
            None => Err("is no ISO 4217 currency code; send three capital letters such as EUR".to_owned()),
        }
    }
}

impl CurrencyCode {
    /// A regular expression that matches each code and nothing else.
    #[must_use]
    pub fn pattern() -> String {
        let letters = || 'A'..='Z';
        let all =
            letters().flat_map(|a| letters().flat_map(move |b| letters().map(move |c| String::from_iter([a, b, c]))));
        let codes: Vec<_> = all.filter(|code| Currency::from_code(code).is_some()).collect();
        format!("^({})$", codes.join("|"))
    }
}

impl Description {
    /// Takes 1 to 200 printable characters.
    ///
    /// # Errors
    /// What is wrong, and what to send instead.
    pub fn parse(text: &str) -> Result<Self, String> {
        parse_text(text, DESCRIPTION_LENGTH_MAX).map(Self)
    }
}

impl Quantity {
    /// Takes 1 to 1 000 000.
    ///
    /// # Errors
    /// What is wrong, and what to send instead.
    pub fn parse(number: i64) -> Result<Self, String> {
        within(number, 1, QUANTITY_MAX).map(Self)
    }
}

impl UnitPriceMinor {
    /// Takes 0 to 10^12.
    ///
    /// # Errors
    /// What is wrong, and what to send instead.
    pub fn parse(number: i64) -> Result<Self, String> {
        within(number, 0, UNIT_PRICE_MINOR_MAX).map(Self)
    }
}

impl Line {
    /// Parses each part.
    ///
    /// # Errors
    /// What is wrong with one of them, and what to send instead.
    pub fn parse(description: &str, quantity: i64, unit_price_minor: i64) -> Result<Self, String> {
        let description = Description::parse(description).map_err(|wrong| format!("description {wrong}"))?;
        let quantity = Quantity::parse(quantity).map_err(|wrong| format!("quantity {wrong}"))?;
        let unit_price_minor = UnitPriceMinor::parse(unit_price_minor);
        let unit_price_minor = unit_price_minor.map_err(|wrong| format!("unit_price_minor {wrong}"))?;
        Ok(Self { description, quantity, unit_price_minor })
    }
}

impl Lines {
    /// Takes 1 to 100 lines whose sum is at most 2^53 - 1.
    ///
    /// # Errors
    /// What is wrong, and what to send instead.
    pub fn parse(lines: Vec<Line>) -> Result<Self, String> {
        if lines.is_empty() || lines.len() > LINES_MAX {
            return Err(format!("has {} entries; send 1 to {LINES_MAX}", lines.len()));
        }
        let sum: i128 =
            lines.iter().map(|line| i128::from(line.quantity.0) * i128::from(line.unit_price_minor.0)).sum();
        let amount_minor = i64::try_from(sum).ok().filter(|sum| *sum <= AMOUNT_MINOR_MAX);
        let amount_minor = amount_minor.ok_or_else(|| format!("adds up to {sum}; send at most {AMOUNT_MINOR_MAX}"))?;
        Ok(Self { lines, amount_minor })
    }
}

impl NewQuote {
    /// A quote of valid parts: there are no rules between them.
    #[must_use]
    pub fn new(customer_id: CustomerId, currency: CurrencyCode, lines: Lines) -> Self {
        Self { customer_id, currency, lines: lines.lines, amount_minor: lines.amount_minor }
    }

    /// Parses each part.
    ///
    /// # Errors
    /// What is wrong with one of them, and what to send instead.
    pub fn parse(customer_id: &str, currency: &str, lines: Vec<Line>) -> Result<Self, String> {
        let customer_id = CustomerId::parse(customer_id).map_err(|wrong| format!("customer_id {wrong}"))?;
        let currency = CurrencyCode::parse(currency).map_err(|wrong| format!("currency {wrong}"))?;
        let lines = Lines::parse(lines).map_err(|wrong| format!("lines {wrong}"))?;
        Ok(Self::new(customer_id, currency, lines))
    }

    /// The customer.
    #[must_use]
    pub fn customer_id(&self) -> &str {
        &self.customer_id.0
    }

    /// ISO 4217 code.
    #[must_use]
    pub fn currency(&self) -> &str {
        &self.currency.0
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

/// Takes 1 to `length_max` printable characters.
///
/// # Errors
/// What is wrong, and what to send instead.
pub fn parse_text(text: &str, length_max: usize) -> Result<String, String> {
    let length = text.chars().count();
    if length == 0 || length > length_max {
        return Err(format!("has {length} characters; send 1 to {length_max}"));
    }
    check(text)?;
    Ok(text.to_owned())
}

fn within(number: i64, min: i64, max: i64) -> Result<i64, String> {
    if (min..=max).contains(&number) { Ok(number) } else { Err(format!("is {number}; send {min} to {max}")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(quantity: i64, unit_price_minor: i64) -> Line {
        Line::parse("a line", quantity, unit_price_minor).expect("right")
    }

    #[test]
    fn each_part_takes_its_bounds_and_nothing_beyond() {
        assert!(CustomerId::parse(&"ä".repeat(64)).is_ok());
        assert_eq!(CustomerId::parse(&"ä".repeat(65)), Err("has 65 characters; send 1 to 64".into()));
        assert_eq!(CustomerId::parse(""), Err("has 0 characters; send 1 to 64".into()));
        for lookalike in [" ", "\u{a0}\u{3000}", "cust\u{200b}-42", "\u{feff}c", "c\u{202e}", "a\u{200d}b", "\u{3164}"]
        {
            assert!(CustomerId::parse(lookalike).is_err(), "{lookalike:?}");
        }
        assert!(CustomerId::parse("Müller & 김 GmbH").is_ok());
        assert_eq!(CustomerId::parse("a\0"), Err("has control characters; send printable text".into()));
        assert!(Quantity::parse(1_000_000).is_ok());
        assert_eq!(Quantity::parse(0), Err("is 0; send 1 to 1000000".into()));
        assert_eq!(Quantity::parse(1_000_001), Err("is 1000001; send 1 to 1000000".into()));
        assert!(UnitPriceMinor::parse(0).is_ok() && UnitPriceMinor::parse(1_000_000_000_000).is_ok());
        assert!(UnitPriceMinor::parse(-1).is_err() && UnitPriceMinor::parse(1_000_000_000_001).is_err());
    }

    #[test]
    fn a_currency_is_one_of_iso_4217_in_capital_letters() {
        assert!(CurrencyCode::parse("EUR").is_ok() && CurrencyCode::parse("JPY").is_ok());
        for wrong in ["", "eur", "EU", "EURO", "ABC"] {
            assert!(CurrencyCode::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_sum_of_the_lines_is_a_number_that_every_json_reader_keeps() {
        let mut lines = vec![line(9_007, 1_000_000_000_000), line(1, 199_254_740_991)];
        assert_eq!(Lines::parse(lines.clone()).map(|lines| lines.amount_minor), Ok((1 << 53) - 1));
        lines.push(line(1, 1));
        let expected = "adds up to 9007199254740992; send at most 9007199254740991";
        assert_eq!(Lines::parse(lines), Err(expected.into()));
    }

    #[test]
    fn there_are_1_to_100_lines() {
        assert!(Lines::parse(vec![line(1, 1); 100]).is_ok());
        assert_eq!(Lines::parse(vec![line(1, 1); 101]), Err("has 101 entries; send 1 to 100".into()));
        assert_eq!(Lines::parse(vec![]), Err("has 0 entries; send 1 to 100".into()));
    }
}
