//! Photos of reports: cleaned, kept in the store, written down.
//!
//! A photo is announced ([`crate::arrival`]), then its bytes are stored, then its row is written: a row never names a photo that is not
//! there, and what a failed request leaves in the store is taken away.
//! At most [`MAX_HELD`] are held in memory at a time in one process, and `photos_at_once` of them decoded; those wait for their turn
//! within the request's deadline.

mod row;

use std::sync::Arc;

use platform::idempotency::Answer;
use serde::Serialize;
use sqlx::PgConnection;
use tokio::sync::{Semaphore, SemaphorePermit};
use utoipa::ToSchema;
use uuid::Uuid;

pub(crate) use self::row::Row;
use crate::arrival::Ticket;
use crate::error::Error;
use crate::lifecycle::{Actor, Case, Refusal, State};
use crate::picture::{self, Picture};
use crate::report::Standing;
use crate::store::{Store, StoreError};
use crate::{Reports, together};

/// Photos that a reporter may add to a report.
pub(crate) const MAX_OF_REPORTER: i64 = 5;
/// Photos that one process holds in memory at a time; whoever comes then is asked to come again.
const MAX_HELD: usize = 32;
/// Photos that an agency may add in one round.
pub(crate) const MAX_OF_ROUND: i64 = 10;

/// Where photos are kept.
#[derive(Debug)]
pub(crate) struct Photos {
    store: Store,
    places: Semaphore,
    turns: Semaphore,
}

/// A kept photo.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct PhotoView {
    pub(crate) id: Uuid,
    /// `report` by the citizen, `evidence` by the agency.
    pub(crate) kind: String,
    /// The round in which it was added.
    pub(crate) round: i32,
    pub(crate) width: i32,
    pub(crate) height: i32,
}

impl Photos {
    /// Photos in a store, so many of them decoded at a time.
    pub(crate) fn new(store: Store, at_once: usize) -> Self {
        Self { store, places: Semaphore::new(MAX_HELD), turns: Semaphore::new(at_once.max(1)) }
    }

    /// A place for one photo, before any of it is read.
    pub(crate) fn place(&self) -> Result<SemaphorePermit<'_>, Error> {
        self.places.try_acquire().map_err(|_| Error::Busy)
    }

    /// Cleans what was sent, when its turn comes.
    pub(crate) async fn clean(&self, bytes: Vec<u8>) -> Result<Picture, Error> {
        let _turn = self.turns.acquire().await.expect("the semaphore is never closed");
        tokio::task::spawn_blocking(move || picture::cleaned(&bytes)).await.unwrap_or(Err(Error::PhotoUnreadable))
    }

    /// Stores a cleaned photo.
    pub(crate) async fn put(&self, report: Uuid, photo: Uuid, bytes: Vec<u8>) -> Result<(), StoreError> {
        self.store.put(report, photo, bytes).await
    }

    /// Removes a photo, if it is there.
    pub(crate) async fn remove(&self, report: Uuid, photo: Uuid) -> Result<(), StoreError> {
        self.store.remove(report, photo).await
    }

    /// A stored photo.
    pub(crate) async fn get(&self, report: Uuid, photo: Uuid) -> Result<Vec<u8>, StoreError> {
        self.store.get(report, photo).await
    }
}

/// Whether somebody may add a photo now; says which kind it is.
///
/// # Errors
/// `NotAllowed` for anybody but the reporter and the leading agency, `WrongState` outside their time.
pub(crate) fn kind(case: &Case, actor: &Actor) -> Result<&'static str, Refusal> {
    let (kind, open) = match actor {
        Actor::Reporter => ("report", matches!(case.state, State::Received | State::Verifying | State::NeedsInfo)),
        Actor::Agency(code) if case.lead.as_ref() == Some(code) => ("evidence", case.state == State::InProgress),
        // For a caller, the operator has the reporter's place.
        Actor::Ioc | Actor::Supervisor if case.channel == crate::lifecycle::Channel::Call => {
            ("report", matches!(case.state, State::Received | State::Verifying | State::NeedsInfo))
        }
        _ => return Err(Refusal::NotAllowed),
    };
    if open { Ok(kind) } else { Err(Refusal::WrongState(case.state)) }
}

/// How a photo of a report will be shown.
///
/// # Errors
/// As [`kind`].
pub(crate) fn view(case: &Case, actor: &Actor, (id, picture): (Uuid, &Picture)) -> Result<PhotoView, Refusal> {
    let number = |value: u32| i32::try_from(value).unwrap_or(i32::MAX);
    Ok(PhotoView {
        id,
        kind: kind(case, actor)?.to_owned(),
        round: number(case.round),
        width: number(picture.width),
        height: number(picture.height),
    })
}

/// How many photos of a kind there may be: of a report, or of a round of it.
pub(crate) fn most(kind: &str) -> i64 {
    if kind == "report" { MAX_OF_REPORTER } else { MAX_OF_ROUND }
}

/// Writes down a stored photo of a report that was looked at, together with the answer to its key; `false` when the report moved on, the
/// reporter was erased, or the key was answered meanwhile.
///
/// # Errors
/// `TooManyPhotos` when there are as many as may be; `Busy` when its file was taken away meanwhile.
pub(crate) async fn add(
    reports: &Reports,
    standing: &Standing,
    (view, picture, ticket): (&PhotoView, &Picture, Ticket),
    answer: Answer,
) -> Result<bool, Error> {
    let row = Arc::new(Row {
        report: standing.filed.id,
        version: standing.case.version,
        view: view.clone(),
        agency: standing.case.lead.clone().filter(|_| view.kind == "evidence"),
        bytes: i32::try_from(picture.bytes.len()).unwrap_or(i32::MAX),
        sha256: picture.sha256,
        ticket,
        now: reports.now(),
        answer,
    });
    if together::write(&reports.together.photos, &reports.pool, row.clone()).await? {
        return Ok(true);
    }
    let found = sqlx::query!(
        r#"SELECT EXISTS (SELECT FROM reports.attachment WHERE id = $1) AS "written!",
               EXISTS (SELECT FROM reports.arrival WHERE photo_id = $1 AND ticket = $2) AS "stands!",
               reports.has_room($3, $4, $5, $6) AS "room!""#,
        view.id,
        ticket.0,
        row.report,
        view.kind,
        view.round,
        most(&view.kind)
    )
    .fetch_one(&reports.pool)
    .await?;
    match (found.written, found.stands, found.room) {
        (true, _, _) | (false, true, true) => Ok(false),
        (false, true, false) => Err(Error::TooManyPhotos),
        (false, false, _) => Err(Error::Busy),
    }
}

/// The photos of a report, oldest first.
pub(crate) async fn list(connection: &mut PgConnection, report: Uuid) -> Result<Vec<PhotoView>, sqlx::Error> {
    sqlx::query_as!(
        PhotoView,
        "SELECT id, kind, round, width, height FROM reports.attachment WHERE report_id = $1 ORDER BY created_at, id",
        report
    )
    .fetch_all(connection)
    .await
}
