//! The pool of sessions.
//!
//! A session returns to the pool only if its last statement was answered in full and no transaction is open; any other is
//! closed. A session that was idle is pinged before it is handed out. When one turns out to be dead or read-only, all sessions
//! opened before are closed without a ping, because they lead to the same server.

use std::{
    collections::VecDeque,
    ops::{Deref, DerefMut},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use parking_lot::{Mutex, MutexGuard};
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

/// A session that was idle for longer is pinged before use. Busy sessions are not, because a ping costs a round trip.
const IDLE_MAX: Duration = Duration::from_secs(1);
/// A session that does not answer a ping within this time is dead.
const PING_WAIT: Duration = Duration::from_secs(1);
/// A session that was not needed for longer is closed.
const SPARE_MAX: Duration = Duration::from_mins(10);
/// The longest time that a session is used.
const AGE_MAX: Duration = Duration::from_mins(30);
/// How long a graceful close may take.
const CLOSE_WAIT: Duration = Duration::from_secs(1);
/// Most sessions that one process opens at a time, so that it does not overload a slow server.
const OPENINGS_MAX: usize = 3;
/// The first timeout to connect, in milliseconds. It doubles with each attempt that times out.
const CONNECT_MS: u64 = 2_500;
/// The longest timeout to connect, in milliseconds.
const CONNECT_MS_MAX: u64 = 10_000;
/// The longest pause between attempts to connect.
const PAUSE_MAX: Duration = Duration::from_millis(200);

/// A pool of sessions.
#[derive(Clone, Debug)]
pub(super) struct Sessions {
    inner: Arc<Inner>,
    /// The sessions that may be in use by this share at a time, if it is one.
    share: Option<Arc<Semaphore>>,
}

#[derive(Debug)]
struct Inner {
    opener: Arc<Opener>,
    slots: Arc<Semaphore>,
    openings: Semaphore,
    connect_ms: AtomicU64,
    /// Notifies callers that wait for a new session that one was returned.
    returned: Notify,
    /// How long a caller waits for a session in all.
    wait_max: Duration,
    idle: Mutex<Idle>,
}

#[derive(Debug)]
struct Idle {
    /// The one used last is at the back, and is taken first.
    sessions: VecDeque<Session>,
    /// Sessions that were opened before are closed.
    trusted_since: Instant,
}

/// Sends an opened session to the caller that waits for it.
type Receiver = oneshot::Sender<Result<PooledSession, DbErr>>;

/// A session in use. When dropped, it returns to the pool if it is clean.
#[derive(Debug)]
pub(super) struct PooledSession {
    session: Option<Session>,
    sessions: Sessions,
    /// In a box: many futures hold a session.
    _slot: Box<Slot>,
}

/// The right to use a session of the pool, and of a share in it.
#[derive(Debug)]
struct Slot {
    _of_pool: OwnedSemaphorePermit,
    _of_share: Option<OwnedSemaphorePermit>,
}

impl Sessions {
    pub fn new(opener: Arc<Opener>, sessions_max: u32, wait_max: Duration) -> Self {
        let slots = Arc::new(Semaphore::new(usize::try_from(sessions_max).unwrap_or(1)));
        let idle = Mutex::new(Idle { sessions: VecDeque::new(), trusted_since: Instant::now() });
        let (openings, connect_ms, returned) =
            (Semaphore::new(OPENINGS_MAX), AtomicU64::new(CONNECT_MS), Notify::new());
        let inner = Arc::new(Inner { opener, slots, openings, connect_ms, returned, wait_max, idle });
        Self { inner, share: None }
    }

    /// The same pool, of which at most so many sessions are in use at a time.
    pub fn share(&self, sessions_max: usize) -> Self {
        Self { inner: Arc::clone(&self.inner), share: Some(Arc::new(Semaphore::new(sessions_max))) }
    }

    /// How many more sessions may be in use.
    pub fn free(&self) -> usize {
        self.inner.slots.available_permits()
    }

    pub fn opener(&self) -> &Opener {
        &self.inner.opener
    }

    /// A clean session that is alive. One that was just used is not pinged.
    pub async fn acquire(&self) -> Result<PooledSession, DbErr> {
        let inner = &self.inner;
        let deadline = tokio::time::Instant::now() + inner.wait_max;
        let permit = async |slots: &Arc<Semaphore>| {
            let permit = timeout_at(deadline, Arc::clone(slots).acquire_owned()).await;
            let permit = permit.map_err(|_| DbErr::ConnectionAcquire(ConnAcquireErr::Timeout))?;
            permit.map_err(|_| DbErr::ConnectionAcquire(ConnAcquireErr::ConnectionClosed))
        };
        // First: who waits for the share holds nothing of the pool.
        let of_share = match &self.share {
            Some(share) => Some(permit(share).await?),
            None => None,
        };
        let slot = Box::new(Slot { _of_pool: permit(&inner.slots).await?, _of_share: of_share });
        if let Some(session) = self.take_idle().await {
            return Ok(self.pooled(session, slot));
        }
        let (receiver, opened) = oneshot::channel();
        let last_error = Arc::new(Mutex::new(None));
        tokio::spawn(self.clone().open(slot, receiver, Arc::clone(&last_error)));
        if let Ok(Ok(opened)) = timeout_at(deadline, opened).await {
            return opened;
        }
        let last_error: Option<DbErr> = last_error.lock().take();
        Err(last_error.unwrap_or(DbErr::ConnectionAcquire(ConnAcquireErr::Timeout)))
    }

    fn pooled(&self, session: Session, slot: Box<Slot>) -> PooledSession {
        PooledSession { session: Some(session), sessions: self.clone(), _slot: slot }
    }

    /// Gives up all sessions opened before now, because one of them led to a dead or read-only server.
    pub fn distrust(&self) {
        let mut idle = self.idle();
        idle.trusted_since = Instant::now();
        idle.sessions.clear();
    }

    /// The same because of `session`. If it was distrusted already, newer sessions are kept.
    fn distrust_with(&self, session: &Session) {
        if self.is_trusted(session) {
            self.distrust();
        }
    }

    /// Hands out no more sessions, and closes the idle ones.
    pub async fn close(&self) {
        self.inner.slots.close();
        let sessions = std::mem::take(&mut self.idle().sessions);
        for session in sessions {
            timeout(CLOSE_WAIT, session.close()).await.ok();
        }
    }

    /// Takes an idle session that is alive.
    async fn take_idle(&self) -> Option<Session> {
        loop {
            let mut session = self.idle().sessions.pop_back()?;
            if !self.is_trusted(&session) {
                continue;
            }
            if session.opened.elapsed() > AGE_MAX {
                close_in_background(session);
                continue;
            }
            if session.used.elapsed() < IDLE_MAX || session.answers(PING_WAIT).await {
                return Some(session);
            }
            tracing::debug!("found a dead idle database session; closed the idle ones");
            self.distrust_with(&session);
        }
    }

    /// Opens a session, and retries while the server is starting or out of connections, as long as the caller waits. If the
    /// caller gives up during an opening, the session goes to the pool.
    async fn open(self, slot: Box<Slot>, mut receiver: Receiver, last_error: Arc<Mutex<Option<DbErr>>>) {
        loop {
            let opening = select! {
                () = receiver.closed() => return,
                () = self.inner.returned.notified() => None,
                opening = self.inner.openings.acquire() => opening.ok(),
            };
            if let Some(session) = self.take_idle().await {
                receiver.send(Ok(self.pooled(session, slot))).ok();
                return;
            }
            let Some(opening) = opening else { continue };
            let opened = self.open_once().await;
            drop(opening);
            let error = match opened {
                Ok(session) => {
                    // If the caller is gone, the session is dropped, and so returned to the pool.
                    receiver.send(Ok(self.pooled(session, slot))).ok();
                    return;
                }
                Err(error) => error,
            };
            if kind_of(&error) != Kind::Unavailable {
                receiver.send(Err(cannot_connect(error))).ok();
                return;
            }
            *last_error.lock() = Some(cannot_connect(error));
            let pause = rand::rng().random_range(PAUSE_MAX / 10..PAUSE_MAX);
            sleep(pause).await;
        }
    }

    /// Opens a session once. A dead host does not answer, and its name may resolve to another at the next attempt. A slow
    /// host gets more time at the next attempt.
    async fn open_once(&self) -> Result<Session, sqlx::Error> {
        let connect_ms = self.inner.connect_ms.load(Ordering::Relaxed);
        let limit = Duration::from_millis(connect_ms);
        let opened = timeout(limit, Box::pin(self.inner.opener.open())).await;
        let next_ms = if opened.is_ok() { CONNECT_MS } else { (connect_ms * 2).min(CONNECT_MS_MAX) };
        self.inner.connect_ms.store(next_ms, Ordering::Relaxed);
        opened.unwrap_or_else(|_| Err(too_long(limit)))
    }

    fn take_back(&self, mut session: Session) {
        if session.is_lost() {
            tracing::debug!("closed a failed database session");
        }
        if !session.is_clean() || !self.is_trusted(&session) || self.inner.slots.is_closed() {
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
            close_in_background(session);
        }
        self.inner.returned.notify_one();
    }

    fn is_trusted(&self, session: &Session) -> bool {
        session.opened >= self.idle().trusted_since
    }

    fn idle(&self) -> MutexGuard<'_, Idle> {
        self.inner.idle.lock()
    }
}

/// Closes a session gracefully, without waiting.
fn close_in_background(session: Session) {
    if let Ok(runtime) = Handle::try_current() {
        runtime.spawn(timeout(CLOSE_WAIT, session.close()));
    }
}

impl PooledSession {
    pub fn sessions(&self) -> &Sessions {
        &self.sessions
    }

    /// Gives up the other sessions if `error` means that they lead to the same dead or read-only server.
    pub fn check_error(&self, error: &sqlx::Error) {
        if matches!(kind_of(error), Kind::ReadOnly | Kind::Unavailable) {
            self.sessions.distrust_with(self);
        }
    }
}

impl Deref for PooledSession {
    type Target = Session;

    fn deref(&self) -> &Session {
        // Taken only when dropped.
        self.session.as_ref().expect("a session in use")
    }
}

impl DerefMut for PooledSession {
    fn deref_mut(&mut self) -> &mut Session {
        self.session.as_mut().expect("a session in use")
    }
}

impl Drop for PooledSession {
    fn drop(&mut self) {
        if let Some(session) = self.session.take() {
            self.sessions.take_back(session);
        }
    }
}
