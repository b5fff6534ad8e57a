//! The replica for reads that may be stale, if there is one.

use std::time::Duration;

use tokio::time::sleep;

use super::{ERROR_LENGTH_MAX, Finding};
use crate::{
    database::{Database, StaleReads},
    printable::{chain, printable},
    settings::Settings,
};

/// A replica that is behind shows how far when it has come to where the primary was at the first look.
const LOOKS: u32 = 10;

pub(super) async fn examine(settings: &Settings, db: &Database) -> Vec<Finding> {
    let check = "replica";
    let Some(replica) = &settings.database.replica else { return vec![] };
    let advice = "look at the replica's own log; until it is repaired, database.url is read";
    let reads = match StaleReads::connect(db, Some(replica)).await {
        Ok(reads) => reads,
        Err(error) => return vec![Finding::wrong(check, printable(&chain(&error), ERROR_LENGTH_MAX), advice)],
    };
    let mut state = reads.look().await;
    for _ in 1..LOOKS {
        if !matches!(&state, Some(Err(why)) if why.is_behind()) {
            break;
        }
        sleep(Duration::from_secs(1)).await;
        state = reads.look().await;
    }
    state.map_or_else(Vec::new, |state| {
        vec![match state {
            Ok(age) => Finding::fine(check, format!("its state is at most {:.1} s old", age.as_secs_f64())),
            Err(why) => Finding::wrong(check, printable(&why.to_string(), ERROR_LENGTH_MAX), advice),
        }]
    })
}
