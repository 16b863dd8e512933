//! A list that forgets its oldest items. Invariant: it never holds more than its maximum.

use std::collections::VecDeque;

/// At most `max` items, oldest first.
#[derive(Debug)]
pub(crate) struct Ring<T> {
    items: VecDeque<T>,
    max: usize,
}

impl<T> Ring<T> {
    /// An empty ring that will hold at most `max` items.
    pub(crate) fn new(max: usize) -> Self {
        assert!(max > 0, "a ring holds at least one item");
        Self { items: VecDeque::new(), max }
    }

    /// Adds `item` as the newest; gives back the oldest when there was no room.
    pub(crate) fn push(&mut self, item: T) -> Option<T> {
        let oldest = if self.items.len() == self.max { self.items.pop_front() } else { None };
        self.items.push_back(item);
        oldest
    }

    /// The items, newest first.
    pub(crate) fn newest_first(&self) -> impl Iterator<Item = &T> {
        self.items.iter().rev()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_leaves_first() {
        let mut ring = Ring::new(2);
        assert_eq!((ring.push(1), ring.push(2), ring.push(3)), (None, None, Some(1)));
        assert_eq!(ring.newest_first().copied().collect::<Vec<_>>(), [3, 2]);
    }
}
