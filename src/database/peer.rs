//! The server's end of a session: whether it still works on the statement.

use std::{pin::pin, sync::Arc, time::Duration};

use sea_orm::{DbBackend, sqlx};
use tokio::{select, time::timeout};

use super::{failure::timed_out, opener::Opener};

/// After this time without an answer, the server is asked whether it still works on the statement.
const QUIET_MAX: Duration = Duration::from_millis(1_500);
/// How long that question may take.
const ASK_WAIT: Duration = Duration::from_millis(1_500);
/// How long an answer may be in transit after the server has sent it.
const GRACE: Duration = Duration::from_millis(500);

/// The server's end of a session. A network can lose a connection without either end noticing, and the drivers do not expose
/// socket timeouts. So after a long wait the server is asked over another connection.
#[derive(Debug)]
pub(super) struct Peer {
    opener: Arc<Opener>,
    /// Which server of the URL it is.
    server: usize,
    /// The server's id of the session.
    id: i64,
}

impl Peer {
    pub fn new(opener: Arc<Opener>, server: usize, id: i64) -> Self {
        Self { opener, server, id }
    }

    /// Waits for `work`, and fails within 5 seconds if the server does not work on it. A slow statement, or one that waits
    /// for a lock, goes on. So does one at a server that does not answer the question either, unless another server of the URL is as
    /// wanted.
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
                let lost =
                    || Err(timed_out("the connection was lost: the database no longer runs the statement".into()));
                return timeout(GRACE, &mut work).await.unwrap_or_else(|_| lost());
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
        // One question at a time, so that many waiting sessions do not overload a slow server.
        let _turn = self.opener.questions.lock().await;
        match timeout(ASK_WAIT, Box::pin(self.opener.ask(self.server, &sql))).await {
            Ok(Ok(count)) => count > 0,
            // A new session would be stuck too, unless another server has taken over.
            _ => !timeout(ASK_WAIT, Box::pin(self.opener.has_another(self.server))).await.unwrap_or(false),
        }
    }
}
