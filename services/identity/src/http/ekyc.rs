//! `GET` and `POST /identity/v1/me/ekyc`

use axum::extract::State;
use axum::response::Response;
use chrono::{DateTime, NaiveDate, Utc};
use http::StatusCode;
use platform::auth::Principal;
use platform::http::IdempotentJson;
use platform::problem::Problem;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::address::ClientAddress;
use super::hidden::Hidden;
use super::{App, origin, private};
use crate::Identity;
use crate::citizen::CitizenId;
use crate::ekyc::number::Sex;
use crate::ekyc::{EkycId, Request, Said, Standing, State as EkycState};
use crate::error::Error;

/// What a citizen says of themself, as it stands on the identity card.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct EkycRequest {
    /// The citizen identity number: 12 digits.
    #[schema(value_type = String, example = "046199012345", min_length = 12, max_length = 14)]
    citizen_number: Hidden,
    /// The full name.
    #[schema(value_type = String, example = "Nguyễn Thị Hương", min_length = 1, max_length = 80)]
    full_name: Hidden,
    /// The day of birth.
    #[schema(value_type = String, format = Date, example = "1999-03-26")]
    date_of_birth: Hidden,
    /// The sex on the card; checked against the number when it is given.
    #[serde(default)]
    sex: Option<Sex>,
}

/// A request to the verifier.
#[derive(Serialize, ToSchema)]
pub(super) struct EkycRequestView {
    /// The request.
    id: EkycId,
    /// `pending` until the verifier has said something.
    state: EkycState,
    /// Why it was refused: `mismatch`, `number-unknown`, `number-taken` (another account has it), `number-differs`, `verifier-away`.
    reason: Option<String>,
    /// When it was asked.
    asked_at: DateTime<Utc>,
    /// When it was decided.
    decided_at: Option<DateTime<Utc>>,
}

/// The proved number.
#[derive(Serialize, ToSchema)]
pub(super) struct ProvedNumberView {
    /// The number with its middle hidden.
    #[schema(example = "046******345")]
    citizen_number_masked: String,
    /// The name that belongs to it.
    full_name: String,
    /// `ekyc`, `vneid`, or `officer` where one saw the papers of somebody without a telephone.
    source: String,
    /// Since when.
    proved_at: DateTime<Utc>,
}

/// How well the caller is known.
#[derive(Serialize, ToSchema)]
pub(super) struct EkycView {
    /// 0 = phone proved, 1 = citizen number proved, 2 = proved in person.
    tier: i16,
    /// The proved number, if any.
    proved: Option<ProvedNumberView>,
    /// What the verifier was asked last, if it was.
    request: Option<EkycRequestView>,
    /// Whether the account is linked to one at VNeID.
    vneid_linked: bool,
}

impl From<Request> for EkycRequestView {
    fn from(request: Request) -> Self {
        let Request { id, state, reason, asked_at, decided_at } = request;
        Self { id, state, reason, asked_at, decided_at }
    }
}

impl EkycView {
    /// How well a citizen is known now.
    pub(super) async fn of(identity: &Identity, citizen: CitizenId) -> Result<Self, Error> {
        let vneid_linked = identity.is_linked_to_vneid(citizen).await?;
        Ok(Self::new(identity.ekyc_of(citizen).await?, vneid_linked))
    }

    fn new(standing: Standing, vneid_linked: bool) -> Self {
        let proved = standing.number.map(|number| ProvedNumberView {
            citizen_number_masked: number.masked,
            full_name: number.full_name,
            source: number.source,
            proved_at: number.proved_at,
        });
        Self { tier: standing.tier.number(), proved, request: standing.request.map(Into::into), vneid_linked }
    }
}

/// Show how well I am known
#[utoipa::path(
    get, path = "/identity/v1/me/ekyc", tag = "identity", security(("bearer" = [])),
    responses(
        (status = 200, description = "Tier, number and last request", body = EkycView),
        (status = 401, description = "`unauthenticated`", content_type = "application/problem+json"),
    )
)]
pub(super) async fn show(State(identity): App, caller: Principal) -> Result<Response, Problem> {
    Ok(private(StatusCode::OK, EkycView::of(&identity, caller.subject.into()).await?))
}

/// Prove my citizen number
///
/// An outside verifier is asked; `GET` shows what it says. A number has one account. What was asked is kept sealed, and only until it is decided.
#[utoipa::path(
    post, path = "/identity/v1/me/ekyc", tag = "identity", security(("bearer" = [])), request_body = EkycRequest,
    params(("Idempotency-Key" = String, Header, description = "One per request")),
    responses(
        (status = 202, description = "The verifier is being asked", body = EkycRequestView),
        (status = 401, description = "`unauthenticated`", content_type = "application/problem+json"),
        (status = 409, description = "`ekyc-done`, `ekyc-pending`", content_type = "application/problem+json"),
        (status = 422, description = "`citizen-number-invalid` (with `reason`: `form`, `province`, `serial`, `year-of-birth`, `sex`), `invalid-body`, `idempotency-key-reused`", content_type = "application/problem+json"),
        (status = 429, description = "`ekyc-too-many`: five in a day", content_type = "application/problem+json"),
        (status = 503, description = "`ekyc-unavailable`: this city has no verifier", content_type = "application/problem+json"),
    )
)]
pub(super) async fn ask(
    State(identity): App,
    caller: Principal,
    ClientAddress(address): ClientAddress,
    request: IdempotentJson<EkycRequest>,
) -> Result<Response, Problem> {
    let EkycRequest { citizen_number, full_name, date_of_birth, sex } = request.body;
    let born: NaiveDate = date_of_birth.0.parse().map_err(|_| Error::Field {
        field: "date_of_birth",
        vi: "Ngày sinh có dạng năm-tháng-ngày, ví dụ 1999-03-26.",
        en: "A day of birth is written year-month-day, such as 1999-03-26.",
    })?;
    let said = Said::try_new(&citizen_number.0, &full_name.0, (born, sex), identity.today())?;
    let origin = origin(&caller, address);
    let asked = identity.ask_ekyc(&caller, &said, (request.key, request.fingerprint), origin).await?;
    Ok(private(StatusCode::ACCEPTED, EkycRequestView::from(asked)))
}
