//! An SMS gateway over HTTP: `POST {url}` `{to, text, reference, receipt_url?}` with a bearer token, answered by a success status and, at best,
//! `{message_id}`. What became of the message comes to `receipt_url` (see `receipt`).

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::json;
use url::Url;

use super::{Breaker, GatewayError, Reference, Sms, SmsGateway, client, guarded, read_answer, reference};
use crate::config::SmsConfig;

/// The gateway of [`SmsConfig`].
pub(crate) struct HttpSmsGateway {
    client: reqwest::Client,
    url: Url,
    token: platform::config::Secret,
    /// Where it says what became of a message.
    receipt_url: Option<Url>,
    breaker: Breaker,
}

#[derive(Deserialize)]
struct Taken {
    message_id: String,
}

impl HttpSmsGateway {
    /// A gateway as configured.
    ///
    /// # Errors
    /// When the HTTP client can't be made.
    pub(crate) fn try_new(config: SmsConfig, receipt_url: Option<Url>) -> Result<Self, reqwest::Error> {
        let client = client(config.timeout_ms)?;
        Ok(Self { client, url: config.url, token: config.token, receipt_url, breaker: Breaker::default() })
    }

    async fn post(&self, sms: &Sms<'_>) -> Result<Reference, GatewayError> {
        let mut body = json!({ "to": sms.to, "text": sms.text, "reference": sms.reference });
        if let Some(url) = &self.receipt_url {
            body["receipt_url"] = json!(url);
        }
        let request = self.client.post(self.url.clone()).bearer_auth(self.token.expose()).json(&body);
        let response = request.send().await.map_err(|error| GatewayError::of_transport(&error))?;
        if !response.status().is_success() {
            return Err(GatewayError::of_status(response.status(), response.headers()));
        }
        Ok(read_answer::<Taken>(response).await.and_then(|taken| reference(taken.message_id)))
    }
}

#[async_trait]
impl SmsGateway for HttpSmsGateway {
    async fn send(&self, sms: &Sms<'_>) -> Result<Reference, GatewayError> {
        guarded(&self.breaker, self.post(sms)).await
    }
}
