//! What a partner asked for, by its request id and in order of arrival; a journal that forgets its oldest entries.
//!
//! Invariant: it never holds more than its maximum; a forgotten entry's id is forgotten with it.

use std::collections::{BTreeMap, HashMap};

use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::json;
use uuid::Uuid;

use crate::refusal::Refusal;

/// Entries on one page, at most.
const MAX_PAGE: usize = 10_000;

/// Entries by id and in order.
#[derive(Debug)]
pub(crate) struct Journal<T> {
    entries: BTreeMap<u64, (Uuid, T)>,
    positions: HashMap<Uuid, u64>,
    next_position: u64,
    max: usize,
}

impl<T> Journal<T> {
    /// An empty journal that will hold at most `max` entries.
    pub(crate) fn new(max: usize) -> Self {
        assert!(max > 0, "a journal holds at least one entry");
        Self { entries: BTreeMap::new(), positions: HashMap::new(), next_position: 1, max }
    }

    /// Adds an entry under an id that no other has.
    pub(crate) fn add(&mut self, id: Uuid, entry: T) {
        assert!(!self.positions.contains_key(&id), "an id stands once");
        if self.entries.len() == self.max
            && let Some((_, (oldest, _))) = self.entries.pop_first()
        {
            self.positions.remove(&oldest);
        }
        self.positions.insert(id, self.next_position);
        self.entries.insert(self.next_position, (id, entry));
        self.next_position += 1;
    }

    /// The entry with that id.
    pub(crate) fn get(&self, id: Uuid) -> Option<&T> {
        self.positions.get(&id).and_then(|position| self.entries.get(position)).map(|(_, entry)| entry)
    }

    /// The entry with that id, to be changed.
    pub(crate) fn get_mut(&mut self, id: Uuid) -> Option<&mut T> {
        self.positions.get(&id).and_then(|position| self.entries.get_mut(position)).map(|(_, entry)| entry)
    }

    /// At most `limit` entries after a position, oldest first, with their positions.
    fn after(&self, position: u64, limit: usize) -> impl Iterator<Item = (u64, &T)> {
        self.entries.range(position.saturating_add(1)..).take(limit).map(|(position, (_, entry))| (*position, entry))
    }
}

/// Which page of a journal somebody asks for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PageQuery {
    #[serde(default)]
    cursor: u64,
    limit: Option<usize>,
}

impl PageQuery {
    /// The page, each entry shown as `show` says.
    pub(crate) fn answer<'a, T: 'a, V: Serialize>(
        &self,
        journal: &'a Journal<T>,
        show: impl Fn(&'a T) -> V,
    ) -> Result<Response, Refusal> {
        let limit = self.limit.unwrap_or(MAX_PAGE);
        if !(1..=MAX_PAGE).contains(&limit) {
            return Err(Refusal::invalid_field(format!("limit must be 1 to {MAX_PAGE}")));
        }
        let (positions, items): (Vec<u64>, Vec<V>) =
            journal.after(self.cursor, limit).map(|(position, entry)| (position, show(entry))).unzip();
        let next_cursor = positions.last().filter(|_| positions.len() == limit);
        Ok(axum::Json(json!({ "items": items, "next_cursor": next_cursor })).into_response())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_is_forgotten_first_and_reading_goes_on_after_a_position() {
        let mut journal = Journal::new(4);
        for id in 1..=5_u128 {
            journal.add(Uuid::from_u128(id), id);
        }
        assert_eq!((journal.get(Uuid::from_u128(1)), journal.get(Uuid::from_u128(5))), (None, Some(&5)));
        let first: Vec<_> = journal.after(0, 3).collect();
        assert_eq!(first, [(2, &2), (3, &3), (4, &4)]);
        assert_eq!(journal.after(4, 3).collect::<Vec<_>>(), [(5, &5)]);
    }
}
