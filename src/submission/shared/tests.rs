use tokio::{
    sync::{Semaphore, mpsc},
    task::JoinHandle,
};

use super::*;

/// Work that goes on when it is let, and answers how many were done together.
fn held() -> (Shared<u32, usize>, Arc<Semaphore>, mpsc::UnboundedReceiver<Vec<u32>>) {
    let (gate, (begun, begins)) = (Arc::new(Semaphore::new(0)), mpsc::unbounded_channel());
    let at_work = Arc::clone(&gate);
    let shared = Shared::new(3, 2, move |calls: Vec<u32>, _| {
        begun.send(calls.clone()).expect("a listener");
        let gate = Arc::clone(&at_work);
        async move {
            gate.acquire().await.expect("open").forget();
            vec![calls.len(); calls.len()]
        }
    });
    (shared, gate, begins)
}

fn called(shared: &Shared<u32, usize>, number: u32, size: usize) -> JoinHandle<usize> {
    let shared = shared.clone();
    tokio::spawn(async move { shared.call(number, size).await.expect("an answer") })
}

/// Lets all other tasks run until they wait; no timer ends meanwhile.
async fn others_run() {
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn who_comes_while_work_is_under_way_shares_the_next_and_the_first_waits_for_nobody() {
    let (shared, gate, mut begins) = held();
    let call = |number, size| called(&shared, number, size);
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

#[tokio::test]
async fn groups_that_follow_each_other_become_equal() {
    let (begun, mut begins) = mpsc::unbounded_channel();
    let shared = Shared::new(99, 1, move |calls: Vec<u32>, _| {
        begun.send(calls.clone()).expect("a listener");
        async move { calls }
    });
    // All of it is quick.
    for size in [4, 8, 16, 32] {
        shared.learn(size, Duration::from_millis(1));
    }
    for (callers, groups) in [(20, vec![10, 10]), (9, vec![8, 1])] {
        let calls = (0..callers).map(|number| shared.call(number, 1));
        assert!(futures_util::future::join_all(calls).await.into_iter().all(|answer| answer.is_ok()));
        let sizes: Vec<_> = std::iter::from_fn(|| begins.try_recv().ok()).map(|group| group.len()).collect();
        assert_eq!(sizes, groups, "of {callers}: half of those who call, but no fewer than cost more than their flush");
    }
}

#[tokio::test]
async fn the_next_group_begins_when_one_ends_and_no_third_beside_them() {
    let (told, (begun, mut begins)) = (Arc::new(Semaphore::new(0)), mpsc::unbounded_channel());
    let tells = Arc::clone(&told);
    let shared = Shared::new(9, 4, move |calls: Vec<u32>, ending: Ending| {
        begun.send(calls).expect("a listener");
        let tells = Arc::clone(&tells);
        async move {
            tells.acquire().await.expect("open").forget();
            ending.begins();
            std::future::pending::<Vec<usize>>().await
        }
    });
    let _first = called(&shared, 1, 1);
    assert_eq!(begins.recv().await, Some(vec![1]));
    let _second = called(&shared, 2, 1);
    others_run().await;
    assert!(begins.try_recv().is_err(), "the first has work to do");
    told.add_permits(1);
    others_run().await;
    assert_eq!(begins.try_recv(), Ok(vec![2]), "at once");
    let _third = called(&shared, 3, 1);
    others_run().await;
    told.add_permits(1);
    others_run().await;
    assert!(begins.try_recv().is_err(), "two are under way");
    assert_eq!(begins.recv().await, Some(vec![3]), "after a while, as beside any that are stuck");
}

#[test]
fn what_takes_long_is_done_in_smaller_groups_and_what_is_quick_in_larger_ones() {
    let shared = Shared::<u32, ()>::new(100, 1, |_, _| async { vec![] });
    let fit_after = |size, ms| {
        shared.learn(size, Duration::from_millis(ms));
        shared.lock().size_fit
    };
    assert_eq!(shared.lock().size_fit, SIZE_AT_FIRST);
    assert_eq!([fit_after(4, 500), fit_after(2, 1_000), fit_after(1, 100)], [2, 1, 2]);
    assert_eq!([fit_after(2, 1), fit_after(1, 1), fit_after(4, 1)], [4, 4, 8], "a small group tells nothing");
    assert_eq!([16, 32, 64, 100, 100], [8, 16, 32, 64, 100].map(|size| fit_after(size, 10)), "no more than the limit");
    assert_eq!(fit_after(100, 300), 83);
}

#[tokio::test]
async fn a_caller_that_went_away_is_left_out_and_a_stalled_one_is_not_left_waiting() {
    let (shared, gate, mut begins) = held();
    let call = |number, size| called(&shared, number, size);
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
    let shared = Shared::<u32, u32>::new(1, 1, |calls, _| async move {
        assert_ne!(calls, [1], "planted");
        calls
    });
    let (one, two) = tokio::join!(shared.call(1, 1), shared.call(2, 1));
    assert!(one.is_err());
    assert_eq!(two.expect("an answer"), 2);
    assert_eq!(shared.call(3, 1).await.expect("an answer"), 3);
}
