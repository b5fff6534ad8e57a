//! The body of a submission.
//!
//! It is read field by field: a derived `Deserialize` would stop at the first error (`docs/adr/0019`).

use serde_json::Value;
use utoipa::ToSchema;

use crate::{
    http::{
        input::{FieldErrors, Node, Received},
        problem::Problem,
    },
    quotes::{
        CurrencyCode, CustomerId, Line, Lines, NewQuote,
        new_quote::{Description, LINES_MAX, Quantity, UnitPriceMinor},
    },
};

/// Most quotes of a batch.
pub(super) const BATCH_MAX: usize = 1_000;

/// A quote to submit.
#[derive(ToSchema)]
#[schema(as = NewQuote)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "documents in the API what `new_quote` reads")]
pub(super) struct NewQuoteBody {
    /// The customer's id: visible characters and spaces between them.
    #[schema(min_length = 1, max_length = 64, example = "cust-42")]
    customer_id: String,
    /// ISO 4217 code in capital letters.
    #[schema(example = "EUR")]
    currency: String,
    /// The items. The sum of all `quantity * unit_price_minor` is at most 2^53 - 1.
    #[schema(min_items = 1, max_items = 100)]
    lines: Vec<NewLine>,
}

/// A line of a quote to submit.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "documents in the API what `line` reads")]
pub(super) struct NewLine {
    /// What is bought.
    #[schema(min_length = 1, max_length = 200, example = "Freight Hamburg - Oslo")]
    description: String,
    /// How many units.
    #[schema(minimum = 1, maximum = 1_000_000, example = 2)]
    quantity: i64,
    /// The price of one unit, in minor units of the currency.
    #[schema(minimum = 0, maximum = 1_000_000_000_000_i64, example = 12_500)]
    unit_price_minor: i64,
}

/// Quotes to submit together.
#[derive(ToSchema)]
#[schema(as = NewQuotes)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "documents in the API what `batch` reads")]
pub(super) struct NewQuotesBody {
    /// All of them are stored, or none.
    #[schema(min_items = 1, max_items = 1000)]
    quotes: Vec<NewQuoteBody>,
}

/// Reads the body of one quote.
pub(super) fn one(body: &Value) -> Result<NewQuote, Problem> {
    let mut errors = FieldErrors::default();
    let quote = new_quote(&Node::root(body), &mut errors);
    errors.or_read(quote)
}

/// Reads the body of a batch. A large one takes a while, and other requests shall not wait for it.
pub(super) async fn batch(body: Received) -> Result<Vec<NewQuote>, Problem> {
    let read = move || body.read_list("quotes", 1..=BATCH_MAX, new_quote);
    tokio::task::spawn_blocking(read).await.unwrap_or_else(|error| Err(Problem::internal(&error.to_string())))
}

fn new_quote(node: &Node<'_>, errors: &mut FieldErrors) -> Option<NewQuote> {
    let quote = node.object(&["customer_id", "currency", "lines"], errors)?;
    let customer_id = quote.field("customer_id").text(CustomerId::parse, errors);
    let currency = quote.field("currency").text(CurrencyCode::parse, errors);
    let lines = quote.field("lines");
    let lines = lines.list(1..=LINES_MAX, line, errors).and_then(|list| lines.parsed(Lines::parse(list), errors));
    Some(NewQuote::new(customer_id?, currency?, lines?))
}

fn line(node: &Node<'_>, errors: &mut FieldErrors) -> Option<Line> {
    let line = node.object(&["description", "quantity", "unit_price_minor"], errors)?;
    let description = line.field("description").text(Description::parse, errors);
    let quantity = line.field("quantity").integer(Quantity::parse, errors);
    let unit_price_minor = line.field("unit_price_minor").integer(UnitPriceMinor::parse, errors);
    Some(Line { description: description?, quantity: quantity?, unit_price_minor: unit_price_minor? })
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use utoipa::PartialSchema;

    use super::*;
    use crate::quotes::new_quote::{
        CUSTOMER_ID_LENGTH_MAX, DESCRIPTION_LENGTH_MAX, QUANTITY_MAX, UNIT_PRICE_MINOR_MAX,
    };

    #[test]
    fn whatever_is_sent_as_a_quote_is_valid_or_all_that_is_wrong_is_named() {
        crate::fuzz::fuzz("body", |input| {
            let read = crate::http::input::parse(input).and_then(|body| one(&body));
            match read {
                Ok(quote) => {
                    assert!((0..1 << 53).contains(&quote.amount_minor()), "{quote:?}");
                    assert!(!quote.customer_id().contains(char::is_control));
                    let text = serde_json::to_vec(&json!({"customer_id": quote.customer_id(),
                        "currency": quote.currency(), "lines": quote.lines()}));
                    let again = crate::http::input::parse(&text.expect("JSON")).and_then(|body| one(&body));
                    assert_eq!(again.expect("valid once, valid twice"), quote);
                    format!("a quote of {} lines", quote.lines().len())
                }
                Err(problem) => {
                    let answer = problem.to_string();
                    assert!(answer.len() < 64 * input.len() + 4_096, "{answer}");
                    crate::fuzz::kind_of(&answer)
                }
            }
        });
    }

    #[test]
    fn whatever_is_sent_as_a_batch_is_read_as_its_quotes_are() {
        crate::fuzz::fuzz("batch", |input| {
            let streamed = crate::http::input::parse_list(input, "quotes", 1..=BATCH_MAX, new_quote);
            let read_at_once = || {
                let body = crate::http::input::parse(input)?;
                let mut errors = FieldErrors::default();
                let root = Node::root(&body);
                let quotes = root.object(&["quotes"], &mut errors);
                let quotes = quotes.and_then(|it| it.field("quotes").list(1..=BATCH_MAX, new_quote, &mut errors));
                errors.or_read(quotes.map(|_| ()))
            };
            match (streamed, read_at_once()) {
                (Ok(quotes), Ok(())) => format!("{} quotes", quotes.len()),
                (Err(problem), Err(_)) => crate::fuzz::kind_of(&problem.to_string()),
                (streamed, at_once) => panic!("{streamed:?}, but {at_once:?}"),
            }
        });
    }

    #[test]
    fn the_documented_limits_are_the_real_ones() {
        let quote = json!(NewQuoteBody::schema());
        assert_eq!(quote["properties"]["customer_id"]["maxLength"], CUSTOMER_ID_LENGTH_MAX);
        assert_eq!(quote["properties"]["lines"]["maxItems"], LINES_MAX);
        let line = json!(NewLine::schema());
        assert_eq!(line["properties"]["description"]["maxLength"], DESCRIPTION_LENGTH_MAX);
        assert_eq!(line["properties"]["quantity"]["maximum"], QUANTITY_MAX);
        assert_eq!(line["properties"]["unit_price_minor"]["maximum"], UNIT_PRICE_MINOR_MAX);
        let batch = json!(NewQuotesBody::schema());
        assert_eq!(batch["properties"]["quotes"]["maxItems"], BATCH_MAX);
    }
}
