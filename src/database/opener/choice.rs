//! Which of several servers a session is opened with.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use futures_util::{StreamExt, stream::FuturesUnordered};
use sea_orm::sqlx::{self, ConnectOptions};
use secrecy::{ExposeSecret, SecretString};

use super::{Address, Opener, Session};
use crate::database::servers::{Servers, Wanted};

/// How long a server has before the next of the URL is tried beside it.
const HEAD_START: Duration = Duration::from_millis(300);

impl Opener {
    /// Opens a session with the server that was right last time. Where that fails, or takes longer than a moment, the others are
    /// tried beside it: the first that is as wanted is taken.
    pub(super) async fn open_once(self: &Arc<Self>) -> Result<Session, sqlx::Error> {
        let Servers { urls, wanted } = self.servers()?;
        // Taken before, so that distrust during the opening covers this session too.
        let opened = Instant::now();
        let first = self.preferred.load(Ordering::Relaxed) % urls.len();
        let mut untried = (0..urls.len()).map(|place| (first + place) % urls.len());
        let mut openings = FuturesUnordered::new();
        let (mut second_best, mut failed) = (None, None);
        loop {
            if let Some(server) = untried.next() {
                let opening = self.open_at(server, &urls[server], opened);
                openings.push(async move { (server, opening.await) });
            }
            let (server, result) = tokio::select! {
                Some(ended) = openings.next() => ended,
                () = tokio::time::sleep(HEAD_START), if untried.len() > 0 => continue,
                else => break,
            };
            match result {
                Ok((session, is_read_only)) if wanted.fits(is_read_only) => {
                    self.prefer(server, &urls[server]);
                    return Ok(session);
                }
                Ok((session, _)) => match wanted {
                    Wanted::RatherReadOnly => second_best = second_best.or(Some((server, session))),
                    Wanted::ReadOnly => failed = Some(not_as_wanted("no server of database.url is read-only")),
                    _ => failed = Some(not_as_wanted("no server of database.url accepts writes")),
                },
                // What the wanted server says is told, if there is one.
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        if let Some((server, session)) = second_best {
            self.prefer(server, &urls[server]);
            return Ok(session);
        }
        Err(failed.unwrap_or_else(|| not_as_wanted("database.url names no server")))
    }

    /// Whether a server beside this one is as wanted. The next session is opened there first then.
    pub(in crate::database) async fn has_another(self: &Arc<Self>, server: usize) -> bool {
        let Ok(Servers { urls, wanted }) = self.servers() else { return false };
        let opened = Instant::now();
        for (other, url) in urls.iter().enumerate().filter(|(other, _)| *other != server) {
            if let Ok((_, is_read_only)) = self.open_at(other, url, opened).await
                && wanted.fits(is_read_only)
            {
                self.prefer(other, url);
                return true;
            }
        }
        false
    }

    /// The next session is opened there first, and the other pool follows.
    fn prefer(&self, server: usize, url: &SecretString) {
        if self.preferred.swap(server, Ordering::Relaxed) == server {
            return;
        }
        tracing::info!(server = server + 1, "another server of database.url is used now");
        self.point_pool_at(url);
    }

    /// The other pool connects there from now on.
    pub(super) fn point_pool_at(&self, url: &SecretString) {
        match Address::parse(self.backend, url.expose_secret()) {
            Ok(Address::Postgres(options)) => {
                self.pool.get_postgres_connection_pool().set_connect_options(options.disable_statement_logging());
            }
            Ok(Address::MariaDb(options)) => {
                self.pool.get_mysql_connection_pool().set_connect_options(options.disable_statement_logging());
            }
            _ => {}
        }
    }

    pub(super) fn servers(&self) -> Result<Servers, sqlx::Error> {
        let mut servers =
            Servers::of(&self.url.lock()).map_err(|problem| sqlx::Error::Configuration(problem.into()))?;
        if self.of_replica && servers.wanted == Wanted::Writable {
            servers.wanted = Wanted::RatherReadOnly;
        }
        Ok(servers)
    }
}

/// A server may become what is wanted: it is tried again, as one that is starting.
pub(super) fn not_as_wanted(what: &str) -> sqlx::Error {
    sqlx::Error::Io(std::io::Error::new(std::io::ErrorKind::ConnectionRefused, what.to_owned()))
}
