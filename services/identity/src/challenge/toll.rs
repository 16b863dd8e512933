//! What stands in the way of whoever asks for codes or guesses them: caps, the breaker, the budget.
//!
//! Caps throttle who asks: on a device that a citizen has signed in on, nobody else's requests use up the number's and
//! its prefix's caps, and a part of the budget is kept, so that a stranger can't lock the owner of a number out.
//! The breaker holds codes that nobody answered: people answer what they asked for, whoever is paid per SMS does not.
//! Touches Redis only, by [`caps`].

use std::net::IpAddr;

use chrono::{DateTime, Utc};

use super::Ask;
use crate::Identity;
use crate::caps::{self, Allowance, BUDGET, Bucket};
use crate::error::Error;
use crate::phone::Phone;
use crate::vault::Digest;

/// The breaker among the buckets.
const UNANSWERED: &str = "unanswered";

/// Whether the citizen with a number has signed in on the asking device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Acquaintance {
    Known,
    Stranger,
}

impl Acquaintance {
    pub(super) fn of(known: bool) -> Self {
        if known { Self::Known } else { Self::Stranger }
    }
}

impl Identity {
    /// Counts a request for a code, or refuses it.
    pub(super) async fn pay_toll(
        &self,
        ask: &Ask,
        digest: &Digest,
        acquaintance: Acquaintance,
        now: DateTime<Utc>,
    ) -> Result<(), Error> {
        let buckets = self.buckets(ask, digest, acquaintance);
        let limit = self.budget(acquaintance);
        let (allowance, spent) = caps::fill_and_spend(&self.redis, &buckets, limit, now).await?;
        let Allowance::Refused { kind, retry_s } = allowance else {
            self.meter.otp_spent(spent);
            return Ok(());
        };
        self.meter.otp_refused(kind);
        Err(match kind {
            BUDGET | UNANSWERED => Error::CodesPaused { retry_s },
            _ => Error::CodeCapped { retry_s },
        })
    }

    fn buckets(&self, ask: &Ask, digest: &Digest, acquaintance: Acquaintance) -> Vec<Bucket> {
        let caps = &self.config.caps;
        let whose = |bytes: &[u8]| self.vault.cap_digest(bytes);
        let mut buckets = vec![Bucket { kind: "device", whose: whose(ask.device.uuid().as_bytes()), cap: caps.device }];
        if let Some(address) = ask.address {
            buckets.push(Bucket { kind: "address", whose: whose(&subscriber(address)), cap: caps.address });
            buckets.push(Bucket { kind: "network", whose: whose(&network(address)), cap: caps.network });
        }
        if acquaintance == Acquaintance::Stranger {
            buckets.push(Bucket { kind: "number", whose: whose(digest), cap: caps.number });
            buckets.push(Bucket { kind: "number_daily", whose: whose(digest), cap: caps.number_daily });
            buckets.push(Bucket { kind: "prefix", whose: whose(ask.phone.prefix().as_bytes()), cap: caps.prefix });
            buckets.push(self.unanswered(&ask.phone));
        }
        buckets
    }

    fn unanswered(&self, phone: &Phone) -> Bucket {
        let whose = self.vault.cap_digest(phone.carrier().as_bytes());
        Bucket { kind: UNANSWERED, whose, cap: self.config.caps.unanswered }
    }

    /// What may be spent within 24 hours for whoever asks now.
    fn budget(&self, acquaintance: Acquaintance) -> u32 {
        let budget = self.config.budget;
        let kept = match acquaintance {
            Acquaintance::Known => 0,
            Acquaintance::Stranger => u64::from(budget.daily_codes) * u64::from(budget.reserved_percent) / 100,
        };
        budget.daily_codes.saturating_sub(u32::try_from(kept).unwrap_or(u32::MAX)).max(1)
    }

    /// Counts an answer as a guess until it turns out to be none, or refuses to look at it.
    ///
    /// When Redis is away answers are looked at: no new codes come then, and those that are out have five tries each.
    pub(crate) async fn admit_answer(&self, address: Option<IpAddr>, now: DateTime<Utc>) -> Result<(), Error> {
        let Some(bucket) = address.map(|address| self.answers(address)) else { return Ok(()) };
        match caps::fill_in_haste(&self.redis, &[bucket], now).await {
            Allowance::Allowed => Ok(()),
            Allowance::Refused { retry_s, .. } => Err(Error::AnswersCapped { retry_s }),
        }
    }

    /// Takes back what was no guess: a challenge that is over, or that never was, tells nothing about a code.
    pub(crate) async fn not_a_guess(&self, address: Option<IpAddr>, now: DateTime<Utc>) {
        if let Some(bucket) = address.map(|address| self.answers(address)) {
            caps::drain_in_haste(&self.redis, &[bucket], now).await;
        }
    }

    /// Takes back what a right answer has disproved: it was no guess, and the code that a stranger asked for was answered.
    pub(crate) async fn answered(&self, phone: &Phone, address: Option<IpAddr>, new_device: bool, now: DateTime<Utc>) {
        let guess = address.map(|address| self.answers(address));
        let buckets: Vec<Bucket> = guess.into_iter().chain(new_device.then(|| self.unanswered(phone))).collect();
        if !buckets.is_empty() {
            caps::drain_in_haste(&self.redis, &buckets, now).await;
        }
    }

    fn answers(&self, address: IpAddr) -> Bucket {
        Bucket { kind: "answers", whose: self.vault.cap_digest(&subscriber(address)), cap: self.config.caps.answers }
    }
}

/// The part of an address that one subscriber has: all of IPv4, the first 64 bits of IPv6.
pub(crate) fn subscriber(address: IpAddr) -> Vec<u8> {
    match address.to_canonical() {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets()[..8].to_vec(),
    }
}

/// The part of an address that one customer of a network may have many of: 24 bits of IPv4, 48 of IPv6.
pub(crate) fn network(address: IpAddr) -> Vec<u8> {
    match address.to_canonical() {
        IpAddr::V4(address) => address.octets()[..3].to_vec(),
        IpAddr::V6(address) => address.octets()[..6].to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_subscriber_has_one_bucket_and_one_network() {
        let of = |text: &str| text.parse().expect("an address");
        assert_eq!(subscriber(of("2001:db8:1:2::1")), subscriber(of("2001:db8:1:2:ffff::9")));
        assert_ne!(subscriber(of("2001:db8:1:2::1")), subscriber(of("2001:db8:1:3::1")));
        assert_eq!(network(of("2001:db8:1:2::1")), network(of("2001:db8:1:3::1")));
        assert_ne!(network(of("2001:db8:1:2::1")), network(of("2001:db8:2:2::1")));
        assert_eq!(subscriber(of("::ffff:203.0.113.9")), subscriber(of("203.0.113.9")));
        assert_eq!(network(of("203.0.113.9")), network(of("203.0.113.200")));
    }
}
