//! `/ioc/v1/alarms`: what operators see of alarms and do with them.
//!
//! Whoever sees the wall sees the list; only officers take steps.

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use chrono::{DateTime, Utc};
use http::StatusCode;
use platform::auth::Principal;
use platform::http::{IdempotentJson, Json, Path, Query};
use platform::idempotency::{self, Claim, Key};
use platform::page::{Page, PageQuery};
use platform::problem::{FORBIDDEN, Problem};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

use super::Desk;
use crate::SCHEMA;
use crate::overview::AlarmRow;
use crate::sensor::AlarmId;
use crate::sensor::alarm::Step;
use crate::sql::alarm::Taken;

/// Who acknowledges.
const OPERATORS: [&str; 2] = ["ioc.operator", "ioc.lead"];
/// Who closes what the river has not closed.
const LEADS: [&str; 1] = ["ioc.lead"];

/// Which alarms are wanted.
#[derive(Clone, Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct AlarmQuery {
    /// `open` for those that are not closed; all when absent.
    #[param(inline)]
    state: Option<OpenState>,
    /// Items wanted, 1 to 200; 50 when absent.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u16>,
    /// `next_cursor` of the page before; absent for the first page.
    cursor: Option<String>,
}

/// The one state that can be asked for.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
enum OpenState {
    /// Not closed.
    Open,
}

/// An alarm with its steps.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct AlarmBody {
    /// How it stands.
    #[serde(flatten)]
    alarm: AlarmRow,
    /// The officer who acknowledged it last.
    acknowledged_by: Option<Uuid>,
    /// The officer who closed it; null when the river did.
    closed_by: Option<Uuid>,
    /// What became of it, in order.
    steps: Vec<StepBody>,
}

/// A step of an alarm.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct StepBody {
    /// What happened.
    kind: Step,
    /// The level before; 0 for none.
    from_level: u8,
    /// The level after; 0 for none.
    to_level: u8,
    /// The reading, in metres.
    value_m: f64,
    /// When.
    at: DateTime<Utc>,
    /// The officer, if one did it.
    officer: Option<Uuid>,
    /// What the officer noted.
    note: Option<String>,
}

/// What an officer notes, if anything.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AcknowledgeBody {
    /// 1 to 500 characters.
    #[serde(default)]
    note: Option<String>,
}

/// Why an alarm is closed though the river has not fallen.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CloseBody {
    /// 1 to 500 characters.
    note: String,
}

impl From<Taken> for StepBody {
    fn from(taken: Taken) -> Self {
        Self {
            kind: taken.kind,
            from_level: taken.from_level,
            to_level: taken.to_level,
            value_m: taken.value,
            at: taken.taken_at,
            officer: taken.officer,
            note: taken.note,
        }
    }
}

fn allow(principal: &Principal, roles: &[&str]) -> Result<(), Problem> {
    if roles.iter().any(|role| principal.has_role(role)) { Ok(()) } else { Err(Problem::new(FORBIDDEN)) }
}

/// Alarms, the newest first. Whoever sees the wall sees them.
#[utoipa::path(
    get,
    operation_id = "listAlarms",
    path = "/ioc/v1/alarms",
    tag = "ioc",
    params(AlarmQuery),
    responses(
        (status = 200, description = "A page.", body = Page<AlarmRow>),
        (status = 400, description = "`invalid-query`.", content_type = "application/problem+json"),
        (status = 401, description = "`unauthenticated`.", content_type = "application/problem+json"),
        (status = 403, description = "`forbidden`.", content_type = "application/problem+json"),
    )
)]
pub(super) async fn list(State(desk): State<Desk>, query: Query<AlarmQuery>) -> Result<Json<Page<AlarmRow>>, Problem> {
    let Query(wanted) = query;
    let page = PageQuery { limit: wanted.limit, cursor: wanted.cursor };
    let limit = page.limit()?;
    let found = desk.alarms.list(page.after()?, wanted.state.is_some(), limit + 1).await?;
    let page = Page::from_rows(found, limit, |alarm| alarm.id);
    Ok(Json(page.map(|alarm| AlarmRow::of(&alarm, &desk.alarms.stations))))
}

/// An alarm with its steps (the last 200). Whoever sees the wall sees it; who the officers are, officers alone.
#[utoipa::path(
    get,
    operation_id = "getAlarm",
    path = "/ioc/v1/alarms/{id}",
    tag = "ioc",
    params(("id" = Uuid, Path, description = "The alarm.")),
    responses(
        (status = 200, description = "The alarm.", body = AlarmBody),
        (status = 401, description = "`unauthenticated`.", content_type = "application/problem+json"),
        (status = 403, description = "`forbidden`.", content_type = "application/problem+json"),
        (status = 404, description = "`not-found`.", content_type = "application/problem+json"),
    )
)]
pub(super) async fn show(
    State(desk): State<Desk>,
    principal: Option<Principal>,
    Path(id): Path<Uuid>,
) -> Result<Json<AlarmBody>, Problem> {
    let mut body = body_of(&desk, AlarmId::from(id)).await?;
    if principal.is_none_or(|principal| allow(&principal, &OPERATORS).is_err()) {
        (body.acknowledged_by, body.closed_by) = (None, None);
        for step in &mut body.steps {
            (step.officer, step.note) = (None, None);
        }
    }
    Ok(Json(body))
}

async fn body_of(desk: &Desk, id: AlarmId) -> Result<AlarmBody, Problem> {
    let (alarm, steps) = desk.alarms.show(id).await?;
    Ok(AlarmBody {
        acknowledged_by: alarm.acknowledged_by,
        closed_by: alarm.closed_by,
        alarm: AlarmRow::of(&alarm, &desk.alarms.stations),
        steps: steps.into_iter().map(StepBody::from).collect(),
    })
}

/// Says that an operator has seen an alarm. Roles `ioc.operator` and `ioc.lead`. An alarm that rises must be acknowledged again.
#[utoipa::path(
    post,
    operation_id = "acknowledgeAlarm",
    path = "/ioc/v1/alarms/{id}/acknowledge",
    tag = "ioc",
    params(
        ("id" = Uuid, Path, description = "The alarm."),
        ("Idempotency-Key" = String, Header, description = "1 to 255 visible ASCII characters, new for each action.")
    ),
    request_body = AcknowledgeBody,
    responses(
        (status = 200, description = "The alarm.", body = AlarmRow),
        (status = 400, description = "`idempotency-key-missing`, `malformed-json`.", content_type = "application/problem+json"),
        (status = 403, description = "`forbidden`: the role is missing.", content_type = "application/problem+json"),
        (status = 404, description = "`not-found`.", content_type = "application/problem+json"),
        (status = 409, description = "`alarm-closed`.", content_type = "application/problem+json"),
        (status = 422, description = "`alarm-note-invalid`, `invalid-body`, `idempotency-key-reused`.", content_type = "application/problem+json"),
    ),
    security(("bearer" = []))
)]
pub(super) async fn acknowledge(
    State(desk): State<Desk>,
    principal: Principal,
    Path(id): Path<Uuid>,
    request: IdempotentJson<AcknowledgeBody>,
) -> Result<Response, Problem> {
    allow(&principal, &OPERATORS)?;
    let officer = principal.subject;
    let key =
        Key { caller: officer, operation: "alarm.acknowledge", key: request.key, fingerprint: request.fingerprint };
    let mut tx = platform::db::begin(&desk.alarms.pool).await?;
    if let Claim::Replay(stored) = idempotency::claim(&mut tx, SCHEMA, &key, desk.alarms.clock.now()).await? {
        return Ok(answer(stored.status, stored.body));
    }
    let alarm = desk.alarms.acknowledge(&mut tx, AlarmId::from(id), (officer, request.body.note)).await?;
    let body = AlarmRow::of(&alarm, &desk.alarms.stations);
    idempotency::store(&mut tx, SCHEMA, &key, StatusCode::OK.as_u16(), &body).await?;
    tx.commit().await?;
    desk.alarms.meter.step(Step::Acknowledged, alarm.life.level);
    Ok((StatusCode::OK, Json(body)).into_response())
}

/// Closes an alarm though the river has not fallen: its sensor is broken, or it was an exercise. Role `ioc.lead`. The next reading at a
/// level raises another one.
#[utoipa::path(
    post,
    operation_id = "closeAlarm",
    path = "/ioc/v1/alarms/{id}/close",
    tag = "ioc",
    params(
        ("id" = Uuid, Path, description = "The alarm."),
        ("Idempotency-Key" = String, Header, description = "1 to 255 visible ASCII characters, new for each action.")
    ),
    request_body = CloseBody,
    responses(
        (status = 200, description = "The alarm.", body = AlarmRow),
        (status = 400, description = "`idempotency-key-missing`, `malformed-json`.", content_type = "application/problem+json"),
        (status = 403, description = "`forbidden`: the role is missing.", content_type = "application/problem+json"),
        (status = 404, description = "`not-found`.", content_type = "application/problem+json"),
        (status = 409, description = "`alarm-closed`.", content_type = "application/problem+json"),
        (status = 422, description = "`alarm-note-invalid`, `invalid-body`, `idempotency-key-reused`.", content_type = "application/problem+json"),
    ),
    security(("bearer" = []))
)]
pub(super) async fn close(
    State(desk): State<Desk>,
    principal: Principal,
    Path(id): Path<Uuid>,
    request: IdempotentJson<CloseBody>,
) -> Result<Response, Problem> {
    allow(&principal, &LEADS)?;
    let officer = principal.subject;
    let key = Key { caller: officer, operation: "alarm.close", key: request.key, fingerprint: request.fingerprint };
    let mut tx = platform::db::begin(&desk.alarms.pool).await?;
    if let Claim::Replay(stored) = idempotency::claim(&mut tx, SCHEMA, &key, desk.alarms.clock.now()).await? {
        return Ok(answer(stored.status, stored.body));
    }
    let alarm = desk.alarms.close(&mut tx, AlarmId::from(id), (officer, request.body.note)).await?;
    let body = AlarmRow::of(&alarm, &desk.alarms.stations);
    idempotency::store(&mut tx, SCHEMA, &key, StatusCode::OK.as_u16(), &body).await?;
    tx.commit().await?;
    desk.alarms.meter.step(Step::Closed, alarm.life.level);
    Ok((StatusCode::OK, Json(body)).into_response())
}

/// The status and body of a step that was taken before.
fn answer(status: u16, body: Value) -> Response {
    (StatusCode::from_u16(status).unwrap_or(StatusCode::OK), Json(body)).into_response()
}
