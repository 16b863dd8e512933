//! Signing in by VNeID, for whoever linked their account to theirs there: a visit that no session began.
//!
//! | step | round trips |
//! | --- | --- |
//! | begin | caps (Redis), discovery there, one statement |
//! | take | one statement |
//! | finish | token and keys there, with no transaction open; then one transaction: link, citizen, device, session, audit, events |
//!
//! State, nonce and PKCE tie the return to the visit, and the visit to its device: an app comes back with the verifier of a challenge
//! that it gave at the beginning (S256, as in RFC 7636, between app and city), a browser with its cookie. So nobody is signed in by a
//! visit that somebody else began.
//! Invariants: a return is taken once, whatever comes of it; whoever is not linked learns that of their own account only, after VNeID has
//! vouched for them; how many visits wait is bounded by the caps and by [`VISIT_LIFE`].

use std::net::IpAddr;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use url::Url;

use super::provider::{Return, Visit};
use super::{Begun, MAX_TEXT, Remembered, VISIT_LIFE, away, digest_of, sql};
use crate::Identity;
use crate::caps::{self, Allowance, Bucket};
use crate::challenge::{network, subscriber};
use crate::device::DeviceId;
use crate::error::Error;
use crate::session::{Arrival, Opened};
use crate::vault::{Digest, Place};

const SECRET: &str = "vneid_sign_in.secret";

/// Whoever goes to VNeID, and how they are known when they come back.
#[derive(Clone, Copy)]
pub(crate) enum Visitor<'a> {
    /// An app, which has the verifier of this challenge.
    App { challenge: Digest },
    /// A browser, which has its cookie, and the ticket of the page that it goes on with.
    Browser { ticket: &'a str },
}

/// Whoever comes back.
#[derive(Clone, Copy)]
pub(crate) enum Comer<'a> {
    App { verifier: &'a str },
    Browser,
}

/// A visit whose return was taken.
#[derive(Serialize, Deserialize)]
pub(crate) struct Taken {
    #[serde(flatten)]
    remembered: Remembered,
    redirect_uri: Url,
    /// The ticket of the page that the browser goes on with.
    pub ticket: Option<String>,
}

impl Identity {
    /// Where VNeID sends browsers back to the hosted pages, if they offer it.
    pub(crate) fn vneid_page_redirect(&self) -> Option<&Url> {
        self.config.vneid.as_ref()?.page_redirect_uri.as_ref()
    }

    /// Begins a visit of whoever wants to sign in on a device.
    pub(crate) async fn begin_vneid_sign_in(
        &self,
        device: DeviceId,
        visitor: Visitor<'_>,
        address: Option<IpAddr>,
    ) -> Result<Begun, Error> {
        let provider = self.vneid.as_ref().ok_or(Error::VneidUnavailable)?;
        let redirect_uri = match visitor {
            Visitor::App { .. } => self.vneid_redirect()?,
            Visitor::Browser { .. } => self.vneid_page_redirect().ok_or(Error::VneidUnavailable)?,
        };
        let now = self.now();
        self.admit_visit(device, address, now).await?;
        let (state, remembered) = Remembered::new(now);
        let challenge = remembered.challenge();
        let visit = Visit { state: &state, nonce: &remembered.nonce, challenge: &challenge, redirect_uri };
        let url = provider.authorize(&visit).await.map_err(away)?;
        let (challenge, ticket) = match visitor {
            Visitor::App { challenge } => (Some(challenge), None),
            Visitor::Browser { ticket } => (None, Some(ticket.to_owned())),
        };
        let taken = Taken { remembered, redirect_uri: redirect_uri.clone(), ticket };
        let plain = serde_json::to_vec(&taken).map_err(|_| Error::VneidUnavailable)?;
        let secret = self.vault.seal(Place::new(SECRET, device), &plain);
        let expires_at = now + VISIT_LIFE;
        let row = sql::SignIn { digest: digest_of(&state), device, challenge };
        sql::insert_sign_in(&mut *self.pool.acquire().await?, &row, &secret, expires_at).await?;
        Ok(Begun { url, expires_at })
    }

    /// Takes the return of a visit, which is over then.
    pub(crate) async fn take_vneid_sign_in(
        &self,
        device: DeviceId,
        state: &str,
        comer: Comer<'_>,
    ) -> Result<Taken, Error> {
        // Looked for first: without it the visit would be used up for nothing.
        self.signer().await?;
        let challenge = match comer {
            Comer::App { verifier } if verifier.len() > MAX_TEXT => return Err(Error::VneidStateUnknown),
            Comer::App { verifier } => Some(digest_of(verifier)),
            Comer::Browser => None,
        };
        if state.len() > MAX_TEXT {
            return Err(Error::VneidStateUnknown);
        }
        let row = sql::SignIn { digest: digest_of(state), device, challenge };
        let taken = sql::take_sign_in(&mut *self.pool.acquire().await?, &row, self.now()).await?;
        let plain = self.vault.open(Place::new(SECRET, device), &taken.ok_or(Error::VneidStateUnknown)?)?;
        serde_json::from_slice(&plain).map_err(|_| Error::VneidStateUnknown)
    }

    /// Lets in whom VNeID vouches for, by the code that a taken return came with.
    pub(crate) async fn finish_vneid_sign_in(
        &self,
        taken: &Taken,
        code: &str,
        arrival: &Arrival,
    ) -> Result<Opened, Error> {
        let provider = self.vneid.as_ref().ok_or(Error::VneidUnavailable)?;
        if code.len() > MAX_TEXT {
            return Err(Error::VneidRefused);
        }
        let Taken { remembered, redirect_uri, .. } = taken;
        let Remembered { nonce, verifier, begun_at } = remembered;
        let back = Return { code, verifier, nonce, begun_at: *begun_at, redirect_uri };
        let (account, opened) = match provider.exchange(&back, self.now()).await.map_err(away) {
            Ok(person) => {
                let account = self.vault.outside_digest(&person.issuer, &person.subject);
                let signer = self.signer().await?;
                (Some(account), self.open_linked_session(&signer, &account, arrival).await)
            }
            Err(error) => (None, Err(error)),
        };
        if let Err(error) = &opened {
            self.record_refused_visit(account.as_ref(), arrival, error).await;
        }
        opened
    }

    /// Counts a visit: each costs a question to VNeID and a row for some minutes.
    async fn admit_visit(&self, device: DeviceId, address: Option<IpAddr>, now: DateTime<Utc>) -> Result<(), Error> {
        let caps = &self.config.caps;
        let bucket = |kind, whose: &[u8], cap| Bucket { kind, whose: self.vault.cap_digest(whose), cap };
        let mut buckets = vec![bucket("vneid_device", device.uuid().as_bytes(), caps.device)];
        if let Some(address) = address {
            buckets.push(bucket("vneid_address", &subscriber(address), caps.address));
            buckets.push(bucket("vneid_network", &network(address), caps.network));
        }
        match caps::fill(&self.redis, &buckets, now).await {
            Ok(Allowance::Allowed) => Ok(()),
            Ok(Allowance::Refused { retry_s, .. }) => Err(Error::VneidCapped { retry_s }),
            Err(Error::CapsAway(source)) => Err(Error::VneidCapAway(source)),
            Err(error) => Err(error),
        }
    }
}
