//! What a service keeps of a person, sealed under a key of that person alone, so that destroying the key erases it, also from copies
//! of the values that lie elsewhere.
//!
//! A key is 256 random bits, made when something of the person is sealed for the first time, and stored in `person_key` of the
//! service's schema, itself sealed by the service's configured key ([`PersonConfig`]). Services share no key.
//!
//! Keys are looked up by primary key each time and kept in no process's memory: once the transaction that destroyed one is
//! committed, no replica opens anything of that person, without any message between replicas.
//! Values are not copied anew when the configured key changes: only `person_key.key` is ([`Renewal`]).
//!
//! [`Holder`] says what a service does when a person wants a copy of everything, or wants it to end.
//!
//! Lock order: a person's key comes after whatever is locked of the person. [`PersonKeys::for_sealing`] holds it shared until the
//! transaction ends, so that nothing is sealed while it is destroyed.

use std::collections::HashMap;

use aws_lc_rs::hmac;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sqlx::{AssertSqlSafe, PgConnection};
use uuid::Uuid;

mod copy;
mod holder;
mod renewal;
mod upkeep;

pub use self::copy::{CopyError, PIECE_BYTES, PersonCopy, Section, Taker, page_of, unlisted};
pub use self::holder::{Holder, Listener, tasks};
pub use self::renewal::{KeyTable, Renewal, Renewed, Standing};
pub use self::upkeep::{Unsealed, upkeep};
use crate::config::Secret;
use crate::db::Schema;
use crate::seal::{self, Digest, MIN_SECRET_BYTES, Place, Ring, Sealer, Unsealable};

/// Where keys live.
const COLUMN: &str = "person_key.key";

/// The secrets that seal the keys of persons in one service.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PersonConfig {
    /// Seals the keys of persons: at least 32 bytes.
    pub encryption: Secret,
    /// Earlier values of `encryption`, which still open what they sealed.
    pub retired_encryption: Vec<Secret>,
}

/// Why the secrets can't be used.
#[derive(Debug, thiserror::Error)]
pub enum PersonConfigError {
    /// The setting is empty.
    #[error(
        "{0}.persons.encryption is not set; give at least 32 random bytes, for instance from `openssl rand -base64 48`"
    )]
    Missing(Schema),
    /// A secret is too short.
    #[error("{0}.persons: a secret has fewer than 32 bytes")]
    Short(Schema),
}

/// Why something of a person can't be sealed or opened.
#[derive(Debug, thiserror::Error)]
pub enum PersonError {
    /// The person was erased.
    #[error("what was kept of this person was erased")]
    Erased,
    /// A value does not open.
    #[error(transparent)]
    Unsealable(#[from] Unsealable),
    /// The key of this person does not open under the configured ones.
    #[error("the key of a person does not open under the configured keys")]
    KeyUnopened(Uuid),
    /// What the database answered.
    #[error("the database does not answer")]
    Database(#[from] sqlx::Error),
}

/// The keys of all persons in one service.
#[derive(Debug)]
pub struct PersonKeys {
    schema: Schema,
    table: KeyTable,
    ring: Ring,
    /// The newest first.
    lookups: Vec<hmac::Key>,
}

/// The key of one person.
#[derive(Debug)]
pub struct PersonKey(Sealer);

impl From<Sealer> for PersonKey {
    fn from(sealer: Sealer) -> Self {
        Self(sealer)
    }
}

impl PersonKey {
    /// Seals a value for its column (`table.column`) and row.
    pub fn seal(&self, column: &'static str, row: impl Into<Uuid>, plain: &str) -> Vec<u8> {
        self.0.seal(Place::new(column, row), plain.as_bytes())
    }

    /// Opens a value of that column and row.
    ///
    /// # Errors
    /// When it was sealed under another key or for another place.
    pub fn open(&self, column: &'static str, row: impl Into<Uuid>, sealed: &[u8]) -> Result<String, Unsealable> {
        self.0.open_text(Place::new(column, row), sealed)
    }
}

impl PersonKeys {
    /// Checks and stretches the configured secrets.
    ///
    /// # Errors
    /// When one is missing or short.
    pub fn try_new(schema: Schema, config: &PersonConfig) -> Result<Self, PersonConfigError> {
        if config.encryption.is_empty() {
            return Err(PersonConfigError::Missing(schema));
        }
        let secrets = || std::iter::once(&config.encryption).chain(&config.retired_encryption);
        if secrets().any(|secret| secret.expose().len() < MIN_SECRET_BYTES) {
            return Err(PersonConfigError::Short(schema));
        }
        let lookup = |secret| seal::mac_key(schema.name(), secret, &format!("{schema} look-up"));
        let table = KeyTable { schema, table: "person_key", person: "person", key: "key", place: COLUMN };
        Ok(Self { schema, table, ring: Ring::new(schema.name(), secrets()), lookups: secrets().map(lookup).collect() })
    }

    /// The person's key for sealing, made when there is none yet; nobody destroys it before the transaction ends.
    ///
    /// # Errors
    /// [`PersonError::Erased`].
    pub async fn for_sealing(
        &self,
        tx: &mut PgConnection,
        person: Uuid,
        now: DateTime<Utc>,
    ) -> Result<PersonKey, PersonError> {
        self.made(tx, person, now, SHARE).await
    }

    /// The same for a statement that holds the key by itself, by the schema's function `hold_person_key`, and writes nothing when it can't:
    /// until then it may be destroyed.
    ///
    /// # Errors
    /// [`PersonError::Erased`].
    pub async fn for_holding(
        &self,
        connection: &mut PgConnection,
        person: Uuid,
        now: DateTime<Utc>,
    ) -> Result<PersonKey, PersonError> {
        self.made(connection, person, now, READ).await
    }

    /// The same for somebody who was seen to have no key.
    ///
    /// # Errors
    /// [`PersonError::Erased`].
    pub async fn make_for_holding(
        &self,
        connection: &mut PgConnection,
        person: Uuid,
        now: DateTime<Utc>,
    ) -> Result<PersonKey, PersonError> {
        self.make(connection, person, now, READ).await
    }

    async fn made(
        &self,
        connection: &mut PgConnection,
        person: Uuid,
        now: DateTime<Utc>,
        read: &'static str,
    ) -> Result<PersonKey, PersonError> {
        match self.read(connection, person, read).await? {
            Some(key) => self.unwrap(person, key),
            None => self.make(connection, person, now, read).await,
        }
    }

    async fn make(
        &self,
        connection: &mut PgConnection,
        person: Uuid,
        now: DateTime<Utc>,
        read: &'static str,
    ) -> Result<PersonKey, PersonError> {
        let (_, sealed) = self.ring.new_personal_key(Place::new(COLUMN, person));
        let made: Option<Vec<u8>> = sqlx::query_scalar(AssertSqlSafe(self.schema.sql(INSERT)))
            .bind(person)
            .bind(sealed)
            .bind(now)
            .fetch_optional(&mut *connection)
            .await?;
        match made {
            Some(key) => self.unwrap(person, Some(key)),
            // Another transaction was first, and its key counts.
            None => self.unwrap(person, self.read(connection, person, read).await?.ok_or(PersonError::Erased)?),
        }
    }

    /// The keys of persons for opening; absent: erased, or nothing was ever sealed.
    ///
    /// # Errors
    /// What the database answered, or that a key does not open under the configured ones.
    pub async fn find(
        &self,
        connection: &mut PgConnection,
        persons: &[Uuid],
    ) -> Result<HashMap<Uuid, PersonKey>, PersonError> {
        let rows: Vec<(Uuid, Vec<u8>)> =
            sqlx::query_as(AssertSqlSafe(self.schema.sql(FIND))).bind(persons).fetch_all(connection).await?;
        rows.into_iter().map(|(person, key)| Ok((person, self.unwrap(person, Some(key))?))).collect()
    }

    /// A person's key from `person_key.key`, where a statement of the service's own reads it beside something else: for opening, or for a
    /// statement that holds the key by itself.
    ///
    /// # Errors
    /// When it does not open under the configured keys.
    pub fn of_column(&self, person: Uuid, key: &[u8]) -> Result<PersonKey, Unsealable> {
        Ok(PersonKey(self.ring.personal_key(Place::new(COLUMN, person), key)?))
    }

    /// The key of one person for opening.
    ///
    /// # Errors
    /// [`PersonError::Erased`], also when nothing was ever sealed.
    pub async fn find_one(&self, connection: &mut PgConnection, person: Uuid) -> Result<PersonKey, PersonError> {
        self.find(connection, &[person]).await?.remove(&person).ok_or(PersonError::Erased)
    }

    /// Destroys a person's key for good, whether there is one or not; waits for whoever is sealing.
    ///
    /// # Errors
    /// What the database answered.
    pub async fn destroy(&self, tx: &mut PgConnection, person: Uuid, now: DateTime<Utc>) -> Result<(), sqlx::Error> {
        sqlx::query(AssertSqlSafe(self.schema.sql(DESTROY))).bind(person).bind(now).execute(tx).await.map(|_| ())
    }

    /// What a value is looked up by: a keyed digest, as personal as the value itself. Its row goes when the person is erased.
    pub fn lookup(&self, column: &'static str, value: &str) -> Digest {
        seal::mac(&self.lookups[0], &[column.as_bytes(), value.as_bytes()])
    }

    /// [`PersonKeys::lookup`] under each configured secret, the newest first: rows made before a change are found, too.
    pub fn lookups(&self, column: &'static str, value: &str) -> Vec<Vec<u8>> {
        self.lookups.iter().map(|key| seal::mac(key, &[column.as_bytes(), value.as_bytes()]).to_vec()).collect()
    }

    async fn read(
        &self,
        connection: &mut PgConnection,
        person: Uuid,
        read: &str,
    ) -> Result<Option<Option<Vec<u8>>>, sqlx::Error> {
        sqlx::query_scalar(AssertSqlSafe(self.schema.sql(read))).bind(person).fetch_optional(connection).await
    }

    fn unwrap(&self, person: Uuid, key: Option<Vec<u8>>) -> Result<PersonKey, PersonError> {
        self.of_column(person, &key.ok_or(PersonError::Erased)?).map_err(|_| PersonError::KeyUnopened(person))
    }
}

const READ: &str = "SELECT key FROM {schema}.person_key WHERE person = $1";

const SHARE: &str = "SELECT key FROM {schema}.person_key WHERE person = $1 FOR SHARE";

const INSERT: &str = "
    INSERT INTO {schema}.person_key (person, key, made_at) VALUES ($1, $2, $3)
    ON CONFLICT ON CONSTRAINT person_key_pk DO NOTHING RETURNING key";

const FIND: &str = "SELECT person, key FROM {schema}.person_key WHERE person = ANY ($1) AND key IS NOT NULL";

const DESTROY: &str = "
    INSERT INTO {schema}.person_key (person, key, made_at, destroyed_at) VALUES ($1, NULL, $2, $2)
    ON CONFLICT ON CONSTRAINT person_key_pk DO UPDATE SET key = NULL, destroyed_at = coalesce(person_key.destroyed_at, excluded.destroyed_at)";

#[cfg(test)]
mod tests;
