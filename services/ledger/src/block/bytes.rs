//! The bytes that are hashed: fixed-width and big-endian, a version in front, variable text last with its length before it.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::{Hash, VERSION};
use crate::limit::Class;

/// The bytes of a record, in the making.
pub(super) struct Bytes(pub(super) Vec<u8>);

impl Bytes {
    pub(super) fn new(tag: u8, shard: i16) -> Self {
        let mut bytes = Self(Vec::with_capacity(256));
        bytes.0.extend([VERSION, tag]);
        bytes.short(shard);
        bytes
    }

    pub(super) fn short(&mut self, number: i16) -> &mut Self {
        self.0.extend(number.to_be_bytes());
        self
    }

    pub(super) fn long(&mut self, number: i64) -> &mut Self {
        self.0.extend(number.to_be_bytes());
        self
    }

    pub(super) fn time(&mut self, time: DateTime<Utc>) -> &mut Self {
        self.long(time.timestamp_micros())
    }

    pub(super) fn optional_long(&mut self, number: Option<i64>) -> &mut Self {
        self.short(i16::from(number.is_some())).long(number.unwrap_or(0))
    }

    pub(super) fn optional_time(&mut self, time: Option<DateTime<Utc>>) -> &mut Self {
        self.optional_long(time.map(|time| time.timestamp_micros()))
    }

    /// Codes of classes begin at 1.
    pub(super) fn class(&mut self, class: Option<Class>) -> &mut Self {
        self.short(class.map_or(0, Class::code))
    }

    pub(super) fn id(&mut self, id: Uuid) -> &mut Self {
        self.0.extend(id.as_bytes());
        self
    }

    pub(super) fn hash(&mut self, hash: Hash) -> &mut Self {
        self.0.extend(hash.0);
        self
    }

    pub(super) fn text(&mut self, text: &str) -> &mut Self {
        self.0.extend((text.len() as u64).to_be_bytes());
        self.0.extend(text.as_bytes());
        self
    }
}
