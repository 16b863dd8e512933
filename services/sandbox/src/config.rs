//! Credentials that the sandbox shares with those who integrate with it.

use platform::config::Secret;
use serde::{Deserialize, Serialize};

/// Settings of the sandbox. No credential has a default; [`Config::generate`] draws fresh ones.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The bank.
    pub bank: BankConfig,
    /// The SMS gateway.
    pub sms: SmsConfig,
    /// The push gateway.
    pub push: PushConfig,
}

/// Credentials of the bank and its one partner.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BankConfig {
    /// What the partner calls itself in `X-Partner`.
    pub partner: String,
    /// The partner's key: signs what the partner sends to the bank.
    pub partner_secret: Secret,
    /// What the bank calls itself in `X-Partner` of its callbacks.
    pub name: String,
    /// The bank's key: signs what the bank sends to the partner.
    pub secret: Secret,
}

/// Credentials of the SMS gateway.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SmsConfig {
    /// The bearer token of its one customer; it also signs delivery receipts.
    pub token: Secret,
}

/// Credentials of the push gateway.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PushConfig {
    /// The project whose messages it takes.
    pub project: String,
    /// The bearer token of that project.
    pub token: Secret,
}

impl Config {
    /// A configuration with fresh random credentials, for one run.
    pub fn generate() -> Self {
        Self {
            bank: BankConfig {
                partner: "trangtien".to_owned(),
                partner_secret: random_secret(),
                name: "sandbox-bank".to_owned(),
                secret: random_secret(),
            },
            sms: SmsConfig { token: random_secret() },
            push: PushConfig { project: "trangtien-sandbox".to_owned(), token: random_secret() },
        }
    }
}

fn random_secret() -> Secret {
    Secret::new(hex::encode(rand::random::<[u8; 32]>()))
}
