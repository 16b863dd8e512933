//! `GET /cap/v1/feed.atom` and `GET /cap/v1/alerts/{identifier}.xml`: warnings for everybody, machines foremost.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use chrono::TimeDelta;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use platform::http::{Language, Path};
use platform::problem::{NOT_FOUND, Problem};

use super::Routes;
use crate::alert::{cap, store};

/// How long a message stays in the feed: as long as an alert can be in force, so that the end of one stands beside it.
const FEED_LIFE: TimeDelta = crate::alert::desk::MAX_LIFE;
/// Messages in the feed at most.
const MAX_ENTRIES: i64 = 100;
/// Caches ask again after these seconds, and get `304 Not Modified` at little cost.
const FEED_CACHING: HeaderValue = HeaderValue::from_static("public, max-age=10, must-revalidate");
/// A document never changes.
const DOCUMENT_CACHING: HeaderValue = HeaderValue::from_static("public, max-age=604800, immutable");

/// The warnings of the last 7 days as an Atom feed, newest first; each entry links to its CAP document.
#[utoipa::path(
    get,
    path = "/cap/v1/feed.atom",
    tag = "warnings",
    operation_id = "getAlertFeed",
    responses(
        (status = 200, description = "The feed (RFC 4287), in the language of `Accept-Language`.", body = String, content_type = "application/atom+xml"),
        (status = 304, description = "Nothing new since the `ETag` of `If-None-Match`.")
    )
)]
pub(super) async fn feed(
    State(routes): State<Routes>,
    language: Language,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let (desk, since) = (&routes.desk, routes.clock.now() - FEED_LIFE);
    let entries = store::released_since(&routes.pool, since, MAX_ENTRIES, &desk.city).await?;
    // Documents never change, so the feed is what its first and its last entry say.
    let name = |entry: Option<&cap::Entry>| entry.map_or("none", |entry| &entry.identifier).to_owned();
    let etag = format!("\"{}.{}.{}\"", name(entries.first()), name(entries.last()), language.tag());
    let body = || cap::feed(&entries, routes.public_url.as_str(), &desk.city, language);
    let mut answer = cached(&headers, &etag, FEED_CACHING, "application/atom+xml; charset=utf-8", body);
    answer.headers_mut().insert(header::VARY, HeaderValue::from_static("accept-language"));
    Ok(answer)
}

/// The CAP 1.2 document of a released warning, in Vietnamese and English.
#[utoipa::path(
    get,
    path = "/cap/v1/alerts/{document}",
    tag = "warnings",
    operation_id = "getAlertDocument",
    params(("document" = String, Path, description = "The alert's identifier, and `.xml`.")),
    responses(
        (status = 200, description = "The document (OASIS CAP 1.2). It never changes.", body = String, content_type = "application/cap+xml"),
        (status = 304, description = "It is the one of `If-None-Match`."),
        (status = 404, description = "`not-found`.")
    )
)]
pub(super) async fn document(
    State(routes): State<Routes>,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let identifier = name.strip_suffix(".xml").ok_or_else(|| Problem::new(NOT_FOUND))?;
    let document = store::document(&routes.pool, identifier).await?.ok_or_else(|| Problem::new(NOT_FOUND))?;
    let etag = format!("\"{identifier}\"");
    Ok(cached(&headers, &etag, DOCUMENT_CACHING, "application/cap+xml; charset=utf-8", || document))
}

/// The body, or `304 Not Modified` for who has it.
fn cached(
    request: &HeaderMap,
    etag: &str,
    caching: HeaderValue,
    kind: &'static str,
    body: impl FnOnce() -> String,
) -> Response {
    let etag_value = HeaderValue::from_str(etag).expect("identifiers are visible ASCII");
    let known = request.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    let known = known.flat_map(|value| value.split(',')).map(|tag| tag.trim().trim_start_matches("W/"));
    let headers = [(header::ETAG, etag_value), (header::CACHE_CONTROL, caching)];
    if known.into_iter().any(|tag| tag == etag || tag == "*") {
        return (StatusCode::NOT_MODIFIED, headers).into_response();
    }
    (headers, [(header::CONTENT_TYPE, kind)], body()).into_response()
}
