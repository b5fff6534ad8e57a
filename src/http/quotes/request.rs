//! The body of a submission.
//!
//! It is read field by field and not by a derived `Deserialize`, which would stop at the first fault.

use serde_json::Value;
use utoipa::ToSchema;

use crate::{
    http::{
        input::{Faults, Node},
        problem::Problem,
    },
    quotes::{
        CurrencyCode, CustomerId, Line, Lines, NewQuote,
        new_quote::{Description, LINES_MAX, Quantity, UnitPriceMinor},
    },
};

/// Most quotes of a batch.
pub(super) const BATCH_MAX: usize = 1_000;

/// A quote to be submitted.
#[derive(ToSchema)]
#[schema(as = NewQuote)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "says in the API document what `new_quote` reads")]
pub(super) struct NewQuoteBody {
    /// Who asks.
    #[schema(min_length = 1, max_length = 64, example = "cust-42")]
    customer_id: String,
    /// ISO 4217 code, in capital letters.
    #[schema(pattern = "^[A-Z]{3}$", example = "EUR")]
    currency: String,
    /// What is bought. The sum of all `quantity * unit_price_minor` is at most 2^63 - 1.
    #[schema(min_items = 1, max_items = 100)]
    lines: Vec<NewLine>,
}

/// A line of it.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "says in the API document what `line` reads")]
pub(super) struct NewLine {
    /// What it is.
    #[schema(min_length = 1, max_length = 200, example = "Freight Hamburg - Oslo")]
    description: String,
    /// How many.
    #[schema(minimum = 1, maximum = 1_000_000, example = 2)]
    quantity: i64,
    /// The price of one, in minor units of the currency.
    #[schema(minimum = 0, maximum = 1_000_000_000_000_i64, example = 12_500)]
    unit_price_minor: i64,
}

/// Quotes to be submitted together.
#[derive(ToSchema)]
#[schema(as = NewQuotes)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "says in the API document what `batch` reads")]
pub(super) struct NewQuotesBody {
    /// They are all stored, or none of them is.
    #[schema(min_items = 1, max_items = 1000)]
    quotes: Vec<NewQuoteBody>,
}

/// Reads the body of one quote.
pub(super) fn one(body: &Value) -> Result<NewQuote, Problem> {
    let mut faults = Faults::default();
    let quote = new_quote(&Node::root(body), &mut faults);
    faults.or_whole(quote)
}

/// Reads the body of a batch.
pub(super) fn batch(body: &Value) -> Result<Vec<NewQuote>, Problem> {
    let mut faults = Faults::default();
    let root = Node::root(body);
    let quotes = root.object(&["quotes"], &mut faults);
    let quotes = quotes.and_then(|batch| batch.field("quotes").list(1..=BATCH_MAX, new_quote, &mut faults));
    faults.or_whole(quotes)
}

fn new_quote(node: &Node<'_>, faults: &mut Faults) -> Option<NewQuote> {
    let quote = node.object(&["customer_id", "currency", "lines"], faults)?;
    let customer_id = quote.field("customer_id").text(CustomerId::parse, faults);
    let currency = quote.field("currency").text(CurrencyCode::parse, faults);
    let lines = quote.field("lines");
    let lines = lines.list(1..=LINES_MAX, line, faults).and_then(|list| lines.parsed(Lines::parse(list), faults));
    Some(NewQuote::new(customer_id?, currency?, lines?))
}

fn line(node: &Node<'_>, faults: &mut Faults) -> Option<Line> {
    let line = node.object(&["description", "quantity", "unit_price_minor"], faults)?;
    let description = line.field("description").text(Description::parse, faults);
    let quantity = line.field("quantity").integer(Quantity::parse, faults);
    let unit_price_minor = line.field("unit_price_minor").integer(UnitPriceMinor::parse, faults);
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
    fn the_document_tells_the_bounds_that_hold() {
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
