//! What notifications ask of identity: one-time codes, languages, who acts for an agency, and to put acts of officers on record. A client
//! only; nobody calls notifications by gRPC.

use platform::http::Language;
use platform::problem::Problem;
use platform::rpc::Channel;
use proto::identity::v1::identity_service_client::IdentityServiceClient;
use proto::identity::v1::office_service_client::OfficeServiceClient;
use proto::identity::v1::officer_service_client::OfficerServiceClient;
use proto::identity::v1::{
    FindOfficersRequest, GetContactRequest, GetContactResponse, RecordActRequest, TakeOtpCodeRequest,
    TakeOtpCodeResponse,
};
use tonic::Code;
use tracing::debug;
use uuid::Uuid;

use crate::error::Error;

/// The way to identity. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    citizens: IdentityServiceClient<Channel>,
    office: OfficeServiceClient<Channel>,
    officers: OfficerServiceClient<Channel>,
}

/// Somebody who holds a role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Officer {
    pub(crate) id: Uuid,
    /// As tokens say it, without its scope.
    pub(crate) role: String,
    /// How many steps their agency stands above the one in question.
    pub(crate) above: u32,
}

/// A one-time code and where it goes. Invariant: `Debug` is not implemented, so that it can't be logged by mistake.
pub(crate) struct OneTimeCode {
    /// E.164.
    pub(crate) phone: String,
    pub(crate) code: String,
    pub(crate) purpose: String,
    pub(crate) language: Language,
    /// Unix seconds.
    pub(crate) expires_at: i64,
}

/// Where a citizen is reached by text message. Invariant: `Debug` is not implemented, so that it can't be logged by mistake.
pub(crate) struct Contact {
    /// E.164.
    pub(crate) phone: String,
    /// The language of the account.
    pub(crate) language: Language,
}

/// Why there is no code, or no contact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoAnswer {
    /// It is unknown, used, expired, or was taken too long ago: asking again is of no use.
    Gone,
    /// Identity is away or in trouble.
    Away,
}

impl Identity {
    /// Identity behind `channel`.
    pub(crate) fn new(channel: Channel) -> Self {
        Self {
            citizens: IdentityServiceClient::new(channel.clone()),
            office: OfficeServiceClient::new(channel.clone()),
            officers: OfficerServiceClient::new(channel),
        }
    }

    /// Takes the code of a challenge.
    pub(crate) async fn take_code(&self, challenge: Uuid) -> Result<OneTimeCode, NoAnswer> {
        let request = TakeOtpCodeRequest { challenge_id: challenge.to_string() };
        let taken = self.citizens.clone().take_otp_code(request).await.map_err(|status| no_answer(status.code()))?;
        let TakeOtpCodeResponse { phone, code, language, expires_at, purpose } = taken.into_inner();
        Ok(OneTimeCode { phone, code, purpose, language: Language::from_tag(&language), expires_at })
    }

    /// Where a citizen is reached.
    pub(crate) async fn contact(&self, user: Uuid) -> Result<Contact, NoAnswer> {
        let request = GetContactRequest { user_id: user.to_string() };
        let answer = self.citizens.clone().get_contact(request).await.map_err(|status| no_answer(status.code()))?;
        let GetContactResponse { phone, language, .. } = answer.into_inner();
        Ok(Contact { phone, language: Language::from_tag(&language) })
    }

    /// Who acts for an agency in a ward, and who works at the operations centre; both may be empty.
    pub(crate) async fn officers(&self, agency: &str, ward: &str) -> Result<Vec<Officer>, NoAnswer> {
        let request = FindOfficersRequest { agency: agency.to_owned(), ward_code: ward.to_owned() };
        let answer = self.officers.clone().find_officers(request).await.map_err(|status| no_answer(status.code()))?;
        let known = answer.into_inner().officers.into_iter();
        Ok(known
            .filter_map(|one| Some(Officer { id: one.user_id.parse().ok()?, role: one.role, above: one.above }))
            .collect())
    }

    /// The language of a citizen's account; `None` when identity does not say.
    pub(crate) async fn language(&self, user: Uuid) -> Option<Language> {
        match self.contact(user).await {
            Ok(contact) => Some(contact.language),
            Err(why) => {
                debug!(?why, "language is not known");
                None
            }
        }
    }
}

impl Identity {
    /// Puts an act of an officer, in the session of their token, on record in the audit, before it takes effect.
    ///
    /// # Errors
    /// When it is not on record: then nothing may be done.
    pub(crate) async fn record(
        &self,
        (officer, session): (Uuid, Uuid),
        (action, object): (&str, String),
    ) -> Result<(), Error> {
        let (actor_id, session_id) = (officer.to_string(), session.to_string());
        let reason = action.to_owned();
        let request = RecordActRequest { actor_id, session_id, action: action.to_owned(), object, reason };
        let answer = self.office.clone().record_act(request).await;
        answer.map(|_| ()).map_err(|status| Error::NotOnRecord(Box::new(Problem::from_status(&status))))
    }
}

fn no_answer(code: Code) -> NoAnswer {
    match code {
        Code::NotFound | Code::FailedPrecondition | Code::AlreadyExists | Code::InvalidArgument | Code::OutOfRange => {
            NoAnswer::Gone
        }
        _ => NoAnswer::Away,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_that_is_away_is_told_from_a_code_that_is_gone() {
        assert_eq!(no_answer(Code::Unavailable), NoAnswer::Away);
        assert_eq!(no_answer(Code::DeadlineExceeded), NoAnswer::Away);
        assert_eq!(no_answer(Code::PermissionDenied), NoAnswer::Away, "ours to repair");
        assert_eq!(no_answer(Code::NotFound), NoAnswer::Gone);
    }
}
