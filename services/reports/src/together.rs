//! What requests write at the same moment is one statement.
//!
//! A request hands what it writes to the one task that writes ([`writer`]) and goes by itself ([`write`]) where it can't be written with
//! others: something of the same name is written just then, its statement found that it is not to be written, or the statement failed and
//! nothing is written of any, because somebody holds a row for longer than a moment or a key was answered meanwhile.
//! By itself it waits for whoever holds the row, and fails for nobody else.
//! What was written before its answer was lost is not written again: each statement looks for it.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;

use platform::db;
use platform::gather::Gather;
use platform::idempotency::answered_meanwhile;
use platform::task::Task;
use sqlx::{PgConnection, PgPool};

use crate::photo;
use crate::report::{self, file, step};

/// The ways to the tasks that read and write for all requests.
#[derive(Debug)]
pub(crate) struct Together {
    pub(crate) callers: file::Looks,
    pub(crate) reports: report::Looks,
    pub(crate) filings: Writer<file::Row>,
    pub(crate) steps: Writer<step::Row>,
    pub(crate) photos: Writer<photo::Row>,
}

impl Together {
    /// The tasks, and the ways to them.
    pub(crate) fn start(pool: &PgPool) -> (Self, [Task; 5]) {
        let (readers, pool) = (db::shared_readers(pool, 2), db::shared_writers(pool, 3));
        let (callers, callers_task) = file::looks(readers.clone());
        let (reports, reports_task) = report::looks(readers);
        let (filings, filings_task) = writer("new-reports", &pool);
        let (steps, steps_task) = writer("steps-of-reports", &pool);
        let (photos, photos_task) = writer("new-photos", &pool);
        let tasks = [callers_task, reports_task, filings_task, steps_task, photos_task];
        (Self { callers, reports, filings, steps, photos }, tasks)
    }
}

/// Entries of one statement, at most: it takes more time for each the more they are, and holds their rows for it.
const BATCH: usize = 64;

/// What a request writes.
pub(crate) trait Entry: Send + Sync + Sized + 'static {
    /// Of one name, one is written at a time.
    type Name: Ord + Send;

    /// Its name.
    fn name(&self) -> Self::Name;

    /// Writes entries of different names in one statement; gives the names of those that were written.
    fn insert(
        connection: &mut PgConnection,
        entries: &[&Self],
    ) -> impl Future<Output = Result<Vec<Self::Name>, sqlx::Error>> + Send;
}

/// The way to the task that writes: whether an entry was written with others.
type Writer<E> = Gather<Arc<E>, bool>;

/// The task that writes, and the way to it.
fn writer<E: Entry>(task: &'static str, pool: &PgPool) -> (Writer<E>, Task) {
    let pool = pool.clone();
    Gather::start(task, BATCH, move |entries: Vec<Arc<E>>| {
        let pool = pool.clone();
        async move { write_together(&pool, &entries).await }
    })
}

/// Writes an entry with others or by itself; `false` when its statement found that it is not to be written, or its key was answered.
pub(crate) async fn write<E: Entry>(writer: &Writer<E>, pool: &PgPool, entry: Arc<E>) -> Result<bool, sqlx::Error> {
    if writer.ask(entry.clone()).await? {
        return Ok(true);
    }
    write_alone(&mut *pool.acquire().await?, &*entry).await
}

/// The same by itself, as a part of a transaction or as one of its own.
pub(crate) async fn write_alone<E: Entry>(connection: &mut PgConnection, entry: &E) -> Result<bool, sqlx::Error> {
    match E::insert(connection, &[entry]).await {
        Err(error) if answered_meanwhile(&error) => Ok(false),
        written => Ok(!written?.is_empty()),
    }
}

/// Which entries were written.
async fn write_together<E: Entry>(pool: &PgPool, entries: &[Arc<E>]) -> Result<Vec<bool>, sqlx::Error> {
    // In the order of their names, so that rows are locked in one order.
    let mut places = BTreeMap::new();
    for (place, entry) in entries.iter().enumerate() {
        places.entry(entry.name()).or_insert(place);
    }
    let chosen: Vec<&E> = places.values().filter_map(|place| entries.get(*place)).map(|entry| &**entry).collect();
    let mut written = vec![false; entries.len()];
    match E::insert(&mut *pool.acquire().await?, &chosen).await {
        // Nothing is written.
        Err(error @ sqlx::Error::Database(_)) if db::is_passing(&error) || answered_meanwhile(&error) => {
            tracing::debug!(%error, entries = chosen.len(), "each goes by itself");
        }
        Err(error @ sqlx::Error::Database(_)) => {
            tracing::warn!(%error, entries = chosen.len(), "what could be written together goes by itself");
        }
        names => {
            for name in names? {
                if let Some(written) = places.get(&name).and_then(|place| written.get_mut(*place)) {
                    *written = true;
                }
            }
        }
    }
    Ok(written)
}

/// A column of a statement's arguments.
pub(crate) fn each<'a, E, T>(entries: &[&'a E], column: impl Fn(&'a E) -> T) -> Vec<T> {
    entries.iter().map(|entry| column(entry)).collect()
}
