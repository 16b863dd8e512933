//! Settings of the wallet. Secrets come from files or the environment, never from here.

use std::collections::BTreeMap;

use platform::config::Secret;
use platform::person::PersonConfig;
use serde::{Deserialize, Serialize};
use url::Url;

/// Settings of the wallet.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The origin where banks and billers reach us; without it, the origin that clients see.
    pub callback_base_url: Option<Url>,
    /// The banks that money comes from, by their code in the city's list.
    pub banks: BTreeMap<String, PartnerConfig>,
    /// Code of the bank that holds the merchants' virtual accounts; without it, the first of `banks`.
    pub virtual_account_bank: Option<String>,
    /// What every virtual account number begins with: 1–6 upper-case letters and digits.
    pub virtual_account_prefix: String,
    /// Longest wait for a bank's answer, in milliseconds.
    pub bank_timeout_ms: u64,
    /// The billers whose bills can be paid, by their code in the city's list.
    pub billers: BTreeMap<String, PartnerConfig>,
    /// Where agencies hear that a fee was paid, by their code in the city's list; one without an entry is told nothing.
    pub agencies: BTreeMap<String, AgencyConfig>,
    /// Longest wait for an agency to take what it is told, in milliseconds.
    pub agency_timeout_ms: u64,
    /// Longest wait for a biller's answer, in milliseconds.
    pub biller_timeout_ms: u64,
    /// How many jobs of one kind may wait for the same biller at a time, in each process: 1 to 31 of the 32 that may wait for all billers.
    pub biller_places: usize,
    /// How often each linked customer's bills are fetched, in seconds.
    pub bill_refresh_s: u64,
    /// How long a bank or a biller may take to call back before it is asked, in milliseconds.
    pub first_status_query_ms: u64,
    /// Longest time between two status queries, in milliseconds.
    pub last_status_query_ms: u64,
    /// What seals the keys of citizens.
    pub persons: PersonConfig,
    /// The ledger's own settings.
    pub ledger: ledger::Config,
    /// Who signs the books at the end of each day.
    pub checkpoint: CheckpointConfig,
}

/// Who signs the books at the end of each day.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CheckpointConfig {
    /// The city's name on checkpoints, as an address without scheme; without it, the host of the origin that clients see.
    pub name: Option<String>,
    /// Ed25519 seed of 64 hexadecimal digits (`openssl rand -hex 32`); without it nothing is signed.
    pub key: Secret,
}

/// Where an agency hears that a fee was paid.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AgencyConfig {
    /// Takes the messages (Standard Webhooks).
    pub event_url: Url,
    /// Signs them: `whsec_` and base64 of at least 24 bytes.
    pub secret: Secret,
}

/// How a bank or a biller is reached, and how it proves itself.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PartnerConfig {
    /// Origin of its API.
    pub url: Url,
    /// What it calls us.
    pub partner: String,
    /// Signs what we send.
    pub secret: Secret,
    /// Signs what it sends.
    pub callback_secret: Secret,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            callback_base_url: None,
            banks: BTreeMap::new(),
            virtual_account_bank: None,
            virtual_account_prefix: "TT".to_owned(),
            bank_timeout_ms: 10_000,
            billers: BTreeMap::new(),
            agencies: BTreeMap::new(),
            agency_timeout_ms: 10_000,
            biller_timeout_ms: 10_000,
            biller_places: 8,
            bill_refresh_s: 6 * 3600,
            first_status_query_ms: 10_000,
            last_status_query_ms: 300_000,
            persons: PersonConfig::default(),
            ledger: ledger::Config::default(),
            checkpoint: CheckpointConfig::default(),
        }
    }
}
