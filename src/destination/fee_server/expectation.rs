//! The fee that an answer must hold. Everything from the fee server that is stored enters here.

use chrono::{DateTime, Datelike, SubsecRound, Utc};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;
use uuid::Uuid;

use super::answer::{Answer, Kind};
use crate::{
    outbox::Outcome,
    printable::printable,
    quotes::{Fee, money::AMOUNT_MINOR_MAX},
};

/// The longest `fee_id`, in characters.
const FEE_ID_LENGTH_MAX: usize = 128;
/// The years that every database keeps.
const YEARS: std::ops::RangeInclusive<i32> = 1970..=9999;
/// How much of a name or value of the fee server is kept in an error, in characters.
const EXCERPT_LENGTH_MAX: usize = 40;

/// What the answer must be about.
#[derive(Deserialize)]
pub(super) struct Expectation {
    pub(super) quote_id: Uuid,
    currency: String,
}

/// A fee as the fee server writes it.
#[derive(Deserialize)]
pub(super) struct FeeAnswer {
    fee_id: String,
    quote_id: Uuid,
    currency: String,
    amount_minor: i64,
    rate_bps: i32,
    calculated_at: String,
}

impl Expectation {
    pub(super) fn of(payload: &Value) -> Result<Self, serde_json::Error> {
        Self::deserialize(payload)
    }

    /// The fee of a success.
    pub(super) fn fee<R>(&self, answer: &Answer) -> Result<Fee, Outcome<R>> {
        let fee = match answer.kind() {
            Kind::Json => parse::<FeeAnswer>(answer.json()).map_err(|why| format!("a body that is no fee ({why})")),
            Kind::CutJson => Err("a body that ends before its JSON does".into()),
            Kind::LongJson => Err("a body that is too long".into()),
            Kind::Other => Err("a body that is not JSON".into()),
        };
        fee.and_then(|fee| self.check(fee)).map_err(|why| answer.not_taken(&why))
    }

    /// The fee for this quote that is among `fees`, checked as an answer is; fees of other quotes are skipped.
    ///
    /// # Errors
    /// A fee for this quote cannot be used, or one of `fees` does not name its quote.
    pub(super) fn among(&self, fees: Vec<Value>) -> Result<Option<Fee>, Unusable> {
        let mut bad = None;
        for fee in fees {
            let quote_id = fee.get("quote_id").and_then(Value::as_str).map(Uuid::parse_str);
            let Some(Ok(quote_id)) = quote_id else { return Err(Unusable::List("a fee without a quote_id".into())) };
            if quote_id != self.quote_id {
                continue;
            }
            let fee = serde_path_to_error::deserialize(fee).map_err(|error| at_fault(&error));
            match fee.and_then(|fee| self.check(fee)) {
                Ok(fee) => return Ok(Some(fee)),
                Err(why) => bad = bad.or(Some(why)),
            }
        }
        bad.map_or(Ok(None), |why| Err(Unusable::Fee(why)))
    }

    fn check(&self, fee: FeeAnswer) -> Result<Fee, String> {
        if fee.quote_id != self.quote_id {
            return Err(format!("a fee for quote {}", fee.quote_id));
        }
        if fee.currency != self.currency {
            let currency = printable(&fee.currency, EXCERPT_LENGTH_MAX);
            return Err(format!("a fee in {currency:?} for a quote in {:?}", self.currency));
        }
        fee.storable()
    }
}

/// Why a list of fees cannot be used.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unusable {
    /// The list itself.
    List(String),
    /// The fee of this quote.
    Fee(String),
}

impl FeeAnswer {
    /// The fee, if every database keeps it as it is.
    pub(super) fn storable(self) -> Result<Fee, String> {
        let Self { fee_id, quote_id, currency, amount_minor, rate_bps, calculated_at } = self;
        if !(0..=AMOUNT_MINOR_MAX).contains(&amount_minor) {
            return Err(format!("an amount_minor of {amount_minor}, which is not 0 to {AMOUNT_MINOR_MAX}"));
        }
        if fee_id.is_empty() || fee_id.chars().count() > FEE_ID_LENGTH_MAX {
            return Err(format!("a fee_id that is not 1 to {FEE_ID_LENGTH_MAX} characters long"));
        }
        if [&fee_id, &currency].iter().any(|text| text.chars().any(char::is_control)) {
            return Err("control characters in a text".into());
        }
        Ok(Fee { fee_id, quote_id, currency, amount_minor, rate_bps, calculated_at: instant(&calculated_at)? })
    }
}

/// The instant that `text` names, in whole microseconds. A leap second is the first second after it, as in Unix time: not
/// every database keeps one.
fn instant(text: &str) -> Result<DateTime<Utc>, String> {
    let written =
        DateTime::parse_from_rfc3339(text).map_err(|_| "a calculated_at that is no RFC 3339 time".to_owned())?;
    let (seconds, nanos) = (written.timestamp(), written.timestamp_subsec_nanos());
    let (seconds, nanos) = if nanos < 1_000_000_000 { (seconds, nanos) } else { (seconds + 1, nanos - 1_000_000_000) };
    let instant = DateTime::from_timestamp(seconds, nanos).filter(|instant| YEARS.contains(&instant.year()));
    let instant = instant.ok_or("a calculated_at outside the years 1970 to 9999")?;
    Ok(instant.trunc_subsecs(6))
}

/// Parses a whole JSON object.
///
/// # Errors
/// In our own words: those of the parser quote the value.
pub(super) fn parse<T: DeserializeOwned>(json: &[u8]) -> Result<T, String> {
    // The parser would take a list for the fields in their order.
    if !json.trim_ascii_start().starts_with(b"{") {
        return Err("no object".into());
    }
    serde_path_to_error::deserialize(&mut serde_json::Deserializer::from_slice(json)).map_err(|error| at_fault(&error))
}

fn at_fault(error: &serde_path_to_error::Error<serde_json::Error>) -> String {
    let (text, path) = (error.inner().to_string(), printable(&error.path().to_string(), EXCERPT_LENGTH_MAX));
    // These name only our own fields.
    let ours = ["missing field `", "duplicate field `"].into_iter().find(|what| text.starts_with(what));
    match ours.and_then(|what| Some((what, text[what.len()..].split('`').next()?))) {
        Some((what, field)) => format!("{what}{field}`"),
        None if path == "." => {
            format!("unexpected at line {}, column {}", error.inner().line(), error.inner().column())
        }
        None => format!("an invalid {path}"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn at(text: &str) -> Result<String, String> {
        instant(text).map(|instant| instant.to_rfc3339_opts(chrono::SecondsFormat::Micros, true))
    }

    #[test]
    fn times_that_not_every_database_keeps_are_refused_or_moved_by_less_than_a_second() {
        for text in
            ["0001-01-01T00:00:00Z", "0000-01-01T00:00:00Z", "1969-12-31T23:59:59Z", "9999-12-31T23:59:59-01:00"]
        {
            assert!(at(text).expect_err(text).contains("1970 to 9999"), "{text}");
        }
        for text in
            ["10000-01-01T00:00:00Z", "+10000-01-01T00:00:00Z", "", "now\0", "2026-11-22", "9999-12-31T23:59:61Z"]
        {
            at(text).expect_err(text);
        }
        assert_eq!(at("9999-12-31T23:59:59.9999999Z").as_deref(), Ok("9999-12-31T23:59:59.999999Z"));
        assert_eq!(at("2016-12-31T23:59:60.5Z").as_deref(), Ok("2017-01-01T00:00:00.500000Z"));
        at("9999-12-31T23:59:60Z").expect_err("the year 10000");
    }

    #[test]
    fn whatever_the_fee_server_answers_is_a_fee_that_can_be_stored_or_a_printable_error() {
        let quote_id = Uuid::from_u128(0x0197_a3f2_6c1e_7c55_9d0e_3b6f_1d2a_4c11);
        let expected = Expectation { quote_id, currency: "EUR".into() };
        crate::fuzz::fuzz("fee_answer", |input| {
            let (media_type, body) = match input.split_first() {
                Some((0..128, body)) => ("application/json", body),
                Some((_, body)) => ("text/html", body),
                None => ("application/json", input),
            };
            let judged = |outcome: Outcome<()>| {
                let shown = format!("{outcome:?}");
                let unsafe_char = |char: char| char.is_control() || "\u{202e}\u{200b}\u{feff}".contains(char);
                assert!(!shown.contains(unsafe_char), "{shown}");
                // Without the excerpt.
                crate::fuzz::kind_of(shown.split(": ").next().unwrap_or_default())
            };
            let created = match expected.fee::<()>(&Answer::whole(201, media_type, body)) {
                Ok(fee) => {
                    assert_eq!((fee.unstorable(), fee.quote_id), (None, quote_id));
                    "fee".into()
                }
                Err(outcome) => judged(outcome),
            };
            created + &judged(Answer::whole(400, media_type, body).failure())
        });
    }

    #[test]
    fn faults_are_reported_in_our_own_words() {
        let quote_id = "abc\u{0}\u{1b}[31m";
        let fee = json!({ "fee_id": "f", "quote_id": quote_id, "currency": "EUR", "amount_minor": 1, "rate_bps": 1 });
        let error = |json: &str| parse::<FeeAnswer>(json.as_bytes()).err().expect("a fault");
        assert_eq!(error(&fee.to_string()), "an invalid quote_id");
        assert_eq!(error("{\"fee_id\": \"f\"}"), "missing field `quote_id`");
        assert_eq!(error("{\"amount_minor\": 1e999}"), "an invalid amount_minor");
        assert_eq!((error("7"), error("[\"fee-1\"]")), ("no object".to_owned(), "no object".to_owned()));
        assert_eq!(error("{\"rate_bps\": 2147483648}"), "an invalid rate_bps");
    }

    #[test]
    fn a_list_is_searched_for_the_fee_of_this_quote() {
        let (quote_id, other) = (Uuid::now_v7(), Uuid::now_v7());
        let expected = Expectation { quote_id, currency: "EUR".into() };
        let fee = |quote_id, amount_minor: i64| {
            json!({ "fee_id": "f", "quote_id": quote_id, "currency": "EUR", "amount_minor": amount_minor, "rate_bps": 1,
                    "calculated_at": "2026-11-22T10:00:00Z" })
        };
        assert_eq!(expected.among(vec![]), Ok(None));
        let odd_one_of_another = json!({ "quote_id": other, "amount_minor": "many" });
        assert_eq!(expected.among(vec![odd_one_of_another.clone(), fee(other, 1)]), Ok(None));
        let found = expected.among(vec![odd_one_of_another, fee(quote_id, -1), fee(quote_id, 7)]);
        assert_eq!(found.map(|fee| fee.map(|fee| fee.amount_minor)), Ok(Some(7)));
        assert!(matches!(expected.among(vec![fee(quote_id, -1)]), Err(Unusable::Fee(_))));
        assert!(matches!(expected.among(vec![json!({})]), Err(Unusable::List(_))));
        assert!(matches!(expected.among(vec![json!(null)]), Err(Unusable::List(_))));
    }
}
