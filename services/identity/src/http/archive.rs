//! `/identity/v1/me/exports`

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, SecondsFormat, Utc};
use futures::stream;
use http::{HeaderValue, StatusCode, header};
use platform::auth::Principal;
use platform::http::{IdempotentJson, Path};
use platform::problem::Problem;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::address::ClientAddress;
use super::{App, origin, private};
use crate::Identity;
use crate::archive::{Archive, ArchiveId, Reading};
use crate::citizen::CitizenId;
use crate::error::Error;

/// Nothing needs to be said.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ExportOrder {}

/// A copy of everything that all services keep of the caller.
#[derive(Serialize, ToSchema)]
pub(super) struct ExportView {
    /// The export.
    id: ArchiveId,
    /// `gathering`: services hand over their parts; `ready`: the document can be read.
    state: &'static str,
    /// What each service has done.
    services: Vec<ExportPartView>,
    /// When it was asked for.
    requested_at: DateTime<Utc>,
    /// Since when it is complete.
    ready_at: Option<DateTime<Utc>>,
    /// When it is removed.
    expires_at: DateTime<Utc>,
}

/// A service's part of an export.
#[derive(Serialize, ToSchema)]
pub(super) struct ExportPartView {
    /// `identity`, `wallet`, `reports` or `notifications`.
    service: String,
    /// Whether it has handed over all that it keeps.
    done: bool,
}

/// The caller's exports.
#[derive(Serialize, ToSchema)]
pub(super) struct ExportList {
    /// Newest first; at most three are kept.
    items: Vec<ExportView>,
}

impl From<Archive> for ExportView {
    fn from(archive: Archive) -> Self {
        let part = |(service, done)| ExportPartView { service, done };
        Self {
            id: archive.id,
            state: if archive.ready_at.is_some() { "ready" } else { "gathering" },
            services: archive.parts.into_iter().map(part).collect(),
            requested_at: archive.requested_at,
            ready_at: archive.ready_at,
            expires_at: archive.expires_at,
        }
    }
}

/// Ask for a copy of everything
///
/// All services hand over what they keep of the caller; a message tells when the document is complete. Soon after signing in only.
/// While one is under way, that one is answered.
#[utoipa::path(
    post, path = "/identity/v1/me/exports", tag = "identity", security(("bearer" = [])), request_body = ExportOrder,
    params(("Idempotency-Key" = String, Header, description = "One per export")),
    responses(
        (status = 202, description = "Services are being asked", body = ExportView),
        (status = 401, description = "`unauthenticated`", content_type = "application/problem+json"),
        (status = 403, description = "`session-not-fresh`: sign in again", content_type = "application/problem+json"),
        (status = 422, description = "`invalid-body`, `idempotency-key-reused`", content_type = "application/problem+json"),
        (status = 429, description = "`exports-too-many`: three are kept", content_type = "application/problem+json"),
    )
)]
pub(super) async fn order(
    State(identity): App,
    caller: Principal,
    ClientAddress(address): ClientAddress,
    request: IdempotentJson<ExportOrder>,
) -> Result<Response, Problem> {
    let ExportOrder {} = request.body;
    let origin = origin(&caller, address);
    let archive = identity.request_archive(&caller, (request.key, request.fingerprint), origin).await?;
    Ok(private(StatusCode::ACCEPTED, ExportView::from(archive)))
}

/// List my exports
#[utoipa::path(
    get, path = "/identity/v1/me/exports", tag = "identity", security(("bearer" = [])),
    responses(
        (status = 200, description = "Those that are kept", body = ExportList),
        (status = 401, description = "`unauthenticated`", content_type = "application/problem+json"),
    )
)]
pub(super) async fn list(State(identity): App, caller: Principal) -> Result<Response, Problem> {
    let items = identity.archives(&caller).await?.into_iter().map(ExportView::from).collect();
    Ok(private(StatusCode::OK, ExportList { items }))
}

/// Show how far an export has come
#[utoipa::path(
    get, path = "/identity/v1/me/exports/{export_id}", tag = "identity", security(("bearer" = [])),
    params(("export_id" = Uuid, Path, description = "The export")),
    responses(
        (status = 200, description = "What each service has done", body = ExportView),
        (status = 401, description = "`unauthenticated`", content_type = "application/problem+json"),
        (status = 404, description = "`not-found`", content_type = "application/problem+json"),
    )
)]
pub(super) async fn show(
    State(identity): App,
    caller: Principal,
    Path(id): Path<ArchiveId>,
) -> Result<Response, Problem> {
    Ok(private(StatusCode::OK, ExportView::from(identity.archive(&caller, id).await?)))
}

/// Read an export
///
/// One JSON document with an object for each service, which holds a list for each kind of things. Soon after signing in only.
#[utoipa::path(
    get, path = "/identity/v1/me/exports/{export_id}/document", tag = "identity", security(("bearer" = [])),
    params(("export_id" = Uuid, Path, description = "The export")),
    responses(
        (status = 200, description = "The document", body = Object),
        (status = 401, description = "`unauthenticated`", content_type = "application/problem+json"),
        (status = 403, description = "`session-not-fresh`: sign in again", content_type = "application/problem+json"),
        (status = 404, description = "`not-found`", content_type = "application/problem+json"),
        (status = 409, description = "`export-not-ready`", content_type = "application/problem+json"),
    )
)]
pub(super) async fn document(
    State(identity): App,
    caller: Principal,
    Path(id): Path<ArchiveId>,
) -> Result<Response, Problem> {
    let parts = identity.open_archive(&caller, id).await?;
    let head =
        format!("{{\"exported_at\":\"{}\",\"services\":{{", identity.now().to_rfc3339_opts(SecondsFormat::Secs, true));
    let document = Document { identity, user: caller.subject.into(), parts, next: Next::Text(head) };
    let mut response = Body::from_stream(stream::try_unfold(document, Document::step)).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::CONTENT_DISPOSITION, HeaderValue::from_static("attachment; filename=\"export.json\""));
    Ok(response)
}

/// What of a document comes next.
enum Next {
    /// This text, then the first part.
    Text(String),
    /// A piece of a part.
    Piece(usize, i32),
    /// Nothing.
    End,
}

/// A document that is being read: one piece of it is in memory at a time.
struct Document {
    identity: Arc<Identity>,
    user: CitizenId,
    parts: Vec<Reading>,
    next: Next,
}

impl Document {
    async fn step(mut self) -> Result<Option<(Bytes, Self)>, Error> {
        let bytes = match std::mem::replace(&mut self.next, Next::End) {
            Next::End => return Ok(None),
            Next::Text(text) => {
                self.next = Next::Piece(0, 0);
                text.into_bytes()
            }
            Next::Piece(part, ordinal) => self.piece(part, ordinal).await?,
        };
        Ok(Some((bytes.into(), self)))
    }

    async fn piece(&mut self, part: usize, ordinal: i32) -> Result<Vec<u8>, Error> {
        let Some(reading) = self.parts.get(part) else { return Ok(b"}}".to_vec()) };
        let mut bytes = Vec::new();
        if ordinal == 0 {
            let comma = if part == 0 { "" } else { "," };
            bytes.extend_from_slice(format!("{comma}\"{}\":", reading.service).as_bytes());
        }
        bytes.extend(self.identity.read_piece(self.user, reading, ordinal).await?);
        self.next =
            if ordinal + 1 < reading.pieces { Next::Piece(part, ordinal + 1) } else { Next::Piece(part + 1, 0) };
        Ok(bytes)
    }
}
