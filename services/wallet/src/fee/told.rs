//! Tells the agency that a fee was paid: a job per payment, a message signed as Standard Webhooks wants it.
//!
//! The message has the same id however often it is sent, so that the agency takes it once. It says what was paid, never who paid.
//! It is sent again with growing pauses until the agency answers with success; then dead letters keep it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, Utc};
use hmac::{Hmac, KeyInit as _, Mac as _};
use ledger::money::Money;
use platform::config::Secret;
use platform::job::{self, Job, JobHandler, NewJob, Outcome};
use reqwest::StatusCode;
use serde_json::json;
use sha2::Sha256;
use sqlx::PgConnection;
use url::Url;

use super::{agency_of, sql};
use crate::account::CURRENCY;
use crate::bill_payment::BillPayment;
use crate::config::{AgencyConfig, Config};
use crate::{BuildError, SCHEMA, Wallet};

/// The kind of the job; its key is the payment's id.
pub(crate) const JOB: &str = "fee-paid";
/// What secrets begin with (Standard Webhooks).
const SECRET_PREFIX: &str = "whsec_";
/// The least bytes of a secret.
const MIN_SECRET_BYTES: usize = 24;

/// Where an agency hears of paid fees.
pub(crate) struct AgencyEndpoint {
    url: Url,
    secret: Vec<u8>,
    http: reqwest::Client,
}

impl AgencyEndpoint {
    /// Every configured endpoint, by agency.
    pub(crate) fn all(config: &Config) -> Result<BTreeMap<String, Self>, BuildError> {
        let http = reqwest::Client::builder()
            .timeout(Duration::from_millis(config.agency_timeout_ms))
            .redirect(reqwest::redirect::Policy::none())
            .build()?;
        let endpoint = |(code, config): (&String, &AgencyConfig)| {
            let secret = decoded(&config.secret).ok_or_else(|| {
                BuildError::Config(format!(
                    "wallet: agency `{code}` needs a secret: whsec_ and base64 of 24 bytes or more"
                ))
            })?;
            Ok((code.clone(), Self { url: config.event_url.clone(), secret, http: http.clone() }))
        };
        config.agencies.iter().map(endpoint).collect()
    }

    async fn send(&self, id: &str, body: String, now: DateTime<Utc>) -> Result<StatusCode, reqwest::Error> {
        let timestamp = now.timestamp().to_string();
        let signature = sign(&self.secret, (id, &timestamp), &body);
        let request = self.http.post(self.url.clone()).header("content-type", "application/json").body(body);
        let request = request.header("webhook-id", id).header("webhook-timestamp", timestamp);
        Ok(request.header("webhook-signature", signature).send().await?.status())
    }
}

fn decoded(secret: &Secret) -> Option<Vec<u8>> {
    let bytes = STANDARD.decode(secret.expose().strip_prefix(SECRET_PREFIX)?).ok()?;
    (bytes.len() >= MIN_SECRET_BYTES).then_some(bytes)
}

/// `v1,` and the base64 of HMAC-SHA256 over `id.timestamp.body`.
fn sign(secret: &[u8], (id, timestamp): (&str, &str), body: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).expect("HMAC takes keys of any length");
    mac.update(format!("{id}.{timestamp}.{body}").as_bytes());
    format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
}

/// Schedules the message for a paid notice, once; nothing for any other bill, or where the agency wants to hear nothing.
pub(crate) async fn tell_later(
    wallet: &Wallet,
    connection: &mut PgConnection,
    payment: &BillPayment,
) -> Result<(), sqlx::Error> {
    let wanted = agency_of(&payment.biller_code).is_some_and(|agency| wallet.agency_endpoints.contains_key(agency));
    if wanted {
        let now = wallet.clock.now();
        job::schedule(connection, SCHEMA, now, NewJob::new(JOB, payment.id.to_string(), now)).await?;
    }
    Ok(())
}

/// Runs [`JOB`].
pub(crate) struct FeePaidJob {
    pub(crate) wallet: Arc<Wallet>,
}

#[async_trait]
impl JobHandler for FeePaidJob {
    async fn run(&self, job: &Job) -> Outcome {
        let Ok(id) = job.key.parse() else { return Outcome::Dead("the key is no bill payment".to_owned()) };
        let paid = async { sql::paid(&mut *self.wallet.pool.acquire().await?, id).await };
        let paid = match paid.await {
            Ok(Some(paid)) => paid,
            Ok(None) => return Outcome::Dead("no paid notice of a fee".to_owned()),
            Err(error) => return Outcome::Retry(error.to_string()),
        };
        let Some(endpoint) = self.wallet.agency_endpoints.get(&paid.agency) else {
            return Outcome::Dead("the agency has no endpoint any more".to_owned());
        };
        let body = json!({
            "type": "fee.paid",
            "timestamp": paid.paid_at,
            "data": {
                "notice_id": paid.bill_id,
                "reference": paid.reference,
                "agency": paid.agency,
                "procedure": paid.procedure,
                "amount": Money::from_minor(paid.amount, CURRENCY),
                "payment_id": id,
                "transaction_id": paid.transfer_id,
                "paid_at": paid.paid_at,
            },
        });
        match endpoint.send(&format!("msg_{}", id.uuid().simple()), body.to_string(), self.wallet.clock.now()).await {
            Ok(status) if status.is_success() => {
                self.wallet.metrics.fee_event("delivered");
                Outcome::Done
            }
            Ok(StatusCode::GONE) => {
                self.wallet.metrics.fee_event("gone");
                Outcome::Dead("the agency's endpoint is gone".to_owned())
            }
            Ok(status) => {
                self.wallet.metrics.fee_event("refused");
                Outcome::Retry(format!("the agency answered {}", status.as_u16()))
            }
            Err(error) => {
                self.wallet.metrics.fee_event("lost");
                Outcome::Retry(error.without_url().to_string())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_signed_as_the_standard_does() {
        // The example of the Standard Webhooks specification.
        let secret = Secret::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
        let secret = decoded(&secret).expect("24 bytes");
        let body = "{\"test\": 2432232314}";
        assert_eq!(
            sign(&secret, ("msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330"), body),
            "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
        );
    }

    #[test]
    fn a_secret_is_long_and_has_its_form() {
        assert!(decoded(&Secret::new("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")).is_none());
        assert!(decoded(&Secret::new("whsec_c2hvcnQ=")).is_none());
    }
}
