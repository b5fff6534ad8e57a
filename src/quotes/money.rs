//! What amounts of money may be, and where their decimal point is.

use iso_currency::Currency;

/// The highest amount, in minor units: 2^53 - 1. JavaScript and other readers keep numbers as `f64`, which changes higher ones.
pub const AMOUNT_MINOR_MAX: i64 = (1 << 53) - 1;

/// How many decimal digits the minor unit of `currency` has, by ISO 4217: 2 for EUR, 0 for JPY, 3 for KWD. 0 for codes without
/// a minor unit, such as XAU. Browsers and locales disagree with the standard for some currencies (HUF, IDR, IQD).
#[must_use]
pub fn minor_unit_digits(currency: &str) -> u16 {
    Currency::from_code(currency).and_then(Currency::exponent).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::minor_unit_digits;

    #[test]
    fn the_digits_are_those_of_iso_4217() {
        for (currency, digits) in
            [("EUR", 2), ("HUF", 2), ("IDR", 2), ("ALL", 2), ("IQD", 3), ("KWD", 3), ("JPY", 0), ("CLF", 4), ("XAU", 0)]
        {
            assert_eq!(minor_unit_digits(currency), digits, "{currency}");
        }
    }
}
