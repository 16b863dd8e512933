//! What citizens call their devices and passkeys: sealed under their own key, and gone with it.
//!
//! Rows that an earlier version wrote hold a plain name. It is read as long as it is there, and sealed by a task: in small
//! transactions, beside everything else, and again and again, for a process of an earlier version may still write some.
//! Locks: rows of devices and passkeys alone, and none that somebody holds.

use std::sync::Arc;
use std::time::Duration;

use platform::task::Task;
use tracing::warn;
use uuid::Uuid;

use crate::citizen::data_key;
use crate::error::Error;
use crate::vault::{Place, Sealer, Vault};
use crate::{Identity, device, passkey};

/// Names of one kind sealed in one transaction.
const BATCH: i64 = 200;
/// How often it looks once nothing is left.
const EVERY: Duration = Duration::from_secs(600);
/// The pause between two batches, so that the service's own work comes first.
const PAUSE: Duration = Duration::from_millis(50);

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
    fn of(plain: Vec<PlainName>, column: &'static str, vault: &Vault) -> Result<Self, Error> {
        let mut sealed = Self::default();
        for one in plain {
            let key = vault.personal_key(data_key(one.citizen.into()), &one.data_key)?;
            sealed.citizens.push(one.citizen);
            sealed.rows.push(one.row);
            sealed.names.push(key.seal(Place::new(column, one.row), one.name.as_bytes()));
        }
        Ok(sealed)
    }
}

impl Identity {
    /// Seals some plain names; tells how many there were.
    pub(crate) async fn seal_names(&self) -> Result<usize, Error> {
        let mut tx = platform::db::begin(&self.pool).await?;
        let devices = SealedNames::of(device::plain_names(&mut tx, BATCH).await?, device::NAME, &self.vault)?;
        device::seal_names(&mut tx, &devices).await?;
        let passkeys = SealedNames::of(passkey::plain_names(&mut tx, BATCH).await?, passkey::NAME, &self.vault)?;
        passkey::seal_names(&mut tx, &passkeys).await?;
        tx.commit().await?;
        Ok(devices.rows.len() + passkeys.rows.len())
    }

    /// Seals them all, and looks again from time to time.
    pub(crate) fn name_task(self: &Arc<Self>) -> Task {
        let identity = self.clone();
        Task::new("name-sealing", |shutdown| async move {
            loop {
                let pause = match identity.seal_names().await {
                    Ok(0) => EVERY,
                    Ok(_) => PAUSE,
                    Err(error) => {
                        warn!(%error, "plain names can't be sealed");
                        EVERY
                    }
                };
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    () = shutdown.cancelled() => return Ok(()),
                }
            }
        })
    }
}
