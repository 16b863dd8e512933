//! What the pages of a sign-in carry from one to the next: what the client asked, and how far the citizen has come.
//!
//! A ticket is sealed, so that nobody can change it or read it, and names the browser that it was made for: a form with a
//! ticket of another browser is refused, which is what keeps other sites from filling in our forms (CSRF).
//! It is no proof of anything: who signed in is known by the browser's session alone.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, TimeDelta, Utc};
use platform::http::Language;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::challenge::ChallengeId;
use crate::device::DeviceId;
use crate::vault::{Place, Vault};

/// How long a sign-in may take.
const LIFE: TimeDelta = TimeDelta::minutes(30);
const TICKET: &str = "openid.ticket";

/// A sign-in under way.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Ticket {
    /// The client's request as it came: the query of the authorisation endpoint, or of the end of a session.
    pub query: String,
    /// The browser.
    pub device: DeviceId,
    /// When the client asked.
    pub begun_at: DateTime<Utc>,
    /// `vi` or `en`.
    pub language: String,
    /// The code that was sent, with the number as its owner sees it.
    pub sent: Option<Sent>,
}

/// A code that was sent.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Sent {
    pub challenge: ChallengeId,
    pub phone: String,
    pub masked: String,
}

impl Ticket {
    /// The language of the pages.
    pub(crate) fn language(&self) -> Language {
        Language::from_tag(&self.language)
    }

    /// As a form carries it.
    pub(crate) fn seal(&self, vault: &Vault) -> String {
        let plain = serde_json::to_vec(self).expect("a ticket is plain data");
        URL_SAFE_NO_PAD.encode(vault.seal(Place::new(TICKET, Uuid::nil()), &plain))
    }

    /// Opens what [`Ticket::seal`] made for this browser a short while ago.
    pub(crate) fn open(text: &str, device: DeviceId, vault: &Vault, now: DateTime<Utc>) -> Option<Self> {
        let sealed = URL_SAFE_NO_PAD.decode(text).ok()?;
        let plain = vault.open(Place::new(TICKET, Uuid::nil()), &sealed).ok()?;
        let ticket: Self = serde_json::from_slice(&plain).ok()?;
        (ticket.device == device && now < ticket.begun_at + LIFE).then_some(ticket)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[test]
    fn a_ticket_serves_its_browser_for_a_while() {
        let (vault, device, now) = (testing::vault(), DeviceId::generate(), DateTime::UNIX_EPOCH);
        let ticket = Ticket { query: "a=1".to_owned(), device, begun_at: now, language: "en".to_owned(), sent: None };
        let sealed = ticket.seal(&vault);
        assert_eq!(Ticket::open(&sealed, device, &vault, now).map(|ticket| ticket.query).as_deref(), Some("a=1"));
        assert!(Ticket::open(&sealed, DeviceId::generate(), &vault, now).is_none());
        assert!(Ticket::open(&sealed, device, &vault, now + LIFE).is_none());
        assert!(Ticket::open(&sealed[1..], device, &vault, now).is_none());
        assert!(Ticket::open("", device, &vault, now).is_none());
    }
}
