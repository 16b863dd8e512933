//! `/notifications/v1/alerts`: officers of the operations centre draft, release and end warnings.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use http::StatusCode;
use platform::auth::Principal;
use platform::http::{IdempotentJson, Json, Path, Query};
use platform::idempotency::{self, Claim, Key};
use platform::page::{Page, PageQuery};
use platform::problem::Problem;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

use super::Routes;
use super::alert_query::{AlertQuery, WaitingState};
use crate::SCHEMA;
use crate::alert::desk::Wanted;
use crate::alert::reach::{self, Reach};
use crate::alert::store::{self, Alert};
use crate::alert::{AlertId, Bilingual, Content, Kind, Origin, State as Standing};
use crate::error::Error;

/// The role of those who draft, and release what others drafted.
pub(super) const OPERATOR: &str = "ioc.operator";
/// The role of those who release.
pub(super) const LEAD: &str = "ioc.lead";

/// A warning to be drafted.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct DraftBody {
    /// What it says, and to which wards.
    content: Content,
    /// Until when it is in force, at most 7 days from now.
    expires_at: DateTime<Utc>,
    /// The alert in force that it replaces when it is released.
    #[serde(default)]
    #[schema(value_type = Option<Uuid>)]
    updates: Option<AlertId>,
}

/// What an officer makes of a draft of nobody's.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AdoptBody {
    /// What it is to say instead; as it is when absent.
    #[serde(default)]
    content: Option<Content>,
    /// Until when it is in force instead, at most 7 days from now.
    #[serde(default)]
    expires_at: Option<DateTime<Utc>>,
}

/// What an officer releases.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ReleaseBody {
    /// The draft's `revision` that the officer read: nobody releases words that they have not seen.
    revision: i32,
}

/// Why a warning is ended.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CancelBody {
    /// 1 to 500 characters each; citizens read it.
    reason: Bilingual,
}

/// A warning, as officers see it.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct AlertBody {
    /// The alert.
    #[schema(value_type = Uuid)]
    id: AlertId,
    /// Names its CAP document: `/cap/v1/alerts/{identifier}.xml`, from the release on.
    #[schema(example = "VN-46-019a1f0c-7a51-7e21-9c55-0f6a3a1e8d10")]
    identifier: String,
    /// Whether it is the first about its event, or replaces or ends an earlier one.
    kind: Kind,
    /// How it stands now.
    state: Standing,
    /// What it says, and to which wards.
    content: Content,
    /// Counts what the draft has said; its release names it.
    revision: i32,
    /// The alert that it replaces or ends.
    #[schema(value_type = Option<Uuid>)]
    supersedes: Option<AlertId>,
    /// Where the draft comes from.
    origin: Origin,
    /// Of an alarm its id; of a CAP document its sender and identifier.
    origin_reference: Option<String>,
    /// The officer who drafted or adopted it; null while nobody stands for it.
    drafted_by: Option<Uuid>,
    /// When that was.
    drafted_at: DateTime<Utc>,
    /// The officer who released it.
    released_by: Option<Uuid>,
    /// When that was.
    released_at: Option<DateTime<Utc>>,
    /// The officer who withdrew, replaced or ended it.
    ended_by: Option<Uuid>,
    /// When that was.
    ended_at: Option<DateTime<Utc>>,
    /// Until when it is in force.
    expires_at: DateTime<Utc>,
}

impl AlertBody {
    fn of(alert: Alert, now: DateTime<Utc>) -> Self {
        Self {
            id: alert.id,
            identifier: alert.identifier,
            kind: alert.life.kind,
            state: alert.life.state_at(now),
            content: alert.content,
            revision: alert.revision,
            supersedes: alert.supersedes,
            origin: alert.origin,
            origin_reference: alert.origin_reference,
            drafted_by: alert.life.drafted_by,
            drafted_at: alert.drafted_at,
            released_by: alert.life.released_by,
            released_at: alert.released_at,
            ended_by: alert.ended_by,
            ended_at: alert.ended_at,
            expires_at: alert.life.expires_at,
        }
    }
}

pub(super) fn allow(principal: &Principal, roles: &[&str]) -> Result<(), Error> {
    if roles.iter().any(|role| principal.has_role(role)) { Ok(()) } else { Err(Error::Forbidden) }
}

/// The status and body of a step that was taken or replayed.
pub(super) fn answer(status: u16, body: Value) -> Response {
    (StatusCode::from_u16(status).unwrap_or(StatusCode::OK), Json(body)).into_response()
}

/// Drafts a warning. Role `ioc.operator`. Nobody gets it before another officer releases it.
#[utoipa::path(
    post,
    path = "/notifications/v1/alerts",
    tag = "warnings",
    operation_id = "draftAlert",
    params(("Idempotency-Key" = String, Header, description = "1 to 255 visible ASCII characters, new for each action.")),
    request_body = DraftBody,
    responses(
        (status = 201, description = "It is drafted.", body = AlertBody),
        (status = 400, description = "`idempotency-key-missing`, `malformed-json`."),
        (status = 403, description = "`forbidden`: the role is missing."),
        (status = 404, description = "`not-found`: no such alert to replace."),
        (status = 409, description = "`alert-not-in-force`: what it would replace is not in force; `alert-status-differs`: one is an exercise, the other is meant."),
        (status = 422, description = "`invalid-field`, `ward-unknown`, `wards-invalid`, `alert-area-invalid`, `alert-expiry-invalid`, `invalid-body`, `idempotency-key-reused`.")
    ),
    security(("bearer" = []))
)]
pub(super) async fn draft(
    State(routes): State<Routes>,
    principal: Principal,
    request: IdempotentJson<DraftBody>,
) -> Result<Response, Problem> {
    allow(&principal, &[OPERATOR])?;
    let DraftBody { content, expires_at, updates } = request.body;
    let key =
        Key { caller: principal.subject, operation: "alert.draft", key: request.key, fingerprint: request.fingerprint };
    let now = routes.clock.now();
    let mut transaction = platform::db::begin(&routes.pool).await?;
    if let Claim::Replay(stored) = idempotency::claim(&mut transaction, SCHEMA, &key, now).await? {
        return Ok(answer(stored.status, stored.body));
    }
    let wanted = Wanted { content, expires_at, updates };
    let alert = routes.desk.draft(&mut transaction, principal.subject, wanted).await?;
    let severity = alert.content.severity;
    let body = serde_json::to_value(AlertBody::of(alert, now)).expect("an alert serialises");
    let status = StatusCode::CREATED.as_u16();
    idempotency::store(&mut transaction, SCHEMA, &key, status, &body).await?;
    transaction.commit().await?;
    routes.desk.meter.alert("drafted", severity);
    Ok(answer(status, body))
}

/// All alerts, the newest draft first. Roles `ioc.operator` and `ioc.lead`.
#[utoipa::path(
    get,
    path = "/notifications/v1/alerts",
    tag = "warnings",
    operation_id = "listAlerts",
    params(AlertQuery),
    responses(
        (status = 200, description = "A page of alerts.", body = Page<AlertBody>),
        (status = 403, description = "`forbidden`: the role is missing.")
    ),
    security(("bearer" = []))
)]
pub(super) async fn list(
    State(routes): State<Routes>,
    principal: Principal,
    Query(wanted): Query<AlertQuery>,
) -> Result<Json<Page<AlertBody>>, Problem> {
    allow(&principal, &[OPERATOR, LEAD])?;
    let query = PageQuery { limit: wanted.limit, cursor: wanted.cursor };
    let limit = query.limit()?;
    let now = routes.clock.now();
    let waiting_at = wanted.state.map(|WaitingState::Drafted| now);
    let alerts = store::list(&routes.pool, (query.after()?, waiting_at), limit + 1).await?;
    Ok(Json(Page::from_rows(alerts, limit, |alert| alert.id).map(|alert| AlertBody::of(alert, now))))
}

/// One alert. Roles `ioc.operator` and `ioc.lead`.
#[utoipa::path(
    get,
    path = "/notifications/v1/alerts/{id}",
    tag = "warnings",
    operation_id = "getAlert",
    params(("id" = Uuid, Path, description = "The alert.")),
    responses(
        (status = 200, description = "The alert.", body = AlertBody),
        (status = 403, description = "`forbidden`: the role is missing."),
        (status = 404, description = "`not-found`.")
    ),
    security(("bearer" = []))
)]
pub(super) async fn show(
    State(routes): State<Routes>,
    principal: Principal,
    Path(id): Path<Uuid>,
) -> Result<Json<AlertBody>, Problem> {
    allow(&principal, &[OPERATOR, LEAD])?;
    let alert = store::read(&mut *routes.pool.acquire().await?, AlertId::from(id)).await?;
    Ok(Json(AlertBody::of(alert, routes.clock.now())))
}

/// Lets an officer stand for a draft of nobody's (an alarm of a river, a partner's document), as it is or as they amend it. Role
/// `ioc.operator`. Another officer releases it.
#[utoipa::path(
    post,
    path = "/notifications/v1/alerts/{id}/adopt",
    tag = "warnings",
    operation_id = "adoptAlert",
    params(
        ("id" = Uuid, Path, description = "The alert."),
        ("Idempotency-Key" = String, Header, description = "1 to 255 visible ASCII characters, new for each action.")
    ),
    request_body = AdoptBody,
    responses(
        (status = 200, description = "It is this officer's draft.", body = AlertBody),
        (status = 400, description = "`idempotency-key-missing`, `malformed-json`."),
        (status = 403, description = "`forbidden`: the role is missing."),
        (status = 404, description = "`not-found`."),
        (status = 409, description = "`alert-already-adopted`: by another officer, or by this one, who would amend it again; `alert-needs-no-adoption`: it is the end of a warning; `alert-not-drafted`."),
        (status = 422, description = "`invalid-field`, `ward-unknown`, `wards-invalid`, `alert-area-invalid`, `alert-expiry-invalid`, `invalid-body`, `idempotency-key-reused`.")
    ),
    security(("bearer" = []))
)]
pub(super) async fn adopt(
    State(routes): State<Routes>,
    principal: Principal,
    Path(id): Path<Uuid>,
    request: IdempotentJson<AdoptBody>,
) -> Result<Response, Problem> {
    allow(&principal, &[OPERATOR])?;
    let officer = principal.subject;
    let key = Key { caller: officer, operation: "alert.adopt", key: request.key, fingerprint: request.fingerprint };
    let now = routes.clock.now();
    let mut transaction = platform::db::begin(&routes.pool).await?;
    if let Claim::Replay(stored) = idempotency::claim(&mut transaction, SCHEMA, &key, now).await? {
        return Ok(answer(stored.status, stored.body));
    }
    let AdoptBody { content, expires_at } = request.body;
    let alert = routes.desk.adopt(&mut transaction, (officer, AlertId::from(id)), (content, expires_at)).await?;
    let severity = alert.content.severity;
    let body = serde_json::to_value(AlertBody::of(alert, now)).expect("an alert serialises");
    idempotency::store(&mut transaction, SCHEMA, &key, StatusCode::OK.as_u16(), &body).await?;
    transaction.commit().await?;
    routes.desk.meter.alert("adopted", severity);
    Ok(answer(StatusCode::OK.as_u16(), body))
}

/// Releases a draft: it goes to everybody in its wards at once. Roles `ioc.lead` and `ioc.operator`, never the officer who
/// drafted it. Doing it again changes nothing and answers the same, so no `Idempotency-Key` is needed.
#[utoipa::path(
    post,
    path = "/notifications/v1/alerts/{id}/release",
    tag = "warnings",
    operation_id = "releaseAlert",
    params(("id" = Uuid, Path, description = "The alert.")),
    request_body = ReleaseBody,
    responses(
        (status = 200, description = "It is released.", body = AlertBody),
        (status = 400, description = "`malformed-json`."),
        (status = 403, description = "`forbidden`: the role is missing."),
        (status = 404, description = "`not-found`."),
        (status = 409, description = "`alert-changed`: the draft says something else by now; `alert-not-adopted`; `alert-same-officer`; `alert-not-drafted`: released by somebody else, withdrawn, ended or expired; `alert-not-in-force`: what it replaces was replaced or ended meanwhile; `alert-status-differs`."),
        (status = 422, description = "`invalid-body`.")
    ),
    security(("bearer" = []))
)]
pub(super) async fn release(
    State(routes): State<Routes>,
    principal: Principal,
    Path(id): Path<Uuid>,
    Json(body): Json<ReleaseBody>,
) -> Result<Json<AlertBody>, Problem> {
    allow(&principal, &[OPERATOR, LEAD])?;
    let alert = routes.desk.release(principal.subject, (AlertId::from(id), body.revision)).await?;
    Ok(Json(AlertBody::of(alert, routes.clock.now())))
}

/// Withdraws a draft, or ends an alert in force; then everybody who got it hears so, and the answer is the message that
/// says it. Roles `ioc.operator` and `ioc.lead`; one officer is enough, because a false alarm must not wait.
#[utoipa::path(
    post,
    path = "/notifications/v1/alerts/{id}/cancel",
    tag = "warnings",
    operation_id = "cancelAlert",
    params(
        ("id" = Uuid, Path, description = "The alert."),
        ("Idempotency-Key" = String, Header, description = "1 to 255 visible ASCII characters, new for each action.")
    ),
    request_body = CancelBody,
    responses(
        (status = 200, description = "The withdrawn draft, or the message that ends the alert.", body = AlertBody),
        (status = 400, description = "`idempotency-key-missing`, `malformed-json`."),
        (status = 403, description = "`forbidden`: the role is missing."),
        (status = 404, description = "`not-found`."),
        (status = 409, description = "`alert-not-in-force`, `alert-not-drafted`: it has ended."),
        (status = 422, description = "`invalid-field`, `invalid-body`, `idempotency-key-reused`.")
    ),
    security(("bearer" = []))
)]
pub(super) async fn cancel(
    State(routes): State<Routes>,
    principal: Principal,
    Path(id): Path<Uuid>,
    request: IdempotentJson<CancelBody>,
) -> Result<Response, Problem> {
    allow(&principal, &[OPERATOR, LEAD])?;
    let key = Key {
        caller: principal.subject,
        operation: "alert.cancel",
        key: request.key,
        fingerprint: request.fingerprint,
    };
    let now = routes.clock.now();
    let mut transaction = platform::db::begin(&routes.pool).await?;
    if let Claim::Replay(stored) = idempotency::claim(&mut transaction, SCHEMA, &key, now).await? {
        return Ok(answer(stored.status, stored.body));
    }
    let reason = request.body.reason;
    let alert = routes.desk.cancel(&mut transaction, principal.subject, AlertId::from(id), reason).await?;
    let step = if alert.life.kind == Kind::Cancel { "cancelled" } else { "withdrawn" };
    let severity = alert.content.severity;
    let body = serde_json::to_value(AlertBody::of(alert, now)).expect("an alert serialises");
    idempotency::store(&mut transaction, SCHEMA, &key, StatusCode::OK.as_u16(), &body).await?;
    transaction.commit().await?;
    routes.desk.meter.alert(step, severity);
    Ok(answer(StatusCode::OK.as_u16(), body))
}

/// How many have a released alert, by ward and channel, counted now. Roles `ioc.operator` and `ioc.lead`.
#[utoipa::path(
    get,
    path = "/notifications/v1/alerts/{id}/reach",
    tag = "warnings",
    operation_id = "getAlertReach",
    params(("id" = Uuid, Path, description = "The alert.")),
    responses(
        (status = 200, description = "The figures of this moment.", body = Reach),
        (status = 403, description = "`forbidden`: the role is missing."),
        (status = 404, description = "`not-found`: no such alert, or it was not released.")
    ),
    security(("bearer" = []))
)]
pub(super) async fn reach(
    State(routes): State<Routes>,
    principal: Principal,
    Path(id): Path<Uuid>,
) -> Result<Json<Reach>, Problem> {
    allow(&principal, &[OPERATOR, LEAD])?;
    Ok(Json(reach::count(&routes.pool, AlertId::from(id), &routes.desk.city).await?))
}
