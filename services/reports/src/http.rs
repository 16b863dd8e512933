//! Routes of field reports: thin adapters from HTTP to use cases. Only these files know axum.
//!
//! Who may call: what is public takes no token. A citizen's token reaches the citizen's own reports; an officer is known by the
//! roles of the token. A report that the caller may not see does not exist.

mod category;
mod citizen;
mod map;
mod photo;
mod place;
mod report;
#[cfg(test)]
mod tests;
mod transition;
mod view;

use std::sync::Arc;

use axum::extract::DefaultBodyLimit;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use platform::auth::Principal;
use platform::http::{ApiRouter, Json};
use platform::idempotency::{self, Claim, Key};
use platform::problem::Problem;
use serde::Serialize;
use sqlx::PgConnection;
use utoipa_axum::routes;
use uuid::Uuid;

use crate::error::Error;
use crate::lifecycle::Actor;
use crate::metrics::Count;
use crate::officer::Office;
use crate::{Reports, SCHEMA, list, officer as officers};

/// The shared state of all handlers.
type App = Arc<Reports>;

/// All routes of the role.
pub(crate) fn router(reports: App) -> ApiRouter {
    let city = Arc::clone(&reports.city);
    let open = ApiRouter::new().routes(routes!(category::list)).with_state(city);
    let uploads = ApiRouter::new().routes(routes!(photo::upload)).layer(DefaultBodyLimit::max(photo::MAX_UPLOAD));
    ApiRouter::new()
        .routes(routes!(place::locate))
        .routes(routes!(place::duplicates))
        .routes(routes!(map::geojson))
        .routes(routes!(map::statistics))
        .routes(routes!(report::submit, report::list))
        .routes(routes!(report::show))
        .routes(routes!(report::timeline))
        .routes(routes!(report::queue))
        .routes(routes!(citizen::answer))
        .routes(routes!(citizen::rate))
        .routes(routes!(citizen::reopen))
        .routes(routes!(transition::act))
        .routes(routes!(photo::show))
        .merge(uploads)
        .with_state(reports)
        .merge(open)
}

/// The largest body of a route that takes more than others.
pub(crate) fn body_limit(path: &str) -> Option<usize> {
    let report = path.strip_prefix("/reports/v1/reports/")?.strip_suffix("/photos")?;
    (!report.contains('/')).then_some(photo::MAX_UPLOAD)
}

/// A claim on an idempotency key, before the work.
fn key(principal: &Principal, operation: &'static str, key: String, fingerprint: [u8; 32]) -> Key {
    Key { caller: principal.subject, operation, key, fingerprint }
}

/// Does work once per key, in one transaction with the key; a repeated request gets the stored answer. What is counted is
/// counted when it is committed.
async fn once<B, F>(reports: &Reports, key: Key, status: StatusCode, work: F) -> Result<Response, Problem>
where
    B: Serialize + Sync,
    F: AsyncFnOnce(&mut PgConnection) -> Result<(B, Vec<Count>), Error>,
{
    let mut tx = platform::db::begin(&reports.pool).await?;
    if let Claim::Replay(stored) = idempotency::claim(&mut tx, SCHEMA, &key, reports.now()).await? {
        let status = StatusCode::from_u16(stored.status).unwrap_or(status);
        return Ok((status, Json(stored.body)).into_response());
    }
    let (body, counts) = work(&mut tx).await?;
    idempotency::store(&mut tx, SCHEMA, &key, status.as_u16(), &body).await?;
    tx.commit().await?;
    counts.iter().for_each(|count| reports.metrics.count(count));
    Ok((status, Json(body)).into_response())
}

/// As whom a caller sees one report.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Viewer {
    /// The operations centre: everything.
    Ioc,
    /// The citizen who sent it.
    Reporter,
    /// An agency that leads or helps, or anybody once it is public.
    Agency,
    /// Anybody.
    Public,
}

impl Viewer {
    /// Whether they read a reporter's own words.
    fn reads_all(&self) -> bool {
        matches!(self, Self::Ioc | Self::Reporter)
    }
}

/// What a caller may do as an officer, or a refusal.
fn officer(reports: &Reports, principal: &Principal) -> Result<Office, Error> {
    officers::office(&reports.city.agencies, principal).ok_or(Error::Forbidden)
}

/// One report, and as whom the caller sees it; `NotFound` when not at all.
async fn visible(
    reports: &Reports,
    connection: &mut PgConnection,
    principal: Option<&Principal>,
    id: Uuid,
) -> Result<(list::Row, Viewer), Error> {
    let row = list::find(connection, id).await?.ok_or(Error::NotFound)?;
    if let Some(principal) = principal {
        let office = officers::office(&reports.city.agencies, principal);
        match office.and_then(|office| office.actor(&row.progress, row.ward_code.as_deref())) {
            Some(Actor::Agency(_)) => return Ok((row, Viewer::Agency)),
            Some(_) => return Ok((row, Viewer::Ioc)),
            None => {}
        }
        if list::reporter(connection, id).await? == Some(principal.subject) {
            return Ok((row, Viewer::Reporter));
        }
    }
    let hidden = matches!(row.progress.state, crate::lifecycle::State::Rejected | crate::lifecycle::State::Duplicate);
    if row.public_since.is_none() || hidden {
        return Err(Error::NotFound);
    }
    Ok((row, Viewer::Public))
}
