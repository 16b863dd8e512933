//! Routes of field reports: thin adapters from HTTP to use cases. Only these files know axum.
//!
//! Who may call: what is public takes no token. A citizen's token reaches the citizen's own reports; an officer is known by the
//! roles of the token. A report that the caller may not see does not exist.

mod category;
mod citizen;
mod map;
mod photo;
mod place;
mod queue;
mod report;
#[cfg(test)]
mod tests;
mod transition;
mod view;

use std::future::Future;
use std::sync::Arc;

use axum::Extension;
use axum::extract::DefaultBodyLimit;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use platform::auth::{OpenTo, Principal};
use platform::http::{ApiRouter, Json};
use platform::idempotency::{self, Answer, Key, Stored};
use platform::problem::Problem;
use serde::Serialize;
use sqlx::PgConnection;
use utoipa_axum::routes;
use uuid::Uuid;

use self::view::Moved;
use crate::error::Error;
use crate::lifecycle::Actor;
use crate::metrics::Count;
use crate::officer::Office;
use crate::report::{Deed, Standing, step};
use crate::{Reports, list, officer as officers};

/// The shared state of all handlers.
type App = Arc<Reports>;

/// All routes of the role.
pub(crate) fn router(reports: App) -> ApiRouter {
    let city = Arc::clone(&reports.city);
    let open = ApiRouter::new().routes(routes!(category::list)).with_state(city);
    let uploads = ApiRouter::new().routes(routes!(photo::upload)).layer(DefaultBodyLimit::max(photo::MAX_UPLOAD));
    // The wall, which is a page, passes on who looks.
    let queue = ApiRouter::new().routes(routes!(queue::queue)).layer(Extension(OpenTo::PAGES));
    ApiRouter::new()
        .routes(routes!(place::locate))
        .routes(routes!(place::duplicates))
        .routes(routes!(map::geojson))
        .routes(routes!(map::statistics))
        .routes(routes!(report::submit, report::list))
        .routes(routes!(report::show))
        .routes(routes!(report::timeline))
        .routes(routes!(citizen::answer))
        .routes(routes!(citizen::rate))
        .routes(routes!(citizen::reopen))
        .routes(routes!(transition::act))
        .routes(routes!(photo::show))
        .merge(queue)
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

/// The status of everything that is done once per key.
const CREATED: u16 = 201;
/// How often work is tried that others overtake: each time somebody else moved the same report or answered the same key.
const ATTEMPTS: usize = 5;

/// What came of an attempt at work that is done once per key.
enum Attempt<B> {
    /// It was done before, and answered so.
    Known(Stored),
    /// It is done, and its answer is kept with it.
    Done(B, Vec<Count>),
    /// Somebody else was faster, and nothing is done.
    Overtaken,
}

/// Work that is done once per key.
trait Work: Sync {
    /// What is answered.
    type Body: Serialize;

    /// Looks at the key, decides, and writes everything and the answer at once.
    fn attempt(&self, key: &Key) -> impl Future<Output = Result<Attempt<Self::Body>, Problem>> + Send;
}

/// Does work once per key. An attempt that was overtaken is made again and sees by whom. What is counted is counted when it is written.
async fn once(reports: &Reports, key: Key, work: impl Work) -> Result<Response, Problem> {
    let status = StatusCode::CREATED;
    for _ in 0..ATTEMPTS {
        match work.attempt(&key).await? {
            Attempt::Known(stored) => {
                return Ok((StatusCode::from_u16(stored.status).unwrap_or(status), Json(stored.body)).into_response());
            }
            Attempt::Done(body, counts) => {
                counts.iter().for_each(|count| reports.metrics.count(count));
                return Ok((status, Json(body)).into_response());
            }
            Attempt::Overtaken => {}
        }
    }
    Err(idempotency::in_progress())
}

/// Something that is done to one report.
struct Act<'a, D> {
    reports: &'a Reports,
    id: Uuid,
    /// What the caller may do, from how the report stands.
    deed: D,
}

impl<D> Work for Act<'_, D>
where
    D: Fn(&Standing) -> Result<Deed, Error> + Sync,
{
    type Body = Moved;

    async fn attempt(&self, key: &Key) -> Result<Attempt<Moved>, Problem> {
        let reports = self.reports;
        let (known, standing) = reports.together.reports.ask((self.id, Some(key.clone()))).await?;
        if let Some(stored) = known.replay(key)? {
            return Ok(Attempt::Known(stored));
        }
        let standing = standing.ok_or(Error::NotFound)?;
        let deed = (self.deed)(&standing)?;
        let step = step::prepare(reports, &standing, deed).await?;
        let body = Moved::new(reports, &step.done);
        let answer = Answer::try_new(key, CREATED, &body)?;
        let done = step.write(reports, answer).await?;
        Ok(done.map_or(Attempt::Overtaken, |done| Attempt::Done(body, done.counts)))
    }
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
