//! Settings of notifications: where the gateways are, how many workers each lane has, how long messages stay.

use std::collections::BTreeMap;

use platform::config::Secret;
use platform::person::PersonConfig;
use serde::{Deserialize, Serialize};
use url::Url;

use crate::BuildError;
use crate::lane::Lane;
use crate::receipt::{self, Receipts};

/// Settings of the role.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The SMS gateway. Without it text messages are suppressed as `not-configured`.
    pub sms: Option<SmsConfig>,
    /// The push gateway. Without it push messages are suppressed as `not-configured`.
    pub push: Option<PushConfig>,
    /// Workers per lane.
    pub lanes: LaneConfig,
    /// Those who may send CAP documents, by HTTP Basic: their names, secrets, and the senders for whom they speak.
    pub cap_partners: BTreeMap<String, CapPartner>,
    /// What seals the keys of citizens.
    pub persons: PersonConfig,
    /// Days that messages and the proof of their delivery stay.
    pub retention_days: RetentionDays,
}

/// A partner that sends CAP documents.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CapPartner {
    /// Its secret.
    pub secret: Secret,
    /// CAP's `sender` of the documents that it may bring.
    pub senders: Vec<String>,
}

/// An SMS gateway: `POST {url}` with a bearer token and `{to, text, reference, receipt_url?}`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SmsConfig {
    /// Where messages are posted to.
    pub url: Url,
    /// The bearer token.
    pub token: Secret,
    /// How long one attempt may take, in milliseconds.
    #[serde(default = "timeout_ms")]
    pub timeout_ms: u64,
    /// How it says what became of a message; without, it is not asked to.
    #[serde(default)]
    pub receipts: Option<ReceiptConfig>,
}

/// How an SMS gateway says what became of a message: `POST …/notifications/v1/sms-receipts` `{reference, status, at}`, signed with
/// `X-Timestamp` and `X-Signature`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReceiptConfig {
    /// What the gateway signs with.
    pub secret: Secret,
    /// The origin where the gateway reaches us; `public_url` when absent.
    #[serde(default)]
    pub base_url: Option<Url>,
}

impl SmsConfig {
    /// How receipts come, if they are wanted.
    pub(crate) fn receipts(&self, public_url: &Url) -> Result<Option<Receipts>, BuildError> {
        let Some(config) = &self.receipts else { return Ok(None) };
        if config.secret.expose().is_empty() {
            return Err(BuildError::Receipts("the secret is empty"));
        }
        let url = config.base_url.as_ref().unwrap_or(public_url).join(receipt::PATH);
        let url = url.map_err(|_| BuildError::Receipts("base_url is not an origin"))?;
        Ok(Some(Receipts { secret: config.secret.clone(), url }))
    }
}

/// A push gateway that speaks FCM's HTTP v1 interface.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PushConfig {
    /// The base, for instance `https://fcm.googleapis.com/`; `v1/projects/{project}/messages:send` is put behind it.
    pub url: Url,
    /// The project.
    pub project: String,
    /// The bearer token of a gateway that takes one for good. Either this or `service_account`.
    #[serde(default)]
    pub token: Option<Secret>,
    /// A service account's key file in Google's JSON: tokens that live an hour are asked for at its `token_uri`, as FCM demands.
    #[serde(default)]
    pub service_account: Option<Secret>,
    /// How long one attempt may take, in milliseconds.
    #[serde(default = "timeout_ms")]
    pub timeout_ms: u64,
}

fn timeout_ms() -> u64 {
    3_000
}

/// Messages that each lane of one process sends at a time. The workers are reserved: no lane takes another's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LaneConfig {
    /// Warnings about danger.
    pub emergency: u16,
    /// One-time codes.
    pub security: u16,
    /// Money that moved.
    pub payment: u16,
    /// Reports, procedures, appointments.
    pub service: u16,
    /// News of the city.
    pub news: u16,
}

impl Default for LaneConfig {
    fn default() -> Self {
        Self { emergency: 32, security: 16, payment: 16, service: 8, news: 8 }
    }
}

/// The most workers a lane may have.
pub(crate) const MAX_WORKERS: u16 = 256;

impl LaneConfig {
    /// The workers of a lane.
    pub fn workers(&self, lane: Lane) -> usize {
        usize::from(match lane {
            Lane::Emergency => self.emergency,
            Lane::Security => self.security,
            Lane::Payment => self.payment,
            Lane::Service => self.service,
            Lane::News => self.news,
        })
    }

    /// A lane whose workers are none or too many, if there is one.
    pub(crate) fn fault(&self) -> Option<Lane> {
        Lane::ALL.into_iter().find(|lane| !(1..=usize::from(MAX_WORKERS)).contains(&self.workers(*lane)))
    }
}

/// A number of days, 1 to 3,650.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u16", into = "u16")]
pub struct RetentionDays(u16);

impl RetentionDays {
    /// The days.
    pub fn days(self) -> i64 {
        i64::from(self.0)
    }
}

impl Default for RetentionDays {
    fn default() -> Self {
        Self(180)
    }
}

impl TryFrom<u16> for RetentionDays {
    type Error = &'static str;

    fn try_from(days: u16) -> Result<Self, &'static str> {
        if (1..=3_650).contains(&days) { Ok(Self(days)) } else { Err("expected 1 to 3650 days") }
    }
}

impl From<RetentionDays> for u16 {
    fn from(days: RetentionDays) -> Self {
        days.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lane_without_workers_is_found() {
        assert_eq!(LaneConfig::default().fault(), None);
        assert_eq!(LaneConfig { news: 0, ..LaneConfig::default() }.fault(), Some(Lane::News));
        assert_eq!(LaneConfig { payment: 257, ..LaneConfig::default() }.fault(), Some(Lane::Payment));
    }

    #[test]
    fn unknown_settings_are_refused() {
        assert!(serde_json::from_str::<Config>(r#"{"lanes":{"spam":1}}"#).is_err());
        assert!(serde_json::from_str::<Config>(r#"{"retention_days":0}"#).is_err());
        assert_eq!(serde_json::from_str::<Config>("{}").expect("defaults").retention_days.days(), 180);
    }
}
