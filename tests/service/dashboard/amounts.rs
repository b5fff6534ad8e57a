//! Amounts as people read them.

use serde_json::json;

use super::Console;
use crate::support::{Desk, Engine, http_client};

#[tokio::test(flavor = "multi_thread")]
async fn amounts_have_the_digits_of_iso_4217() {
    let desk = Desk::open(Engine::Sqlite).await;
    let console = Console::open(&desk).await;
    // Browsers show HUF and IQD without digits.
    for (currency, shown) in [("HUF", "1,234.50"), ("IQD", "123.450"), ("JPY", "123,450")] {
        let quote = json!({"customer_id": "c", "currency": currency,
            "lines": [{"description": "d", "quantity": 1, "unit_price_minor": 123_450}]});
        let url = format!("{}/v1/quotes", console.base_url);
        let answer = http_client().post(url).json(&quote).send().await.unwrap();
        assert_eq!(answer.status(), 201);
        console.go("quotes").await;
        console.sees("main table", shown).await;
        console.go("events").await;
        console.sees("main table", shown).await;
    }
}
