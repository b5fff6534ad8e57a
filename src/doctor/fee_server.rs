//! Whether the fee server answers: it is asked for the fees of a quote that does not exist, which changes nothing there.

use uuid::Uuid;

use super::{ERROR_LENGTH_MAX, Finding};
use crate::{
    destination::FeeServer,
    printable::{chain, printable},
    settings::{QuoteDestination, Settings},
};

pub(super) async fn examine(settings: &Settings) -> Vec<Finding> {
    let check = "fee server";
    if settings.submission.destination != QuoteDestination::FeeServer {
        return vec![];
    }
    let base_url = &settings.fee_server.base_url;
    let wrong = |error: &(dyn std::error::Error + 'static)| {
        let text = printable(&chain(error), ERROR_LENGTH_MAX);
        let advice = if text.contains("401") || text.contains("403") {
            "its credentials are refused: check fee_server.token"
        } else {
            "is it up, and are fee_server.base_url and its certificates right? `feebox config` shows them"
        };
        vec![Finding::wrong(check, format!("{base_url}: {text}"), advice)]
    };
    let server = match FeeServer::new(&settings.fee_server, 1) {
        Ok(server) => server,
        Err(error) => return wrong(&error),
    };
    match server.fees_of(Uuid::now_v7()).await {
        Ok(Some(_)) => vec![Finding::fine(check, format!("{base_url} answers, look-ups too"))],
        Ok(None) if !settings.fee_server.lookup => {
            vec![Finding::note(check, "look-ups are switched off (fee_server.lookup), so it was not called")]
        }
        Ok(None) => {
            let detail =
                format!("{base_url} answers, but has no look-up: after an unknown outcome the same key is sent again");
            vec![Finding::note(check, detail)]
        }
        Err(error) => wrong(&error),
    }
}
