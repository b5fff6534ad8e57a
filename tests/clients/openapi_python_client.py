"""Calls a server by the client that openapi-python-client generated."""

import os

from feebox_client import AuthenticatedClient
from feebox_client.api.operations import pause_destination, read_timeline, resume_destination, retry_events
from feebox_client.api.quotes import cancel_quote, list_quotes, read_quote, submit_quote, submit_quotes
from feebox_client.models import (
    BulkRequest,
    NewLine,
    NewQuote,
    NewQuotes,
    Problem,
    Reason,
    TimelineCancelled,
    TimelineSubmitted,
)

client = AuthenticatedClient(base_url=os.environ["BASE_URL"], token=os.environ["TOKEN"])
line = NewLine(description="a thing", quantity=2, unit_price_minor=1_250)


def new_quote(currency: str = "EUR") -> NewQuote:
    return NewQuote(customer_id="cust-42", currency=currency, lines=[line])


stored = submit_quote.sync(client=client, body=new_quote(), idempotency_key="python")
assert (stored.amount_minor, stored.minor_unit_digits, stored.fee) == (2_500, 2, None), stored
again = submit_quote.sync_detailed(client=client, body=new_quote(), idempotency_key="python")
assert (again.status_code, again.parsed.id) == (201, stored.id), again
batch = submit_quotes.sync(client=client, body=NewQuotes(quotes=[new_quote("JPY"), new_quote()]))
assert [quote.minor_unit_digits for quote in batch.quotes] == [0, 2], batch
assert len(list_quotes.sync(client=client, customer_id="cust-42").quotes) >= 3

refused = submit_quote.sync(client=client, body=new_quote("EURO"))
assert isinstance(refused, Problem) and refused.errors[0].pointer == "/currency", refused

assert pause_destination.sync(client=client, name="fee-server").paused is not None
assert resume_destination.sync(client=client, name="fee-server", body=Reason(reason="mended")).paused is None
assert retry_events.sync(client=client, body=BulkRequest(status="dead", dry_run=True)).matched == 0

assert cancel_quote.sync(client=client, id=stored.id).status.value == "cancelled"
assert read_quote.sync(client=client, id=stored.id).status.value == "cancelled"
entries = read_timeline.sync(client=client, id=stored.id).entries
assert isinstance(entries[0], TimelineSubmitted) and entries[0].amount_minor == 2_500, entries
assert any(isinstance(entry, TimelineCancelled) for entry in entries), entries
