//! Citizens: people who have proved a phone number, and those without one for whom a guardian acts (`dependent`).
//!
//! Who has no number can't sign in. The number and the name are sealed under a key of that person alone, which is itself sealed; without it both are gone.

mod sql;

use std::sync::Arc;

use chrono::{DateTime, Utc};
use platform::http::Language;
use platform::person::KeyTable;
use platform::typed_id;
use sqlx::PgConnection;

pub(crate) use sql::{find, lock, raise_tier};

use crate::audit::{self, Action, Entry, Origin};
use crate::challenge::Proved;
use crate::error::Error;
use crate::phone::Phone;
use crate::vault::{Place, Sealer, Vault};
use crate::{Identity, SCHEMA};

typed_id! {
    /// A person with an account; `user_id` in events.
    pub struct CitizenId;
}

/// The longest display name, in characters.
const MAX_NAME: usize = 80;
const DATA_KEY: &str = "citizen.data_key";
/// The table that they are in.
pub(crate) const KEYS: KeyTable =
    KeyTable { schema: SCHEMA, table: "citizen", person: "id", key: "data_key", place: DATA_KEY };
const PHONE: &str = "citizen.phone";
const DISPLAY_NAME: &str = "citizen.display_name";

/// Where a citizen's own key is kept, sealed by the configuration's.
pub(crate) fn data_key(citizen: CitizenId) -> Place {
    Place::new(DATA_KEY, citizen)
}

/// How far a citizen has proved who they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Tier {
    /// Phone proved.
    #[default]
    Phone,
    /// Citizen number proved.
    CitizenNumber,
    /// Proved in person.
    InPerson,
}

impl Tier {
    /// As it is stored and sent.
    pub(crate) fn number(self) -> i16 {
        match self {
            Self::Phone => 0,
            Self::CitizenNumber => 1,
            Self::InPerson => 2,
        }
    }

    fn from_number(number: i16) -> Self {
        match number {
            2.. => Self::InPerson,
            1 => Self::CitizenNumber,
            _ => Self::Phone,
        }
    }
}

/// A citizen, opened.
#[derive(Clone, Debug)]
pub(crate) struct Citizen {
    pub id: CitizenId,
    /// None while a guardian alone acts for them.
    pub phone: Option<Phone>,
    pub display_name: Option<String>,
    pub language: Language,
    pub tier: Tier,
    pub version: i64,
    pub pin_set: bool,
    pub created_at: DateTime<Utc>,
    /// Their own key.
    pub key: Arc<Sealer>,
}

/// A citizen as it is stored.
pub(crate) struct Row {
    id: CitizenId,
    data_key: Vec<u8>,
    phone: Option<Vec<u8>>,
    display_name: Option<Vec<u8>>,
    language: String,
    tier: i16,
    version: i64,
    pin_set: bool,
    created_at: DateTime<Utc>,
}

/// A change that a citizen makes to their profile; the outer `None` leaves a field as it is.
#[derive(Clone, Debug, Default)]
pub(crate) struct Edit {
    pub display_name: Option<Option<DisplayName>>,
    pub language: Option<Language>,
}

impl Edit {
    /// The names of the fields that it changes.
    fn fields(&self) -> String {
        let named = [("display_name", self.display_name.is_some()), ("language", self.language.is_some())];
        named.iter().filter(|(_, changed)| *changed).map(|(name, _)| *name).collect::<Vec<_>>().join(" ")
    }
}

/// A name of 1 to 80 characters without control characters. `Debug` hides it.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct DisplayName(String);

impl DisplayName {
    /// Checks a name and joins its words by single spaces.
    pub(crate) fn parse(text: &str) -> Result<Self, Error> {
        let name = text.split_whitespace().collect::<Vec<_>>().join(" ");
        if name.is_empty() || name.chars().count() > MAX_NAME || name.chars().any(char::is_control) {
            return Err(Error::Field {
                field: "display_name",
                vi: "Tên hiển thị dài từ 1 đến 80 ký tự.",
                en: "A display name has 1 to 80 characters.",
            });
        }
        Ok(Self(name))
    }
}

impl DisplayName {
    /// The name; keep it out of logs.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for DisplayName {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("DisplayName(…)")
    }
}

/// A name with its middle hidden, to confirm a payee: `Nguyễn Thị Minh Hương` → `N***** T** M*** Hương`.
///
/// Vietnamese people go by their last word, so that one is shown; a single word keeps its first letter only.
pub(crate) fn mask_name(name: &str) -> String {
    let words: Vec<&str> = name.split_whitespace().collect();
    let masked = words.iter().enumerate().map(|(index, word)| {
        if index > 0 && index + 1 == words.len() {
            return (*word).to_owned();
        }
        let mut letters = word.chars();
        let first = letters.next().map(String::from).unwrap_or_default();
        first + &"*".repeat(letters.count().clamp(1, 8))
    });
    masked.collect::<Vec<_>>().join(" ")
}

impl Citizen {
    /// The number with its middle hidden; empty where there is none.
    pub(crate) fn phone_masked(&self) -> String {
        self.phone.as_ref().map(Phone::masked).unwrap_or_default()
    }
}

impl Row {
    fn open(self, identity: &Identity) -> Result<Citizen, Error> {
        let key = self.key(&identity.vault)?;
        let phone = match &self.phone {
            Some(sealed) => Some(identity.numbering.stored(key.open_text(Place::new(PHONE, self.id), sealed)?)?),
            None => None,
        };
        let display_name = match &self.display_name {
            Some(sealed) => Some(key.open_text(Place::new(DISPLAY_NAME, self.id), sealed)?),
            None => None,
        };
        Ok(Citizen {
            id: self.id,
            phone,
            display_name,
            language: Language::from_tag(&self.language),
            tier: Tier::from_number(self.tier),
            version: self.version,
            pin_set: self.pin_set,
            created_at: self.created_at,
            key: Arc::new(key),
        })
    }

    /// Whether they have no number.
    pub(crate) fn is_without_phone(&self) -> bool {
        self.phone.is_none()
    }

    /// The person's own key.
    pub(crate) fn key(&self, vault: &Vault) -> Result<Sealer, Error> {
        Ok(vault.personal_key(data_key(self.id), &self.data_key)?)
    }
}

impl Identity {
    /// The citizen with a proved number, locked; made on first use. Tells whether it was made.
    pub(crate) async fn find_or_register(
        &self,
        tx: &mut PgConnection,
        proved: &Proved,
        now: DateTime<Utc>,
    ) -> Result<(Citizen, bool), Error> {
        if let Some(row) = sql::lock_by_phone(tx, &proved.phone_digest).await? {
            return Ok((row.open(self)?, false));
        }
        let id = CitizenId::generate();
        let (sealer, sealed_key) = self.vault.new_personal_key(data_key(id));
        let row = Row {
            id,
            data_key: sealed_key,
            phone: Some(sealer.seal(Place::new(PHONE, id), proved.phone.e164().as_bytes())),
            display_name: None,
            language: proved.language.tag().to_owned(),
            tier: Tier::default().number(),
            version: 1,
            pin_set: false,
            created_at: now,
        };
        let made = sql::insert(tx, &row, Some(&proved.phone_digest)).await?;
        // Waits for a registration of the same number at the same time; the other one's row is then seen here.
        let row =
            if made { row } else { sql::lock_by_phone(tx, &proved.phone_digest).await?.ok_or(Error::NotFound)? };
        Ok((row.open(self)?, made))
    }

    /// Somebody without a number, whose papers an officer saw: gives their id and their own key.
    pub(crate) async fn register_without_phone(
        &self,
        tx: &mut PgConnection,
        (name, language): (&DisplayName, Language),
        now: DateTime<Utc>,
    ) -> Result<(CitizenId, Sealer), Error> {
        let id = CitizenId::generate();
        let (sealer, sealed_key) = self.vault.new_personal_key(data_key(id));
        let row = Row {
            id,
            data_key: sealed_key,
            phone: None,
            display_name: Some(sealer.seal(Place::new(DISPLAY_NAME, id), name.0.as_bytes())),
            language: language.tag().to_owned(),
            tier: Tier::CitizenNumber.number(),
            version: 1,
            pin_set: false,
            created_at: now,
        };
        sql::insert(tx, &row, None).await?;
        Ok((id, sealer))
    }

    /// Gives a number to somebody who has none, under their lock; `false` when the number has an account.
    pub(crate) async fn attach_phone(
        &self,
        tx: &mut PgConnection,
        row: &Row,
        proved: &Proved,
        now: DateTime<Utc>,
    ) -> Result<bool, Error> {
        let sealed = row.key(&self.vault)?.seal(Place::new(PHONE, row.id), proved.phone.e164().as_bytes());
        let done = sql::attach_phone(tx, row.id, (&proved.phone_digest, &sealed), now).await;
        match done {
            Err(error) if platform::db::violated(&error) == Some("citizen_phone_key") => Ok(false),
            other => Ok(other.map(|()| true)?),
        }
    }

    /// A citizen, locked for a change; nothing when there is none any more.
    pub(crate) async fn lock_citizen(&self, tx: &mut PgConnection, id: CitizenId) -> Result<Option<Citizen>, Error> {
        lock(tx, id).await?.map(|row| row.open(self)).transpose()
    }

    /// A citizen.
    pub(crate) async fn citizen(&self, id: CitizenId) -> Result<Citizen, Error> {
        let row = find(&mut *self.pool.acquire().await?, id).await?.ok_or(Error::NotFound)?;
        row.open(self)
    }

    /// The citizen with a number, if any.
    pub(crate) async fn citizen_by_phone(&self, phone: &Phone) -> Result<Option<Citizen>, Error> {
        let digest = self.vault.phone_digest(phone.e164());
        let row = sql::find_by_phone(&mut *self.pool.acquire().await?, &digest).await?;
        row.map(|row| row.open(self)).transpose()
    }

    /// Changes a profile if it still has a version that the client has seen, when it says which.
    pub(crate) async fn edit_citizen(
        &self,
        id: CitizenId,
        edit: Edit,
        seen: Option<Vec<i64>>,
        origin: Origin,
    ) -> Result<Citizen, Error> {
        let now = self.now();
        let mut tx = platform::db::begin(&self.pool).await?;
        let mut row = lock(&mut tx, id).await?.ok_or(Error::NotFound)?;
        if seen.is_some_and(|seen| !seen.contains(&row.version)) {
            return Err(Error::VersionMismatch);
        }
        if edit.display_name.is_none() && edit.language.is_none() {
            return row.open(self);
        }
        let fields = edit.fields();
        if let Some(name) = edit.display_name {
            let key = row.key(&self.vault)?;
            row.display_name = name.map(|name| key.seal(Place::new(DISPLAY_NAME, id), name.0.as_bytes()));
        }
        if let Some(language) = edit.language {
            row.language = language.tag().to_owned();
        }
        row.version += 1;
        sql::update(&mut tx, &row, now).await?;
        let edited = Entry::of(id, Action::ProfileEdit, fields, &self.source(origin));
        audit::append(&mut tx, &[edited], now).await?;
        tx.commit().await?;
        row.open(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_masked_name_confirms_a_payee_and_says_little_else() {
        assert_eq!(mask_name("Nguyễn Thị Minh Hương"), "N***** T** M*** Hương");
        assert_eq!(mask_name("Hương"), "H****");
        assert_eq!(mask_name("Ý"), "Ý*");
        assert_eq!(mask_name(""), "");
    }

    #[test]
    fn a_name_is_tidied_and_bounded() {
        assert_eq!(DisplayName::parse("  Lê   Văn\tAn ").map(|name| name.0).ok().as_deref(), Some("Lê Văn An"));
        for name in ["", " \n ", "a\u{7}b", &"x".repeat(81)] {
            assert!(DisplayName::parse(name).is_err(), "{name}");
        }
    }
}
