//! VNeID, the national identity app, as an upstream OpenID provider: a citizen visits it, and comes back with a number that it vouches for;
//! or, once linked, signs in there (`sign_in`).
//!
//! A link is something to sign in by: whoever begins one has signed in moments ago, and knows the PIN, if there is one.
//! Rules of linking, held by unique keys in the database: an account there is one account here, and the other way round; the number that
//! it says is proved as by eKYC ([`Identity::prove_number`]): one number, one account. Whatever collides changes nothing.
//! A visit belongs to the session that began it, lives for minutes, and its return is taken once; state, nonce and PKCE (S256) tie
//! the return to the visit.

pub(crate) mod provider;
pub(crate) mod sign_in;
mod sql;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, TimeDelta, Utc};
use platform::auth::Principal;
use platform::outbox::{self, NewEvent};
use proto::identity::v1::VneidLinked;
use serde::{Deserialize, Serialize};
use tracing::warn;
use url::Url;

pub(crate) use sql::{prune, whose};

use self::provider::{Person, ProviderError, Return, Visit};
use crate::audit::{self, Action, Entry, Origin};
use crate::citizen::{self, CitizenId};
use crate::ekyc::number::CitizenNumber;
use crate::ekyc::{NumberConflict, Source};
use crate::error::Error;
use crate::pin::strength::Pin;
use crate::vault::{self, Digest, Place};
use crate::{Identity, SCHEMA};

/// How long a visit may take.
const VISIT_LIFE: TimeDelta = TimeDelta::minutes(10);
/// Visits of a citizen that wait for their return; the oldest gives way.
const MAX_VISITS: i64 = 5;
/// The longest state and code that are looked at.
const MAX_TEXT: usize = 2_048;
const SECRET: &str = "vneid_attempt.secret";

/// A visit that begins.
#[derive(Debug)]
pub(crate) struct Begun {
    /// Where the citizen goes.
    pub url: Url,
    pub expires_at: DateTime<Utc>,
}

/// What must be remembered until the citizen comes back.
#[derive(Serialize, Deserialize)]
struct Remembered {
    nonce: String,
    verifier: String,
    begun_at: DateTime<Utc>,
}

impl Remembered {
    /// Makes it up, with the state that the return will name.
    fn new(now: DateTime<Utc>) -> (String, Self) {
        let text = || URL_SAFE_NO_PAD.encode(vault::random::<32>());
        (text(), Self { nonce: text(), verifier: text(), begun_at: now })
    }

    /// Of PKCE, S256.
    fn challenge(&self) -> String {
        URL_SAFE_NO_PAD.encode(digest_of(&self.verifier))
    }
}

/// Why an account at VNeID can't be this citizen's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LinkConflict {
    /// It is linked to another account here.
    Taken,
    /// This account is linked to another one there.
    Differs,
    /// Its number.
    Number(NumberConflict),
}

impl Identity {
    /// Begins a visit of the caller.
    pub(crate) async fn begin_vneid(&self, caller: &Principal, pin: Option<&Pin>) -> Result<Begun, Error> {
        let provider = self.vneid.as_ref().ok_or(Error::VneidUnavailable)?;
        self.admit_new_credential(caller, pin).await?;
        let redirect_uri = self.vneid_redirect()?;
        let now = self.now();
        let (state, remembered) = Remembered::new(now);
        let challenge = remembered.challenge();
        let visit = Visit { state: &state, nonce: &remembered.nonce, challenge: &challenge, redirect_uri };
        let url = provider.authorize(&visit).await.map_err(away)?;
        let expires_at = now + VISIT_LIFE;
        let remembered = serde_json::to_vec(&remembered).map_err(|_| Error::VneidUnavailable)?;
        let sealed = self.vault.seal(Place::new(SECRET, caller.subject), &remembered);
        let mut tx = platform::db::begin(&self.pool).await?;
        citizen::lock(&mut tx, caller.subject.into()).await?.ok_or(Error::NotFound)?;
        sql::make_room(&mut tx, caller.subject, MAX_VISITS - 1).await?;
        sql::insert(&mut tx, caller, (&digest_of(&state), &sealed), expires_at).await?;
        tx.commit().await?;
        Ok(Begun { url, expires_at })
    }

    /// Takes a return: what VNeID says of the citizen becomes theirs.
    pub(crate) async fn return_from_vneid(
        &self,
        caller: &Principal,
        (state, code): (&str, &str),
        origin: Origin,
    ) -> Result<(), Error> {
        let provider = self.vneid.as_ref().ok_or(Error::VneidUnavailable)?;
        if state.len() > MAX_TEXT || code.len() > MAX_TEXT {
            return Err(Error::VneidStateUnknown);
        }
        let taken = sql::take(&mut *self.pool.acquire().await?, caller, &digest_of(state), self.now()).await?;
        let sealed = taken.ok_or(Error::VneidStateUnknown)?;
        let plain = self.vault.open(Place::new(SECRET, caller.subject), &sealed)?;
        let remembered: Remembered = serde_json::from_slice(&plain).map_err(|_| Error::VneidStateUnknown)?;
        let Remembered { nonce, verifier, begun_at } = &remembered;
        let back = Return { code, verifier, nonce, begun_at: *begun_at, redirect_uri: self.vneid_redirect()? };
        let person = provider.exchange(&back, self.now()).await.map_err(away)?;
        let linked = self.link_vneid(caller.subject.into(), &person, origin).await?;
        linked.map_err(Error::Link)
    }

    async fn link_vneid(
        &self,
        citizen: CitizenId,
        person: &Person,
        origin: Origin,
    ) -> Result<Result<(), LinkConflict>, Error> {
        let number = CitizenNumber::parse(&person.citizen_number)?;
        let now = self.now();
        let account = self.vault.outside_digest(&person.issuer, &person.subject);
        let mut tx = platform::db::begin(&self.pool).await?;
        let row = citizen::lock(&mut tx, citizen).await?.ok_or(Error::NotFound)?;
        let known = sql::linked(&mut tx, citizen).await?;
        if known.as_ref().is_some_and(|known| !vault::same(known, &account)) {
            return Ok(Err(LinkConflict::Differs));
        }
        if !sql::link(&mut tx, citizen, &account, now).await? {
            return Ok(Err(LinkConflict::Taken));
        }
        let entry = Entry::of(citizen, Action::VneidLink, "", &self.source(origin));
        let key = row.key(&self.vault)?;
        let proof = (&number, person.full_name.as_str(), Source::Vneid);
        // A conflict leaves the transaction, and so the link too.
        if let Err(conflict) = self.prove_number(&mut tx, (citizen, &key), proof, &entry, now).await? {
            return Ok(Err(LinkConflict::Number(conflict)));
        }
        audit::append(&mut tx, &[entry], now).await?;
        if known.is_none() {
            let linked = NewEvent::new(citizen.uuid(), &VneidLinked { user_id: citizen.to_string() });
            outbox::append(&mut tx, SCHEMA, now, &[linked]).await?;
        }
        tx.commit().await?;
        Ok(Ok(()))
    }

    /// Takes the caller's link back. The number stays proved, and sessions go on.
    pub(crate) async fn unlink_vneid(&self, caller: &Principal, origin: Origin) -> Result<(), Error> {
        self.require_fresh(caller)?;
        let (citizen, now) = (CitizenId::from(caller.subject), self.now());
        let mut tx = platform::db::begin(&self.pool).await?;
        citizen::lock(&mut tx, citizen).await?.ok_or(Error::NotFound)?;
        // Nor does a visit that somebody began before link it again.
        sql::make_room(&mut tx, caller.subject, 0).await?;
        if !sql::unlink(&mut tx, citizen).await? {
            return Err(Error::NotFound);
        }
        let entry = Entry::of(citizen, Action::VneidUnlink, "", &self.source(origin));
        audit::append(&mut tx, &[entry], now).await?;
        tx.commit().await?;
        Ok(())
    }

    /// Where VNeID sends people back to the app.
    fn vneid_redirect(&self) -> Result<&Url, Error> {
        self.config.vneid.as_ref().map(|settings| &settings.redirect_uri).ok_or(Error::VneidUnavailable)
    }

    /// Whether the citizen's account is linked to one at VNeID.
    pub(crate) async fn is_linked_to_vneid(&self, citizen: CitizenId) -> Result<bool, Error> {
        Ok(sql::linked(&mut *self.pool.acquire().await?, citizen).await?.is_some())
    }
}

fn digest_of(state: &str) -> Digest {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest(&SHA256, state.as_bytes()).as_ref());
    bytes
}

/// What the provider's failure means to the citizen.
fn away(error: ProviderError) -> Error {
    warn!(%error, "VNeID did not vouch for a citizen");
    match error {
        ProviderError::Away(_) => Error::VneidUnavailable,
        ProviderError::Refused(_) | ProviderError::Token(_) => Error::VneidRefused,
    }
}
