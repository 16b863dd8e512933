//! What one partition has read and not yet finished. Pure: no input or output, time is passed in.
//!
//! Events wait here in order. An event that failed makes its subject wait until its next attempt is due; events of
//! other subjects pass, later events of the same subject don't.

use std::collections::{BTreeMap, HashMap};
use std::time::Instant;

use uuid::Uuid;

use super::Event;

/// The most events that a partition holds in memory; at that number it reads no more until some are finished.
pub(super) const MAX_HELD: usize = 1_000;

/// The unfinished events of one partition.
#[derive(Debug)]
pub(super) struct Lane {
    /// The token of the lease under which they were read.
    pub(super) fence: i64,
    /// Whether Redis may hold pending entries that are not in here.
    pub(super) is_stale: bool,
    held: BTreeMap<i64, Event>,
    retries: HashMap<Uuid, Retry>,
}

/// A subject's oldest event, which failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Retry {
    position: i64,
    attempts: u32,
    due: Instant,
}

impl Lane {
    /// A lane of a lease just taken: what is pending in Redis is not known yet.
    pub(super) fn new(fence: i64) -> Self {
        Self { fence, is_stale: true, held: BTreeMap::new(), retries: HashMap::new() }
    }

    /// Takes in events read from Redis.
    pub(super) fn hold(&mut self, events: impl IntoIterator<Item = Event>) {
        self.held.extend(events.into_iter().map(|event| (event.position, event)));
    }

    /// Keeps only what is still pending in Redis, which `events` is the beginning of.
    pub(super) fn replace(&mut self, events: Vec<Event>) {
        self.held = events.into_iter().map(|event| (event.position, event)).collect();
        let held = &self.held;
        self.retries.retain(|_, retry| held.contains_key(&retry.position));
    }

    /// How many events are held.
    pub(super) fn len(&self) -> usize {
        self.held.len()
    }

    /// How many subjects wait for a retry.
    pub(super) fn retrying(&self) -> usize {
        self.retries.len()
    }

    /// The failed events whose next attempt is due; each is to be attempted alone.
    pub(super) fn due(&self, now: Instant) -> Vec<Event> {
        let due = self.retries.values().filter(|retry| retry.due <= now);
        let mut events: Vec<Event> = due.filter_map(|retry| self.held.get(&retry.position).cloned()).collect();
        events.sort_by_key(|event| event.position);
        events
    }

    /// When the next retry is due.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.retries.values().map(|retry| retry.due).min()
    }

    /// The oldest events of subjects that don't wait for a retry, in order, at most `limit`.
    pub(super) fn ready(&self, limit: usize) -> Vec<Event> {
        self.held.values().filter(|event| !self.retries.contains_key(&event.subject)).take(limit).cloned().collect()
    }

    /// Whether an event waits behind a failed one of its subject.
    pub(super) fn is_blocked(&self, event: &Event) -> bool {
        self.retries.get(&event.subject).is_some_and(|retry| retry.position < event.position)
    }

    /// An event is consumed or dead.
    pub(super) fn finish(&mut self, event: &Event) {
        self.held.remove(&event.position);
        if self.retries.get(&event.subject).is_some_and(|retry| retry.position == event.position) {
            self.retries.remove(&event.subject);
        }
    }

    /// How often an event has failed so far.
    pub(super) fn attempts(&self, event: &Event) -> u32 {
        self.retries
            .get(&event.subject)
            .filter(|retry| retry.position == event.position)
            .map_or(0, |retry| retry.attempts)
    }

    /// An event failed once more; its subject waits until `due`.
    pub(super) fn retry_at(&mut self, event: &Event, due: Instant) {
        let attempts = self.attempts(event) + 1;
        self.retries.insert(event.subject, Retry { position: event.position, attempts, due });
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;

    fn event(position: i64, subject: u128) -> Event {
        Event {
            id: crate::id::new(),
            source: "test".to_owned(),
            position,
            kind: "test".to_owned(),
            subject: Uuid::from_u128(subject),
            time: chrono::Utc::now(),
            traceparent: None,
            data: Bytes::new(),
        }
    }

    fn positions(events: &[Event]) -> Vec<i64> {
        events.iter().map(|event| event.position).collect()
    }

    #[test]
    fn later_events_of_a_failed_subject_wait_and_others_pass() {
        let now = Instant::now();
        let mut lane = Lane::new(1);
        let (first, second, other) = (event(1, 7), event(2, 7), event(3, 8));
        lane.hold([first.clone(), second.clone(), other]);
        lane.retry_at(&first, now + Duration::from_secs(1));
        assert_eq!(positions(&lane.ready(10)), [3]);
        assert!(lane.is_blocked(&second) && !lane.is_blocked(&first));
        assert!(lane.due(now).is_empty());
        assert_eq!(positions(&lane.due(now + Duration::from_secs(1))), [1]);
        lane.finish(&first);
        assert_eq!(positions(&lane.ready(10)), [2, 3]);
    }

    #[test]
    fn attempts_survive_reading_the_pending_entries_again() {
        let mut lane = Lane::new(1);
        let failed = event(5, 7);
        lane.hold([failed.clone()]);
        lane.retry_at(&failed, Instant::now());
        lane.replace(vec![failed.clone(), event(6, 7)]);
        assert_eq!(lane.attempts(&failed), 1);
        lane.replace(vec![event(6, 7)]);
        assert_eq!(positions(&lane.ready(10)), [6]);
    }

    proptest! {
        /// Whatever fails and however often, each subject's events finish in the order of their positions.
        #[test]
        fn order_per_subject_holds(subjects in prop::collection::vec(0_u128..4, 1..40), failures in prop::collection::vec(any::<bool>(), 0..200)) {
            let mut now = Instant::now();
            let mut lane = Lane::new(1);
            lane.hold(subjects.iter().enumerate().map(|(index, subject)| event(index as i64 + 1, *subject)));
            let mut fails = failures.into_iter();
            let mut finished: Vec<Event> = Vec::new();
            while lane.len() > 0 {
                let mut batch = lane.due(now);
                batch.extend(lane.ready(5));
                for event in batch {
                    if lane.is_blocked(&event) {
                        continue;
                    }
                    if fails.next().unwrap_or(false) {
                        lane.retry_at(&event, now + Duration::from_secs(1));
                    } else {
                        lane.finish(&event);
                        finished.push(event);
                    }
                }
                now += Duration::from_secs(1);
            }
            prop_assert_eq!(finished.len(), subjects.len());
            for subject in 0_u128..4 {
                let order: Vec<i64> = finished.iter().filter(|event| event.subject == Uuid::from_u128(subject)).map(|event| event.position).collect();
                prop_assert!(order.is_sorted(), "{:?}", order);
            }
        }
    }
}
