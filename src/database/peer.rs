//! The server's end of a session: whether it still works on what it was sent.

use std::{pin::pin, sync::Arc, time::Duration};

use sea_orm::{DbBackend, sqlx};
use tokio::{select, time::timeout};

use super::{failure::timed_out, opener::Opener};

/// A statement that takes longer than this may never be answered: its session is asked about.
const QUIET_MAX: Duration = Duration::from_millis(1_500);
/// How long the question may take.
const ASK_WAIT: Duration = Duration::from_millis(1_500);
/// An answer may be on its way while the server says that it has given it.
const GRACE: Duration = Duration::from_millis(500);

/// The server's end of a session. A network can lose a connection without telling either end, and the drivers let nobody set
/// the time limits of a socket. So whoever waits long asks the server by another way.
#[derive(Debug)]
pub(super) struct Peer {
    opener: Arc<Opener>,
    /// By which the server knows the session.
    id: i64,
}

impl Peer {
    pub fn new(opener: Arc<Opener>, id: i64) -> Self {
        Self { opener, id }
    }

    /// What `work` comes to; an error within 5 seconds if the server says that it does not work on it. A statement that takes
    /// its time, or waits for a lock, goes on; so does one at a server that does not answer the question either: a new
    /// session would get no further.
    pub async fn watch<T>(&self, work: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, sqlx::Error> {
        let mut work = pin!(work);
        loop {
            if let Ok(done) = timeout(QUIET_MAX, &mut work).await {
                return done;
            }
            let is_working = select! {
                done = &mut work => return done,
                is_working = self.is_working() => is_working,
            };
            if !is_working {
                let silent = || Err(timed_out("the database does not know of the statement any more".into()));
                return timeout(GRACE, &mut work).await.unwrap_or_else(|_| silent());
            }
        }
    }

    async fn is_working(&self) -> bool {
        let sql = match self.opener.backend {
            DbBackend::Postgres => {
                format!("SELECT count(*) FROM pg_stat_activity WHERE pid = {} AND state NOT LIKE 'idle%'", self.id)
            }
            _ => format!(
                "SELECT count(*) FROM information_schema.processlist WHERE id = {} AND command <> 'Sleep'",
                self.id
            ),
        };
        // One question at a time, so that many who wait at a slow server make it no slower.
        let _turn = self.opener.questions.lock().await;
        match timeout(ASK_WAIT, Box::pin(self.opener.ask(&sql))).await {
            Ok(Ok(count)) => count > 0,
            _ => true,
        }
    }
}
