//! Credentials that the sandbox shares with those who integrate with it.

use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der};
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use platform::config::Secret;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::biller::Billers;

/// What the city calls itself.
const PARTNER: &str = "trangtien";

/// Settings of the sandbox. No credential has a default; [`Config::generate`] draws fresh ones.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The bank.
    pub bank: BankConfig,
    /// The billers; fresh ones where a configuration was written before there were any.
    #[serde(default = "BillerConfig::generate")]
    pub biller: BillerConfig,
    /// Which billers there are: what the city's folder says, and no secret.
    #[serde(skip)]
    pub billers: Billers,
    /// The agencies; fresh ones where a configuration was written before there were any.
    #[serde(default = "AgencyConfig::generate")]
    pub agency: AgencyConfig,
    /// The SMS gateway.
    pub sms: SmsConfig,
    /// The push gateway.
    pub push: PushConfig,
    /// The verifier of citizen numbers; fresh where a configuration was written before there was one.
    #[serde(default = "EkycConfig::generate")]
    pub ekyc: EkycConfig,
    /// VNeID; fresh where a configuration was written before there was one.
    #[serde(default = "VneidConfig::generate")]
    pub vneid: VneidConfig,
}

/// Credentials of VNeID's one client.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VneidConfig {
    /// What the client calls itself.
    pub client_id: String,
    /// Its secret.
    pub client_secret: Secret,
}

impl VneidConfig {
    fn generate() -> Self {
        Self { client_id: PARTNER.to_owned(), client_secret: random_secret() }
    }
}

/// Credentials of the verifier of citizen numbers.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EkycConfig {
    /// The bearer token of its one customer.
    pub token: Secret,
}

impl EkycConfig {
    fn generate() -> Self {
        Self { token: random_secret() }
    }
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

/// Credentials of the billers, the same for all, and of their one partner.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BillerConfig {
    /// What the partner calls itself in `X-Partner`; a biller calls itself by its code.
    pub partner: String,
    /// The partner's key: signs what the partner sends to a biller.
    pub partner_secret: Secret,
    /// The billers' key: signs what a biller sends to the partner.
    pub secret: Secret,
}

impl BillerConfig {
    fn generate() -> Self {
        Self { partner: PARTNER.to_owned(), partner_secret: random_secret(), secret: random_secret() }
    }
}

/// Credentials of the SMS gateway.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SmsConfig {
    /// The bearer token of its one customer; it also signs delivery receipts.
    pub token: Secret,
}

/// The secret of the agencies, the same for all.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AgencyConfig {
    /// Signs what they hear: `whsec_` and base64.
    pub secret: Secret,
}

impl AgencyConfig {
    fn generate() -> Self {
        Self { secret: Secret::new(format!("whsec_{}", STANDARD.encode(rand::random::<[u8; 32]>()))) }
    }
}

/// Credentials of the push gateway.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PushConfig {
    /// The project whose messages it takes.
    pub project: String,
    /// The bearer token of that project.
    pub token: Secret,
    /// Who else sends messages of that project, by tokens that live an hour.
    #[serde(default)]
    pub account: Option<ServiceAccount>,
}

/// A service account in Google's manner.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServiceAccount {
    /// What it is called.
    pub email: String,
    /// What its key is called.
    pub key_id: String,
    /// The key, PKCS #8 in base64.
    pub private_key: Secret,
}

impl ServiceAccount {
    fn generate() -> Self {
        let pair = RsaKeyPair::generate(KeySize::Rsa2048).expect("the system makes keys");
        let der: Pkcs8V1Der<'_> = pair.as_der().expect("a key has a form");
        Self {
            email: format!("{PARTNER}@sandbox.example"),
            key_id: hex::encode(rand::random::<[u8; 20]>()),
            private_key: Secret::new(STANDARD.encode(der.as_ref())),
        }
    }
}

impl PushConfig {
    /// The key file of the service account for a sandbox at `base`, if there is one.
    pub fn account_file(&self, base: &str) -> Option<Secret> {
        let ServiceAccount { email, key_id, private_key } = self.account.as_ref()?;
        let pem = format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", private_key.expose());
        let file = json!({
            "type": "service_account",
            "project_id": self.project,
            "private_key_id": key_id,
            "private_key": pem,
            "client_email": email,
            "token_uri": format!("{}{}", base.trim_end_matches('/'), crate::push_token::PATH),
        });
        Some(Secret::new(file.to_string()))
    }
}

impl Config {
    /// A configuration with fresh random credentials, for one run.
    pub fn generate() -> Self {
        Self {
            bank: BankConfig {
                partner: PARTNER.to_owned(),
                partner_secret: random_secret(),
                name: "sandbox-bank".to_owned(),
                secret: random_secret(),
            },
            biller: BillerConfig::generate(),
            billers: Billers::default(),
            agency: AgencyConfig::generate(),
            sms: SmsConfig { token: random_secret() },
            push: PushConfig { project: "trangtien-sandbox".to_owned(), token: random_secret(), account: None },
            ekyc: EkycConfig::generate(),
            vneid: VneidConfig::generate(),
        }
    }

    /// The same with a service account at the push gateway, whose key takes up to a second to make.
    #[must_use]
    pub fn with_service_account(mut self) -> Self {
        self.push.account = Some(ServiceAccount::generate());
        self
    }
}

fn random_secret() -> Secret {
    Secret::new(hex::encode(rand::random::<[u8; 32]>()))
}
