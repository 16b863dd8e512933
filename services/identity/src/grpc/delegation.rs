//! What the wallet asks about who acts for whom.

use std::sync::Arc;

use platform::rpc::require_peer;
use proto::identity::v1::delegation_service_server::{DelegationService, DelegationServiceServer};
use proto::identity::v1::{GetDelegationRequest, GetDelegationResponse};
use tonic::{Request, Response, Status};

use super::parse_id;
use crate::Identity;

/// The service.
pub(crate) fn service(identity: Arc<Identity>) -> DelegationServiceServer<Delegations> {
    DelegationServiceServer::new(Delegations(identity))
}

pub(crate) struct Delegations(Arc<Identity>);

#[tonic::async_trait]
impl DelegationService for Delegations {
    async fn get_delegation(
        &self,
        request: Request<GetDelegationRequest>,
    ) -> Result<Response<GetDelegationResponse>, Status> {
        require_peer(&request, &["wallet"])?;
        let asked = request.get_ref();
        let pair = (parse_id(&asked.guardian_id)?, parse_id(&asked.dependent_id)?);
        let id = parse_id(&asked.delegation_id)?.into();
        let found = self.0.delegation_in_force(id, pair).await.map_err(super::status)?;
        Ok(Response::new(GetDelegationResponse {
            kinds: found.kinds,
            transaction_maximum: found.transaction_maximum,
            day_maximum: found.day_maximum,
            month_maximum: found.month_maximum,
        }))
    }
}
