//! A copy of everything that all services keep of a citizen.
//!
//! 1. The citizen asks, soon after signing in; the archive, its parts (one for each service) and the event `ExportRequested` are stored.
//! 2. Each service hands over its part in pieces ([`Identity::take_piece`]), identity its own by a job. Pieces are sealed under the
//!    citizen's key. An attempt that broke off is replaced by the next; a piece that comes again changes nothing.
//! 3. With the last part the archive is ready, the citizen is told, and reads it as one JSON document for [`OFFERED`].
//!
//! A service that is away delays the archive for as long as [`GATHERED`] and loses nothing.
//!
//! | module | what lives there |
//! | --- | --- |
//! | `own` | identity's own part |
//! | `sql` | statements |

mod own;
mod sql;

use aws_lc_rs::digest::{SHA256, digest};
use chrono::{DateTime, TimeDelta, Utc};
use platform::auth::Principal;
use platform::idempotency::{self, Claim, Key};
use platform::job::{self, NewJob};
use platform::outbox::{self, NewEvent};
use platform::person::PIECE_BYTES;
use proto::identity::v1::{ExportReady, ExportRequested};
use sqlx::PgConnection;
use uuid::Uuid;

#[cfg(test)]
pub(crate) use self::own::SECTIONS;
pub(crate) use self::own::{JOB, OwnJob};
pub(crate) use self::sql::prune;
use crate::audit::{self, Action, Entry, Origin};
use crate::citizen::{self, CitizenId};
use crate::config::Lifetimes;
use crate::error::Error;
use crate::vault::Place;
use crate::{Identity, SCHEMA};

platform::typed_id! {
    /// A copy of everything.
    pub(crate) struct ArchiveId;
}

/// The services that keep something of citizens, in the order of the document.
pub(crate) const SERVICES: [&str; 4] = ["identity", "wallet", "reports", "notifications"];
/// How long services may take.
const GATHERED: TimeDelta = TimeDelta::days(30);
/// How long the document is offered.
const OFFERED: TimeDelta = TimeDelta::days(7);
/// Archives of a citizen that are kept at a time.
pub(crate) const MAX_ARCHIVES: i64 = 3;
/// Pieces of one part: 1 GiB. A part that is larger is refused, again and again, and an operator sees its job.
const MAX_PIECES: i32 = 4_096;
const OPERATION: &str = "archive";
const SEALED: &str = "archive_piece.sealed";

/// What can go wrong with a copy, beside what can always go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ArchiveFault {
    /// The citizen has as many as may be.
    #[error("too many archives are kept")]
    TooMany,
    /// Services still hand over their parts.
    #[error("the archive is not complete")]
    NotReady,
    /// A piece does not continue what came before.
    #[error("a piece is out of order, too large or too many")]
    Piece,
}

/// A copy, as its citizen sees it.
#[derive(Clone, Debug)]
pub(crate) struct Archive {
    pub id: ArchiveId,
    pub requested_at: DateTime<Utc>,
    pub ready_at: Option<DateTime<Utc>>,
    pub expires_at: DateTime<Utc>,
    /// The services, and whether each has handed over its part.
    pub parts: Vec<(String, bool)>,
}

/// A piece of a part.
#[derive(Debug)]
pub(crate) struct Piece<'a> {
    pub archive: ArchiveId,
    pub service: &'a str,
    pub attempt: Uuid,
    pub ordinal: i32,
    pub text: &'a [u8],
    pub last: bool,
}

impl Piece<'_> {
    fn is_bounded(&self) -> bool {
        (0..MAX_PIECES).contains(&self.ordinal) && self.text.len() <= PIECE_BYTES
    }
}

/// Names a piece for sealing: nowhere else, and in no other place of the document, do its bytes open.
fn place(archive: ArchiveId, service: &str, attempt: Uuid, ordinal: i32) -> Place {
    let named = format!("{archive}/{service}/{attempt}/{ordinal}");
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest(&SHA256, named.as_bytes()).as_ref()[..16]);
    Place::new(SEALED, uuid::Builder::from_custom_bytes(bytes).into_uuid())
}

impl Identity {
    fn soon_after_sign_in(&self, caller: &Principal) -> Result<(), Error> {
        let fresh = Lifetimes::span(self.config.lifetimes.fresh_seconds);
        if caller.authenticated_at + fresh <= self.now() { Err(Error::NotFresh) } else { Ok(()) }
    }

    /// Asks all services for a copy; the one that is under way, if there is one. The same key gives the same archive.
    pub(crate) async fn request_archive(
        &self,
        caller: &Principal,
        (key, fingerprint): (String, [u8; 32]),
        origin: Origin,
    ) -> Result<Archive, Error> {
        self.soon_after_sign_in(caller)?;
        let (user, now) = (CitizenId::from(caller.subject), self.now());
        let mut tx = platform::db::begin(&self.pool).await?;
        let key = Key { caller: caller.subject, operation: OPERATION, key, fingerprint };
        let id = match idempotency::claim(&mut tx, SCHEMA, &key, now).await? {
            Claim::Replay(stored) => serde_json::from_value(stored.body).map_err(|_| Error::NotFound)?,
            Claim::New => {
                citizen::lock(&mut tx, user).await?.ok_or(Error::NotFound)?;
                let id = self.begin_archive(&mut tx, user, origin, now).await?;
                idempotency::store(&mut tx, SCHEMA, &key, 202, &id).await?;
                id
            }
        };
        let archive = sql::find(&mut tx, user, id, now).await?.ok_or(Error::NotFound)?;
        tx.commit().await?;
        Ok(archive)
    }

    async fn begin_archive(
        &self,
        tx: &mut PgConnection,
        user: CitizenId,
        origin: Origin,
        now: DateTime<Utc>,
    ) -> Result<ArchiveId, Error> {
        if let Some(id) = sql::gathering(tx, user, now).await? {
            return Ok(id);
        }
        if sql::count(tx, user, now).await? >= MAX_ARCHIVES {
            return Err(ArchiveFault::TooMany.into());
        }
        let id = ArchiveId::generate();
        sql::insert(tx, (id, user), &SERVICES, (now, now + GATHERED)).await?;
        job::schedule(tx, SCHEMA, now, NewJob::new(JOB, id.to_string(), now)).await?;
        let entry = Entry::of(user, Action::DataExport, id, &self.source(origin));
        audit::append(tx, &[entry], now).await?;
        let event = ExportRequested { user_id: user.to_string(), export_id: id.to_string() };
        outbox::append(tx, SCHEMA, now, &[NewEvent::new(user.uuid(), &event)]).await?;
        Ok(id)
    }

    /// The caller's archives, newest first.
    pub(crate) async fn archives(&self, caller: &Principal) -> Result<Vec<Archive>, Error> {
        Ok(sql::list(&mut *self.pool.acquire().await?, caller.subject.into(), self.now()).await?)
    }

    /// One of the caller's archives.
    pub(crate) async fn archive(&self, caller: &Principal, id: ArchiveId) -> Result<Archive, Error> {
        let found = sql::find(&mut *self.pool.acquire().await?, caller.subject.into(), id, self.now()).await?;
        found.ok_or(Error::NotFound)
    }

    /// Takes a piece of a service's part; tells whether nothing more of it is wanted.
    ///
    /// Lock: the archive's row, so that pieces of one archive come one after the other.
    pub(crate) async fn take_piece(&self, piece: &Piece<'_>) -> Result<bool, Error> {
        if !piece.is_bounded() {
            return Err(ArchiveFault::Piece.into());
        }
        let now = self.now();
        let mut tx = platform::db::begin(&self.pool).await?;
        let Some(user) = sql::lock_gathering(&mut tx, piece.archive, now).await? else { return Ok(true) };
        let part = sql::part(&mut tx, piece.archive, piece.service).await?.ok_or(Error::NotFound)?;
        if part.finished {
            return Ok(true);
        }
        let begun = if part.attempt == Some(piece.attempt) { part.pieces } else { 0 };
        if piece.ordinal < begun {
            return Ok(false);
        }
        if piece.ordinal > begun {
            return Err(ArchiveFault::Piece.into());
        }
        if piece.ordinal == 0 {
            sql::begin_attempt(&mut tx, piece).await?;
        }
        let row = citizen::find(&mut tx, user).await?.ok_or(Error::NotFound)?;
        let place = place(piece.archive, piece.service, piece.attempt, piece.ordinal);
        let sealed = row.key(&self.vault)?.seal(place, piece.text);
        sql::add_piece(&mut tx, piece, &sealed, now).await?;
        if piece.last && sql::make_ready(&mut tx, piece.archive, (now, now + OFFERED)).await? {
            let event = ExportReady {
                user_id: user.to_string(),
                export_id: piece.archive.to_string(),
                expires_at: (now + OFFERED).timestamp(),
            };
            outbox::append(&mut tx, SCHEMA, now, &[NewEvent::new(user.uuid(), &event)]).await?;
        }
        tx.commit().await?;
        Ok(piece.last)
    }

    /// The document of an archive that is ready, to be read piece by piece with [`Identity::read_piece`]; soon after a sign-in only.
    pub(crate) async fn open_archive(&self, caller: &Principal, id: ArchiveId) -> Result<Vec<Reading>, Error> {
        self.soon_after_sign_in(caller)?;
        let archive = self.archive(caller, id).await?;
        if archive.ready_at.is_none() {
            return Err(ArchiveFault::NotReady.into());
        }
        Ok(sql::readings(&mut *self.pool.acquire().await?, id).await?)
    }

    /// One piece of a document, opened.
    pub(crate) async fn read_piece(&self, user: CitizenId, of: &Reading, ordinal: i32) -> Result<Vec<u8>, Error> {
        let mut connection = self.pool.acquire().await?;
        let sealed = sql::piece(&mut connection, (of.archive, &of.service), ordinal).await?.ok_or(Error::NotFound)?;
        let row = citizen::find(&mut connection, user).await?.ok_or(Error::NotFound)?;
        let place = place(of.archive, &of.service, of.attempt, ordinal);
        Ok(row.key(&self.vault)?.open(place, &sealed)?)
    }
}

/// A part that is read.
#[derive(Clone, Debug)]
pub(crate) struct Reading {
    pub archive: ArchiveId,
    pub service: String,
    pub attempt: Uuid,
    pub pieces: i32,
}
