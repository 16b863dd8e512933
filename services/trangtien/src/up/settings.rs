//! The settings of a city of `trangtien up`: the environment's, with what is private to this run.

use std::collections::BTreeMap;

use anyhow::Context as _;
use platform::config::Secret;
use platform::embedded::generate_secret;
use url::Url;
use wallet::config::PartnerConfig;

use super::sandbox::Sandbox;
use crate::config::Config;
use crate::embedded;
use crate::folder::Secrets;
use crate::listen::Bound;

/// The bank of the city's list that the sandbox plays.
pub const SANDBOX_BANK: &str = "VCB";
/// The name under which the gauges of exercises sign in.
pub const SENSOR_CLIENT: &str = "exercise-gauges";
/// The agency of the city's list whose endpoint the sandbox plays.
pub const SANDBOX_AGENCY: &str = "PVHCC";
/// How long the sandbox's gateways may take to answer.
const GATEWAY_TIMEOUT_MS: u64 = 3_000;
/// When the sandbox's bank is asked for a callback that has not come.
const FIRST_STATUS_QUERY_MS: u64 = 2_000;

/// The settings of a city whose servers and folder are filled in by the caller.
pub(super) fn of_city(public: &Bound, secrets: &Secrets, sandbox: &Sandbox) -> anyhow::Result<Config> {
    let mut config = Config::load(None)?;
    config.public_url = public.url().parse().context("the listener's URL")?;
    config.http.readiness_off_ms = 0;
    config.app.sandbox = Some(sandbox.url().parse().context("the sandbox's URL")?);
    config.identity.keys = secrets.identity.clone();
    config.wallet.checkpoint.key = secrets.checkpoint.clone();
    config.wallet.persons.encryption = secrets.persons.wallet.clone();
    config.reports.persons.encryption = secrets.persons.reports.clone();
    config.notifications.persons.encryption = secrets.persons.notifications.clone();
    let outside = |path: &str| -> anyhow::Result<Url> {
        format!("http://127.0.0.1:{}{path}", sandbox.port()).parse().context("a URL of the sandbox")
    };
    let bank = &secrets.sandbox.bank;
    // The sandbox's bank answers at once, so that a lost callback need not be waited for as long as a real bank's.
    config.wallet.first_status_query_ms = FIRST_STATUS_QUERY_MS;
    config.wallet.banks.insert(
        SANDBOX_BANK.to_owned(),
        PartnerConfig {
            url: outside("/")?,
            partner: bank.partner.clone(),
            secret: bank.partner_secret.clone(),
            callback_secret: bank.secret.clone(),
        },
    );
    let biller = &secrets.sandbox.biller;
    for code in secrets.sandbox.billers.codes() {
        let settings = PartnerConfig {
            url: outside("/")?,
            partner: biller.partner.clone(),
            secret: biller.partner_secret.clone(),
            callback_secret: biller.secret.clone(),
        };
        config.wallet.billers.insert(code.to_owned(), settings);
    }
    config.identity.ekyc = Some(identity::config::EkycConfig {
        url: outside("/gateways/ekyc/v1/verifications")?,
        token: secrets.sandbox.ekyc.token.clone(),
    });
    config.identity.vneid = Some(identity::config::VneidConfig {
        issuer: format!("{}/vneid", sandbox.url()).parse().context("a URL of the sandbox")?,
        client_id: secrets.sandbox.vneid.client_id.clone(),
        client_secret: secrets.sandbox.vneid.client_secret.clone(),
        redirect_uri: config.public_url.join("/app/vneid").context("the app's link")?,
        page_redirect_uri: Some(config.public_url.join("/oauth2/vneid").context("the page's link")?),
    });
    let agency = wallet::config::AgencyConfig {
        event_url: outside(&format!("/agencies/{SANDBOX_AGENCY}/v1/events"))?,
        secret: secrets.sandbox.agency.secret.clone(),
    };
    config.wallet.agencies.insert(SANDBOX_AGENCY.to_owned(), agency);
    let (sms, push) = (&secrets.sandbox.sms, &secrets.sandbox.push);
    config.notifications.sms = Some(notifications::SmsConfig {
        url: outside("/gateways/sms/v1/messages")?,
        token: sms.token.clone(),
        timeout_ms: GATEWAY_TIMEOUT_MS,
        // The sandbox signs with the token.
        receipts: Some(notifications::ReceiptConfig { secret: sms.token.clone(), base_url: None }),
    });
    config.notifications.push = Some(notifications::PushConfig {
        url: outside("/gateways/fcm/")?,
        project: push.project.clone(),
        // A folder from before there were service accounts has a token alone.
        token: push.account.is_none().then(|| push.token.clone()),
        service_account: push.account_file(&sandbox.url()),
        timeout_ms: GATEWAY_TIMEOUT_MS,
    });
    let gauges = ioc::config::SensorClient {
        secret: secrets.sensors.clone(),
        stations: vec!["*".to_owned()],
        exercise_only: true,
    };
    config.ioc.sensor_clients.insert(SENSOR_CLIENT, gauges);
    config.ioc.sign_in.clone_from(&secrets.wall);
    Ok(config)
}

/// Settings that suffice to build every role without any server, to describe its API.
///
/// # Errors
/// When the environment's settings are not valid.
pub fn for_description() -> anyhow::Result<Config> {
    let mut config = Config::load(None)?;
    let secret = || Secret::new(format!("{}{}", generate_secret(), generate_secret()));
    config.identity.keys.otp_hmac = secret();
    config.identity.keys.phone_hmac = secret();
    config.identity.keys.encryption = secret();
    config.identity.keys.pin_pepper = secret();
    config.wallet.persons.encryption = secret();
    config.reports.persons.encryption = secret();
    config.notifications.persons.encryption = secret();
    config.redis_url = Secret::new("redis://127.0.0.1:1");
    config.database = embedded::databases(&Secret::new("postgres://nobody@127.0.0.1:1/none"), &BTreeMap::new())?;
    Ok(config)
}
