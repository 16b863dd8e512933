//! Caps on one-time codes and on new PINs: buckets by the generic cell rate algorithm, in Redis, by one Lua script.
//!
//! All buckets of a request are looked at first and filled only when every one has room, so that a refused request costs
//! the requester nothing. Each bucket is one number: the time at which it would be empty again.
//! Keys carry a keyed digest of what they count, never a number or address, and one hash tag, so that a Redis Cluster
//! holds them in one slot. Time is the caller's clock.
//! Invariant: when Redis is away nothing is allowed.

use std::sync::LazyLock;
use std::time::Duration;

use chrono::{DateTime, Utc};
use platform::redis::RedisLink;
use redis::Script;

use crate::config::Cap;
use crate::error::Error;

/// The longest wait for Redis.
const PATIENCE: Duration = Duration::from_secs(2);

static SCRIPT: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
        local now = tonumber(ARGV[1])
        local filled = {}
        for index, key in ipairs(KEYS) do
            local interval = tonumber(ARGV[2 * index])
            local burst = tonumber(ARGV[2 * index + 1])
            local empty_at = math.max(now, tonumber(redis.call('GET', key) or 0)) + interval
            local wait = empty_at - interval * burst - now
            if wait > 0 then
                return {index, wait}
            end
            filled[index] = empty_at
        end
        for index, key in ipairs(KEYS) do
            redis.call('SET', key, string.format('%.0f', filled[index]), 'PX', string.format('%.0f', filled[index] - now))
        end
        return {0, 0}
        ",
    )
});

/// One bucket that a request falls into.
#[derive(Clone, Debug)]
pub(crate) struct Bucket {
    /// What is counted: a bounded name, also the metric's label.
    pub kind: &'static str,
    /// A keyed digest of whose bucket it is.
    pub whose: String,
    /// How much it holds.
    pub cap: Cap,
}

/// What the buckets say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Allowance {
    /// All have room, and each now holds one more.
    Allowed,
    /// One is full.
    Refused {
        /// Which.
        kind: &'static str,
        /// Seconds until it has room.
        retry_s: u64,
    },
}

/// Fills the buckets, or tells the first that is full.
pub(crate) async fn fill(redis: &RedisLink, buckets: &[Bucket], now: DateTime<Utc>) -> Result<Allowance, Error> {
    let work = async {
        let mut connection = redis.manager().map_err(|error| Error::CapsAway(error.into()))?;
        let mut call = SCRIPT.prepare_invoke();
        call.arg(now.timestamp_millis());
        for bucket in buckets {
            call.key(format!("trangtien:identity:{{caps}}:{}:{}", bucket.kind, bucket.whose));
            call.arg(u64::from(bucket.cap.refill_seconds) * 1_000).arg(bucket.cap.burst);
        }
        match call.invoke_async::<(usize, u64)>(&mut connection).await {
            // The connection was lost in quiet times. Tried once more: at worst the request counts twice.
            Err(error) if error.is_io_error() => call.invoke_async(&mut connection).await,
            answer => answer,
        }
        .map_err(|error| Error::CapsAway(error.into()))
    };
    let (index, wait_ms) =
        tokio::time::timeout(PATIENCE, work).await.map_err(|elapsed| Error::CapsAway(elapsed.into()))??;
    Ok(match index.checked_sub(1).and_then(|index| buckets.get(index)) {
        None => Allowance::Allowed,
        Some(bucket) => Allowance::Refused { kind: bucket.kind, retry_s: wait_ms.div_ceil(1_000).max(1) },
    })
}
