//! The form of a record, its hash, and the walk along the chain. Pure.
//!
//! A record's hash is SHA-256 over its fields as UTF-8 text, each after its length as 8 bytes, big endian, in this order:
//! `trangtien identity audit v1`, the hash before in hexadecimal (64 zeros for the first), position, time (RFC 3339, UTC,
//! microseconds), kind of actor, actor, action, subject, object, channel, place, session, device, reason, trace.
//! What is absent is the empty text. An export holds exactly these, so that anyone can walk the chain.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::digest;
use chrono::{DateTime, SecondsFormat, SubsecRound as _, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

const LABEL: &str = "trangtien identity audit v1";
const HASH_BYTES: usize = 32;

/// The hash of a record; in hexadecimal for people and in exports.
#[derive(Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Hash(pub(super) [u8; HASH_BYTES]);

impl fmt::Display for Hash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Hash({self})")
    }
}

impl From<Hash> for String {
    fn from(hash: Hash) -> Self {
        hash.to_string()
    }
}

impl TryFrom<String> for Hash {
    type Error = NotATip;

    fn try_from(text: String) -> Result<Self, NotATip> {
        let bytes = hex::decode(text).map_err(|_| NotATip)?;
        bytes.try_into().map(Self).map_err(|_| NotATip)
    }
}

/// How far a chain goes: the newest record's position and hash, written `position:hash`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tip {
    /// 0 before the first record.
    pub position: i64,
    /// Zeros before the first record.
    pub hash: Hash,
}

/// The text is no `position:hash`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a tip is written `position:hash`, the hash in 64 hexadecimal digits")]
pub struct NotATip;

impl fmt::Display for Tip {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}", self.position, self.hash)
    }
}

impl FromStr for Tip {
    type Err = NotATip;

    fn from_str(text: &str) -> Result<Self, NotATip> {
        let (position, hash) = text.split_once(':').ok_or(NotATip)?;
        Ok(Self { position: position.parse().map_err(|_| NotATip)?, hash: hash.to_owned().try_into()? })
    }
}

/// What an act says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fields {
    /// `citizen`, `operator` or `service`.
    pub actor_kind: String,
    /// A citizen's id, an operator's login, or the name of a process.
    pub actor: String,
    /// What was done: `session.start`.
    pub action: String,
    /// The citizen whom it concerns.
    pub subject: Option<Uuid>,
    /// What it was done to.
    pub object: String,
    /// `app`, `command` or `schedule`.
    pub channel: String,
    /// A keyed digest of the network address, the operator's machine, or the process.
    pub place: String,
    /// The session that it came from.
    pub session_id: Option<Uuid>,
    /// The device that it came from.
    pub device_id: Option<Uuid>,
    /// Why.
    pub reason: String,
}

/// An act as it stands in the chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Its place in the chain, from 1.
    pub position: i64,
    /// When.
    pub recorded_at: DateTime<Utc>,
    /// Who, what, from where and why.
    #[serde(flatten)]
    pub fields: Fields,
    /// The trace of the request.
    pub trace_id: Option<String>,
    /// The hash of the record before.
    pub previous_hash: Hash,
    /// The hash over everything above.
    pub hash: Hash,
}

impl Record {
    pub(super) fn following(tip: &Tip, fields: Fields, trace_id: Option<String>, now: DateTime<Utc>) -> Self {
        let mut record = Self {
            position: tip.position + 1,
            // As exactly as PostgreSQL keeps it.
            recorded_at: now.trunc_subsecs(6),
            fields,
            trace_id,
            previous_hash: tip.hash,
            hash: Hash::default(),
        };
        record.hash = record.compute();
        record
    }

    /// How far the chain goes with it.
    pub fn tip(&self) -> Tip {
        Tip { position: self.position, hash: self.hash }
    }

    fn compute(&self) -> Hash {
        let id = |id: Option<Uuid>| id.map(|id| id.to_string()).unwrap_or_default();
        let fields = &self.fields;
        let texts = [
            LABEL.to_owned(),
            self.previous_hash.to_string(),
            self.position.to_string(),
            self.recorded_at.to_rfc3339_opts(SecondsFormat::Micros, true),
            fields.actor_kind.clone(),
            fields.actor.clone(),
            fields.action.clone(),
            id(fields.subject),
            fields.object.clone(),
            fields.channel.clone(),
            fields.place.clone(),
            id(fields.session_id),
            id(fields.device_id),
            fields.reason.clone(),
            self.trace_id.clone().unwrap_or_default(),
        ];
        let mut context = digest::Context::new(&digest::SHA256);
        for text in &texts {
            context.update(&(text.len() as u64).to_be_bytes());
            context.update(text.as_bytes());
        }
        let mut hash = [0; HASH_BYTES];
        hash.copy_from_slice(context.finish().as_ref());
        Hash(hash)
    }
}

/// The first record of a chain that does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// It is not there.
    #[error("record {position} is missing")]
    Missing {
        /// Its place.
        position: i64,
    },
    /// What it says is not what its hash says.
    #[error("record {position} was changed")]
    Changed {
        /// Its place.
        position: i64,
    },
    /// It does not hold the hash of the record before.
    #[error("record {position} does not follow the one before it: one of the two was replaced")]
    Unchained {
        /// Its place.
        position: i64,
    },
    /// The head tells of another newest record.
    #[error("record {position} is not the one that the head of the audit tells of")]
    Head {
        /// Its place.
        position: i64,
    },
    /// It holds together, but is not what somebody has kept.
    #[error("record {position} is not the one that was kept: the chain was written anew")]
    Rewritten {
        /// Its place.
        position: i64,
    },
}

/// A walk along the chain from its first record.
#[derive(Clone, Copy, Debug, Default)]
pub struct Walk(Tip);

impl Walk {
    /// How far it came.
    pub fn tip(&self) -> &Tip {
        &self.0
    }

    /// Takes the next record.
    ///
    /// # Errors
    /// When it does not hold.
    pub fn step(&mut self, record: &Record) -> Result<(), Fault> {
        let position = self.0.position + 1;
        if record.position != position {
            return Err(Fault::Missing { position });
        }
        if record.compute() != record.hash {
            return Err(Fault::Changed { position });
        }
        if record.previous_hash != self.0.hash {
            return Err(Fault::Unchained { position });
        }
        self.0 = record.tip();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn fields(object: &str) -> Fields {
        Fields {
            actor_kind: "citizen".to_owned(),
            actor: Uuid::nil().to_string(),
            action: "session.start".to_owned(),
            subject: Some(Uuid::nil()),
            object: object.to_owned(),
            channel: "app".to_owned(),
            place: "ab".to_owned(),
            session_id: None,
            device_id: None,
            reason: "asked".to_owned(),
        }
    }

    fn chain(objects: &[String]) -> Vec<Record> {
        let mut tip = Tip::default();
        let follow = |object: &String| {
            let record = Record::following(&tip, fields(object), None, DateTime::UNIX_EPOCH);
            tip = record.tip();
            record
        };
        objects.iter().map(follow).collect()
    }

    fn walk(records: &[Record]) -> Result<Tip, Fault> {
        let mut walk = Walk::default();
        records.iter().try_for_each(|record| walk.step(record))?;
        Ok(*walk.tip())
    }

    #[test]
    fn the_hash_is_what_the_description_says() {
        let record = chain(&["x".to_owned()]).remove(0);
        let zeros = "0".repeat(64);
        let nil = "00000000-0000-0000-0000-000000000000";
        let texts = [
            "trangtien identity audit v1",
            &zeros,
            "1",
            "1970-01-01T00:00:00.000000Z",
            "citizen",
            nil,
            "session.start",
            nil,
            "x",
            "app",
            "ab",
            "",
            "",
            "asked",
            "",
        ];
        let bytes: Vec<u8> =
            texts.iter().flat_map(|text| [&(text.len() as u64).to_be_bytes()[..], text.as_bytes()].concat()).collect();
        assert_eq!(record.hash.to_string(), hex::encode(digest::digest(&digest::SHA256, &bytes)));
    }

    #[test]
    fn a_tip_and_a_record_survive_being_written() {
        let record = chain(&["x".to_owned()]).remove(0);
        assert_eq!(record.tip().to_string().parse(), Ok(record.tip()));
        for text in ["", "1", "1:", "x:00", "1:00"] {
            assert_eq!(text.parse::<Tip>(), Err(NotATip), "{text}");
        }
        let text = serde_json::to_string(&record).expect("JSON");
        assert_eq!(serde_json::from_str::<Record>(&text).expect("a record"), record);
    }

    proptest! {
        #[test]
        fn the_first_record_that_was_touched_is_named(
            objects in prop::collection::vec("[a-z]{0,8}", 1..20), at in any::<prop::sample::Index>(), how in 0..4
        ) {
            let whole = chain(&objects);
            prop_assert_eq!(walk(&whole).map(|tip| tip.position), Ok(objects.len() as i64));
            let at = at.index(whole.len());
            let position = at as i64 + 1;
            let mut touched = whole.clone();
            match how {
                0 => {
                    touched[at].fields.reason.push('!');
                    prop_assert_eq!(walk(&touched), Err(Fault::Changed { position }));
                }
                1 if at + 1 < whole.len() => {
                    touched.remove(at);
                    prop_assert_eq!(walk(&touched), Err(Fault::Missing { position }));
                }
                2 if at + 1 < whole.len() => {
                    // Replaced by one that holds in itself: the next does not follow it any more.
                    let tip = if at == 0 { Tip::default() } else { whole[at - 1].tip() };
                    touched[at] = Record::following(&tip, fields("REPLACED"), None, DateTime::UNIX_EPOCH);
                    prop_assert_eq!(walk(&touched), Err(Fault::Unchained { position: position + 1 }));
                }
                _ => {
                    touched[at].hash = Hash([7; HASH_BYTES]);
                    prop_assert_eq!(walk(&touched), Err(Fault::Changed { position }));
                }
            }
        }
    }
}
