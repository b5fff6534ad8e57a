//! Listing quotes.

use axum::{Extension, Json, extract::RawQuery};

use super::view;
use crate::{
    database::Page,
    http::{access::Caller, cursor, input::Query, problem::Problem, stale::Reads},
    quotes::{
        self, QuoteFilter, ids_with_prefix,
        new_quote::{CUSTOMER_ID_LENGTH_MAX, parse_text},
    },
};

/// List quotes, newest first
///
/// Submitters see only their own quotes. Others may get a page of a replica (`database.replica_url`), which is `Age` seconds old;
/// `Cache-Control: no-cache` asks for a fresh one.
#[utoipa::path(
    get, path = "/v1/quotes", operation_id = "list_quotes", tag = "quotes", security(("token" = [])),
    params(
        ("status" = Option<view::Status>, Query, description = "Only quotes with this status"),
        ("customer_id" = Option<String>, Query, description = "Only quotes of this customer", min_length = 1, max_length = 64),
        ("id_prefix" = Option<String>, Query, description = "Only quotes whose id begins with these hexadecimal digits, with or \
            without dashes", pattern = "^-*[0-9a-fA-F](-*[0-9a-fA-F]){0,31}-*$"),
        ("submitted_after" = Option<String>, Query, description = "Only quotes submitted after this time", format = DateTime),
        ("submitted_before" = Option<String>, Query, description = "Only quotes submitted before this time",
            format = DateTime),
        ("limit" = Option<u64>, Query, description = "Page size; 50 by default", minimum = 1, maximum = 200),
        ("cursor" = Option<String>, Query, description = "The `next` value of the previous page"),
    ),
    responses(
        (status = 200, description = "A page of quotes", body = view::QuotePage),
        (status = 400, description = "Invalid parameter"),
    )
)]
pub(super) async fn list(
    Reads { db, as_of }: Reads,
    Extension(caller): Extension<Caller>,
    RawQuery(raw): RawQuery,
) -> Result<Json<view::QuotePage>, Problem> {
    let known = ["status", "customer_id", "id_prefix", "submitted_after", "submitted_before", "limit", "cursor"];
    let mut query = Query::read(raw.as_deref(), &known);
    // Any text: older quotes have ids that are refused today.
    let customer_id = query.optional("customer_id", |text| parse_text(text, CUSTOMER_ID_LENGTH_MAX));
    let filter = QuoteFilter {
        status: query.status(),
        customer_id,
        submitted_by: caller.sees_only().map(str::to_owned),
        ids: query.optional("id_prefix", ids_with_prefix),
        submitted_after: query.time("submitted_after"),
        submitted_before: query.time("submitted_before"),
        before: query.cursor(),
    };
    let limit = query.limit();
    query.finish()?;
    let Page { rows, next } = quotes::list(db.connection(), &filter, limit).await?;
    let next = next.map(cursor::after);
    let mut page = view::QuotePage { quotes: Vec::with_capacity(rows.len()), unreadable: Vec::new(), next, as_of };
    for found in rows {
        let id = found.id(|found| found.quote.id);
        match found.read().map(|found| view::Quote::seen_by(&caller, found)) {
            Some(Ok(quote)) => page.quotes.push(quote),
            Some(Err(_)) | None => page.unreadable.push(id),
        }
    }
    Ok(Json(page))
}
