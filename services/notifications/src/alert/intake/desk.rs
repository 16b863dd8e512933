//! Documents in: who brought each, what it refers to, and the draft that it makes or withdraws.
//!
//! All of it happens in one transaction. Locks, in this order: the unique key of `cap_message`, `alert`.
//! Invariant: a sender's identifier is taken once; the same document again gives the same answer, another one is refused.

use chrono::{DateTime, Utc};
use sha2::{Digest as _, Sha256};
use sqlx::PgConnection;
use uuid::Uuid;

use super::{Received, Unfit, understand};
use crate::alert::desk::{Author, Desk, MAX_LIFE, Wanted};
use crate::alert::family::Family;
use crate::alert::store::{self, Alert};
use crate::alert::{AlertId, Bilingual, Kind};
use crate::error::Error;

/// Drafts of one partner's that may wait for an officer: more would hide each other.
const MAX_WAITING: i64 = 50;

/// Who brought a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Bringer {
    /// A partner, by the name that the configuration has for it.
    Partner(String),
    /// An officer of the centre, who stands for the draft.
    Officer(Uuid),
}

impl Bringer {
    fn officer(&self) -> Option<Uuid> {
        match self {
            Self::Partner(_) => None,
            Self::Officer(officer) => Some(*officer),
        }
    }
}

/// What became of a document.
#[derive(Clone, Debug)]
pub(crate) struct Receipt {
    pub(crate) sender: String,
    pub(crate) identifier: String,
    pub(crate) signed: bool,
    /// Whether it was known already.
    pub(crate) again: bool,
    /// The draft, as it stands now.
    pub(crate) alert: Alert,
}

/// A document that came in before.
struct Known {
    fingerprint: Vec<u8>,
    signed: bool,
    alert_id: AlertId,
}

impl Desk {
    /// Takes a document.
    ///
    /// # Errors
    /// [`Error::CapInvalid`], [`Error::CapNotPublic`], [`Error::CapElsewhere`]; [`Error::CapIdentifierReused`];
    /// [`Error::CapReferenceUnknown`] of a cancellation; [`Error::CapDraftsTooMany`]; those of a draft.
    pub(crate) async fn take(
        &self,
        transaction: &mut PgConnection,
        bringer: &Bringer,
        (text, senders): (&str, Option<&[String]>),
    ) -> Result<Receipt, Error> {
        let received = understand(text, &self.city).map_err(|unfit| match unfit {
            Unfit::Invalid(fault) => Error::CapInvalid(fault),
            Unfit::NotPublic => Error::CapNotPublic,
            Unfit::Elsewhere => Error::CapElsewhere,
        })?;
        if senders.is_some_and(|senders| !senders.contains(&received.sender))
            || received.sender == self.city.warner.sender
        {
            return Err(Error::CapSenderForbidden);
        }
        let fingerprint = Sha256::digest(text.as_bytes()).to_vec();
        // Two that come at once take turns.
        let turn = format!("{} {}", received.sender, received.identifier);
        sqlx::query!("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", turn).execute(&mut *transaction).await?;
        if let Some(known) = known(transaction, (&received.sender, &received.identifier)).await? {
            if known.fingerprint != fingerprint {
                return Err(Error::CapIdentifierReused);
            }
            let alert = store::read(transaction, known.alert_id).await?;
            let Received { sender, identifier, .. } = received;
            return Ok(Receipt { sender, identifier, signed: known.signed, again: true, alert });
        }
        let alert = self.understood(transaction, bringer, &received).await?;
        keep(transaction, (bringer, &received, alert.id), (text, &fingerprint), self.clock.now()).await?;
        let Received { sender, identifier, signed, .. } = received;
        Ok(Receipt { sender, identifier, signed, again: false, alert })
    }

    /// The draft that a document makes, or the one that it withdraws.
    async fn understood(
        &self,
        transaction: &mut PgConnection,
        bringer: &Bringer,
        received: &Received,
    ) -> Result<Alert, Error> {
        let now = self.clock.now();
        let author = Author::Cap {
            reference: format!("{},{}", received.sender, received.identifier),
            officer: bringer.officer(),
        };
        let (mut in_force, mut withdrawn) = (Vec::new(), None);
        for family in self.referred(transaction, received).await? {
            // Whatever the sender said before about this event is said anew, or is over.
            for draft in family.waiting(now).filter(|draft| draft.is_of_sender(&received.sender)) {
                withdrawn = Some(self.withdraw(transaction, draft.clone(), bringer.officer()).await?);
            }
            in_force.extend(family.in_force(now).cloned());
        }
        if received.kind == Kind::Cancel {
            for earlier in &in_force {
                withdrawn = Some(self.draft_end(transaction, author.clone(), (earlier, reason(received))).await?);
            }
            return withdrawn.ok_or(Error::CapReferenceUnknown);
        }
        if let Bringer::Partner(name) = bringer
            && store::waiting_of(transaction, name, now).await? >= MAX_WAITING
        {
            return Err(Error::CapDraftsTooMany);
        }
        let updates = in_force.iter().map(|earlier| earlier.id).max();
        let expires_at = received.expires_at.min(now + MAX_LIFE);
        self.draft(transaction, author, Wanted { content: received.content.clone(), expires_at, updates }).await
    }

    /// All about the events that a document refers to, locked; a message that is the first about its event refers to none.
    async fn referred(&self, transaction: &mut PgConnection, received: &Received) -> Result<Vec<Family>, Error> {
        let mut families: Vec<Family> = Vec::new();
        if received.kind == Kind::Alert {
            return Ok(families);
        }
        for (sender, identifier) in &received.references {
            // Nobody speaks about another's messages.
            if *sender != received.sender {
                continue;
            }
            if let Some(found) = known(transaction, (sender, identifier)).await?
                && families.iter().all(|family| family.get(found.alert_id).is_none())
            {
                families.push(Family::of(transaction, found.alert_id).await?);
            }
        }
        Ok(families)
    }
}

/// Why a sender ended a warning.
fn reason(received: &Received) -> Bilingual {
    let said = |text: &str, otherwise: &str| match text {
        "–" => otherwise.to_owned(),
        text => text.to_owned(),
    };
    let text = &received.content.instruction;
    Bilingual {
        vi: said(&text.vi, "Cơ quan phát hành đã kết thúc cảnh báo."),
        en: said(&text.en, "Its sender has ended the warning."),
    }
}

async fn known(
    connection: &mut PgConnection,
    (sender, identifier): (&str, &str),
) -> Result<Option<Known>, sqlx::Error> {
    sqlx::query_as!(
        Known,
        r#"SELECT fingerprint, signed, alert_id AS "alert_id: AlertId" FROM notifications.cap_message
           WHERE sender = $1 AND identifier = $2"#,
        sender,
        identifier
    )
    .fetch_optional(connection)
    .await
}

async fn keep(
    connection: &mut PgConnection,
    (bringer, received, alert): (&Bringer, &Received, AlertId),
    (text, fingerprint): (&str, &[u8]),
    now: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    let partner = match bringer {
        Bringer::Partner(name) => Some(name.as_str()),
        Bringer::Officer(_) => None,
    };
    sqlx::query!(
        "INSERT INTO notifications.cap_message (sender, identifier, sent_at, kind, partner, officer, signed, fingerprint, document,
                                                received_at, alert_id)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
        received.sender,
        received.identifier,
        received.sent_at,
        received.kind.name(),
        partner,
        bringer.officer(),
        received.signed,
        fingerprint,
        text,
        now,
        alert.uuid()
    )
    .execute(connection)
    .await
    .map(|_| ())
}
