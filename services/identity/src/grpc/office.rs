//! What other roles have put on record for officers.

use std::sync::Arc;

use platform::problem::{INVALID_BODY, Problem};
use platform::rpc::require_peer;
use proto::identity::v1::office_service_server::{OfficeService, OfficeServiceServer};
use proto::identity::v1::{RecordActRequest, RecordActResponse};
use tonic::{Request, Response, Status};

use crate::Identity;
use crate::audit::{self, Action, Entry, Origin, Reason};
use crate::citizen::CitizenId;

/// What officers do elsewhere and have put on record here, by the role that may say so.
const ACTIONS: [(&str, &[Action]); 2] = [
    ("wallet", &[Action::ProposalMake, Action::ProposalApprove, Action::ProposalRefuse]),
    ("notifications", &[Action::NewsPublish]),
];

/// The service.
pub(crate) fn service(identity: Arc<Identity>) -> OfficeServiceServer<Office> {
    OfficeServiceServer::new(Office::new(identity))
}

pub(crate) struct Office(Arc<Identity>);

impl Office {
    pub(crate) fn new(identity: Arc<Identity>) -> Self {
        Self(identity)
    }
}

#[tonic::async_trait]
impl OfficeService for Office {
    async fn record_act(&self, request: Request<RecordActRequest>) -> Result<Response<RecordActResponse>, Status> {
        require_peer(&request, &ACTIONS.map(|(peer, _)| peer))?;
        let act = request.get_ref();
        let of_peer = ACTIONS.iter().filter(|(peer, _)| require_peer(&request, &[peer]).is_ok());
        let mut known = of_peer.flat_map(|(_, actions)| actions.iter().copied());
        let actor: CitizenId = super::parse_id(&act.actor_id)?.into();
        let session = super::parse_id(&act.session_id)?.into();
        let action = known.find(|action| action.as_str() == act.action);
        let action = action.ok_or_else(|| Status::invalid_argument("no such action of an officer"))?;
        let reason: Reason = act.reason.parse().map_err(|_| {
            Problem::new(INVALID_BODY)
                .detail(
                    "Lý do dài từ 1 đến 200 ký tự và không nêu số điện thoại, số định danh hay e-mail của ai.",
                    "A reason has 1 to 200 characters and no telephone number, identity number or e-mail address.",
                )
                .with("field", "reason")
        })?;
        let origin = Origin { address: None, session: Some(session), device: None };
        let behest = self.0.behest_of(actor, origin, &reason);
        let recorded = async {
            let mut tx = platform::db::begin(&self.0.pool).await?;
            audit::append(&mut tx, &[Entry::at(&behest, action, &act.object)], self.0.now()).await?;
            tx.commit().await
        };
        recorded.await.map_err(|error| super::status(error.into()))?;
        Ok(Response::new(RecordActResponse {}))
    }
}
