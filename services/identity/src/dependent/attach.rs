//! A number for the account of somebody who had none: from then on its owner signs in and speaks for themself.
//!
//! The guardian has signed in moments ago and knows their PIN; a code that was sent to the number proves that somebody who holds it
//! wants this. The delegation goes on until its date, unless the owner ends it.

use platform::auth::Principal;
use platform::outbox::{self, NewEvent};
use proto::identity::v1::PhoneAttached;
use sqlx::PgConnection;

use super::{RegistrationId, sql};
use crate::audit::{self, Action, Entry, Origin};
use crate::challenge::{Attempt, ChallengeId, Code, Purpose};
use crate::citizen::{self, CitizenId};
use crate::error::{DependentFault, Error};
use crate::pin::strength::Pin;
use crate::{Identity, SCHEMA};

/// What proves the number, and the guardian's right to attach it.
pub(crate) struct PhoneProof {
    pub challenge: ChallengeId,
    pub code: Code,
    /// The guardian's own; needed when one is set.
    pub pin: Option<Pin>,
}

impl Identity {
    /// Gives the number that a code proves to the account of somebody for whom the caller stands.
    pub(crate) async fn attach_phone_of(
        &self,
        caller: &Principal,
        id: RegistrationId,
        proof: PhoneProof,
        origin: Origin,
    ) -> Result<(), Error> {
        let guardian = CitizenId::from(caller.subject);
        // Looked at first, so that no code is used up and no PIN counted for what can't be.
        self.answers_for(&mut *self.pool.acquire().await?, guardian, id).await?;
        self.admit_new_credential(caller, proof.pin.as_ref()).await?;
        let device = self.session_device(guardian, caller.session.into()).await?;
        let (purpose, now) = (Purpose::AttachPhone, self.now());
        let attempt = Attempt { challenge: proof.challenge, purpose, device: Some(device), code: proof.code };
        self.admit_answer(origin.address, now).await?;
        let mut tx = platform::db::begin(&self.pool).await?;
        let proved = match self.answer_code(&mut tx, &attempt, now).await {
            Ok(proved) => proved,
            Err(error) => {
                tx.commit().await?;
                if !matches!(error, Error::CodeWrong { .. }) {
                    self.not_a_guess(origin.address, now).await;
                }
                return Err(error);
            }
        };
        citizen::lock(&mut tx, guardian).await?.ok_or(Error::NotFound)?;
        let citizen = self.answers_for(&mut tx, guardian, id).await?;
        let row = citizen::lock(&mut tx, citizen).await?.ok_or(Error::NotFound)?;
        // Read again under the lock.
        self.answers_for(&mut tx, guardian, id).await?;
        if !self.attach_phone(&mut tx, &row, &proved, now).await? {
            // The code stays good until its time is over: it proved the number and gave nothing.
            return Err(DependentFault::PhoneTaken.into());
        }
        let entry = Entry::of(guardian, Action::PhoneAttach, id, &self.source(origin)).about(citizen);
        audit::append(&mut tx, &[entry.because("one-time-code")], now).await?;
        let attached = PhoneAttached { user_id: citizen.to_string(), guardian_id: guardian.to_string() };
        outbox::append(&mut tx, SCHEMA, now, &[NewEvent::new(citizen.uuid(), &attached)]).await?;
        tx.commit().await?;
        self.answered(&proved.phone, origin.address, true, now).await;
        Ok(())
    }

    /// The account for which a guardian stands by a registration; it does not exist for anybody else.
    pub(super) async fn answers_for(
        &self,
        conn: &mut PgConnection,
        guardian: CitizenId,
        id: RegistrationId,
    ) -> Result<CitizenId, Error> {
        let known = sql::find(conn, id).await?.filter(|known| known.guardian_id == guardian.uuid());
        let known = known.ok_or(Error::NotFound)?;
        let (Some(citizen), Some(delegation)) = (known.citizen_id, known.delegation_id) else {
            return Err(DependentFault::Over.into());
        };
        if !sql::still_stands(conn, delegation).await? {
            return Err(DependentFault::Over.into());
        }
        if sql::is_without_phone(conn, citizen).await? {
            Ok(citizen.into())
        } else {
            Err(DependentFault::HasPhone.into())
        }
    }
}
