//! Claimed events that wait for a place. Partners take turns here, too: one that has many waiting does not fill all places
//! while another has one.

use std::{collections::VecDeque, mem};

use crate::outbox::LeasedEvent;

/// What has an owner.
pub(super) trait Owned {
    /// Whose it is.
    fn partner(&self) -> &str;
}

impl Owned for LeasedEvent {
    fn partner(&self) -> &str {
        &self.partner
    }
}

/// What waits: those of a partner in their order.
#[derive(Debug)]
pub(super) struct Waiting<T> {
    /// The partner at the front is next. None of them is empty.
    circle: VecDeque<VecDeque<T>>,
    len: usize,
}

impl<T> Default for Waiting<T> {
    fn default() -> Self {
        Self { circle: VecDeque::new(), len: 0 }
    }
}

impl<T: Owned> Waiting<T> {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The next one: of the partner whose turn it is. Its next turn comes after all others.
    pub(super) fn pop(&mut self) -> Option<T> {
        let mut first = self.circle.pop_front()?;
        let next = first.pop_front();
        if !first.is_empty() {
            self.circle.push_back(first);
        }
        self.len -= usize::from(next.is_some());
        next
    }

    /// Adds these. A partner that had none waiting comes after the others.
    pub(super) fn extend(&mut self, more: impl IntoIterator<Item = T>) {
        for it in more {
            self.len += 1;
            let is_of = |queue: &&mut VecDeque<T>| queue.back().is_some_and(|last| last.partner() == it.partner());
            match self.circle.iter_mut().find(is_of) {
                Some(queue) => queue.push_back(it),
                None => self.circle.push_back(VecDeque::from([it])),
            }
        }
    }

    /// Takes all of them.
    pub(super) fn take(&mut self) -> impl Iterator<Item = T> + use<T> {
        mem::take(self).circle.into_iter().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Owned for &str {
        /// The letter before the number.
        fn partner(&self) -> &str {
            &self[..1]
        }
    }

    fn all(waiting: &mut Waiting<&'static str>) -> Vec<&'static str> {
        std::iter::from_fn(|| waiting.pop()).collect()
    }

    #[test]
    fn partners_take_turns_and_each_keeps_its_order() {
        let mut waiting = Waiting::default();
        waiting.extend(["a1", "a2", "a3", "b1", "c1", "c2"]);
        assert_eq!(waiting.len(), 6);
        assert_eq!(waiting.pop(), Some("a1"));
        waiting.extend(["b2", "a4", "d1"]);
        assert_eq!(all(&mut waiting), ["b1", "c1", "a2", "d1", "b2", "c2", "a3", "a4"]);
        assert!(waiting.is_empty());
    }

    #[test]
    fn who_is_alone_has_all_turns() {
        let mut waiting = Waiting::default();
        waiting.extend(["a1", "a2", "a3"]);
        assert_eq!(all(&mut waiting), ["a1", "a2", "a3"]);
        waiting.extend(["a1", "b1"]);
        assert_eq!(waiting.take().collect::<Vec<_>>(), ["a1", "b1"]);
        assert!(waiting.is_empty());
    }
}
