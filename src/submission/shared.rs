//! Work that arrives while work is under way is done together: many callers, one transaction, one flush to the disk.
//!
//! A caller that finds nothing under way is served at once, alone. Nobody waits for company.

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

/// Does several calls at once, and answers each, in their order.
type Work<C, A> = dyn Fn(Vec<C>) -> BoxFuture<'static, Vec<A>> + Send + Sync;

/// Calls that share work.
pub(super) struct Shared<C, A> {
    work: Arc<Work<C, A>>,
    /// The most that is ever done together, by the sizes of the calls. One that is larger is done alone.
    size_max: usize,
    /// How many groups are under way at most, of which all but the first were begun for calls that had waited for long.
    under_way_max: usize,
    queue: Arc<Mutex<Queue<C, A>>>,
}

struct Queue<C, A> {
    waiting: VecDeque<Waiting<C, A>>,
    under_way: usize,
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
        work: impl Fn(Vec<C>) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Vec<A>> + Send + 'static,
    {
        let work: Arc<Work<C, A>> = Arc::new(move |calls| Box::pin(work(calls)));
        let queue = Arc::new(Mutex::new(Queue {
            waiting: VecDeque::new(),
            under_way: 0,
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
                self.begin(&mut queue);
            }
        }
        loop {
            tokio::select! {
                answer = &mut answered => return answer.map_err(|_| Unanswered),
                () = sleep(STALLED_AFTER) => {
                    let mut queue = self.lock();
                    if !queue.waiting.is_empty() && queue.under_way < self.under_way_max {
                        self.begin(&mut queue);
                    }
                }
            }
        }
    }

    /// Begins a task that works until nobody waits.
    fn begin(&self, queue: &mut Queue<C, A>) {
        queue.under_way += 1;
        let mut task = Task { shared: self.clone(), is_over: false };
        tokio::spawn(async move {
            while let Some(Group { calls, answers, size }) = task.next() {
                let begun = Instant::now();
                let done = (task.shared.work)(calls).await;
                task.shared.learn(size, begun.elapsed());
                for (answer, done) in answers.into_iter().zip(done) {
                    // A caller that has gone away needs none.
                    let _ = answer.send(done);
                }
            }
        });
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

/// Calls that are done together.
struct Group<C, A> {
    calls: Vec<C>,
    answers: Vec<oneshot::Sender<A>>,
    size: usize,
}

/// What works through the queue.
struct Task<C: Send + 'static, A: Send + 'static> {
    shared: Shared<C, A>,
    is_over: bool,
}

impl<C: Send + 'static, A: Send + 'static> Task<C, A> {
    /// The calls that are done next. That there are none ends the task in the same step: a caller that comes later begins
    /// another.
    fn next(&mut self) -> Option<Group<C, A>> {
        let mut queue = self.shared.lock();
        let (mut calls, mut answers, mut size) = (Vec::new(), Vec::new(), 0);
        while let Some(waiting) = queue.waiting.pop_front() {
            if waiting.answer.is_closed() {
                continue;
            }
            if !calls.is_empty() && size + waiting.size > queue.size_fit {
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
        // Not when the runtime ends: a task that it refuses is dropped within `spawn`, and would wait for this very lock.
        if !queue.waiting.is_empty() && std::thread::panicking() {
            self.shared.begin(&mut queue);
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
mod tests {
    use tokio::sync::{Semaphore, mpsc};

    use super::*;

    /// Work that goes on when it is let, and answers how many were done together.
    fn held() -> (Shared<u32, usize>, Arc<Semaphore>, mpsc::UnboundedReceiver<Vec<u32>>) {
        let (gate, (begun, begins)) = (Arc::new(Semaphore::new(0)), mpsc::unbounded_channel());
        let at_work = Arc::clone(&gate);
        let shared = Shared::new(3, 2, move |calls: Vec<u32>| {
            begun.send(calls.clone()).expect("a listener");
            let gate = Arc::clone(&at_work);
            async move {
                gate.acquire().await.expect("open").forget();
                vec![calls.len(); calls.len()]
            }
        });
        (shared, gate, begins)
    }

    #[tokio::test]
    async fn who_comes_while_work_is_under_way_shares_the_next_and_the_first_waits_for_nobody() {
        let (shared, gate, mut begins) = held();
        let call = |number, size| {
            let shared = shared.clone();
            tokio::spawn(async move { shared.call(number, size).await.expect("an answer") })
        };
        let first = call(1, 1);
        assert_eq!(begins.recv().await, Some(vec![1]));
        let others: Vec<_> = (2..6).map(|number| call(number, 1)).collect();
        tokio::task::yield_now().await;
        gate.add_permits(1);
        assert_eq!(first.await.expect("no panic"), 1);
        assert_eq!(begins.recv().await, Some(vec![2, 3, 4]), "no more than the limit");
        gate.add_permits(2);
        assert_eq!(begins.recv().await, Some(vec![5]));
        for (other, together) in others.into_iter().zip([3, 3, 3, 1]) {
            assert_eq!(other.await.expect("no panic"), together);
        }
    }

    #[test]
    fn what_takes_long_is_done_in_smaller_groups_and_what_is_quick_in_larger_ones() {
        let shared = Shared::<u32, ()>::new(100, 1, |_| async { vec![] });
        let fit_after = |size, ms| {
            shared.learn(size, Duration::from_millis(ms));
            shared.lock().size_fit
        };
        assert_eq!(shared.lock().size_fit, SIZE_AT_FIRST);
        assert_eq!([fit_after(4, 500), fit_after(2, 1_000), fit_after(1, 100)], [2, 1, 2]);
        assert_eq!([fit_after(2, 1), fit_after(1, 1), fit_after(4, 1)], [4, 4, 8], "a small group tells nothing");
        assert_eq!(
            [16, 32, 64, 100, 100],
            [8, 16, 32, 64, 100].map(|size| fit_after(size, 10)),
            "no more than the limit"
        );
        assert_eq!(fit_after(100, 300), 83);
    }

    #[tokio::test]
    async fn a_caller_that_went_away_is_left_out_and_a_stalled_one_is_not_left_waiting() {
        let (shared, gate, mut begins) = held();
        let call = |number, size| {
            let shared = shared.clone();
            tokio::spawn(async move { shared.call(number, size).await.expect("an answer") })
        };
        let _stuck = call(1, 1);
        assert_eq!(begins.recv().await, Some(vec![1]));
        let (gone, large) = (call(2, 1), call(3, 9));
        tokio::task::yield_now().await;
        gone.abort();
        assert_eq!(begins.recv().await, Some(vec![3]), "after a while, beside the one that is stuck");
        gate.add_permits(2);
        assert_eq!(large.await.expect("no panic"), 1);
    }

    #[tokio::test]
    async fn a_panic_costs_those_alone_whose_work_it_was() {
        let shared = Shared::<u32, u32>::new(1, 1, |calls| async move {
            assert_ne!(calls, [1], "planted");
            calls
        });
        let (one, two) = tokio::join!(shared.call(1, 1), shared.call(2, 1));
        assert!(one.is_err());
        assert_eq!(two.expect("an answer"), 2);
        assert_eq!(shared.call(3, 1).await.expect("an answer"), 3);
    }
}
