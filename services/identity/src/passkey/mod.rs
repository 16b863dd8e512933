//! Passkeys (W3C Web Authentication): registered, listed, removed, and asked to prove one transaction.
//!
//! Whoever registers or removes one has signed in moments ago; to register it they know the PIN, if there is one: a passkey is the
//! strongest thing to have. One that was registered without a PIN cools down.
//! A challenge is random, lives in the database for minutes, belongs to one session and, for a proof, to the digest of one
//! transaction; whoever answers takes it out first, so that it is answered once, rightly or wrongly.
//! The relying party is the host of the public URL; where that is an address and no name there are no passkeys.

mod sql;

use chrono::{DateTime, TimeDelta, Utc};
use platform::auth::Principal;
use platform::typed_id;
use serde_json::Value;
use tracing::warn;
use url::Url;
use webauthn_rs::prelude::{
    Passkey as Credential, PasskeyAuthentication, PasskeyRegistration, PublicKeyCredential,
    RegisterPublicKeyCredential, Webauthn, WebauthnBuilder, WebauthnError,
};

pub(crate) use sql::{plain_names, prune, seal_names};

use crate::Identity;
use crate::audit::{self, Action, Entry, Origin};
use crate::citizen::{self, CitizenId};
use crate::config::Lifetimes;
use crate::device::DeviceName;
use crate::error::Error;
use crate::name::StoredName;
use crate::pin::strength::Pin;
use crate::step_up::Transaction;
use crate::vault::{Digest, Place};

/// The most passkeys of a citizen.
pub(crate) const MAX_PASSKEYS: usize = 10;
/// The most challenges of a citizen that wait; the oldest gives way.
const MAX_CHALLENGES: i64 = 5;
/// How long a challenge waits.
const CHALLENGE_LIFE: TimeDelta = TimeDelta::minutes(5);
/// What authenticators show the relying party as.
const PARTY: &str = "Tràng Tiền";
/// The column that names are sealed for.
pub(crate) const NAME: &str = "passkey.name";

typed_id! {
    /// A passkey.
    pub struct PasskeyId;
}

typed_id! {
    /// A challenge that a passkey is asked to answer.
    pub struct PasskeyChallengeId;
}

/// A passkey as its citizen sees it.
#[derive(Clone, Debug)]
pub(crate) struct Passkey {
    pub id: PasskeyId,
    pub name: String,
    pub created_at: DateTime<Utc>,
    pub last_used_at: Option<DateTime<Utc>>,
}

/// A challenge on its way to an authenticator.
#[derive(Clone, Debug)]
pub(crate) struct Challenge {
    pub id: PasskeyChallengeId,
    /// Options in the JSON form of Web Authentication, level 3.
    pub public_key: Value,
    pub expires_at: DateTime<Utc>,
}

/// A passkey in a list, as it is stored.
struct Listed {
    id: PasskeyId,
    name: StoredName,
    created_at: DateTime<Utc>,
    last_used_at: Option<DateTime<Utc>>,
}

/// A passkey that is to be stored.
struct Row {
    passkey: Passkey,
    /// Its name, sealed.
    name: Vec<u8>,
    credential: Credential,
    /// Until when it proves nothing.
    cooling_until: Option<DateTime<Utc>>,
}

/// A passkey that is asked to prove something, locked.
struct Locked {
    id: uuid::Uuid,
    credential: Credential,
    /// The signature counter that it reached; 0 where it does not count.
    counter: i64,
    cooling_until: Option<DateTime<Utc>>,
}

/// What a challenge remembers until it is answered.
struct Waiting {
    digest: Option<Vec<u8>>,
    state: Value,
}

/// The relying party of a public URL; none where its host is no name.
pub(crate) fn relying_party(public_url: &Url) -> Option<Webauthn> {
    let builder = WebauthnBuilder::new(public_url.domain()?, public_url).ok()?;
    builder.rp_name(PARTY).build().ok()
}

impl Identity {
    fn relying_party(&self) -> Result<&Webauthn, Error> {
        self.passkeys.as_ref().ok_or(Error::PasskeysUnavailable)
    }

    /// Asks an authenticator for a new passkey of the caller.
    pub(crate) async fn begin_passkey(&self, caller: &Principal, pin: Option<&Pin>) -> Result<Challenge, Error> {
        let party = self.relying_party()?;
        let id = CitizenId::from(caller.subject);
        let citizen = self.admit_new_credential(caller, pin).await?;
        let known = sql::credentials(&mut *self.pool.acquire().await?, id).await?;
        if known.len() >= MAX_PASSKEYS {
            return Err(Error::PasskeysTooMany);
        }
        let known = known.iter().map(|credential| credential.cred_id().clone()).collect();
        let name = citizen.display_name.clone().unwrap_or_else(|| citizen.phone_masked());
        let (options, state) =
            party.start_passkey_registration(caller.subject, &name, &name, Some(known)).map_err(refused)?;
        self.ask(caller, None, (json(&options.public_key)?, json(&(citizen.pin_set, state))?)).await
    }

    /// Keeps the passkey that an authenticator made.
    pub(crate) async fn finish_passkey(
        &self,
        caller: &Principal,
        challenge: PasskeyChallengeId,
        answer: &RegisterPublicKeyCredential,
        name: DeviceName,
        origin: Origin,
    ) -> Result<Passkey, Error> {
        let party = self.relying_party()?;
        let citizen = CitizenId::from(caller.subject);
        let waiting = self.take_challenge(caller, challenge).await?;
        if waiting.digest.is_some() {
            return Err(Error::PasskeyChallengeUnknown);
        }
        let (by_pin, state): (bool, PasskeyRegistration) = stored(waiting.state)?;
        let credential = party.finish_passkey_registration(answer, &state).map_err(refused)?;
        let now = self.now();
        let passkey =
            Passkey { id: PasskeyId::generate(), name: name.as_str().to_owned(), created_at: now, last_used_at: None };
        let cooling = Lifetimes::span(self.config.lifetimes.pin_cooling_seconds);
        let mut tx = platform::db::begin(&self.pool).await?;
        let owner = citizen::lock(&mut tx, citizen).await?.ok_or(Error::NotFound)?;
        let name = owner.key(&self.vault)?.seal(Place::new(NAME, passkey.id), name.as_str().as_bytes());
        let row = Row { passkey: passkey.clone(), name, credential, cooling_until: (!by_pin).then_some(now + cooling) };
        if sql::credentials(&mut tx, citizen).await?.len() >= MAX_PASSKEYS {
            return Err(Error::PasskeysTooMany);
        }
        if !sql::insert(&mut tx, citizen, &row, json(&row.credential)?).await? {
            return Err(Error::PasskeyKnown);
        }
        let entry = Entry::of(citizen, Action::PasskeyAdd, passkey.id, &self.source(origin));
        audit::append(&mut tx, &[entry], now).await?;
        tx.commit().await?;
        Ok(passkey)
    }

    /// A citizen's passkeys, the newest first.
    pub(crate) async fn passkeys_of(&self, citizen: CitizenId) -> Result<Vec<Passkey>, Error> {
        let mut connection = self.pool.acquire().await?;
        let row = citizen::find(&mut connection, citizen).await?.ok_or(Error::NotFound)?;
        let key = row.key(&self.vault)?;
        let rows = sql::list(&mut connection, citizen).await?;
        let passkeys = rows.into_iter().map(|row| {
            let name = row.name.open(&key, Place::new(NAME, row.id))?;
            Ok(Passkey { id: row.id, name, created_at: row.created_at, last_used_at: row.last_used_at })
        });
        passkeys.collect()
    }

    /// Forgets a passkey.
    pub(crate) async fn remove_passkey(
        &self,
        caller: &Principal,
        passkey: PasskeyId,
        origin: Origin,
    ) -> Result<(), Error> {
        self.require_fresh(caller)?;
        let (citizen, now) = (CitizenId::from(caller.subject), self.now());
        let mut tx = platform::db::begin(&self.pool).await?;
        if !sql::delete(&mut tx, citizen, passkey).await? {
            return Err(Error::NotFound);
        }
        let entry = Entry::of(citizen, Action::PasskeyRemove, passkey, &self.source(origin));
        audit::append(&mut tx, &[entry], now).await?;
        tx.commit().await?;
        Ok(())
    }

    /// Asks one of the caller's passkeys to prove a transaction.
    pub(crate) async fn challenge_passkey(
        &self,
        caller: &Principal,
        transaction: &Transaction,
    ) -> Result<Challenge, Error> {
        let party = self.relying_party()?;
        let known = sql::credentials(&mut *self.pool.acquire().await?, caller.subject.into()).await?;
        if known.is_empty() {
            return Err(Error::PasskeyMissing);
        }
        let (options, state) = party.start_passkey_authentication(&known).map_err(refused)?;
        let digest = self.passkey_digest(caller, transaction);
        self.ask(caller, Some(digest), (json(&options.public_key)?, json(&state)?)).await
    }

    /// Refuses an answer that no passkey of the caller gave, having verified its user, to the challenge of this transaction.
    pub(crate) async fn check_passkey(
        &self,
        caller: &Principal,
        transaction: &Transaction,
        challenge: PasskeyChallengeId,
        answer: &PublicKeyCredential,
    ) -> Result<(), Error> {
        let party = self.relying_party()?;
        let waiting = self.take_challenge(caller, challenge).await?;
        if waiting.digest.as_deref() != Some(&self.passkey_digest(caller, transaction)[..]) {
            return Err(Error::PasskeyChallengeUnknown);
        }
        let state: PasskeyAuthentication = stored(waiting.state)?;
        let result = party.finish_passkey_authentication(answer, &state).map_err(refused)?;
        if !result.user_verified() {
            return Err(Error::PasskeyRefused);
        }
        let mut tx = platform::db::begin(&self.pool).await?;
        // Locked and read again: it may have been removed since it was asked, or have signed somewhere else.
        let locked = sql::lock(&mut tx, caller.subject.into(), result.cred_id()).await?;
        let mut locked = locked.ok_or(Error::PasskeyRefused)?;
        let now = self.now();
        if let Some(until) = locked.cooling_until.filter(|until| *until > now) {
            return Err(Error::KeyCooling { until });
        }
        // The library compared with what was stored when it was asked.
        if result.counter() > 0 && i64::from(result.counter()) <= locked.counter {
            return Err(Error::PasskeyRefused);
        }
        locked.credential.update_credential(&result);
        sql::used(&mut tx, locked.id, json(&locked.credential)?, now).await?;
        tx.commit().await?;
        Ok(())
    }

    /// A challenge stands for its transaction in the database; nothing of it is signed, so no time is.
    fn passkey_digest(&self, caller: &Principal, transaction: &Transaction) -> Digest {
        transaction.digest(&self.issuer, caller.subject, 0)
    }

    async fn ask(
        &self,
        caller: &Principal,
        digest: Option<Digest>,
        (public_key, state): (Value, Value),
    ) -> Result<Challenge, Error> {
        let now = self.now();
        let challenge = Challenge { id: PasskeyChallengeId::generate(), public_key, expires_at: now + CHALLENGE_LIFE };
        let mut tx = platform::db::begin(&self.pool).await?;
        citizen::lock(&mut tx, caller.subject.into()).await?.ok_or(Error::NotFound)?;
        sql::make_room(&mut tx, caller.subject, MAX_CHALLENGES - 1).await?;
        sql::insert_challenge(&mut tx, caller, &challenge, digest, &state).await?;
        tx.commit().await?;
        Ok(challenge)
    }

    /// Takes a challenge of this session out: it is not answered again.
    async fn take_challenge(&self, caller: &Principal, id: PasskeyChallengeId) -> Result<Waiting, Error> {
        let taken = sql::take_challenge(&mut *self.pool.acquire().await?, caller, id, self.now()).await?;
        taken.ok_or(Error::PasskeyChallengeUnknown)
    }
}

/// An answer that the library refuses. Which check failed is for the log only.
fn refused(error: WebauthnError) -> Error {
    warn!(%error, "passkey refused");
    Error::PasskeyRefused
}

fn json(value: &impl serde::Serialize) -> Result<Value, Error> {
    serde_json::to_value(value).map_err(|error| Error::Hashing(format!("a passkey can't be written: {error}")))
}

fn stored<T: serde::de::DeserializeOwned>(value: Value) -> Result<T, Error> {
    serde_json::from_value(value).map_err(|error| Error::Hashing(format!("a passkey can't be read: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passkeys_need_a_name_and_no_address() {
        let party = |url: &str| relying_party(&url.parse().expect("a URL")).is_some();
        assert!(party("http://localhost:8080") && party("https://hue.example/app"));
        assert!(!party("http://127.0.0.1:8080") && !party("http://[::1]:8080"));
    }
}
