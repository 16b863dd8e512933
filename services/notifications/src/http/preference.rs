//! `GET` and `PUT /notifications/v1/preferences`.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, header};
use platform::auth::Principal;
use platform::http::{Json, Language};
use platform::problem::{INVALID_HEADER, Problem};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Routes;
use crate::lane::{Channel, Lane};
use crate::preference::{Preferences, Switches};
use crate::preference_sql;
use crate::quiet::{Minute, QuietHours};

/// A language of messages.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum LanguageBody {
    /// Vietnamese.
    Vi,
    /// English.
    En,
}

/// The channels of one lane, on or off. A channel that is left out is on.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct ChannelsBody {
    /// The inbox of the app.
    #[serde(default = "on")]
    in_app: bool,
    /// Push messages.
    #[serde(default = "on")]
    push: bool,
    /// Text messages.
    #[serde(default = "on")]
    sms: bool,
}

fn on() -> bool {
    true
}

impl ChannelsBody {
    fn all_on() -> Self {
        Self { in_app: true, push: true, sms: true }
    }

    fn of(channels: Option<&BTreeMap<Channel, bool>>) -> Self {
        let is_on = |channel| channels.and_then(|channels| channels.get(&channel)).copied().unwrap_or(true);
        Self { in_app: is_on(Channel::InApp), push: is_on(Channel::Push), sms: is_on(Channel::Sms) }
    }

    fn switches(&self) -> BTreeMap<Channel, bool> {
        BTreeMap::from([(Channel::InApp, self.in_app), (Channel::Push, self.push), (Channel::Sms, self.sms)])
    }
}

/// Lanes and their channels. A lane that is left out is on.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct LanesBody {
    /// Warnings about danger; always on.
    #[serde(default = "ChannelsBody::all_on")]
    emergency: ChannelsBody,
    /// One-time codes and new devices; always on.
    #[serde(default = "ChannelsBody::all_on")]
    security: ChannelsBody,
    /// Money that moved.
    #[serde(default = "ChannelsBody::all_on")]
    payment: ChannelsBody,
    /// Reports, procedures, appointments.
    #[serde(default = "ChannelsBody::all_on")]
    service: ChannelsBody,
    /// News of the city.
    #[serde(default = "ChannelsBody::all_on")]
    news: ChannelsBody,
}

impl LanesBody {
    fn of(switches: &Switches) -> Self {
        let channels = |lane| ChannelsBody::of(switches.get(&lane));
        Self {
            emergency: channels(Lane::Emergency),
            security: channels(Lane::Security),
            payment: channels(Lane::Payment),
            service: channels(Lane::Service),
            news: channels(Lane::News),
        }
    }

    fn switches(&self) -> Switches {
        BTreeMap::from([
            (Lane::Emergency, self.emergency.switches()),
            (Lane::Security, self.security.switches()),
            (Lane::Payment, self.payment.switches()),
            (Lane::Service, self.service.switches()),
            (Lane::News, self.news.switches()),
        ])
    }
}

/// What a citizen chose.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PreferencesBody {
    /// The language of push messages; null: the account's language.
    #[serde(default)]
    language: Option<LanguageBody>,
    /// Which channels of which lanes are on.
    lanes: LanesBody,
    /// Hours of the city in which push and text messages wait; null: none. Emergency and security never wait.
    #[serde(default)]
    quiet_hours: Option<QuietHours>,
    /// The hour of the city at which the day's news come as one push message; null: each by itself.
    #[serde(default)]
    digest_at: Option<Minute>,
}

impl PreferencesBody {
    fn of(preferences: &Preferences) -> Self {
        let language = preferences.language.map(|language| match language {
            Language::Vi => LanguageBody::Vi,
            Language::En => LanguageBody::En,
        });
        let lanes = LanesBody::of(&preferences.switches());
        Self { language, lanes, quiet_hours: preferences.quiet, digest_at: preferences.digest_at }
    }

    fn language(&self) -> Option<Language> {
        self.language.map(|language| match language {
            LanguageBody::Vi => Language::Vi,
            LanguageBody::En => Language::En,
        })
    }
}

/// The citizen's choices, with their version as `ETag`. Everything is on until something is switched off.
#[utoipa::path(
    get,
    path = "/notifications/v1/preferences",
    tag = "notifications",
    operation_id = "getNotificationPreferences",
    responses((status = 200, description = "The choices.", body = PreferencesBody, headers(("ETag" = String, description = "Their version.")))),
    security(("bearer" = []))
)]
pub(super) async fn show(State(routes): State<Routes>, principal: Principal) -> Result<Response, Problem> {
    let preferences = preference_sql::read(&mut *routes.pool.acquire().await?, principal.subject).await?;
    Ok(answer(&PreferencesBody::of(&preferences), preferences.version))
}

/// Replaces the citizen's choices. With `If-Match` only if they are still at that version.
#[utoipa::path(
    put,
    path = "/notifications/v1/preferences",
    tag = "notifications",
    operation_id = "replaceNotificationPreferences",
    params(("If-Match" = Option<String>, Header, description = "The `ETag` of the choices that were changed.")),
    request_body = PreferencesBody,
    responses(
        (status = 200, description = "The new choices.", body = PreferencesBody, headers(("ETag" = String, description = "Their version."))),
        (status = 412, description = "`precondition-failed`: they were changed meanwhile."),
        (status = 422, description = "`lane-locked`: emergency and security can't be switched off; `invalid-body`.")
    ),
    security(("bearer" = []))
)]
pub(super) async fn replace(
    State(routes): State<Routes>,
    principal: Principal,
    headers: HeaderMap,
    Json(body): Json<PreferencesBody>,
) -> Result<Response, Problem> {
    let expected = if_match(&headers)?;
    let chosen =
        Preferences::chosen(body.language(), &body.lanes.switches())?.at_times(body.quiet_hours, body.digest_at);
    let mut transaction = platform::db::begin(&routes.pool).await?;
    let now = routes.clock.now();
    let version = preference_sql::replace(&mut transaction, principal.subject, &chosen, expected, now).await?;
    transaction.commit().await?;
    Ok(answer(&PreferencesBody::of(&chosen), version))
}

fn answer(body: &PreferencesBody, version: i64) -> Response {
    let etag = HeaderValue::from_str(&format!("\"{version}\"")).expect("a quoted number is a header value");
    ([(header::ETAG, etag)], Json(body)).into_response()
}

/// The version in `If-Match`; `None` when there is no such header or it is `*`.
fn if_match(headers: &HeaderMap) -> Result<Option<i64>, Problem> {
    let Some(value) = headers.get(header::IF_MATCH) else { return Ok(None) };
    let text = value.to_str().unwrap_or_default().trim();
    if text == "*" {
        return Ok(None);
    }
    let version = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).and_then(|text| text.parse().ok());
    version.map(Some).ok_or_else(|| {
        Problem::new(INVALID_HEADER)
            .detail("If-Match phải là một ETag.", "If-Match must be an ETag that was answered before.")
    })
}
