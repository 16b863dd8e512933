//! Photos: sent as the bytes themselves, shown as JPEG without anything but the picture.

use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, FailedToBufferBody};
use axum::extract::{FromRequest as _, Request, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, Method, header};
use platform::auth::Principal;
use platform::http::{IdempotencyKey, Path};
use platform::idempotency::{Answer, Key};
use platform::problem::{BODY_TOO_LARGE, INVALID_BODY, Problem};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::{App, Attempt, CREATED, Work, key, once, view, visible};
use crate::arrival::{self, Ticket};
use crate::error::Error;
use crate::lifecycle::{Actor, State as ReportState};
use crate::metrics::Count;
use crate::officer;
use crate::photo::{self, PhotoView};
use crate::picture::{self, Picture};
use crate::report::Standing;

/// The largest photo that is taken, in bytes.
pub(crate) const MAX_UPLOAD: usize = 8 << 20;

/// As whom a caller adds a photo: as the reporter, else as an officer.
fn adder(reports: &App, standing: &Standing, caller: &Principal) -> Result<Actor, Error> {
    if standing.reporter == Some(caller.subject) {
        return Ok(Actor::Reporter);
    }
    let office = officer::office(&reports.city.agencies, caller).ok_or(Error::NotFound)?;
    office.actor(&standing.case, standing.filed.ward_code.as_deref()).ok_or(Error::NotFound)
}

/// Adds a photo: the reporter's to a new report, the leading agency's as evidence.
///
/// The body is the photo itself (JPEG, PNG or WebP, at most 8 MiB, 8,192 pixels on a side); its type is read from its bytes.
/// Only the picture is kept: place, time and camera are not.
#[utoipa::path(
    post,
    path = "/reports/v1/reports/{report_id}/photos",
    tag = "reports",
    operation_id = "addReportPhoto",
    params(("report_id" = Uuid, Path), ("Idempotency-Key" = String, Header)),
    request_body(content_type = "application/octet-stream", description = "A picture"),
    responses(
        (status = 201, body = PhotoView),
        (status = 404, description = "not-found"),
        (status = 409, description = "wrong-state"),
        (status = 413, description = "body-too-large"),
        (status = 422, description = "photo-unreadable, photo-too-large, too-many-photos"),
        (status = 503, description = "overloaded, photo-store-unavailable"),
    ),
    security(("bearer" = []))
)]
pub(super) async fn upload(
    State(reports): State<App>,
    principal: Principal,
    Path(id): Path<Uuid>,
    IdempotencyKey(client_key): IdempotencyKey,
    request: Request,
) -> Result<Response, Problem> {
    // Nothing of the body is read before the sender is known to be allowed and there is room for it.
    let open = allowed(&reports, &principal, id).await?;
    let _place = reports.photos.place()?;
    let bytes = Bytes::from_request(request, &()).await.map_err(refuse_body)?;
    let mut hash = Sha256::new();
    hash.update(Method::POST.as_str());
    hash.update(id.as_bytes());
    hash.update(&bytes);
    let key = key(&principal, "report.photo", client_key, hash.finalize().into());
    let photo = photo_id(&key);
    let picture =
        reports.photos.clean(bytes.into()).await.inspect_err(|_| reports.metrics.count(&Count::Photo("refused")))?;
    // Announced before it is stored, so that nothing is left of what is refused or breaks off; counted again when it is written down.
    let ticket = arrival::begin(&reports, (id, photo), open).await?;
    let stored = reports.photos.put(id, photo, picture.bytes.clone()).await;
    stored.inspect_err(|error| reports.metrics.count(&Count::Photo(error.name()))).map_err(Error::from)?;
    let upload = Upload { reports: &reports, principal: &principal, id, photo, picture, ticket };
    let answer = once(&reports, key, upload).await;
    if answer.is_err()
        && let Err(error) = arrival::withdraw(&reports, photo).await
    {
        tracing::warn!(report.id = %id, photo.id = %photo, %error, "a refused photo stays in the store until its time has passed");
    }
    answer
}

/// A stored photo that is written down.
struct Upload<'a> {
    reports: &'a App,
    principal: &'a Principal,
    id: Uuid,
    photo: Uuid,
    picture: Picture,
    ticket: Ticket,
}

impl Work for Upload<'_> {
    type Body = PhotoView;

    async fn attempt(&self, key: &Key) -> Result<Attempt<PhotoView>, Problem> {
        let Self { reports, principal, id, photo, picture, ticket } = self;
        let (known, standing) = reports.together.reports.ask((*id, Some(key.clone()))).await?;
        if let Some(stored) = known.replay(key)? {
            return Ok(Attempt::Known(stored));
        }
        let standing = standing.ok_or(Error::NotFound)?;
        let actor = adder(reports, &standing, principal)?;
        let view = photo::view(&standing.case, &actor, (*photo, picture)).map_err(Error::from)?;
        let answer = Answer::try_new(key, CREATED, &view)?;
        let added = photo::add(reports, &standing, (&view, picture, *ticket), answer).await?;
        Ok(if added { Attempt::Done(view, vec![Count::Photo("stored")]) } else { Attempt::Overtaken })
    }
}

/// The id of the photo that a key names: the same when it is sent again, so that the store keeps it once.
fn photo_id(key: &Key) -> Uuid {
    let mut hash = Sha256::new();
    hash.update(key.caller.as_bytes());
    hash.update(&key.key);
    hash.update(key.fingerprint);
    let digest: [u8; 32] = hash.finalize().into();
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    uuid::Builder::from_random_bytes(bytes).into_uuid()
}

/// A body that is too long, or that broke off.
fn refuse_body(rejection: BytesRejection) -> Problem {
    let code = match &rejection {
        BytesRejection::FailedToBufferBody(FailedToBufferBody::LengthLimitError(_)) => BODY_TOO_LARGE,
        _ => INVALID_BODY,
    };
    Problem::new(code).source(rejection)
}

/// Refuses who may not, before anything is read; the kind and the round of the photo else.
async fn allowed(reports: &App, principal: &Principal, id: Uuid) -> Result<(&'static str, u32), Error> {
    let (_, standing) = reports.together.reports.ask((id, None)).await?;
    let standing = standing.ok_or(Error::NotFound)?;
    let actor = adder(reports, &standing, principal)?;
    Ok((photo::kind(&standing.case, &actor)?, standing.case.round))
}

/// One photo of a report that the caller may see.
#[utoipa::path(
    get,
    path = "/reports/v1/reports/{report_id}/photos/{photo_id}",
    tag = "reports",
    operation_id = "getReportPhoto",
    params(("report_id" = Uuid, Path), ("photo_id" = Uuid, Path)),
    responses(
        (status = 200, description = "A JPEG.", content_type = "image/jpeg"),
        (status = 404, description = "not-found"),
        (status = 503, description = "photo-store-unavailable"),
    )
)]
pub(super) async fn show(
    State(reports): State<App>,
    principal: Option<Principal>,
    Path((id, photo)): Path<(Uuid, Uuid)>,
) -> Result<Response, Problem> {
    let mut connection = reports.pool.acquire().await?;
    let (row, viewer) = visible(&reports, &mut connection, principal.as_ref(), id).await?;
    let ended = matches!(row.progress.state, ReportState::Published | ReportState::Closed);
    let photos = photo::list(&mut connection, id).await?;
    drop(connection);
    let known = photos.iter().any(|kept| kept.id == photo && view::shows(kept, &viewer, ended));
    if !known {
        return Err(Error::NotFound.into());
    }
    let mut response = reports.photos.get(id, photo).await.map_err(Error::from)?.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(picture::MEDIA_TYPE));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, max-age=3600"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    Ok(response)
}
