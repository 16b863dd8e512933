//! Devices that a citizen signed in on.
//!
//! A device holds one session of the app: signing in again on it ends the former one, and a citizen has at most
//! [`MAX_DEVICES`], so that sessions are bounded too; the one unused for longest gives way.

mod public_key;
mod sql;

use chrono::{DateTime, Utc};
use platform::typed_id;
use sqlx::PgConnection;

pub(crate) use public_key::parse as parse_public_key;
pub(crate) use sql::{confirm_key, is_known, key, plain_names, seal_names};

use crate::Identity;
use crate::audit::{Action, Entry, Origin};
use crate::citizen::{self, Citizen, CitizenId};
use crate::error::Error;
use crate::name::StoredName;
use crate::session::SessionId;
use crate::vault::Place;

/// The most devices a citizen has.
pub(crate) const MAX_DEVICES: i64 = 20;
/// The longest name of a device, in characters.
const MAX_NAME: usize = 64;
/// The column that names are sealed for.
pub(crate) const NAME: &str = "device.name";

typed_id! {
    /// A device, as its app names it.
    pub struct DeviceId;
}

/// What an app says of the device it runs on.
#[derive(Clone, Debug)]
pub(crate) struct Announcement {
    /// Its id.
    pub id: DeviceId,
    /// What its owner calls it.
    pub name: DeviceName,
    /// SubjectPublicKeyInfo (DER) of the key in its secure store.
    pub public_key: Option<Vec<u8>>,
}

/// A device as its citizen sees it.
#[derive(Clone, Debug)]
pub(crate) struct Device {
    pub id: DeviceId,
    pub name: String,
    pub has_key: bool,
    pub created_at: DateTime<Utc>,
    pub last_seen_at: DateTime<Utc>,
    /// The live session on it.
    pub session: Option<SessionId>,
}

/// A device as it is stored.
struct Row {
    id: DeviceId,
    name: StoredName,
    has_key: bool,
    created_at: DateTime<Utc>,
    last_seen_at: DateTime<Utc>,
    session: Option<SessionId>,
}

/// A name of 1 to 64 characters without control characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DeviceName(String);

impl DeviceName {
    /// Trims and checks a name.
    pub(crate) fn parse(text: &str) -> Result<Self, Error> {
        let name = text.trim();
        if name.is_empty() || name.chars().count() > MAX_NAME || name.chars().any(char::is_control) {
            return Err(Error::Field {
                field: "device.name",
                vi: "Tên thiết bị dài từ 1 đến 64 ký tự.",
                en: "A device name has 1 to 64 characters.",
            });
        }
        Ok(Self(name.to_owned()))
    }

    /// The name.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

/// Remembers a device under the lock of its citizen; tells whether it is new to them and which devices gave way.
///
/// A device that gets a key, or another one, is new: who has the number and knows a device's id has not the device.
pub(crate) async fn remember(
    tx: &mut PgConnection,
    citizen: &Citizen,
    device: &Announcement,
    now: DateTime<Utc>,
) -> Result<(bool, Vec<DeviceId>), Error> {
    let name = citizen.key.seal(Place::new(NAME, device.id), device.name.as_str().as_bytes());
    let before = key(tx, citizen.id, device.id).await?.map(|key| key.spki);
    let rebound = device.public_key.is_some() && before != device.public_key;
    if sql::touch(tx, citizen.id, (device, &name), now).await? {
        return Ok((rebound, Vec::new()));
    }
    sql::insert(tx, citizen.id, (device, &name), now).await?;
    Ok((true, sql::delete_beyond(tx, citizen.id, device.id, MAX_DEVICES - 1).await?))
}

impl Identity {
    /// A citizen's devices, the one used last first.
    pub(crate) async fn devices(&self, citizen: CitizenId) -> Result<Vec<Device>, Error> {
        let mut connection = self.pool.acquire().await?;
        let row = citizen::find(&mut connection, citizen).await?.ok_or(Error::NotFound)?;
        let key = row.key(&self.vault)?;
        let rows = sql::list(&mut connection, citizen).await?;
        let devices = rows.into_iter().map(|row| {
            Ok(Device {
                id: row.id,
                name: row.name.open(&key, Place::new(NAME, row.id))?,
                has_key: row.has_key,
                created_at: row.created_at,
                last_seen_at: row.last_seen_at,
                session: row.session,
            })
        });
        devices.collect()
    }

    /// Forgets a device and ends its session.
    pub(crate) async fn remove_device(
        &self,
        citizen: CitizenId,
        device: DeviceId,
        origin: Origin,
    ) -> Result<(), Error> {
        let now = self.now();
        let mut tx = platform::db::begin(&self.pool).await?;
        citizen::lock(&mut tx, citizen).await?.ok_or(Error::NotFound)?;
        if !sql::delete(&mut tx, citizen, device).await? {
            return Err(Error::NotFound);
        }
        let removed = Entry::of(citizen, Action::DeviceRemove, device, &self.source(origin));
        let ended = self.end_device_session(&mut tx, citizen, (device, removed), now).await?;
        tx.commit().await?;
        self.forget_now(&ended);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_trimmed_and_bounded() {
        assert_eq!(
            DeviceName::parse("  Điện thoại của Hương ").map(|name| name.0).ok().as_deref(),
            Some("Điện thoại của Hương")
        );
        for name in ["", "   ", "a\nb", &"x".repeat(65)] {
            assert!(DeviceName::parse(name).is_err(), "{name}");
        }
        assert!(DeviceName::parse(&"ế".repeat(64)).is_ok());
    }
}
