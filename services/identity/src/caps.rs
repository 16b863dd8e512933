//! Caps on one-time codes and on new PINs: buckets by the generic cell rate algorithm, and what codes cost in a day, in
//! Redis, by one Lua script.
//!
//! All buckets of a request and the budget are looked at first and filled only when every one has room, so that a refused
//! request costs the requester nothing. Each bucket is one number: the time at which it would be empty again.
//! The budget is a hash of hours; it counts the running one and the 24 before it, so that no 24 hours cost more.
//! Keys carry a keyed digest of what they count, never a number or address, and one hash tag, so that a Redis Cluster
//! holds them in one slot. Time is the caller's clock.
//! Invariant: when Redis is away nothing is allowed here; what that means is the caller's to say.

use std::sync::LazyLock;
use std::time::Duration;

use chrono::{DateTime, Utc};
use platform::redis::RedisLink;
use redis::{FromRedisValue, Script, ScriptInvocation};

use crate::config::Cap;
use crate::error::Error;

/// The longest wait for Redis before something is refused.
const PATIENCE: Duration = Duration::from_secs(2);
/// The longest wait for Redis when nothing depends on it.
const HASTE: Duration = Duration::from_secs(1);

/// How much the budget is, as far as Redis is concerned: nothing is counted.
const NO_BUDGET: u32 = 0;
/// The name of the budget among the buckets.
pub(crate) const BUDGET: &str = "budget";

static FILL: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
        local now = tonumber(ARGV[1])
        local limit = tonumber(ARGV[2])
        local buckets = #KEYS - 1
        local filled = {}
        for index = 1, buckets do
            local interval = tonumber(ARGV[2 * index + 1])
            local burst = tonumber(ARGV[2 * index + 2])
            local empty_at = math.max(now, tonumber(redis.call('GET', KEYS[index]) or 0)) + interval
            local wait = empty_at - interval * burst - now
            if wait > 0 then
                return {index, wait, 0}
            end
            filled[index] = empty_at
        end
        local spent = 0
        if limit > 0 then
            local hour = math.floor(now / 3600000)
            local oldest = hour
            local slots = redis.call('HGETALL', KEYS[#KEYS])
            for at = 1, #slots, 2 do
                local slot = tonumber(slots[at])
                if slot + 24 < hour then
                    redis.call('HDEL', KEYS[#KEYS], slots[at])
                else
                    spent = spent + tonumber(slots[at + 1])
                    oldest = math.min(oldest, slot)
                end
            end
            if spent >= limit then
                return {#KEYS, (oldest + 25) * 3600000 - now, spent}
            end
            redis.call('HINCRBY', KEYS[#KEYS], string.format('%.0f', hour), 1)
            redis.call('PEXPIRE', KEYS[#KEYS], 26 * 3600000)
            spent = spent + 1
        end
        for index = 1, buckets do
            redis.call('SET', KEYS[index], string.format('%.0f', filled[index]), 'PX', string.format('%.0f', filled[index] - now))
        end
        return {0, 0, spent}
        ",
    )
});

static DRAIN: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
        local now = tonumber(ARGV[1])
        for index, key in ipairs(KEYS) do
            local empty_at = tonumber(redis.call('GET', key) or 0) - tonumber(ARGV[index + 1])
            if empty_at > now then
                redis.call('SET', key, string.format('%.0f', empty_at), 'PX', string.format('%.0f', empty_at - now))
            else
                redis.call('DEL', key)
            end
        end
        return 0
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

impl Bucket {
    fn key(&self) -> String {
        key(self.kind, &self.whose)
    }

    fn interval_ms(&self) -> u64 {
        u64::from(self.cap.refill_seconds) * 1_000
    }
}

/// What the buckets say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Allowance {
    /// All have room, and each now holds one more.
    Allowed,
    /// One is full.
    Refused {
        /// Which; [`BUDGET`] for what codes cost.
        kind: &'static str,
        /// Seconds until it has room.
        retry_s: u64,
    },
}

/// Fills the buckets, or tells the first that is full.
pub(crate) async fn fill(redis: &RedisLink, buckets: &[Bucket], now: DateTime<Utc>) -> Result<Allowance, Error> {
    try_fill(redis, buckets, NO_BUDGET, now).await.map(|(allowance, _)| allowance)
}

/// Fills the buckets and spends one code of `limit`, or tells what is full. Also tells what is spent.
pub(crate) async fn fill_and_spend(
    redis: &RedisLink,
    buckets: &[Bucket],
    limit: u32,
    now: DateTime<Utc>,
) -> Result<(Allowance, u64), Error> {
    try_fill(redis, buckets, limit, now).await
}

/// Fills the buckets if Redis answers at once; allows it otherwise. For what another limit holds too.
pub(crate) async fn fill_in_haste(redis: &RedisLink, buckets: &[Bucket], now: DateTime<Utc>) -> Allowance {
    match tokio::time::timeout(HASTE, fill(redis, buckets, now)).await {
        Ok(Ok(allowance)) => allowance,
        Ok(Err(_)) | Err(_) => Allowance::Allowed,
    }
}

/// Takes one out of each bucket again, if Redis answers at once.
pub(crate) async fn drain_in_haste(redis: &RedisLink, buckets: &[Bucket], now: DateTime<Utc>) {
    let mut call = DRAIN.prepare_invoke();
    call.arg(now.timestamp_millis());
    for bucket in buckets {
        call.key(bucket.key()).arg(bucket.interval_ms());
    }
    let drained = tokio::time::timeout(HASTE, invoke::<u64>(redis, &call)).await;
    if !matches!(drained, Ok(Ok(_))) {
        tracing::debug!("buckets of one-time codes were not drained");
    }
}

async fn try_fill(
    redis: &RedisLink,
    buckets: &[Bucket],
    limit: u32,
    now: DateTime<Utc>,
) -> Result<(Allowance, u64), Error> {
    let mut call = FILL.prepare_invoke();
    call.arg(now.timestamp_millis()).arg(limit);
    for bucket in buckets {
        call.key(bucket.key()).arg(bucket.interval_ms()).arg(bucket.cap.burst);
    }
    call.key(key(BUDGET, "city"));
    let answer = tokio::time::timeout(PATIENCE, invoke::<(usize, u64, u64)>(redis, &call)).await;
    let (index, wait_ms, spent) = answer.map_err(|elapsed| Error::CapsAway(elapsed.into()))??;
    let Some(index) = index.checked_sub(1) else { return Ok((Allowance::Allowed, spent)) };
    let kind = buckets.get(index).map_or(BUDGET, |bucket| bucket.kind);
    Ok((Allowance::Refused { kind, retry_s: wait_ms.div_ceil(1_000).max(1) }, spent))
}

async fn invoke<T: FromRedisValue>(redis: &RedisLink, call: &ScriptInvocation<'_>) -> Result<T, Error> {
    let mut connection = redis.manager().map_err(|error| Error::CapsAway(error.into()))?;
    match call.invoke_async::<T>(&mut connection).await {
        // The connection was lost in quiet times. Tried once more: at worst the request counts twice.
        Err(error) if error.is_io_error() => call.invoke_async(&mut connection).await,
        answer => answer,
    }
    .map_err(|error| Error::CapsAway(error.into()))
}

fn key(kind: &str, whose: &str) -> String {
    format!("trangtien:identity:{{caps}}:{kind}:{whose}")
}
