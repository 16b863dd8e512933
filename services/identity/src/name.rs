//! What citizens call their devices and passkeys: sealed under their own key, and gone with it.
//!
//! Rows that an earlier version wrote hold a plain name. It is read as long as it is there, and sealed by a task: in small
//! transactions, beside everything else, and again and again, for a process of an earlier version may still write some.
//! The keys of citizens themselves are sealed anew when the configured key has changed (`platform::person::Renewal`).
//! Locks: rows of devices and passkeys alone, or of citizens alone, and none that somebody holds.

use std::sync::Arc;
use std::time::Duration;

use platform::metrics::Metrics;
use platform::person::Renewal;
use platform::task::Task;
use tracing::{error, warn};
use uuid::Uuid;

use crate::citizen::{KEYS, data_key};
use crate::error::Error;
use crate::vault::{Place, Sealer, Vault};
use crate::{Identity, device, passkey};

/// Names of one kind sealed in one transaction.
const BATCH: i64 = 200;
/// How often it looks once nothing is left.
const EVERY: Duration = Duration::from_secs(600);
/// The pause between two batches, so that the service's own work comes first.
const PAUSE: Duration = Duration::from_millis(50);
/// Citizens that one round passes over because their key does not open. Past that many it is no matter of single citizens.
const MAX_PASSED_OVER: usize = 500;

/// A name as a row holds it.
#[derive(Clone, Debug)]
pub(crate) struct StoredName {
    /// From before there were sealed ones; the newer one where both are there.
    pub plain: Option<String>,
    pub sealed: Option<Vec<u8>>,
}

impl StoredName {
    /// The name.
    pub(crate) fn open(self, key: &Sealer, place: Place) -> Result<String, Error> {
        match self.plain {
            Some(plain) => Ok(plain),
            None => Ok(key.open_text(place, &self.sealed.unwrap_or_default())?),
        }
    }
}

/// A plain name whose row is locked.
pub(crate) struct PlainName {
    pub citizen: Uuid,
    /// The sealed key of the citizen.
    pub data_key: Vec<u8>,
    pub row: Uuid,
    pub name: String,
}

/// Names that were sealed, one column each.
#[derive(Debug, Default)]
pub(crate) struct SealedNames {
    pub citizens: Vec<Uuid>,
    pub rows: Vec<Uuid>,
    pub names: Vec<Vec<u8>>,
}

impl SealedNames {
    /// Names of whoever's key does not open stay as they are: they are passed over from then on.
    fn of(plain: Vec<PlainName>, column: &'static str, (vault, passed_over): (&Vault, &mut Vec<Uuid>)) -> Self {
        let mut sealed = Self::default();
        for one in plain {
            let Ok(key) = vault.personal_key(data_key(one.citizen.into()), &one.data_key) else {
                if !passed_over.contains(&one.citizen) {
                    error!(citizen.id = %one.citizen, "the key of a citizen does not open: names of theirs stay plain");
                    passed_over.push(one.citizen);
                }
                continue;
            };
            sealed.citizens.push(one.citizen);
            sealed.rows.push(one.row);
            sealed.names.push(key.seal(Place::new(column, one.row), one.name.as_bytes()));
        }
        sealed
    }
}

impl Identity {
    /// Seals some plain names of citizens who are not `passed_over`, which gains those whose key does not open; tells how many names
    /// it came upon.
    pub(crate) async fn seal_names(&self, passed_over: &mut Vec<Uuid>) -> Result<usize, Error> {
        let mut tx = platform::db::begin(&self.pool).await?;
        let plain = device::plain_names(&mut tx, passed_over, BATCH).await?;
        let mut found = plain.len();
        let devices = SealedNames::of(plain, device::NAME, (&self.vault, passed_over));
        device::seal_names(&mut tx, &devices).await?;
        let plain = passkey::plain_names(&mut tx, passed_over, BATCH).await?;
        found += plain.len();
        let passkeys = SealedNames::of(plain, passkey::NAME, (&self.vault, passed_over));
        passkey::seal_names(&mut tx, &passkeys).await?;
        tx.commit().await?;
        Ok(found)
    }

    async fn seal_all_names(&self) {
        let mut passed_over = Vec::new();
        loop {
            match self.seal_names(&mut passed_over).await {
                Ok(0) => return,
                Ok(_) if passed_over.len() > MAX_PASSED_OVER => {
                    error!(citizens = passed_over.len(), "keys of many citizens do not open");
                    return;
                }
                Ok(_) => tokio::time::sleep(PAUSE).await,
                Err(error) => {
                    warn!(%error, "plain names can't be sealed");
                    return;
                }
            }
        }
    }

    /// Keeps the keys of citizens under the newest configured key, seals all plain names, and looks again from time to time.
    pub(crate) fn person_task(self: &Arc<Self>, metrics: &Metrics) -> Task {
        let identity = self.clone();
        let renewal = Renewal::new(KEYS, metrics);
        Task::new("person-key", move |shutdown| async move {
            loop {
                renewal.round(identity.vault.ring(), &identity.pool, &shutdown).await;
                tokio::select! {
                    () = identity.seal_all_names() => {}
                    () = shutdown.cancelled() => return Ok(()),
                }
                tokio::select! {
                    () = tokio::time::sleep(EVERY) => {}
                    () = shutdown.cancelled() => return Ok(()),
                }
            }
        })
    }
}
