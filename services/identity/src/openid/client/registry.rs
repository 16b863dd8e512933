//! How clients are registered, edited, given new secrets and disabled: acts of admins, each with its record in the audit.
//!
//! Lock order: the admin's row is only read; client, revocation head, audit head; for a client that was disabled afterwards, a batch
//! at a time: session, revocation head, audit head, outbox head.

use chrono::{DateTime, Utc};
use platform::auth::Revoked;
use platform::idempotency::{self, Claim, Key};
use platform::outbox;
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;
use uuid::Uuid;

use super::{Access, Client, ClientId, Edit, NewClient, new_secret, rule, sql};
use crate::audit::{self, Action, Entry, Origin};
use crate::citizen::CitizenId;
use crate::error::Error;
use crate::session::{self, EndReason};
use crate::vault::Place;
use crate::{Identity, SCHEMA, revocation};

/// Where the secret in a kept answer is sealed.
const KEPT_SECRET: &str = "idempotency_key.client_secret";
/// The most sessions of a disabled client that end in one transaction.
const BATCH: i64 = 200;
/// HTTP 201.
const CREATED: u16 = 201;

/// An admin who does something, from where.
pub(crate) type Admin = (CitizenId, Origin);

/// A client with its secret, which is told this once.
pub(crate) struct Registered {
    pub client: Client,
    pub secret: Option<String>,
}

/// What is kept of an answer, so that the same request gets it again: the secret sealed.
#[derive(Serialize, Deserialize)]
struct Kept {
    client: ClientId,
    secret: Option<Vec<u8>>,
}

impl Identity {
    /// Registers a client, once per key.
    pub(crate) async fn register_client(&self, admin: Admin, new: NewClient, key: &Key) -> Result<Registered, Error> {
        let new = rule::check(new, &self.issuer)?;
        self.require_admin(admin.0).await?;
        let now = self.now();
        let mut tx = platform::db::begin(&self.pool).await?;
        if let Claim::Replay(stored) = idempotency::claim(&mut tx, SCHEMA, key, now).await? {
            return self.kept(&mut tx, stored.body).await;
        }
        let id = ClientId::generate();
        let (secret, secret_digest) = match new.access {
            Access::Confidential => Some(new_secret()).unzip(),
            Access::Public => (None, None),
        };
        let client = Client {
            sector: rule::sector(&new, id),
            secret_digest,
            created_by: Some(admin.0.uuid()),
            ..client_of(id, new, now)
        };
        sql::insert(&mut tx, &client).await?;
        let sealed = secret.as_ref().map(|secret| self.vault.seal(Place::new(KEPT_SECRET, id), secret.as_bytes()));
        idempotency::store(&mut tx, SCHEMA, key, CREATED, &Kept { client: id, secret: sealed }).await?;
        self.record(&mut tx, admin, Action::ClientRegister, id, now).await?;
        tx.commit().await?;
        Ok(Registered { client, secret })
    }

    async fn kept(&self, tx: &mut PgConnection, body: serde_json::Value) -> Result<Registered, Error> {
        let kept: Kept = serde_json::from_value(body).map_err(|_| Error::NotFound)?;
        let client = sql::find(tx, kept.client).await?.ok_or(Error::NotFound)?;
        let open = |sealed: Vec<u8>| self.vault.open(Place::new(KEPT_SECRET, kept.client), &sealed);
        let secret = kept.secret.map(open).transpose()?.map(|secret| String::from_utf8_lossy(&secret).into_owned());
        Ok(Registered { client, secret })
    }

    /// A page of clients, for admins.
    pub(crate) async fn list_clients(
        &self,
        by: CitizenId,
        after: Option<Uuid>,
        limit: i64,
    ) -> Result<Vec<Client>, Error> {
        self.require_admin(by).await?;
        Ok(sql::list(&self.pool, after, limit).await?)
    }

    /// A client, for admins.
    pub(crate) async fn show_client(&self, by: CitizenId, id: ClientId) -> Result<Client, Error> {
        self.require_admin(by).await?;
        sql::find(&mut *self.pool.acquire().await?, id).await?.ok_or(Error::NotFound)
    }

    /// Changes a client; with `seen`, only if its version is among them.
    pub(crate) async fn edit_client(
        &self,
        admin: Admin,
        id: ClientId,
        edit: Edit,
        seen: Option<Vec<i64>>,
    ) -> Result<Client, Error> {
        self.change(admin, id, Action::ClientEdit, |client| {
            if seen.is_some_and(|versions| !versions.contains(&client.version)) {
                return Err(Error::VersionMismatch);
            }
            let new = rule::edited(client, edit, &self.issuer)?;
            if !client.scopes.within(&new.scopes) {
                client.epoch += 1;
            }
            client.name_vi = new.name_vi;
            client.name_en = new.name_en;
            client.scopes = new.scopes;
            client.redirect_uris = new.redirect_uris;
            client.post_logout_redirect_uris = new.post_logout_redirect_uris;
            Ok(())
        })
        .await
    }

    /// Gives a client a new secret; the old one is dead at once, and so are the client's own tokens.
    pub(crate) async fn renew_secret(&self, admin: Admin, id: ClientId) -> Result<Registered, Error> {
        let (secret, digest) = new_secret();
        let client = self
            .change(admin, id, Action::ClientSecret, |client| {
                if client.access == Access::Public {
                    return Err(Error::ClientPublic);
                }
                client.secret_digest = Some(digest);
                client.epoch += 1;
                Ok(())
            })
            .await?;
        Ok(Registered { client, secret: Some(secret) })
    }

    /// Disables a client for ever, and ends whatever it holds of citizens. When it is disabled only what is left of that ends.
    pub(crate) async fn disable_client(&self, admin: Admin, id: ClientId) -> Result<(), Error> {
        let now = self.now();
        let disabled = self
            .change(admin, id, Action::ClientDisable, |client| {
                client.disabled_at = Some(now);
                client.epoch += 1;
                Ok(())
            })
            .await;
        match disabled {
            Ok(_) | Err(Error::ClientDisabled) => self.end_all_of_client(id).await,
            Err(error) => Err(error),
        }
    }

    /// Ends all sessions of a client, some at a time.
    async fn end_all_of_client(&self, id: ClientId) -> Result<(), Error> {
        let reason = EndReason::ClientDisabled;
        loop {
            let now = self.now();
            let mut tx = platform::db::begin(&self.pool).await?;
            let ended = session::end_of_client(&mut tx, &id.to_string(), (reason, BATCH), now).await?;
            let (mut entries, mut events, mut revoked) = (Vec::new(), Vec::new(), Vec::new());
            for (citizen, session) in &ended {
                let (position, event) = self.revoke(&mut tx, *citizen, &[*session], now).await?;
                let entry = Entry::of(*citizen, Action::SessionEnd, session, &self.source(Origin::default()));
                entries.push(entry.because(reason.as_str()).by_service(&self.instance));
                revoked.extend(position);
                events.extend(event);
            }
            audit::append(&mut tx, &entries, now).await?;
            outbox::append(&mut tx, SCHEMA, now, &events).await?;
            tx.commit().await?;
            self.meter.sessions_ended(reason.as_str(), ended.len());
            self.forget_now(&revoked);
            if ended.is_empty() {
                return Ok(());
            }
        }
    }

    /// Changes a client that is not disabled under its lock, and cuts off its own tokens if its epoch rose.
    async fn change(
        &self,
        admin: Admin,
        id: ClientId,
        action: Action,
        change: impl FnOnce(&mut Client) -> Result<(), Error>,
    ) -> Result<Client, Error> {
        self.require_admin(admin.0).await?;
        let mut tx = platform::db::begin(&self.pool).await?;
        let mut client = sql::lock(&mut tx, id).await?.ok_or(Error::NotFound)?;
        if client.disabled_at.is_some() {
            return Err(Error::ClientDisabled);
        }
        let epoch = client.epoch;
        change(&mut client)?;
        sql::update(&mut tx, &client).await?;
        client.version += 1;
        let now = self.now();
        let forget_at = revocation::forget_at(&self.config.lifetimes, now);
        if client.epoch > epoch {
            sql::cut_off(&mut tx, &client, (now, forget_at)).await?;
        }
        self.record(&mut tx, admin, action, id, now).await?;
        tx.commit().await?;
        self.clients.forget(id);
        if client.epoch > epoch {
            let what = Revoked::Roles { subject: id.uuid(), epoch: client.epoch };
            self.verifier.revoke(what, forget_at.timestamp());
        }
        Ok(client)
    }

    async fn record(
        &self,
        tx: &mut PgConnection,
        (by, origin): Admin,
        action: Action,
        id: ClientId,
        now: DateTime<Utc>,
    ) -> Result<(), Error> {
        let entry = Entry::of(by, action, id, &self.source(origin));
        Ok(audit::append(tx, &[entry], now).await?)
    }
}

pub(super) fn client_of(id: ClientId, new: NewClient, now: DateTime<Utc>) -> Client {
    Client {
        id,
        name_vi: new.name_vi,
        name_en: new.name_en,
        access: new.access,
        secret_digest: None,
        grants: new.grants,
        scopes: new.scopes,
        redirect_uris: new.redirect_uris,
        post_logout_redirect_uris: new.post_logout_redirect_uris,
        sector: None,
        id_token_algorithm: new.id_token_algorithm,
        agency: new.agency,
        epoch: 0,
        version: 1,
        created_at: now,
        created_by: None,
        disabled_at: None,
    }
}
