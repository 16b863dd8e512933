//! `GET` and `PATCH /identity/v1/me`

use axum::extract::State;
use axum::response::Response;
use chrono::{DateTime, Utc};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use platform::auth::Principal;
use platform::http::Json;
use platform::problem::Problem;
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

use super::address::ClientAddress;
use super::{App, LanguageTag, origin, private};
use crate::citizen::{Citizen, CitizenId, DisplayName, Edit};

/// The most entity tags of an `If-Match` that are looked at.
const MAX_TAGS: usize = 16;

/// The caller's profile.
#[derive(Serialize, ToSchema)]
pub(super) struct Me {
    /// The citizen.
    id: CitizenId,
    /// The number with its middle hidden.
    #[schema(example = "+84******678")]
    phone_masked: String,
    /// What the citizen calls themself.
    display_name: Option<String>,
    /// The language of messages.
    language: LanguageTag,
    /// 0 = phone proved, 1 = citizen number proved, 2 = proved in person.
    tier: i16,
    /// Whether a PIN is set.
    pin_set: bool,
    /// Since when.
    created_at: DateTime<Utc>,
}

/// A change of the profile; absent fields stay as they are.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct MeEdit {
    /// A new name of 1 to 80 characters, or null for none.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<String>, min_length = 1, max_length = 80)]
    display_name: Option<Option<String>>,
    /// A new language of messages.
    #[serde(default)]
    language: Option<LanguageTag>,
}

/// Tells null from absent.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<String>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

/// Show my profile
#[utoipa::path(
    get, path = "/identity/v1/me", tag = "identity", security(("bearer" = [])),
    responses(
        (status = 200, description = "The profile", body = Me, headers(("ETag" = String, description = "Its version"))),
        (status = 401, description = "`unauthenticated`", content_type = "application/problem+json"),
    )
)]
pub(super) async fn show(State(identity): App, caller: Principal) -> Result<Response, Problem> {
    Ok(answer(identity.citizen(caller.subject.into()).await?))
}

/// Change my profile
///
/// With `If-Match` the change is made only to the version that was read.
#[utoipa::path(
    patch, path = "/identity/v1/me", tag = "identity", security(("bearer" = [])), request_body = MeEdit,
    params(("If-Match" = Option<String>, Header, description = "The `ETag` that was read")),
    responses(
        (status = 200, description = "The changed profile", body = Me, headers(("ETag" = String, description = "Its version"))),
        (status = 401, description = "`unauthenticated`", content_type = "application/problem+json"),
        (status = 412, description = "`precondition-failed`: it was changed meanwhile", content_type = "application/problem+json"),
        (status = 422, description = "`invalid-body`", content_type = "application/problem+json"),
    )
)]
pub(super) async fn edit(
    State(identity): App,
    caller: Principal,
    ClientAddress(address): ClientAddress,
    headers: HeaderMap,
    Json(request): Json<MeEdit>,
) -> Result<Response, Problem> {
    let display_name = match request.display_name {
        Some(Some(text)) => Some(Some(DisplayName::parse(&text)?)),
        Some(None) => Some(None),
        None => None,
    };
    let edit = Edit { display_name, language: request.language.map(Into::into) };
    let (seen, origin) = (versions_seen(&headers), origin(&caller, address));
    Ok(answer(identity.edit_citizen(caller.subject.into(), edit, seen, origin).await?))
}

fn answer(citizen: Citizen) -> Response {
    let tag = format!("\"{}\"", citizen.version);
    let me = Me {
        id: citizen.id,
        phone_masked: citizen.phone_masked(),
        display_name: citizen.display_name,
        language: citizen.language.into(),
        tier: citizen.tier.number(),
        pin_set: citizen.pin_set,
        created_at: citizen.created_at,
    };
    let mut response = private(StatusCode::OK, me);
    response
        .headers_mut()
        .insert(header::ETAG, HeaderValue::from_str(&tag).expect("digits in quotes are a header value"));
    response
}

/// The versions that `If-Match` accepts (RFC 9110, section 13.1.1): nothing when any is.
pub(super) fn versions_seen(headers: &HeaderMap) -> Option<Vec<i64>> {
    let mut tags = headers.get_all(header::IF_MATCH).iter().peekable();
    tags.peek()?;
    let texts: Vec<&str> = tags
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .take(MAX_TAGS)
        .map(str::trim)
        .collect();
    if texts.contains(&"*") {
        return None;
    }
    // A weak tag never matches here, nor does one that is not ours.
    Some(texts.iter().filter_map(|text| text.strip_prefix('"')?.strip_suffix('"')?.parse().ok()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn if_match_names_versions() {
        let seen = |value: &'static str| {
            versions_seen(&HeaderMap::from_iter([(header::IF_MATCH, HeaderValue::from_static(value))]))
        };
        assert_eq!(seen("\"3\""), Some(vec![3]));
        assert_eq!(seen("\"3\", \"4\""), Some(vec![3, 4]));
        assert_eq!(seen("*"), None);
        assert_eq!(seen("W/\"3\""), Some(vec![]));
        assert_eq!(seen("three"), Some(vec![]));
        assert_eq!(versions_seen(&HeaderMap::new()), None);
    }
}
