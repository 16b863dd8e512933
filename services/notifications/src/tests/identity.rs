//! An identity that keeps codes in memory and hands them out as the real one promises: once, and again for a while.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use chrono::{DateTime, TimeDelta, Utc};
use platform::clock::Clock;
use platform::rpc::require_peer;
use proto::identity::v1::identity_service_server::{IdentityService, IdentityServiceServer};
use proto::identity::v1::office_service_server::{OfficeService, OfficeServiceServer};
use proto::identity::v1::officer_service_server::{OfficerService, OfficerServiceServer};
use proto::identity::v1::{
    FindCitizenRequest, FindCitizenResponse, FindOfficersRequest, FindOfficersResponse, GetContactRequest,
    GetContactResponse, Officer, RecordActRequest, RecordActResponse, TakeOtpCodeRequest, TakeOtpCodeResponse,
};
use tonic::service::Routes;
use tonic::{Request, Response, Status};
use uuid::Uuid;

/// Identity, as notifications see it.
#[derive(Clone)]
pub(super) struct FakeIdentity {
    clock: Clock,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    challenges: HashMap<String, Challenge>,
    languages: HashMap<String, &'static str>,
    takes: usize,
    acts: Vec<RecordActRequest>,
    /// By agency and ward.
    officers: HashMap<(String, String), Vec<Officer>>,
    outage: bool,
}

struct Challenge {
    phone: String,
    code: &'static str,
    expires_at: DateTime<Utc>,
    taken_at: Option<DateTime<Utc>>,
}

impl FakeIdentity {
    pub(super) fn new(clock: Clock) -> Self {
        Self { clock, state: Arc::default() }
    }

    pub(super) fn challenge(&self, phone: &str, code: &'static str) -> Uuid {
        let id = platform::id::new();
        let expires_at = self.clock.now() + TimeDelta::minutes(5);
        let challenge = Challenge { phone: phone.to_owned(), code, expires_at, taken_at: None };
        self.state.lock().unwrap().challenges.insert(id.to_string(), challenge);
        id
    }

    pub(super) fn change_phone(&self, challenge: Uuid, phone: &str) {
        let mut state = self.state.lock().unwrap();
        state.challenges.get_mut(&challenge.to_string()).unwrap().phone = phone.to_owned();
    }

    pub(super) fn speaks(&self, user: Uuid, language: &'static str) {
        self.state.lock().unwrap().languages.insert(user.to_string(), language);
    }

    pub(super) fn outage(&self, outage: bool) {
        self.state.lock().unwrap().outage = outage;
    }

    pub(super) fn takes(&self) -> usize {
        self.state.lock().unwrap().takes
    }

    pub(super) fn routes(&self) -> Routes {
        Routes::new(IdentityServiceServer::new(self.clone()))
            .add_service(OfficeServiceServer::new(self.clone()))
            .add_service(OfficerServiceServer::new(self.clone()))
    }

    /// Somebody new who acts for an agency in a ward, or at the operations centre.
    pub(super) fn officer(&self, agency: &str, ward: &str, role: &str) -> Uuid {
        let id = platform::id::new();
        let officer = Officer { user_id: id.to_string(), role: role.to_owned(), above: 0 };
        let mut state = self.state.lock().unwrap();
        state.officers.entry((agency.to_owned(), ward.to_owned())).or_default().push(officer);
        id
    }

    /// What was put on record.
    pub(super) fn acts(&self) -> Vec<RecordActRequest> {
        self.state.lock().unwrap().acts.clone()
    }
}

#[tonic::async_trait]
impl IdentityService for FakeIdentity {
    async fn take_otp_code(
        &self,
        request: Request<TakeOtpCodeRequest>,
    ) -> Result<Response<TakeOtpCodeResponse>, Status> {
        require_peer(&request, &["notifications"])?;
        let mut state = self.state.lock().unwrap();
        state.takes += 1;
        if state.outage {
            return Err(Status::unavailable("away"));
        }
        let now = self.clock.now();
        let challenge = state.challenges.get_mut(&request.get_ref().challenge_id);
        let challenge = challenge.ok_or_else(|| Status::not_found("no such challenge"))?;
        let first = *challenge.taken_at.get_or_insert(now);
        if now - first > TimeDelta::from_std(crate::RETAKE_WINDOW).unwrap() {
            return Err(Status::failed_precondition("taken"));
        }
        Ok(Response::new(TakeOtpCodeResponse {
            phone: challenge.phone.clone(),
            code: challenge.code.to_owned(),
            language: "vi".to_owned(),
            expires_at: challenge.expires_at.timestamp(),
            purpose: "sign-in".to_owned(),
        }))
    }

    async fn get_contact(&self, request: Request<GetContactRequest>) -> Result<Response<GetContactResponse>, Status> {
        require_peer(&request, &["notifications"])?;
        let state = self.state.lock().unwrap();
        let language = state.languages.get(&request.get_ref().user_id);
        let language = language.ok_or_else(|| Status::not_found("no such citizen"))?;
        Ok(Response::new(GetContactResponse { phone: "+84900000000".to_owned(), language: (*language).to_owned() }))
    }

    async fn find_citizen(&self, _: Request<FindCitizenRequest>) -> Result<Response<FindCitizenResponse>, Status> {
        Err(Status::permission_denied("not for notifications"))
    }
}

#[tonic::async_trait]
impl OfficeService for FakeIdentity {
    async fn record_act(&self, request: Request<RecordActRequest>) -> Result<Response<RecordActResponse>, Status> {
        require_peer(&request, &["notifications"])?;
        let mut state = self.state.lock().unwrap();
        if state.outage {
            return Err(Status::unavailable("away"));
        }
        state.acts.push(request.into_inner());
        Ok(Response::new(RecordActResponse {}))
    }
}

#[tonic::async_trait]
impl OfficerService for FakeIdentity {
    async fn find_officers(
        &self,
        request: Request<FindOfficersRequest>,
    ) -> Result<Response<FindOfficersResponse>, Status> {
        require_peer(&request, &["notifications"])?;
        let state = self.state.lock().unwrap();
        if state.outage {
            return Err(Status::unavailable("away"));
        }
        let FindOfficersRequest { agency, ward_code } = request.into_inner();
        let officers = state.officers.get(&(agency, ward_code)).cloned().unwrap_or_default();
        Ok(Response::new(FindOfficersResponse { officers }))
    }
}
