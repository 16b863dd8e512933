//! What other roles ask of identity. The transport says who asks; each method names who may.

pub(crate) mod delegation;
pub(crate) mod office;
pub(crate) mod officer;

use std::sync::Arc;

use platform::auth::Revoked;
use platform::problem::Problem;
use platform::rpc::require_peer;
use proto::auth::v1::key_service_server::{KeyService, KeyServiceServer};
use proto::auth::v1::{
    GetKeysRequest, GetKeysResponse, ListRevocationsRequest, ListRevocationsResponse, Revocation, RoleRevocation,
};
use proto::identity::v1::identity_service_server::{IdentityService, IdentityServiceServer};
use proto::identity::v1::person_service_server::{PersonService, PersonServiceServer};
use proto::identity::v1::{
    AnswerClosingRequest, AnswerClosingResponse, ConfirmErasureRequest, ConfirmErasureResponse, FindCitizenRequest,
    FindCitizenResponse, GetContactRequest, GetContactResponse, PutExportPartRequest, PutExportPartResponse,
    TakeOtpCodeRequest, TakeOtpCodeResponse,
};
use tonic::service::Routes;
use tonic::{Request, Response, Status};
use uuid::Uuid;

use crate::error::Error;
use crate::{Identity, archive, citizen, key, revocation};

/// The largest page of revocations.
const MAX_REVOCATIONS: i64 = 1_000;

/// Identity's gRPC services.
pub(crate) fn routes(identity: Arc<Identity>) -> Routes {
    Routes::new(KeyServiceServer::new(Keys(identity.clone())))
        .add_service(IdentityServiceServer::new(Citizens(identity.clone())))
        .add_service(PersonServiceServer::new(Persons(identity)))
}

struct Keys(Arc<Identity>);

#[tonic::async_trait]
impl KeyService for Keys {
    async fn get_keys(&self, _: Request<GetKeysRequest>) -> Result<Response<GetKeysResponse>, Status> {
        self.0.signer().await.map_err(status)?;
        let jwks = key::jwks(&self.0.pool, self.0.now()).await.map_err(|error| status(error.into()))?;
        Ok(Response::new(GetKeysResponse { jwks_json: jwks.to_string(), issuer: self.0.issuer.clone() }))
    }

    async fn list_revocations(
        &self,
        request: Request<ListRevocationsRequest>,
    ) -> Result<Response<ListRevocationsResponse>, Status> {
        let after = request.get_ref().after_position;
        let (listed, position) =
            revocation::list(&self.0.pool, after, MAX_REVOCATIONS).await.map_err(|error| status(error.into()))?;
        let mut answer = ListRevocationsResponse { position, ..ListRevocationsResponse::default() };
        for one in listed {
            let (position, forget_at) = (one.position, one.forget_at.timestamp());
            match one.what {
                Revoked::Session(session) => {
                    answer.revocations.push(Revocation { position, session_id: session.to_string(), forget_at });
                }
                Revoked::Roles { subject, epoch } => {
                    let user_id = subject.to_string();
                    answer.roles.push(RoleRevocation { position, user_id, role_epoch: epoch, forget_at });
                }
            }
        }
        Ok(Response::new(answer))
    }
}

struct Citizens(Arc<Identity>);

#[tonic::async_trait]
impl IdentityService for Citizens {
    async fn take_otp_code(
        &self,
        request: Request<TakeOtpCodeRequest>,
    ) -> Result<Response<TakeOtpCodeResponse>, Status> {
        require_peer(&request, &["notifications"])?;
        let id = parse_id(&request.get_ref().challenge_id)?;
        let taken = self.0.take_code(id.into()).await.map_err(status)?;
        Ok(Response::new(TakeOtpCodeResponse {
            phone: taken.phone.e164().to_owned(),
            code: taken.code.expose().to_owned(),
            language: taken.language.tag().to_owned(),
            expires_at: taken.expires_at.timestamp(),
            purpose: taken.purpose.as_str().to_owned(),
        }))
    }

    async fn get_contact(&self, request: Request<GetContactRequest>) -> Result<Response<GetContactResponse>, Status> {
        require_peer(&request, &["notifications"])?;
        let id = parse_id(&request.get_ref().user_id)?;
        let citizen = self.0.citizen(id.into()).await.map_err(status)?;
        // Who has no number is reached through their guardian, whom notifications knows.
        let phone = citizen.phone.ok_or_else(|| status(Error::NotFound))?;
        Ok(Response::new(GetContactResponse {
            phone: phone.e164().to_owned(),
            language: citizen.language.tag().to_owned(),
        }))
    }

    async fn find_citizen(
        &self,
        request: Request<FindCitizenRequest>,
    ) -> Result<Response<FindCitizenResponse>, Status> {
        require_peer(&request, &["wallet"])?;
        let phone = self.0.numbering.parse(&request.get_ref().phone).map_err(|fault| status(fault.into()))?;
        let citizen = self.0.citizen_by_phone(&phone).await.map_err(status)?.ok_or_else(|| status(Error::NotFound))?;
        Ok(Response::new(FindCitizenResponse {
            user_id: citizen.id.to_string(),
            masked_name: citizen.display_name.as_deref().map(citizen::mask_name).unwrap_or_default(),
        }))
    }
}

struct Persons(Arc<Identity>);

/// Refuses a caller that is not the service that it says, or no service that keeps something of citizens.
fn require_service<T>(request: &Request<T>, service: &str) -> Result<(), Status> {
    let known = archive::SERVICES[1..].contains(&service);
    let service = if known { service } else { "nobody" };
    require_peer(request, &[service])
}

#[tonic::async_trait]
impl PersonService for Persons {
    async fn put_export_part(
        &self,
        request: Request<PutExportPartRequest>,
    ) -> Result<Response<PutExportPartResponse>, Status> {
        require_service(&request, &request.get_ref().service)?;
        let part = request.get_ref();
        let piece = archive::Piece {
            archive: parse_id(&part.export_id)?.into(),
            service: &part.service,
            attempt: parse_id(&part.attempt_id)?,
            ordinal: part.ordinal,
            text: &part.text,
            last: part.last,
        };
        let done = self.0.take_piece(&piece).await.map_err(status)?;
        Ok(Response::new(PutExportPartResponse { done }))
    }

    async fn answer_closing(
        &self,
        request: Request<AnswerClosingRequest>,
    ) -> Result<Response<AnswerClosingResponse>, Status> {
        require_service(&request, &request.get_ref().service)?;
        let AnswerClosingRequest { closing_id, service, hindrances } = request.get_ref();
        let closing = (parse_id(closing_id)?.into(), service.as_str());
        let over = self.0.hear_closing(closing, hindrances).await.map_err(status)?;
        Ok(Response::new(AnswerClosingResponse { over }))
    }

    async fn confirm_erasure(
        &self,
        request: Request<ConfirmErasureRequest>,
    ) -> Result<Response<ConfirmErasureResponse>, Status> {
        require_service(&request, &request.get_ref().service)?;
        let ConfirmErasureRequest { closing_id, service } = request.get_ref();
        self.0.hear_erasure(parse_id(closing_id)?.into(), service).await.map_err(status)?;
        Ok(Response::new(ConfirmErasureResponse {}))
    }
}

fn parse_id(text: &str) -> Result<Uuid, Status> {
    text.parse().map_err(|_| status(Error::NotFound))
}

fn status(error: Error) -> Status {
    Problem::from(error).into()
}
