"""Calls a server by the client that openapi-generator generated for Python."""

import os

from openapi_client import ApiClient, Configuration, OperationsApi, QuotesApi
from openapi_client.exceptions import ApiException
from openapi_client.models import BulkRequest, NewLine, NewQuote, NewQuotes, Problem, Reason, TimelineSubmitted

client = ApiClient(Configuration(host=os.environ["BASE_URL"], access_token=os.environ["TOKEN"]))
quotes, operations = QuotesApi(client), OperationsApi(client)
line = NewLine(description="a thing", quantity=2, unit_price_minor=1_250)


def new_quote(currency: str = "EUR") -> NewQuote:
    return NewQuote(customer_id="cust-43", currency=currency, lines=[line])


stored = quotes.submit_quote(new_quote(), idempotency_key="java")
assert (stored.amount_minor, stored.minor_unit_digits, stored.fee) == (2_500, 2, None), stored
assert quotes.submit_quote(new_quote(), idempotency_key="java").id == stored.id
batch = quotes.submit_quotes(NewQuotes(quotes=[new_quote("JPY"), new_quote()]))
assert [quote.minor_unit_digits for quote in batch.quotes] == [0, 2], batch
assert len(quotes.list_quotes(customer_id="cust-43").quotes) >= 3

# The client itself refuses what the document forbids.
try:
    new_quote("ABC")
    raise AssertionError("not refused")
except ValueError as refused:
    assert "currency" in str(refused), refused
dear = NewLine(description="dear", quantity=1_000_000, unit_price_minor=10**12)
try:
    quotes.submit_quote(NewQuote(customer_id="cust-43", currency="EUR", lines=[dear]))
    raise AssertionError("not refused")
except ApiException as refused:
    assert Problem.from_json(refused.body).errors[0].pointer == "/lines", refused

assert operations.pause_destination("fee-server").paused is not None
assert operations.resume_destination("fee-server", Reason(reason="mended")).paused is None
assert operations.retry_events(BulkRequest(status="dead", dry_run=True)).matched == 0

assert quotes.cancel_quote(stored.id).status == "cancelled"
assert quotes.read_quote(stored.id).status == "cancelled"
entries = [entry.actual_instance for entry in operations.read_timeline(stored.id).entries]
assert isinstance(entries[0], TimelineSubmitted) and entries[0].amount_minor == 2_500, entries
assert any(entry.what == "cancelled" for entry in entries), entries
