//! Work that arrives while work is under way is done together: many callers, one transaction, one flush to the disk.
//!
//! A caller that finds nothing under way is served at once, alone. Nobody waits for company. When all that is left of a group
//! is up to the database, those who have come meanwhile are begun with.

use std::{collections::VecDeque, fmt, future::Future, sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use parking_lot::{Mutex, MutexGuard};
use tokio::{
    sync::oneshot,
    time::{Instant, sleep},
};

/// Work that has waited for so long is no longer left to what is under way: that may wait for a lock, or for a database
/// that is gone.
const STALLED_AFTER: Duration = Duration::from_millis(100);

/// What is done together takes about this long at most: others wait for what it locks, an operator among them.
const GROUP_TIME: Duration = Duration::from_millis(250);
/// As much is done together before it is known how long that takes.
const SIZE_AT_FIRST: usize = 4;

/// No group is made smaller than this to have the next one as large: what it costs is the flush.
const SIZE_NOT_HALVED: usize = 8;

/// Does several calls at once, and answers each, in their order.
type Work<C, A> = dyn Fn(Vec<C>, Ending) -> BoxFuture<'static, Vec<A>> + Send + Sync;

/// With it, work tells that it ends: the database gets what is left, and the commit, in one message.
pub(super) struct Ending(Box<dyn Fn() + Send + Sync>);

/// As many groups are under way beside each other unless some wait for long: when one ends, the next one begins.
const SIDE_BY_SIDE: usize = 2;

/// Calls that share work.
pub(super) struct Shared<C, A> {
    work: Arc<Work<C, A>>,
    /// The most that is ever done together, by the sizes of the calls. One that is larger is done alone.
    size_max: usize,
    /// How many groups are under way at most: [`SIDE_BY_SIDE`], and some that were begun for calls that had waited for long.
    under_way_max: usize,
    queue: Arc<Mutex<Queue<C, A>>>,
}

struct Queue<C, A> {
    waiting: VecDeque<Waiting<C, A>>,
    under_way: usize,
    /// By the sizes of the calls.
    size_under_way: usize,
    /// As much is done within [`GROUP_TIME`], by what was done before.
    size_fit: usize,
}

struct Waiting<C, A> {
    call: C,
    size: usize,
    answer: oneshot::Sender<A>,
}

/// The work ended without an answer: it panicked, or the process ends.
#[derive(Debug)]
pub(super) struct Unanswered;

impl<C: Send + 'static, A: Send + 'static> Shared<C, A> {
    pub(super) fn new<F>(
        size_max: usize,
        under_way_max: usize,
        work: impl Fn(Vec<C>, Ending) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Vec<A>> + Send + 'static,
    {
        let work: Arc<Work<C, A>> = Arc::new(move |calls, ending| Box::pin(work(calls, ending)));
        let queue = Arc::new(Mutex::new(Queue {
            waiting: VecDeque::new(),
            under_way: 0,
            size_under_way: 0,
            size_fit: SIZE_AT_FIRST.min(size_max),
        }));
        Self { work, size_max, under_way_max, queue }
    }

    /// Has `call` done and waits for its answer. A caller that goes away before its turn is left out; after that its call is
    /// done all the same.
    pub(super) async fn call(&self, call: C, size: usize) -> Result<A, Unanswered> {
        let (answer, mut answered) = oneshot::channel();
        {
            let mut queue = self.lock();
            queue.waiting.push_back(Waiting { call, size, answer });
            if queue.under_way == 0 {
                self.begin(queue);
            }
        }
        loop {
            tokio::select! {
                answer = &mut answered => return answer.map_err(|_| Unanswered),
                () = sleep(STALLED_AFTER) => {
                    let queue = self.lock();
                    if !queue.waiting.is_empty() && queue.under_way < self.under_way_max {
                        self.begin(queue);
                    }
                }
            }
        }
    }

    /// Begins a task that works until nobody waits.
    fn begin(&self, mut queue: MutexGuard<'_, Queue<C, A>>) {
        queue.under_way += 1;
        // A runtime that ends drops the task within `spawn`, and that takes the lock.
        drop(queue);
        let mut task = Task { shared: self.clone(), size: 0, is_over: false };
        tokio::spawn(async move {
            while let Some(Group { calls, answers, size }) = task.next() {
                let (begun, shared) = (Instant::now(), task.shared.clone());
                let done = (task.shared.work)(calls, Ending(Box::new(move || shared.ends()))).await;
                task.shared.learn(size, begun.elapsed());
                for (answer, done) in answers.into_iter().zip(done) {
                    // A caller that has gone away needs none.
                    let _ = answer.send(done);
                }
            }
        });
    }

    /// A group ends: those who wait need not wait for it.
    fn ends(&self) {
        let queue = self.lock();
        if !queue.waiting.is_empty() && queue.under_way < SIDE_BY_SIDE.min(self.under_way_max) {
            self.begin(queue);
        }
    }

    /// Fits what is done together to how long that takes.
    fn learn(&self, size: usize, took: Duration) {
        let mut queue = self.lock();
        if took > GROUP_TIME {
            let fit = GROUP_TIME.as_micros() * size as u128 / took.as_micros();
            queue.size_fit = queue.size_fit.min(usize::try_from(fit).unwrap_or(size).max(1));
        } else if size * 2 > queue.size_fit {
            queue.size_fit = (queue.size_fit * 2).min(self.size_max);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queue<C, A>> {
        self.queue.lock()
    }
}

impl Ending {
    /// For work that nobody shares.
    pub(super) fn of_one() -> Self {
        Self(Box::new(|| {}))
    }

    /// The work ends. May be told several times.
    pub(super) fn begins(&self) {
        (self.0)();
    }
}

/// Calls that are done together.
struct Group<C, A> {
    calls: Vec<C>,
    answers: Vec<oneshot::Sender<A>>,
    size: usize,
}

/// What works through the queue.
struct Task<C: Send + 'static, A: Send + 'static> {
    shared: Shared<C, A>,
    /// Of its group.
    size: usize,
    is_over: bool,
}

impl<C: Send + 'static, A: Send + 'static> Task<C, A> {
    /// The calls that are done next. That there are none ends the task in the same step: a caller that comes later begins
    /// another.
    fn next(&mut self) -> Option<Group<C, A>> {
        let mut queue = self.shared.lock();
        // Half of all who call, as those of the group before are about to, so that groups become equal. Where 46 callers follow 18, the database does
        // nothing while the 46 get their answers and call again, and then nobody calls while it does their work.
        let waiting: usize = queue.waiting.iter().map(|it| it.size).sum();
        let half = (waiting + queue.size_under_way).div_ceil(2);
        let size_max = queue.size_fit.min(half.max(SIZE_NOT_HALVED));
        queue.size_under_way -= std::mem::take(&mut self.size);
        let (mut calls, mut answers, mut size) = (Vec::new(), Vec::new(), 0);
        while let Some(waiting) = queue.waiting.pop_front() {
            if waiting.answer.is_closed() {
                continue;
            }
            if !calls.is_empty() && size + waiting.size > size_max {
                queue.waiting.push_front(waiting);
                break;
            }
            size += waiting.size;
            calls.push(waiting.call);
            answers.push(waiting.answer);
        }
        if calls.is_empty() {
            queue.under_way -= 1;
            self.is_over = true;
            return None;
        }
        queue.size_under_way += size;
        self.size = size;
        Some(Group { calls, answers, size })
    }
}

impl<C: Send + 'static, A: Send + 'static> Drop for Task<C, A> {
    /// After a panic the callers whose work it was are unanswered, and the others are served by another task.
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        let mut queue = self.shared.lock();
        queue.under_way -= 1;
        queue.size_under_way -= self.size;
        // Not for a task that a runtime that ends has refused.
        if self.size > 0 && !queue.waiting.is_empty() && std::thread::panicking() {
            self.shared.begin(queue);
        }
    }
}

impl<C, A> Clone for Shared<C, A> {
    fn clone(&self) -> Self {
        Self {
            work: Arc::clone(&self.work),
            size_max: self.size_max,
            under_way_max: self.under_way_max,
            queue: Arc::clone(&self.queue),
        }
    }
}

impl<C, A> fmt::Debug for Shared<C, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("size_max", &self.size_max).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
