//! `GET` and `POST /identity/v1/dependents`, `GET` and `DELETE …/{id}`, `POST` and `DELETE …/{id}/closing`
//!
//! For officers of the agency that keeps the ward's register of people. The database says who that is, not the token's claims.
//! No answer here carries a name or a number: the officer has the papers at hand.

use axum::extract::State;
use axum::response::Response;
use chrono::{DateTime, NaiveDate, SubsecRound as _, Utc};
use http::StatusCode;
use platform::auth::Principal;
use platform::http::{IdempotentJson, Json, Language, Path, Query};
use platform::idempotency::Key;
use platform::page::{Page, PageQuery};
use platform::problem::Problem;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::address::ClientAddress;
use super::closing::ClosingView;
use super::delegation::DelegationLimits;
use super::hidden::Hidden;
use super::officer::reason;
use super::{App, origin, private};
use crate::delegation::{Kind, Terms};
use crate::dependent::{Dependent, NewDependent, RegistrationId, State as RegistrationState};
use crate::ekyc::Said;
use crate::ekyc::number::CitizenNumber;
use crate::error::Error;

/// Somebody without a telephone, and their guardian, who are both here with their papers.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct DependentRequest {
    /// Code of the ward whose register has the person.
    #[schema(min_length = 1, max_length = 12, example = "19753")]
    ward: String,
    /// The guardian's citizen identity number, which they have proved in the app.
    #[schema(value_type = String, example = "046199012345", min_length = 12, max_length = 14)]
    guardian_citizen_number: Hidden,
    /// The person's own.
    #[schema(value_type = String, example = "046215012345", min_length = 12, max_length = 14)]
    citizen_number: Hidden,
    /// The person's full name.
    #[schema(value_type = String, example = "Nguyễn Minh An", min_length = 1, max_length = 80)]
    full_name: Hidden,
    /// The person's day of birth.
    #[schema(value_type = String, format = Date, example = "2015-03-26")]
    date_of_birth: Hidden,
    /// What may be paid.
    #[schema(inline, min_items = 1, max_items = 3)]
    kinds: Vec<Kind>,
    limits: DelegationLimits,
    /// Until when: for a child by the 18th birthday, for others within five years.
    until: DateTime<Utc>,
    /// For the audit: 1 to 200 characters that name nobody; numbers of papers are welcome.
    #[schema(min_length = 1, max_length = 200, example = "file 118/HT")]
    reason: String,
}

/// A registration, as an officer sees it.
#[derive(Serialize, ToSchema)]
pub(super) struct DependentItem {
    id: RegistrationId,
    state: RegistrationState,
    /// Code of the ward.
    ward: String,
    /// The guardian.
    guardian_id: Uuid,
    /// The officer.
    registered_by: Uuid,
    /// The person's account, once the guardian has confirmed.
    dependent_id: Option<Uuid>,
    kinds: Vec<String>,
    limits: DelegationLimits,
    until: DateTime<Utc>,
    registered_at: DateTime<Utc>,
    confirmed_at: Option<DateTime<Utc>>,
    ended_at: Option<DateTime<Utc>>,
}

/// A registration and what became of the account.
#[derive(Serialize, ToSchema)]
pub(super) struct DependentDetail {
    #[serde(flatten)]
    item: DependentItem,
    /// The newest closing of the account, while it has no number.
    closing: Option<ClosingView>,
}

/// Which registrations are wanted.
#[derive(Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct DependentQuery {
    /// Only of the ward with this code; of all of yours when absent.
    ward: Option<String>,
    /// Items wanted, 1 to 200; 50 when absent.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u16>,
    /// `next_cursor` of the page before; absent for the first page.
    cursor: Option<String>,
}

/// Why an officer does it.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ReasonRequest {
    /// For the audit: 1 to 200 characters that name nobody.
    #[schema(min_length = 1, max_length = 200, example = "file 118/HT")]
    reason: String,
}

/// Why an officer takes something back.
#[derive(Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ReasonQuery {
    /// For the audit: 1 to 200 characters that name nobody.
    #[param(min_length = 1, max_length = 200)]
    reason: String,
}

impl DependentItem {
    fn new(one: Dependent, now: DateTime<Utc>) -> Self {
        Self {
            id: one.id,
            state: one.state(now),
            limits: DelegationLimits::new([one.transaction_maximum, one.day_maximum, one.month_maximum]),
            ward: one.ward,
            guardian_id: one.guardian_id,
            registered_by: one.registered_by,
            dependent_id: one.citizen_id,
            kinds: one.kinds,
            until: one.valid_until,
            registered_at: one.registered_at,
            confirmed_at: one.confirmed_at,
            ended_at: one.ended_at,
        }
    }
}

fn new_dependent(body: DependentRequest, today: NaiveDate) -> Result<(NewDependent, String), Error> {
    let born: NaiveDate = body.date_of_birth.0.parse().map_err(|_| Error::Field {
        field: "date_of_birth",
        vi: "Ngày sinh có dạng năm-tháng-ngày, ví dụ 2015-03-26.",
        en: "A day of birth is written year-month-day, such as 2015-03-26.",
    })?;
    let mut kinds = body.kinds;
    kinds.sort_unstable();
    kinds.dedup();
    let new = NewDependent {
        ward: body.ward,
        guardian: CitizenNumber::parse(&body.guardian_citizen_number.0)?,
        who: Said::try_new(&body.citizen_number.0, &body.full_name.0, (born, None), today)?,
        terms: Terms { kinds, maxima: body.limits.maxima(), until: body.until.trunc_subsecs(6) },
    };
    Ok((new, body.reason))
}

/// List who was registered in my wards
///
/// Oldest first, whatever became of it. For officers and heads of the agency that keeps a ward's register of people.
#[utoipa::path(
    get, path = "/identity/v1/dependents", tag = "identity", operation_id = "listDependents", security(("bearer" = [])), params(DependentQuery),
    responses(
        (status = 200, description = "A page of registrations", body = Page<DependentItem>),
        (status = 400, description = "`invalid-query`", content_type = "application/problem+json"),
        (status = 401, description = "`unauthenticated`", content_type = "application/problem+json"),
        (status = 403, description = "`forbidden`: not your ward's register", content_type = "application/problem+json"),
        (status = 422, description = "`ward-unknown`", content_type = "application/problem+json"),
    )
)]
pub(super) async fn list(
    State(identity): App,
    caller: Principal,
    Query(query): Query<DependentQuery>,
) -> Result<Response, Problem> {
    let page = PageQuery { limit: query.limit, cursor: query.cursor };
    let (limit, after) = (page.limit()?, page.after()?);
    let rows = identity.dependents_of_wards(caller.subject.into(), query.ward.as_deref(), (after, limit + 1)).await?;
    let now = identity.now();
    let page = Page::from_rows(rows, limit, |row| row.id.uuid()).map(|row| DependentItem::new(row, now));
    Ok(private(StatusCode::OK, page))
}

/// Register somebody without a telephone
///
/// A child or an elder, in person and with papers, for a guardian who has proved their own citizen number in the app. Nothing begins
/// before the guardian confirms it there, within seven days. Then the person has an account without a telephone number, which nobody
/// signs in to, and the guardian pays from its wallet within the limits. Where the person has such an account already, it passes to
/// this guardian. For officers and heads of the agency that keeps the ward's register of people; nobody registers anybody for themself.
#[utoipa::path(
    post, path = "/identity/v1/dependents", tag = "identity", operation_id = "registerDependent", security(("bearer" = [])), request_body = DependentRequest,
    params(("Idempotency-Key" = String, Header, description = "New for each person")),
    responses(
        (status = 201, description = "It waits for the guardian's word", body = DependentItem),
        (status = 400, description = "`idempotency-key-missing`, `malformed-json`", content_type = "application/problem+json"),
        (status = 401, description = "`unauthenticated`", content_type = "application/problem+json"),
        (status = 403, description = "`forbidden`: not your ward's register, or the guardian is you", content_type = "application/problem+json"),
        (status = 409, description = "`dependent-registered`, `number-taken` (the person has a telephone and an account), `delegations-too-many`", content_type = "application/problem+json"),
        (status = 422, description = "`citizen-number-invalid` (with `reason`), `guardian-not-verified`, `ward-unknown`, `invalid-body`, `idempotency-key-reused`", content_type = "application/problem+json"),
    )
)]
pub(super) async fn register(
    State(identity): App,
    caller: Principal,
    ClientAddress(address): ClientAddress,
    IdempotentJson { key, fingerprint, body }: IdempotentJson<DependentRequest>,
) -> Result<Response, Problem> {
    let (new, why) = new_dependent(body, identity.today())?;
    let key = Key { caller: caller.subject, operation: "dependent.register", key, fingerprint };
    let act = (origin(&caller, address), reason(&why)?);
    let made = identity.register_dependent(&caller, &new, act, key).await?;
    Ok(private(StatusCode::CREATED, DependentItem::new(made, identity.now())))
}

/// Show a registration of my ward
#[utoipa::path(
    get, path = "/identity/v1/dependents/{id}", tag = "identity", operation_id = "getDependent", security(("bearer" = [])),
    params(("id" = Uuid, Path, description = "The registration")),
    responses(
        (status = 200, description = "The registration", body = DependentDetail),
        (status = 401, description = "`unauthenticated`", content_type = "application/problem+json"),
        (status = 404, description = "`not-found`: no such registration in a ward of yours", content_type = "application/problem+json"),
    )
)]
pub(super) async fn show(
    State(identity): App,
    caller: Principal,
    language: Language,
    Path(id): Path<RegistrationId>,
) -> Result<Response, Problem> {
    let found = identity.dependent_of_ward(caller.subject.into(), id).await?;
    let closing = identity.closing_of_dependent(&found).await?.map(|closing| ClosingView::new(closing, language));
    let detail = DependentDetail { item: DependentItem::new(found, identity.now()), closing };
    Ok(private(StatusCode::OK, detail))
}

/// Take a registration back
///
/// Before the guardian has confirmed it. Asked for again, nothing changes.
#[utoipa::path(
    delete, path = "/identity/v1/dependents/{id}", tag = "identity", operation_id = "withdrawDependent", security(("bearer" = [])),
    params(("id" = Uuid, Path, description = "The registration"), ReasonQuery),
    responses(
        (status = 204, description = "It waits no more"),
        (status = 400, description = "`invalid-query`", content_type = "application/problem+json"),
        (status = 401, description = "`unauthenticated`", content_type = "application/problem+json"),
        (status = 404, description = "`not-found`: no such registration in a ward of yours", content_type = "application/problem+json"),
        (status = 409, description = "`registration-over`: the guardian has confirmed it", content_type = "application/problem+json"),
        (status = 422, description = "`invalid-body`: the reason names somebody", content_type = "application/problem+json"),
    )
)]
pub(super) async fn withdraw(
    State(identity): App,
    caller: Principal,
    ClientAddress(address): ClientAddress,
    Path(id): Path<RegistrationId>,
    Query(query): Query<ReasonQuery>,
) -> Result<StatusCode, Problem> {
    let act = (origin(&caller, address), reason(&query.reason)?);
    identity.withdraw_dependent(caller.subject.into(), id, act).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Close the account of somebody without a telephone
///
/// As the citizen's own closing: services say what stands against it, and it may be taken back until `erase_at`. While one is under way,
/// that one is answered. The guardian is told of each step.
#[utoipa::path(
    post, path = "/identity/v1/dependents/{id}/closing", tag = "identity", operation_id = "closeDependent", security(("bearer" = [])),
    params(("id" = Uuid, Path, description = "The registration")), request_body = ReasonRequest,
    responses(
        (status = 202, description = "Services are being asked", body = ClosingView),
        (status = 401, description = "`unauthenticated`", content_type = "application/problem+json"),
        (status = 404, description = "`not-found`: no such registration in a ward of yours", content_type = "application/problem+json"),
        (status = 409, description = "`registration-over`: there is no account; `dependent-has-phone`: its owner speaks for it", content_type = "application/problem+json"),
        (status = 422, description = "`invalid-body`", content_type = "application/problem+json"),
    )
)]
pub(super) async fn close(
    State(identity): App,
    caller: Principal,
    language: Language,
    ClientAddress(address): ClientAddress,
    Path(id): Path<RegistrationId>,
    Json(request): Json<ReasonRequest>,
) -> Result<Response, Problem> {
    let act = (origin(&caller, address), reason(&request.reason)?);
    let begun = identity.close_dependent_of_ward(caller.subject.into(), id, act).await?;
    Ok(private(StatusCode::ACCEPTED, ClosingView::new(begun, language)))
}

/// Keep the account of somebody without a telephone
#[utoipa::path(
    delete, path = "/identity/v1/dependents/{id}/closing", tag = "identity", operation_id = "keepDependent", security(("bearer" = [])),
    params(("id" = Uuid, Path, description = "The registration"), ReasonQuery),
    responses(
        (status = 204, description = "The account stays"),
        (status = 400, description = "`invalid-query`", content_type = "application/problem+json"),
        (status = 401, description = "`unauthenticated`", content_type = "application/problem+json"),
        (status = 404, description = "`not-found`: no such registration in a ward of yours", content_type = "application/problem+json"),
        (status = 409, description = "`closing-not-open`, `registration-over`, `dependent-has-phone`", content_type = "application/problem+json"),
        (status = 422, description = "`invalid-body`: the reason names somebody", content_type = "application/problem+json"),
    )
)]
pub(super) async fn keep(
    State(identity): App,
    caller: Principal,
    ClientAddress(address): ClientAddress,
    Path(id): Path<RegistrationId>,
    Query(query): Query<ReasonQuery>,
) -> Result<StatusCode, Problem> {
    let act = (origin(&caller, address), reason(&query.reason)?);
    identity.keep_dependent_of_ward(caller.subject.into(), id, act).await?;
    Ok(StatusCode::NO_CONTENT)
}
