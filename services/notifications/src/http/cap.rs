//! `GET /cap/v1/feed.atom` and `GET /cap/v1/alerts/{identifier}.xml`: warnings for everybody, machines foremost.
//! `POST /cap/v1/alerts`: documents of partners and officers, which become drafts.

use axum::extract::State;
use axum::extract::rejection::StringRejection;
use axum::response::{IntoResponse, Response};
use chrono::TimeDelta;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use platform::auth::Principal;
use platform::http::{Json, Language, Path};
use platform::problem::{BODY_TOO_LARGE, INVALID_BODY, NOT_FOUND, Problem, UNAUTHENTICATED, UNSUPPORTED_MEDIA_TYPE};
use serde::Serialize;
use utoipa::ToSchema;

use super::Routes;
use crate::alert::intake::desk::Bringer;
use crate::alert::{AlertId, State as Standing, cap, store};

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

/// What became of a document.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct ReceiptBody {
    /// The document's sender.
    sender: String,
    /// Its identifier.
    identifier: String,
    /// Whether it carries a signature, which is kept and not checked.
    signed: bool,
    /// The draft that it made, or of a cancellation before the release, withdrew.
    #[schema(value_type = uuid::Uuid)]
    alert_id: AlertId,
    /// How that stands now.
    state: Standing,
}

/// Takes a CAP 1.2 document (`application/cap+xml`, UTF-8, at most 64 KiB) and drafts a warning from it.
///
/// A partner is told by HTTP Basic and may speak for the senders of its configuration; its draft is adopted by one officer and released
/// by another. An officer (`ioc.operator`) who brings a document stands for its draft. Update and Cancel refer to earlier documents of
/// the same sender by `references`: a draft is replaced or withdrawn, for a warning in force an update or its end is drafted. The same
/// document again changes nothing.
#[utoipa::path(
    post,
    path = "/cap/v1/alerts",
    tag = "warnings",
    operation_id = "submitCapDocument",
    request_body(content = String, content_type = "application/cap+xml"),
    responses(
        (status = 201, description = "It is drafted.", body = ReceiptBody),
        (status = 200, description = "It was known.", body = ReceiptBody),
        (status = 401, description = "`unauthenticated`: HTTP Basic of a partner, or an officer's token."),
        (status = 403, description = "`forbidden`: the role is missing; `cap-sender-forbidden`."),
        (status = 409, description = "`cap-identifier-reused`."),
        (status = 415, description = "`unsupported-media-type`."),
        (status = 422, description = "`cap-invalid`, `cap-not-public`, `cap-elsewhere`, `cap-reference-unknown`, `alert-expiry-invalid`.")
    ),
    security(("cap_partner" = []), ("bearer" = []))
)]
pub(super) async fn submit(
    State(routes): State<Routes>,
    principal: Result<Option<Principal>, Problem>,
    headers: HeaderMap,
    text: Result<String, StringRejection>,
) -> Result<Response, Problem> {
    let (bringer, senders) = bringer(&routes, principal, &headers)?;
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let essence = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if !["application/cap+xml", "application/xml", "text/xml"].contains(&essence.as_str()) {
        return Err(Problem::new(UNSUPPORTED_MEDIA_TYPE));
    }
    let text = text.map_err(|rejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => Problem::new(BODY_TOO_LARGE),
        _ => Problem::new(INVALID_BODY),
    })?;
    // XML has no such character, and the database keeps none.
    if text.contains('\0') {
        return Err(Problem::new(INVALID_BODY));
    }
    let mut transaction = platform::db::begin(&routes.pool).await?;
    let receipt = routes.desk.take(&mut transaction, &bringer, (&text, senders.as_deref())).await?;
    transaction.commit().await?;
    if !receipt.again {
        let step = if receipt.alert.life.state == Standing::Withdrawn { "withdrawn" } else { "drafted" };
        routes.desk.meter.alert(step, receipt.alert.content.severity);
    }
    let status = if receipt.again { StatusCode::OK } else { StatusCode::CREATED };
    let body = ReceiptBody {
        sender: receipt.sender,
        identifier: receipt.identifier,
        signed: receipt.signed,
        alert_id: receipt.alert.id,
        state: receipt.alert.life.state_at(routes.clock.now()),
    };
    Ok((status, Json(body)).into_response())
}

/// Who brings a document, and the senders for whom they may speak; an officer may for all.
fn bringer(
    routes: &Routes,
    principal: Result<Option<Principal>, Problem>,
    headers: &HeaderMap,
) -> Result<(Bringer, Option<Vec<String>>), Problem> {
    if platform::http::is_machine(headers) {
        let name = routes.cap_partners.who(headers).ok_or_else(|| Problem::new(UNAUTHENTICATED))?;
        let senders = routes.cap_senders.get(name).cloned().unwrap_or_default();
        return Ok((Bringer::Partner(name.to_owned()), Some(senders)));
    }
    let principal = principal?.ok_or_else(|| Problem::new(UNAUTHENTICATED))?;
    super::alert::allow(&principal, &[super::alert::OPERATOR])?;
    Ok((Bringer::Officer(principal.subject), None))
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
