//! Whom notifications tell what an agency or the operations centre must do.

use std::sync::Arc;

use platform::rpc::require_peer;
use proto::identity::v1::officer_service_server::{OfficerService, OfficerServiceServer};
use proto::identity::v1::{FindOfficersRequest, FindOfficersResponse, Officer};
use tonic::{Request, Response, Status};

use crate::Identity;
use crate::officer::OnDuty;

/// The service.
pub(crate) fn service(identity: Arc<Identity>) -> OfficerServiceServer<Officers> {
    OfficerServiceServer::new(Officers::new(identity))
}

pub(crate) struct Officers(Arc<Identity>);

impl Officers {
    pub(crate) fn new(identity: Arc<Identity>) -> Self {
        Self(identity)
    }
}

#[tonic::async_trait]
impl OfficerService for Officers {
    async fn find_officers(
        &self,
        request: Request<FindOfficersRequest>,
    ) -> Result<Response<FindOfficersResponse>, Status> {
        require_peer(&request, &["notifications"])?;
        let asked = request.get_ref();
        let found = self.0.on_duty(named(&asked.agency), named(&asked.ward_code)).await.map_err(super::status)?;
        let officer = |OnDuty { user_id, role, above }: OnDuty| Officer {
            user_id: user_id.to_string(),
            role: role.as_str().to_owned(),
            above: u32::try_from(above).unwrap_or(u32::MAX),
        };
        Ok(Response::new(FindOfficersResponse { officers: found.into_iter().map(officer).collect() }))
    }
}

fn named(code: &str) -> Option<&str> {
    (!code.is_empty()).then_some(code)
}
