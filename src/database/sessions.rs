//! The pool: sessions that are clean, or gone.
//!
//! A session goes back only if its last statement was answered in full and no transaction is open on it; any other is
//! closed. What was idle for a moment is asked whether it still lives before it is handed out. Once one turned out dead or
//! read-only, all that are older than that instant are closed without being asked: they lead to the same place.

use std::{
    collections::VecDeque,
    ops::{Deref, DerefMut},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use rand::RngExt;
use sea_orm::{ConnAcquireErr, DbErr, sqlx};
use tokio::{
    runtime::Handle,
    select,
    sync::{Notify, OwnedSemaphorePermit, Semaphore, oneshot},
    time::{sleep, timeout, timeout_at},
};

use super::{
    failure::{Kind, cannot_connect, kind_of},
    opener::Opener,
    session::{Session, too_long},
};

/// A session that was idle for so long may have been cut meanwhile, and is asked before its use. While traffic flows none
/// is, because the question costs a round trip.
const IDLE_MAX: Duration = Duration::from_secs(1);
/// A session that does not answer for so long is taken to be dead.
const PING_WAIT: Duration = Duration::from_secs(1);
/// A session that nobody needed for so long is closed.
const SPARE_MAX: Duration = Duration::from_mins(10);
/// How long a session is used at most.
const AGE_MAX: Duration = Duration::from_mins(30);
/// How long closing in order may take.
const CLOSE_WAIT: Duration = Duration::from_secs(1);
/// How many sessions one process opens at a time: a server that is short of time opens none for a herd.
const OPENINGS_MAX: usize = 3;
/// How long one try to connect may take at first, in milliseconds. It doubles with each try that was too slow.
const CONNECT_MS: u64 = 2_500;
/// How long it may take at most, in milliseconds.
const CONNECT_MS_MAX: u64 = 10_000;
/// The longest pause between tries to connect.
const PAUSE_MAX: Duration = Duration::from_millis(200);

/// A pool of sessions.
#[derive(Clone, Debug)]
pub(super) struct Sessions(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    opener: Arc<Opener>,
    places: Arc<Semaphore>,
    openings: Semaphore,
    connect_ms: AtomicU64,
    /// Told when a session comes back, to those who wait for one to be opened.
    came_back: Notify,
    /// How long a caller waits for a place and a session, in all.
    wait_max: Duration,
    idle: Mutex<Idle>,
}

#[derive(Debug)]
struct Idle {
    /// The one used last is at the back, and is taken first.
    sessions: VecDeque<Session>,
    /// Those that were opened before this are closed.
    trusted_since: Instant,
}

/// Whom an opened session is handed to.
type Tell = oneshot::Sender<Result<Held, DbErr>>;

/// A session in use. It goes back when this is dropped, if it is clean.
#[derive(Debug)]
pub(super) struct Held {
    session: Option<Session>,
    sessions: Sessions,
    _place: OwnedSemaphorePermit,
}

impl Sessions {
    pub fn new(opener: Arc<Opener>, most: u32, wait_max: Duration) -> Self {
        let places = Arc::new(Semaphore::new(usize::try_from(most).unwrap_or(1)));
        let idle = Mutex::new(Idle { sessions: VecDeque::new(), trusted_since: Instant::now() });
        let (openings, connect_ms, came_back) =
            (Semaphore::new(OPENINGS_MAX), AtomicU64::new(CONNECT_MS), Notify::new());
        Self(Arc::new(Inner { opener, places, openings, connect_ms, came_back, wait_max, idle }))
    }

    pub fn opener(&self) -> &Opener {
        &self.0.opener
    }

    /// A clean session that answers, as far as is known without asking one that was just used.
    pub async fn acquire(&self) -> Result<Held, DbErr> {
        let inner = &self.0;
        let until = tokio::time::Instant::now() + inner.wait_max;
        let place = timeout_at(until, Arc::clone(&inner.places).acquire_owned());
        let place = place.await.map_err(|_| DbErr::ConnectionAcquire(ConnAcquireErr::Timeout))?;
        let place = place.map_err(|_| DbErr::ConnectionAcquire(ConnAcquireErr::ConnectionClosed))?;
        if let Some(session) = self.living().await {
            return Ok(self.held(session, place));
        }
        let (tell, told) = oneshot::channel();
        let last = Arc::new(Mutex::new(None));
        tokio::spawn(self.clone().open(place, tell, Arc::clone(&last)));
        if let Ok(Ok(opened)) = timeout_at(until, told).await {
            return opened;
        }
        let last: Option<DbErr> = last.lock().unwrap_or_else(PoisonError::into_inner).take();
        Err(last.unwrap_or(DbErr::ConnectionAcquire(ConnAcquireErr::Timeout)))
    }

    fn held(&self, session: Session, place: OwnedSemaphorePermit) -> Held {
        Held { session: Some(session), sessions: self.clone(), _place: place }
    }

    /// No session that was opened before now is used again: one of them led to a server that is gone or read-only.
    pub fn distrust(&self) {
        let mut idle = self.idle();
        idle.trusted_since = Instant::now();
        idle.sessions.clear();
    }

    /// The same because of `session`. If it was not trusted before, that says nothing about those that are newer.
    fn distrust_with(&self, session: &Session) {
        if self.is_trusted(session) {
            self.distrust();
        }
    }

    /// Hands out no more, and closes what is idle.
    pub async fn close(&self) {
        self.0.places.close();
        let sessions = std::mem::take(&mut self.idle().sessions);
        for session in sessions {
            timeout(CLOSE_WAIT, session.close()).await.ok();
        }
    }

    /// An idle session that is fit for use.
    async fn living(&self) -> Option<Session> {
        loop {
            let mut session = self.idle().sessions.pop_back()?;
            if !self.is_trusted(&session) {
                continue;
            }
            if session.opened.elapsed() > AGE_MAX {
                part(session);
                continue;
            }
            if session.used.elapsed() < IDLE_MAX || session.answers(PING_WAIT).await {
                return Some(session);
            }
            tracing::debug!("an idle session with the database was dead; opening new ones");
            self.distrust_with(&session);
        }
    }

    /// Opens a session, and tries again while the server is starting up or has no room, for as long as somebody waits. One
    /// that is being opened when its caller gives up is there for the next: the work is not done in vain.
    async fn open(self, place: OwnedSemaphorePermit, mut tell: Tell, last: Arc<Mutex<Option<DbErr>>>) {
        loop {
            let slot = select! {
                () = tell.closed() => return,
                () = self.0.came_back.notified() => None,
                slot = self.0.openings.acquire() => slot.ok(),
            };
            if let Some(session) = self.living().await {
                tell.send(Ok(self.held(session, place))).ok();
                return;
            }
            let Some(slot) = slot else { continue };
            let opened = self.open_once().await;
            drop(slot);
            let error = match opened {
                Ok(session) => {
                    // What nobody takes is dropped, and so goes to the pool.
                    tell.send(Ok(self.held(session, place))).ok();
                    return;
                }
                Err(error) => error,
            };
            if kind_of(&error) != Kind::Unavailable {
                tell.send(Err(cannot_connect(error))).ok();
                return;
            }
            *last.lock().unwrap_or_else(PoisonError::into_inner) = Some(cannot_connect(error));
            let pause = rand::rng().random_range(PAUSE_MAX / 10..PAUSE_MAX);
            sleep(pause).await;
        }
    }

    /// A host that is gone does not answer at all, and its name may lead elsewhere at the next try. One that is slow gets
    /// more time at the next try.
    async fn open_once(&self) -> Result<Session, sqlx::Error> {
        let connect_ms = self.0.connect_ms.load(Ordering::Relaxed);
        let limit = Duration::from_millis(connect_ms);
        let opened = timeout(limit, Box::pin(self.0.opener.open())).await;
        let next_ms = if opened.is_ok() { CONNECT_MS } else { (connect_ms * 2).min(CONNECT_MS_MAX) };
        self.0.connect_ms.store(next_ms, Ordering::Relaxed);
        opened.unwrap_or_else(|_| Err(too_long(limit)))
    }

    fn take_back(&self, mut session: Session) {
        if session.is_lost() {
            tracing::debug!("a session with the database failed and is closed");
        }
        if !session.is_clean() || !self.is_trusted(&session) || self.0.places.is_closed() {
            return;
        }
        session.used = Instant::now();
        let spare = {
            let mut idle = self.idle();
            idle.sessions.push_back(session);
            let is_spare = idle.sessions.front().is_some_and(|session| session.used.elapsed() > SPARE_MAX);
            if is_spare { idle.sessions.pop_front() } else { None }
        };
        if let Some(session) = spare {
            part(session);
        }
        self.0.came_back.notify_one();
    }

    fn is_trusted(&self, session: &Session) -> bool {
        session.opened >= self.idle().trusted_since
    }

    fn idle(&self) -> MutexGuard<'_, Idle> {
        self.0.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes leave of a session in order, without waiting for it.
fn part(session: Session) {
    if let Ok(runtime) = Handle::try_current() {
        runtime.spawn(timeout(CLOSE_WAIT, session.close()));
    }
}

impl Held {
    pub fn sessions(&self) -> &Sessions {
        &self.sessions
    }

    /// Whether `error` means that other sessions lead to the same dead end; then they are given up.
    pub fn judge(&self, error: &sqlx::Error) {
        if matches!(kind_of(error), Kind::ReadOnly | Kind::Unavailable) {
            self.sessions.distrust_with(self);
        }
    }
}

impl Deref for Held {
    type Target = Session;

    fn deref(&self) -> &Session {
        // Taken only when it is dropped.
        self.session.as_ref().expect("a held session")
    }
}

impl DerefMut for Held {
    fn deref_mut(&mut self) -> &mut Session {
        self.session.as_mut().expect("a held session")
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(session) = self.session.take() {
            self.sessions.take_back(session);
        }
    }
}
