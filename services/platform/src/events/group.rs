//! The Redis side of a consumer: its group, reads and acknowledgements, and the parsing of entries.
//!
//! All holders of a partition read as the same Redis consumer, one after the other, so that what a dead holder had
//! read is found again by reading the pending entries; nothing has to be claimed. A holder that lost its lease without
//! knowing may still take entries for a moment: [`Group::pending_counts`] shows that to its successor.

use bytes::Bytes;
use chrono::DateTime;
use redis::aio::MultiplexedConnection;
use redis::{ErrorKind, FromRedisValue as _, RedisError, Value};

use super::{Event, stream_key};
use crate::redis::RedisLink;

/// The one consumer name inside a group.
const CONSUMER: &str = "holder";
/// A blocking read is given up this long after Redis should have answered.
const READ_GRACE: std::time::Duration = std::time::Duration::from_secs(3);

/// One consumer group over the partitions of a stream.
#[derive(Debug)]
pub(super) struct Group {
    redis: RedisLink,
    stream: &'static str,
    name: String,
    reader: Option<MultiplexedConnection>,
}

/// Why a command of the group failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum GroupError {
    /// The stream or its group is not there: never made, or Redis was wiped.
    #[error("the consumer group is gone")]
    Gone,
    #[error("redis does not answer")]
    Redis(#[source] RedisError),
}

impl From<RedisError> for GroupError {
    fn from(error: RedisError) -> Self {
        // A pipeline has an error for each of its commands.
        let answers = error.clone().into_server_errors();
        let gone = answers
            .iter()
            .flat_map(|answers| answers.iter())
            .any(|(_, answer)| matches!(answer.code(), "NOGROUP" | "UNBLOCKED"));
        if gone { Self::Gone } else { Self::Redis(error) }
    }
}

/// What was read from one partition.
pub(super) type Read = (usize, Vec<RawEntry>);

impl Group {
    pub(super) fn new(redis: RedisLink, stream: &'static str, name: String) -> Self {
        Self { redis, stream, name, reader: None }
    }

    /// Makes the group where it is missing, at the beginning of each stream.
    pub(super) async fn ensure(&self, partitions: &[usize]) -> Result<(), GroupError> {
        let mut manager = self.redis.manager()?;
        for partition in partitions {
            let made: Result<(), RedisError> = redis::cmd("XGROUP")
                .arg("CREATE")
                .arg(stream_key(self.stream, *partition))
                .arg(&self.name)
                .arg(0)
                .arg("MKSTREAM")
                .query_async(&mut manager)
                .await;
            match made {
                Err(error) if error.code() != Some("BUSYGROUP") => return Err(error.into()),
                Err(_) | Ok(()) => {}
            }
        }
        Ok(())
    }

    /// Waits for new entries of these partitions, at most `count` of each; they become pending.
    ///
    /// Not safe against being dropped: a dropped read closes the connection, and what it had taken stays pending.
    pub(super) async fn read_new(
        &mut self,
        partitions: &[usize],
        count: usize,
        block: std::time::Duration,
    ) -> Result<Vec<Read>, GroupError> {
        let mut reader = match self.reader.take() {
            Some(reader) => reader,
            None => self.redis.dedicated().await?,
        };
        let mut command = self.read_command(count, Some(block));
        self.add_streams(&mut command, partitions, ">");
        let answer = tokio::time::timeout(block + READ_GRACE, command.query_async(&mut reader)).await;
        let answer: Result<Value, RedisError> = answer.unwrap_or_else(|_| {
            Err(RedisError::from(std::io::Error::new(std::io::ErrorKind::TimedOut, "a blocking read was not answered")))
        });
        match answer {
            Ok(value) => {
                self.reader = Some(reader);
                Ok(self.parse(value)?)
            }
            Err(error) => {
                if !error.is_io_error() {
                    self.reader = Some(reader);
                }
                Err(error.into())
            }
        }
    }

    /// The oldest pending entries of one partition, at most `count`.
    pub(super) async fn read_pending(&self, partition: usize, count: usize) -> Result<Vec<RawEntry>, GroupError> {
        let mut command = self.read_command(count, None);
        self.add_streams(&mut command, &[partition], "0");
        let value = command.query_async(&mut self.redis.manager()?).await?;
        Ok(self.parse(value)?.pop().map(|(_, entries)| entries).unwrap_or_default())
    }

    /// How many entries are pending in each of these partitions.
    pub(super) async fn pending_counts(&self, partitions: &[usize]) -> Result<Vec<usize>, GroupError> {
        let mut pipeline = redis::pipe();
        for partition in partitions {
            pipeline.cmd("XPENDING").arg(stream_key(self.stream, *partition)).arg(&self.name);
        }
        let answers: Vec<Value> = pipeline.query_async(&mut self.redis.manager()?).await?;
        let count = |answer: Value| match answer {
            Value::Array(parts) => {
                parts.into_iter().next().map_or(Err(unexpected()), |first| Ok(usize::from_redis_value(first)?))
            }
            _ => Err(unexpected()),
        };
        Ok(answers.into_iter().map(count).collect::<Result<_, _>>()?)
    }

    /// Acknowledges entries after their effect is committed.
    pub(super) async fn acknowledge(&self, done: &[(usize, Vec<i64>)]) -> Result<(), GroupError> {
        let mut pipeline = redis::pipe();
        for (partition, positions) in done {
            let command = pipeline.cmd("XACK").arg(stream_key(self.stream, *partition)).arg(&self.name);
            for position in positions {
                command.arg(format!("{position}-0"));
            }
            command.ignore();
        }
        Ok(pipeline.exec_async(&mut self.redis.manager()?).await?)
    }

    fn read_command(&self, count: usize, block: Option<std::time::Duration>) -> redis::Cmd {
        let mut command = redis::cmd("XREADGROUP");
        command.arg("GROUP").arg(&self.name).arg(CONSUMER).arg("COUNT").arg(count);
        if let Some(block) = block {
            // Zero would mean: without end.
            command.arg("BLOCK").arg(block.as_millis().max(1).to_string());
        }
        command
    }

    fn add_streams(&self, command: &mut redis::Cmd, partitions: &[usize], from: &str) {
        command.arg("STREAMS");
        for partition in partitions {
            command.arg(stream_key(self.stream, *partition));
        }
        for _ in partitions {
            command.arg(from);
        }
    }

    fn parse(&self, value: Value) -> Result<Vec<Read>, RedisError> {
        let prefix = stream_key(self.stream, 0);
        let prefix = prefix.trim_end_matches('0');
        let parse = |(key, entries): (Value, Value)| {
            let key = String::from_redis_value(key)?;
            let partition = key.strip_prefix(prefix).and_then(|number| number.parse().ok()).ok_or_else(unexpected)?;
            Ok((partition, read_entries(entries)?))
        };
        match value {
            Value::Nil => Ok(Vec::new()),
            Value::Map(streams) => streams.into_iter().map(parse).collect(),
            Value::Array(streams) => streams.into_iter().map(pair).map(|pair| parse(pair?)).collect(),
            _ => Err(unexpected()),
        }
    }
}

/// One entry of a stream as Redis gave it.
#[derive(Debug)]
pub(crate) struct RawEntry {
    pub(super) position: i64,
    fields: Vec<(Vec<u8>, Vec<u8>)>,
}

/// Reads a list of entries.
pub(crate) fn read_entries(value: Value) -> Result<Vec<RawEntry>, RedisError> {
    let Value::Array(entries) = value else { return Err(unexpected()) };
    entries.into_iter().map(RawEntry::try_new).collect()
}

impl RawEntry {
    fn try_new(value: Value) -> Result<Self, RedisError> {
        let (id, fields) = pair(value)?;
        let id = String::from_redis_value(id)?;
        let position = id.split('-').next().and_then(|number| number.parse().ok()).ok_or_else(unexpected)?;
        // A pending entry that was trimmed since has no fields any more.
        let fields = match fields {
            Value::Nil => Vec::new(),
            fields => Vec::from_redis_value(fields)?,
        };
        Ok(Self { position, fields })
    }

    /// Whether the entry is pending but no longer in the stream.
    pub(super) fn is_trimmed(&self) -> bool {
        self.fields.is_empty()
    }

    /// The position and the event's id.
    pub(crate) fn identity(&self) -> Option<(i64, String)> {
        Some((self.position, self.text("id")?.to_owned()))
    }

    /// The event; `None` if the entry is malformed.
    pub(super) fn event(&self) -> Option<Event> {
        Some(Event {
            id: self.text("id")?.parse().ok()?,
            source: self.text("source")?.to_owned(),
            position: self.position,
            kind: self.text("type")?.to_owned(),
            subject: self.text("subject")?.parse().ok()?,
            time: DateTime::parse_from_rfc3339(self.text("time")?).ok()?.to_utc(),
            traceparent: self.text("traceparent").filter(|text| !text.is_empty()).map(ToOwned::to_owned),
            data: Bytes::copy_from_slice(self.field("data")?),
        })
    }

    /// What can be kept of a malformed entry of a stream, for the dead letters.
    pub(super) fn salvage(&self, stream: &str) -> Event {
        let id = match self.text("id").map(str::parse) {
            Some(Ok(id)) => id,
            Some(Err(_)) | None => crate::id::new(),
        };
        Event {
            id,
            source: self.text("source").unwrap_or(stream).to_owned(),
            position: self.position,
            kind: self.text("type").unwrap_or_default().to_owned(),
            subject: self.text("subject").and_then(|id| id.parse().ok()).unwrap_or_default(),
            time: DateTime::UNIX_EPOCH,
            traceparent: None,
            data: self.field("data").map(Bytes::copy_from_slice).unwrap_or_default(),
        }
    }

    fn field(&self, name: &str) -> Option<&[u8]> {
        self.fields.iter().find(|(field, _)| field == name.as_bytes()).map(|(_, value)| value.as_slice())
    }

    fn text(&self, name: &str) -> Option<&str> {
        std::str::from_utf8(self.field(name)?).ok()
    }
}

fn pair(value: Value) -> Result<(Value, Value), RedisError> {
    match value {
        Value::Array(parts) => {
            let parts: [Value; 2] = parts.try_into().map_err(|_| unexpected())?;
            let [first, second] = parts;
            Ok((first, second))
        }
        _ => Err(unexpected()),
    }
}

fn unexpected() -> RedisError {
    RedisError::from((ErrorKind::UnexpectedReturnType, "an answer has another shape than expected"))
}
