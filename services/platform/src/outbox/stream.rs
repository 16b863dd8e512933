//! The Redis side of a relay: three scripts over the 16 partitions of one stream.
//!
//! Keys share the hash tag `{stream}`, so that a cluster keeps a stream's keys in one slot and a script may touch them all.
//! Invariant: an entry is added to a partition only if that partition already holds everything before it. The adder
//! says which position it believes to be last in each partition; a partition that is behind that (Redis was wiped, or
//! restored from an older state) refuses the whole batch. A generation key tells whose history the streams hold.

use redis::aio::ConnectionManager;
use redis::{RedisError, Script, Value};
use uuid::Uuid;

use super::Entry;
use crate::events::{PARTITIONS, PerPartition, partition_of, stream_key};

/// What the streams hold when a relay begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Held {
    /// The last position in each partition.
    pub(super) last: PerPartition,
    /// The newest entry that is still there: its position and event id.
    pub(super) newest: Option<(i64, String)>,
}

/// What became of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Added {
    /// All of it is in the streams, whose last positions are these.
    Last(PerPartition),
    /// The streams lost something; nothing was added.
    Lost,
}

/// What one consumer group has acknowledged in each partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Acknowledged {
    pub(super) group: String,
    pub(super) positions: PerPartition,
}

/// One stream in Redis.
#[derive(Debug)]
pub(super) struct Streams {
    stream: &'static str,
    keys: Vec<String>,
    generation_key: String,
    begin: Script,
    add: Script,
    acknowledged: Script,
}

impl Streams {
    pub(super) fn new(stream: &'static str) -> Self {
        Self {
            stream,
            keys: (0..PARTITIONS).map(|partition| stream_key(stream, partition)).collect(),
            generation_key: format!("trangtien:{{{stream}}}:generation"),
            begin: Script::new(&format!("{LAST}{BEGIN}")),
            add: Script::new(&format!("{LAST}{ADD}")),
            acknowledged: Script::new(ACKNOWLEDGED),
        }
    }

    /// Makes the streams ours: removes another generation's, and says what they hold.
    pub(super) async fn begin(&self, redis: &mut ConnectionManager, generation: Uuid) -> Result<Held, RedisError> {
        let mut call = self.begin.key(&self.generation_key);
        call.key(&self.keys).arg(generation.to_string());
        let last: Vec<i64> = call.invoke_async(redis).await?;
        let last = per_partition(last)?;
        let newest = (0..PARTITIONS).max_by_key(|&partition| last[partition]).expect("there are partitions");
        let entries: Value = redis::cmd("XREVRANGE")
            .arg(&self.keys[newest])
            .arg("+")
            .arg("-")
            .arg("COUNT")
            .arg(1)
            .query_async(redis)
            .await?;
        Ok(Held { last, newest: crate::events::read_entries(entries)?.pop().and_then(|entry| entry.identity()) })
    }

    /// Adds entries (none only checks), provided that each partition holds at least what `last` says.
    pub(super) async fn add(
        &self,
        redis: &mut ConnectionManager,
        generation: Uuid,
        last: &PerPartition,
        entries: &[Entry],
    ) -> Result<Added, RedisError> {
        let mut call = self.add.key(&self.generation_key);
        call.key(&self.keys).arg(generation.to_string()).arg(self.stream).arg(&last[..]);
        for entry in entries {
            call.arg(partition_of(entry.subject) + 1)
                .arg(entry.position)
                .arg(entry.id.to_string())
                .arg(&entry.kind)
                .arg(entry.subject.to_string())
                .arg(entry.time.to_rfc3339_opts(chrono::SecondsFormat::Micros, true))
                .arg(entry.traceparent.as_deref().unwrap_or_default())
                .arg(&entry.data[..]);
        }
        let last: Vec<i64> = call.invoke_async(redis).await?;
        if last.is_empty() { Ok(Added::Lost) } else { per_partition(last).map(Added::Last) }
    }

    /// What each group that exists now has acknowledged.
    pub(super) async fn acknowledged(&self, redis: &mut ConnectionManager) -> Result<Vec<Acknowledged>, RedisError> {
        let rows: Vec<(usize, String, i64)> = self.acknowledged.key(&self.keys).invoke_async(redis).await?;
        let mut readers: Vec<Acknowledged> = Vec::new();
        for (partition, group, position) in rows {
            let known = readers.iter().position(|reader| reader.group == group);
            let index = known.unwrap_or_else(|| {
                readers.push(Acknowledged { group, positions: [0; PARTITIONS] });
                readers.len() - 1
            });
            readers[index].positions[partition - 1] = position;
        }
        Ok(readers)
    }

    /// Drops the entries at or below a position of each partition.
    pub(super) async fn trim(&self, redis: &mut ConnectionManager, through: &PerPartition) -> Result<(), RedisError> {
        let mut pipeline = redis::pipe();
        for (key, through) in self.keys.iter().zip(through) {
            pipeline.cmd("XTRIM").arg(key).arg("MINID").arg("=").arg(format!("{}-0", through + 1)).ignore();
        }
        pipeline.exec_async(redis).await
    }
}

fn per_partition(positions: Vec<i64>) -> Result<PerPartition, RedisError> {
    let wrong = (redis::ErrorKind::UnexpectedReturnType, "not one position per partition");
    positions.try_into().map_err(|_| RedisError::from(wrong))
}

/// Defines `last(key)`: the highest position that a stream ever got, also when it was trimmed since.
const LAST: &str = r"
local function last(key)
    if redis.call('EXISTS', key) == 0 then return 0 end
    local info = redis.call('XINFO', 'STREAM', key)
    for i = 1, #info, 2 do
        if info[i] == 'last-generated-id' then return tonumber(string.match(info[i + 1], '^%d+')) end
    end
end
";

/// KEYS: generation, streams. ARGV: our generation. Answers the last position of each stream.
const BEGIN: &str = r"
local ours = redis.call('GET', KEYS[1]) == ARGV[1]
local positions = {}
for p = 2, #KEYS do
    local position = last(KEYS[p])
    if not ours and position > 0 then
        redis.call('DEL', KEYS[p])
        position = 0
    end
    positions[p - 1] = position
end
if not ours then redis.call('SET', KEYS[1], ARGV[1]) end
return positions
";

/// KEYS: generation, streams. ARGV: our generation, source, the least last position of each stream, then 8 per entry.
/// Answers the last position of each stream, or nothing if they hold less than they should.
const ADD: &str = r"
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return {} end
local positions = {}
for p = 1, #KEYS - 1 do
    positions[p] = last(KEYS[p + 1])
    if positions[p] < tonumber(ARGV[2 + p]) then return {} end
end
for i = #KEYS + 2, #ARGV, 8 do
    local p, position = tonumber(ARGV[i]), tonumber(ARGV[i + 1])
    if position > positions[p] then
        redis.call('XADD', KEYS[p + 1], ARGV[i + 1] .. '-0', 'id', ARGV[i + 2], 'source', ARGV[2], 'type', ARGV[i + 3],
            'subject', ARGV[i + 4], 'time', ARGV[i + 5], 'traceparent', ARGV[i + 6], 'data', ARGV[i + 7])
        positions[p] = position
    end
end
return positions
";

/// KEYS: streams. Answers (partition from 1, group, acknowledged position) for each group of each stream.
const ACKNOWLEDGED: &str = r"
local rows = {}
for p = 1, #KEYS do
    if redis.call('EXISTS', KEYS[p]) == 1 then
        for _, info in ipairs(redis.call('XINFO', 'GROUPS', KEYS[p])) do
            local group = {}
            for i = 1, #info, 2 do group[info[i]] = info[i + 1] end
            local position
            if group['pending'] > 0 then
                local first = redis.call('XPENDING', KEYS[p], group['name'])[2]
                position = tonumber(string.match(first, '^%d+')) - 1
            else
                position = tonumber(string.match(group['last-delivered-id'], '^%d+'))
            end
            rows[#rows + 1] = { p, group['name'], position }
        end
    end
end
return rows
";
