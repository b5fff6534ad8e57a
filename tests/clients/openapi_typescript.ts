// Calls a server by openapi-fetch with the types that openapi-typescript generated.

import assert from "node:assert/strict";
import createClient from "openapi-fetch";
import type { components, paths } from "./schema.js";

const client = createClient<paths>({
  baseUrl: process.env.BASE_URL!,
  headers: { Authorization: `Bearer ${process.env.TOKEN}` },
});
const newQuote = (currency = "EUR"): components["schemas"]["NewQuote"] => ({
  customer_id: "cust-44", currency, lines: [{ description: "a thing", quantity: 2, unit_price_minor: 1_250 }],
});
const submit = (currency?: string) => client.POST("/v1/quotes", {
  body: newQuote(currency), params: { header: { "Idempotency-Key": `typescript-${currency}` } },
});

const stored = (await submit()).data!;
assert.deepEqual([stored.amount_minor, stored.minor_unit_digits, stored.fee], [2_500, 2, null]);
assert.equal((await submit()).data!.id, stored.id);
const batch = await client.POST("/v1/quotes:batch", { body: { quotes: [newQuote("JPY"), newQuote()] } });
assert.deepEqual(batch.data!.quotes.map((quote) => quote.minor_unit_digits), [0, 2]);
const listed = await client.GET("/v1/quotes", { params: { query: { customer_id: "cust-44" } } });
assert.ok(listed.data!.quotes.length >= 3);

const refused = await submit("EURO");
assert.equal(refused.error!.errors![0]!.pointer, "/currency");

const name = { params: { path: { name: "fee-server" } } };
assert.ok((await client.POST("/v1/destinations/{name}/pause", name)).data!.paused);
const resumed = await client.POST("/v1/destinations/{name}/resume", { ...name, body: { reason: "mended" } });
assert.equal(resumed.data!.paused, null);
const bulk = await client.POST("/v1/outbox:retry", { body: { status: "dead", dry_run: true } });
assert.equal(bulk.data!.matched, 0);

const id = { params: { path: { id: stored.id } } };
assert.equal((await client.POST("/v1/quotes/{id}/cancel", id)).data!.status, "cancelled");
const { entries } = (await client.GET("/v1/quotes/{id}/timeline", id)).data!;
const first = entries[0]!;
assert.ok(first.what === "submitted" && first.amount_minor === 2_500 && first.at);
assert.ok(entries.some((entry) => entry.what === "cancelled"));
