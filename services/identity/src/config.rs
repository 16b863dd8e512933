//! Settings of the identity service.
//!
//! Secrets have no defaults: an empty one stops the start with a sentence that names it.
//! Every number here is bounded by [`Config::check`], so that a typing error can't make sessions eternal or codes free.

use chrono::TimeDelta;
use platform::config::Secret;
use serde::{Deserialize, Serialize};
use url::Url;

use crate::key::Algorithm;

/// Settings of the identity service.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The `iss` of tokens; the public URL when not given.
    pub issuer: Option<Url>,
    /// Region (ISO 3166-1) by which a number without country code is read; the city's when not given.
    pub region: Option<String>,
    /// Regions whose mobile numbers may sign in; only the one above when not given.
    pub served_regions: Option<Vec<String>>,
    /// What access tokens are signed with; keys of both algorithms are published.
    pub access_token_algorithm: Algorithm,
    /// Secret keys.
    pub keys: Keys,
    /// How long things live.
    pub lifetimes: Lifetimes,
    /// How many one-time codes may be asked for and guessed, and how many PINs set.
    pub caps: Caps,
    /// What one-time codes may cost the city in a day.
    pub budget: Budget,
    /// The outside verifier of citizen numbers; without one nobody proves a number here.
    pub ekyc: Option<EkycConfig>,
    /// VNeID; without it nobody links an account.
    pub vneid: Option<VneidConfig>,
    /// How many PIN hashes run at once; each takes 19 MiB.
    pub pin_hashes_at_once: usize,
    /// How many trusted reverse proxies append to `X-Forwarded-For`; 0 takes the address of the connection.
    pub trusted_proxies: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            issuer: None,
            region: None,
            served_regions: None,
            access_token_algorithm: Algorithm::default(),
            keys: Keys::default(),
            lifetimes: Lifetimes::default(),
            caps: Caps::default(),
            budget: Budget::default(),
            ekyc: None,
            vneid: None,
            pin_hashes_at_once: 4,
            trusted_proxies: 0,
        }
    }
}

/// The outside verifier of citizen numbers.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EkycConfig {
    /// Where it takes questions.
    pub url: Url,
    /// The bearer token that it knows us by.
    pub token: Secret,
}

/// VNeID, an upstream OpenID provider.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VneidConfig {
    /// Its issuer; the discovery document lies below.
    pub issuer: Url,
    /// What it knows us by.
    pub client_id: String,
    /// Our secret there.
    pub client_secret: Secret,
    /// Where it sends citizens back: a link that opens the app.
    pub redirect_uri: Url,
    /// Where it sends browsers back to the hosted pages: `/oauth2/vneid` of the issuer; without it these offer no VNeID.
    #[serde(default)]
    pub page_redirect_uri: Option<Url>,
}

/// Secret keys, each at least 32 bytes, all different.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Keys {
    /// Keeps one-time codes as keyed digests.
    pub otp_hmac: Secret,
    /// Looks phone numbers up.
    pub phone_hmac: Secret,
    /// Seals phone numbers, names, codes on their way and private keys; tags refresh tokens.
    pub encryption: Secret,
    /// Other values of `encryption` that still open what they sealed and verify the refresh tokens that they tagged: earlier
    /// ones, and the next one while a change is under way.
    pub retired_encryption: Vec<Secret>,
    /// Peppers PINs before they are hashed.
    pub pin_pepper: Secret,
}

/// How long things live, in seconds.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Lifetimes {
    /// A one-time code.
    pub otp_seconds: u32,
    /// The pause before a device may have another code sent to the same number.
    pub otp_resend_seconds: u32,
    /// An access token.
    pub access_token_seconds: u32,
    /// A refresh token that is not used.
    pub refresh_idle_seconds: u32,
    /// A session, however it is used.
    pub session_seconds: u32,
    /// A sign-in at the hosted page, and what clients were granted under it without `offline_access`.
    pub browser_session_seconds: u32,
    /// An authorisation code of the OpenID provider.
    pub authorisation_code_seconds: u32,
    /// How long a superseded refresh token gets the same successor again, for an answer that was lost.
    pub refresh_grace_seconds: u32,
    /// How recent a sign-in must be for setting the first PIN.
    pub fresh_seconds: u32,
    /// After a PIN reset by one-time code, and after a device's key or a passkey came without the PIN.
    pub pin_cooling_seconds: u32,
    /// How long a citizen who leaves may take it back, once all services agree. The law gives 72 hours for the whole (docs/security.md).
    pub closing_cooling_seconds: u32,
    /// How old a signing key gets before the next one takes over.
    pub signing_key_seconds: u32,
}

impl Default for Lifetimes {
    fn default() -> Self {
        const DAY: u32 = 86_400;
        Self {
            otp_seconds: 300,
            otp_resend_seconds: 60,
            access_token_seconds: 600,
            refresh_idle_seconds: 30 * DAY,
            session_seconds: 180 * DAY,
            browser_session_seconds: 12 * 3_600,
            authorisation_code_seconds: 60,
            refresh_grace_seconds: 10,
            fresh_seconds: 900,
            pin_cooling_seconds: DAY,
            closing_cooling_seconds: 2 * DAY,
            signing_key_seconds: 30 * DAY,
        }
    }
}

impl Lifetimes {
    /// A setting as a span of time.
    pub(crate) fn span(seconds: u32) -> TimeDelta {
        TimeDelta::seconds(i64::from(seconds))
    }
}

/// How many one-time codes may be asked for and guessed, and how many PINs set.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Caps {
    /// For one number within an hour or so.
    pub number: Cap,
    /// For one number within a day.
    pub number_daily: Cap,
    /// From one device.
    pub device: Cap,
    /// For the numbers that differ in their last four digits only: whoever is paid per SMS asks for a row of them.
    pub prefix: Cap,
    /// For the numbers of one carrier's prefix (country code and two digits) that nobody answered: the breaker.
    pub unanswered: Cap,
    /// From one address (IPv6: one /64); generous, for mobile networks put many people behind one.
    pub address: Cap,
    /// From one network (IPv4: a /24, IPv6: a /48).
    pub network: Cap,
    /// Wrong answers to one-time codes from one address.
    pub answers: Cap,
    /// PINs that one citizen sets; each costs a hash.
    pub pin: Cap,
}

impl Default for Caps {
    fn default() -> Self {
        Self {
            number: Cap { burst: 5, refill_seconds: 360 },
            number_daily: Cap { burst: 15, refill_seconds: 5_760 },
            device: Cap { burst: 10, refill_seconds: 360 },
            prefix: Cap { burst: 40, refill_seconds: 120 },
            unanswered: Cap { burst: 500, refill_seconds: 20 },
            address: Cap { burst: 100, refill_seconds: 10 },
            network: Cap { burst: 400, refill_seconds: 3 },
            answers: Cap { burst: 100, refill_seconds: 10 },
            pin: Cap { burst: 5, refill_seconds: 720 },
        }
    }
}

/// A bucket: `burst` at once, then one more every `refill_seconds`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cap {
    /// How many at once.
    pub burst: u32,
    /// Seconds until one more is allowed.
    pub refill_seconds: u32,
}

/// What one-time codes may cost the city in a day, counted in codes: each is one SMS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Budget {
    /// Codes within any 24 hours.
    pub daily_codes: u32,
    /// How much of it, in percent, is kept for devices that their citizen has signed in on.
    pub reserved_percent: u32,
}

impl Default for Budget {
    fn default() -> Self {
        Self { daily_codes: 20_000, reserved_percent: 20 }
    }
}

impl Config {
    /// What is wrong with the numbers and regions, as a sentence; secrets are checked where they are used.
    pub(crate) fn check(&self) -> Result<(), String> {
        let lifetimes = &self.lifetimes;
        let bounded = [
            ("lifetimes.otp_seconds", lifetimes.otp_seconds, 30, 900),
            ("lifetimes.otp_resend_seconds", lifetimes.otp_resend_seconds, 0, 900),
            ("lifetimes.access_token_seconds", lifetimes.access_token_seconds, 30, 3_600),
            ("lifetimes.refresh_idle_seconds", lifetimes.refresh_idle_seconds, 600, 400 * 86_400),
            ("lifetimes.session_seconds", lifetimes.session_seconds, 600, 400 * 86_400),
            ("lifetimes.browser_session_seconds", lifetimes.browser_session_seconds, 600, 30 * 86_400),
            ("lifetimes.authorisation_code_seconds", lifetimes.authorisation_code_seconds, 10, 600),
            ("lifetimes.refresh_grace_seconds", lifetimes.refresh_grace_seconds, 0, 60),
            ("lifetimes.fresh_seconds", lifetimes.fresh_seconds, 60, 86_400),
            ("lifetimes.pin_cooling_seconds", lifetimes.pin_cooling_seconds, 0, 30 * 86_400),
            ("lifetimes.closing_cooling_seconds", lifetimes.closing_cooling_seconds, 0, 30 * 86_400),
            ("lifetimes.signing_key_seconds", lifetimes.signing_key_seconds, 3_600, 400 * 86_400),
        ];
        for (name, value, least, most) in bounded {
            if !(least..=most).contains(&value) {
                return Err(format!("identity.{name} must be between {least} and {most}"));
            }
        }
        for (name, cap) in self.caps.named() {
            if !(1..=1_000_000).contains(&cap.burst) || !(1..=86_400).contains(&cap.refill_seconds) {
                return Err(format!(
                    "identity.caps.{name} needs a burst of 1 to 1000000 and a refill of 1 to 86400 seconds"
                ));
            }
        }
        if !(1..=100_000_000).contains(&self.budget.daily_codes) || self.budget.reserved_percent > 90 {
            return Err("identity.budget needs 1 to 100000000 daily_codes, and at most 90 reserved_percent".to_owned());
        }
        if !(1..=16).contains(&self.pin_hashes_at_once) {
            return Err("identity.pin_hashes_at_once must be between 1 and 16".to_owned());
        }
        if self.trusted_proxies > 8 {
            return Err("identity.trusted_proxies must be at most 8".to_owned());
        }
        Ok(())
    }
}

impl Caps {
    /// Each cap with its setting's name.
    pub(crate) fn named(&self) -> [(&'static str, Cap); 9] {
        [
            ("number", self.number),
            ("number_daily", self.number_daily),
            ("device", self.device),
            ("prefix", self.prefix),
            ("unanswered", self.unanswered),
            ("address", self.address),
            ("network", self.network),
            ("answers", self.answers),
            ("pin", self.pin),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_within_their_bounds() {
        assert_eq!(Config::default().check(), Ok(()));
    }

    #[test]
    fn a_number_out_of_bounds_is_named() {
        let mut config = Config::default();
        config.lifetimes.refresh_grace_seconds = 3_600;
        assert!(config.check().is_err_and(|sentence| sentence.contains("refresh_grace_seconds")));
        let mut config = Config::default();
        config.caps.address.burst = 0;
        assert!(config.check().is_err_and(|sentence| sentence.contains("caps.address")));
        let mut config = Config::default();
        config.budget.daily_codes = 0;
        assert!(config.check().is_err_and(|sentence| sentence.contains("budget")));
    }
}
