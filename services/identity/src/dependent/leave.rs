//! The account of somebody without a number is closed: by their guardian in the app, or by an officer of the ward.
//!
//! It takes the steps of any closing (`closing`): services say what stands against it, money first, and there is time to take it back.

use platform::auth::Principal;

use super::{Dependent, RegistrationId, sql};
use crate::Identity;
use crate::audit::{Action, Entry, Origin, Reason};
use crate::citizen::CitizenId;
use crate::closing::{Answer, Closing, Speaker};
use crate::error::{DependentFault, Error};
use crate::pin::strength::Pin;

impl Identity {
    /// Begins it as the guardian, soon after they signed in and with their PIN; the one that is under way, if there is one.
    pub(crate) async fn close_dependent(
        &self,
        caller: &Principal,
        id: RegistrationId,
        pin: Option<&Pin>,
        origin: Origin,
    ) -> Result<(Closing, Vec<Answer>), Error> {
        let guardian = CitizenId::from(caller.subject);
        let citizen = self.answers_for(&mut *self.pool.acquire().await?, guardian, id).await?;
        self.prove_leaving(caller, pin).await?;
        let entry = Entry::of(guardian, Action::ClosingAsk, "", &self.source(origin)).about(citizen);
        self.close((citizen, Speaker::Other), &entry).await
    }

    /// Takes it back as the guardian.
    pub(crate) async fn keep_dependent(
        &self,
        guardian: CitizenId,
        id: RegistrationId,
        origin: Origin,
    ) -> Result<(), Error> {
        let citizen = self.answers_for(&mut *self.pool.acquire().await?, guardian, id).await?;
        let entry = Entry::of(guardian, Action::ClosingTakeBack, "", &self.source(origin)).about(citizen);
        self.take_back((citizen, Speaker::Other), &entry).await
    }

    /// Begins it as an officer of the ward.
    pub(crate) async fn close_dependent_of_ward(
        &self,
        officer: CitizenId,
        id: RegistrationId,
        (origin, reason): (Origin, Reason),
    ) -> Result<(Closing, Vec<Answer>), Error> {
        let citizen = self.without_phone(&self.dependent_of_ward(officer, id).await?).await?;
        let behest = self.behest_of(officer, origin, &reason);
        self.close((citizen, Speaker::Other), &Entry::at(&behest, Action::ClosingAsk, "").about(citizen)).await
    }

    /// Takes it back as an officer of the ward.
    pub(crate) async fn keep_dependent_of_ward(
        &self,
        officer: CitizenId,
        id: RegistrationId,
        (origin, reason): (Origin, Reason),
    ) -> Result<(), Error> {
        let citizen = self.without_phone(&self.dependent_of_ward(officer, id).await?).await?;
        let behest = self.behest_of(officer, origin, &reason);
        self.take_back((citizen, Speaker::Other), &Entry::at(&behest, Action::ClosingTakeBack, "").about(citizen)).await
    }

    /// How far it has come, for an officer of the ward; nothing when none was asked for.
    pub(crate) async fn closing_of_dependent(
        &self,
        registration: &Dependent,
    ) -> Result<Option<(Closing, Vec<Answer>)>, Error> {
        let Some(citizen) = registration.citizen_id else { return Ok(None) };
        if !sql::is_without_phone(&mut *self.pool.acquire().await?, citizen).await? {
            return Ok(None);
        }
        match self.closing_of(citizen.into()).await {
            Err(Error::NotFound) => Ok(None),
            other => other.map(Some),
        }
    }

    /// The account that a registration made, while it has no number: then officers have a say.
    async fn without_phone(&self, registration: &Dependent) -> Result<CitizenId, Error> {
        let citizen = registration.citizen_id.ok_or(DependentFault::Over)?;
        let without = sql::is_without_phone(&mut *self.pool.acquire().await?, citizen).await?;
        if without { Ok(citizen.into()) } else { Err(DependentFault::HasPhone.into()) }
    }
}
