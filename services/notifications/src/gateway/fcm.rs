//! Firebase Cloud Messaging, HTTP v1: `POST {url}/v1/projects/{project}/messages:send`.
//!
//! Errors are read by FCM's own `errorCode` first, by the status when there is none
//! (<https://firebase.google.com/docs/reference/fcm/rest/v1/ErrorCode>).

use async_trait::async_trait;
use http::{HeaderMap, StatusCode};
use platform::clock::Clock;
use platform::config::Secret;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use url::Url;

use super::{
    Bearer, BearerError, Breaker, DEFAULT_RETRY_AFTER, GatewayError, Push, PushGateway, Reference, client, guarded,
    read_answer, reference, retry_after,
};
use crate::config::PushConfig;

/// The gateway of [`PushConfig`].
pub(crate) struct FcmGateway {
    client: reqwest::Client,
    url: Url,
    bearer: Bearer,
    breaker: Breaker,
}

/// Why the gateway can't be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FcmSetupError {
    /// The URL can't have a path.
    #[error("the push gateway's url can't be a base")]
    Url,
    /// The HTTP client can't be made.
    #[error(transparent)]
    Client(#[from] reqwest::Error),
    /// There is nothing to show the gateway.
    #[error(transparent)]
    Bearer(#[from] BearerError),
}

#[derive(Deserialize)]
struct Sent {
    name: String,
}

#[derive(Default, Deserialize)]
struct Failure {
    error: FailureBody,
}

#[derive(Default, Deserialize)]
struct FailureBody {
    #[serde(default)]
    details: Vec<Detail>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Detail {
    error_code: Option<String>,
}

impl FcmGateway {
    /// A gateway as configured.
    pub(crate) fn try_new(config: PushConfig, clock: Clock) -> Result<Self, FcmSetupError> {
        let client = client(config.timeout_ms)?;
        let bearer = Bearer::try_new(&config, client.clone(), clock)?;
        let mut url = config.url;
        url.path_segments_mut().map_err(|()| FcmSetupError::Url)?.pop_if_empty().extend([
            "v1",
            "projects",
            &config.project,
            "messages:send",
        ]);
        Ok(Self { client, url, bearer, breaker: Breaker::default() })
    }

    /// Posts with what there is to show; once more with another token when that is refused, for it may end before its time.
    async fn post(&self, token: &str, push: &Push<'_>) -> Result<Reference, GatewayError> {
        let shown = self.bearer.show().await?;
        match self.post_with(&shown, token, push).await {
            Err(GatewayError::Unavailable(status)) if status == "401" && self.bearer.refused(&shown).await => {
                self.post_with(&self.bearer.show().await?, token, push).await
            }
            answer => answer,
        }
    }

    async fn post_with(&self, shown: &Secret, token: &str, push: &Push<'_>) -> Result<Reference, GatewayError> {
        let request = self.client.post(self.url.clone()).bearer_auth(shown.expose()).json(&body(token, push));
        let response = request.send().await.map_err(|error| GatewayError::of_transport(&error))?;
        let (status, headers) = (response.status(), response.headers().clone());
        if !status.is_success() {
            let failure: Failure = read_answer(response).await.unwrap_or_default();
            return Err(classify(status, &headers, &failure));
        }
        Ok(read_answer::<Sent>(response).await.and_then(|sent| reference(sent.name)))
    }
}

/// Nothing but data for Android, which wakes the app, also in the background: it shows the message and confirms it. FCM would show a
/// `notification` by itself without asking the app, and keep only the newest for a phone that is off. iOS shows an alert by itself, after
/// an extension of the app has seen it.
///
/// The text is in the data of Android alone, which replace those for all: FCM takes 4096 bytes for a phone, and the alert has it already.
fn body(token: &str, push: &Push<'_>) -> Value {
    let data: Map<_, _> =
        push.data.iter().map(|(name, value)| ((*name).to_owned(), Value::String(value.clone()))).collect();
    let mut android = data.clone();
    android.extend([("title".to_owned(), json!(push.title)), ("body".to_owned(), json!(push.body))]);
    let priority = if push.urgent { "HIGH" } else { "NORMAL" };
    let mut aps = json!({ "alert": { "title": push.title, "body": push.body }, "mutable-content": 1 });
    if push.urgent {
        aps["sound"] = json!("default");
    }
    json!({ "message": {
        "token": token,
        "data": data,
        "android": { "priority": priority, "data": android },
        "apns": {
            // A message that is sent twice, after a lost answer, is shown once: it bears the same name again.
            "headers": { "apns-collapse-id": push.id, "apns-priority": "10", "apns-push-type": "alert" },
            "payload": { "aps": aps },
        },
    }})
}

fn classify(status: StatusCode, headers: &HeaderMap, failure: &Failure) -> GatewayError {
    let code = failure.error.details.iter().find_map(|detail| detail.error_code.as_deref());
    match code {
        Some("UNREGISTERED" | "SENDER_ID_MISMATCH") => GatewayError::Dead,
        Some("QUOTA_EXCEEDED") => GatewayError::Throttled(retry_after(headers).unwrap_or(DEFAULT_RETRY_AFTER)),
        Some("UNAVAILABLE") => retry_after(headers)
            .map_or_else(|| GatewayError::Unavailable("UNAVAILABLE".to_owned()), GatewayError::Throttled),
        Some("INTERNAL") => GatewayError::Unavailable("INTERNAL".to_owned()),
        Some("INVALID_ARGUMENT") => GatewayError::Refused("INVALID_ARGUMENT".to_owned()),
        Some("THIRD_PARTY_AUTH_ERROR") => GatewayError::Refused("THIRD_PARTY_AUTH_ERROR".to_owned()),
        _ => GatewayError::of_status(status, headers),
    }
}

#[async_trait]
impl PushGateway for FcmGateway {
    async fn send(&self, token: &str, push: &Push<'_>) -> Result<Reference, GatewayError> {
        guarded(&self.breaker, self.post(token, push)).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lane::Lane;

    fn error(status: u16, code: &str) -> GatewayError {
        let failure = json!({ "error": { "status": "X", "details": [
            { "@type": "type.googleapis.com/google.rpc.BadRequest", "fieldViolations": [] },
            { "@type": "type.googleapis.com/google.firebase.fcm.v1.FcmError", "errorCode": code },
        ]}});
        let failure = serde_json::from_value(failure).expect("FCM's form");
        classify(StatusCode::from_u16(status).expect("a status"), &HeaderMap::new(), &failure)
    }

    #[test]
    fn errors_are_read_by_their_code() {
        assert_eq!(error(404, "UNREGISTERED"), GatewayError::Dead);
        assert_eq!(error(400, "INVALID_ARGUMENT"), GatewayError::Refused("INVALID_ARGUMENT".into()));
        assert!(matches!(error(429, "QUOTA_EXCEEDED"), GatewayError::Throttled(_)));
        assert!(matches!(error(500, "INTERNAL"), GatewayError::Unavailable(_)));
        assert_eq!(error(404, "UNSPECIFIED_ERROR"), GatewayError::Refused("404".into()));
        let plain = classify(StatusCode::BAD_GATEWAY, &HeaderMap::new(), &Failure::default());
        assert!(matches!(plain, GatewayError::Unavailable(_)));
    }

    #[test]
    fn each_lanes_message_wakes_the_app_and_is_shown_by_it() {
        let priorities = ["HIGH", "HIGH", "HIGH", "NORMAL", "NORMAL"];
        for (lane, priority) in Lane::ALL.into_iter().zip(priorities) {
            let data = [("message_id", "0198-a".to_owned()), ("lane", lane.name().to_owned())];
            let push = Push { id: "0198-a", title: "T", body: "B", data: &data, urgent: lane.is_urgent() };
            let mut aps = json!({ "alert": { "title": "T", "body": "B" }, "mutable-content": 1 });
            if lane.is_urgent() {
                aps["sound"] = json!("default");
            }
            // Nothing else: a `notification` anywhere, or a key to collapse by, makes FCM show it without the app and keep few.
            let expected = json!({ "message": {
                "token": "token",
                "data": { "message_id": "0198-a", "lane": lane.name() },
                "android": {
                    "priority": priority,
                    "data": { "message_id": "0198-a", "lane": lane.name(), "title": "T", "body": "B" },
                },
                "apns": {
                    "headers": { "apns-collapse-id": "0198-a", "apns-priority": "10", "apns-push-type": "alert" },
                    "payload": { "aps": aps },
                },
            }});
            assert_eq!(body("token", &push), expected, "{}", lane.name());
        }
    }

    #[test]
    fn the_path_is_put_behind_any_base() {
        for base in ["https://fcm.example", "https://fcm.example/", "https://fcm.example/a", "https://fcm.example/a/"] {
            let config = PushConfig {
                url: base.parse().expect("a URL"),
                project: "p".to_owned(),
                token: Some(Secret::new("t")),
                service_account: None,
                timeout_ms: 1,
            };
            let url = FcmGateway::try_new(config, Clock::system()).expect("a gateway").url;
            let path = url.path().strip_prefix("/a").unwrap_or(url.path());
            assert_eq!(path, "/v1/projects/p/messages:send");
        }
    }

    #[test]
    fn it_is_shown_either_a_token_or_tokens_of_an_account() {
        let made = |token: Option<&str>, account: Option<&str>| {
            let config = PushConfig {
                url: "https://fcm.example".parse().expect("a URL"),
                project: "p".to_owned(),
                token: token.map(Secret::new),
                service_account: account.map(Secret::new),
                timeout_ms: 1,
            };
            FcmGateway::try_new(config, Clock::system()).map(|_| ())
        };
        made(Some("t"), None).expect("a token");
        for (token, account) in [(None, None), (Some("t"), Some("{}")), (None, Some("{}")), (None, Some("key"))] {
            assert!(matches!(made(token, account), Err(FcmSetupError::Bearer(_))), "{token:?} {account:?}");
        }
    }
}
