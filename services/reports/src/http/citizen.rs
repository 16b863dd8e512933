//! What the reporter does: answers a question, rates a result, asks to look again. To anybody else the report does not exist.

use axum::extract::State;
use axum::response::Response;
use platform::auth::Principal;
use platform::http::{IdempotentJson, Path};
use platform::idempotency::Key;
use platform::problem::Problem;
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::ToSchema;
use uuid::Uuid;

use super::view::Moved;
use super::{Act, App, key, once};
use crate::error::Error;
use crate::lifecycle::{Action, Actor, Rating};
use crate::report::{Deed, Standing};
use crate::text::Text;

/// An answer to what was asked.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AnswerBody {
    /// The version that the citizen has seen.
    version: i64,
    #[schema(value_type = String, min_length = 1, max_length = 4000)]
    text: Text<4_000>,
}

/// How satisfied the reporter is.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RatingBody {
    /// The version that the citizen has seen.
    version: i64,
    rating: Rating,
    #[schema(value_type = Option<String>, max_length = 1000)]
    comment: Option<Text<1_000>>,
}

/// Why it shall be looked at again.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ReopeningBody {
    /// The version that the citizen has seen.
    version: i64,
    #[schema(value_type = String, min_length = 1, max_length = 1000)]
    reason: Text<1_000>,
}

/// Answers what the operations centre asked; its clock goes on.
#[utoipa::path(
    post,
    path = "/reports/v1/reports/{report_id}/answers",
    tag = "reports",
    operation_id = "answerReport",
    params(("report_id" = Uuid, Path), ("Idempotency-Key" = String, Header)),
    request_body = AnswerBody,
    responses((status = 201, body = Moved), (status = 404, description = "not-found"), (status = 409, description = "report-changed, wrong-state")),
    security(("bearer" = []))
)]
pub(super) async fn answer(
    State(reports): State<App>,
    principal: Principal,
    Path(id): Path<Uuid>,
    request: IdempotentJson<AnswerBody>,
) -> Result<Response, Problem> {
    let IdempotentJson { key: client_key, fingerprint, body } = request;
    let key = key(&principal, "report.answer", client_key, fingerprint);
    let deed = deed(body.version, Action::Answer, json!({"text": body.text.as_str()}));
    act(&reports, key, id, deed).await
}

/// Rates a published result; with `dissatisfied` the report may be reopened.
#[utoipa::path(
    post,
    path = "/reports/v1/reports/{report_id}/ratings",
    tag = "reports",
    operation_id = "rateReport",
    params(("report_id" = Uuid, Path), ("Idempotency-Key" = String, Header)),
    request_body = RatingBody,
    responses((status = 201, body = Moved), (status = 404, description = "not-found"), (status = 409, description = "report-changed, wrong-state")),
    security(("bearer" = []))
)]
pub(super) async fn rate(
    State(reports): State<App>,
    principal: Principal,
    Path(id): Path<Uuid>,
    request: IdempotentJson<RatingBody>,
) -> Result<Response, Problem> {
    let IdempotentJson { key: client_key, fingerprint, body } = request;
    let key = key(&principal, "report.rate", client_key, fingerprint);
    let details = json!({"rating": body.rating, "comment": body.comment.as_ref().map(Text::as_str)});
    act(&reports, key, id, deed(body.version, Action::Rate(body.rating), details)).await
}

/// Asks to look again: within 72 hours, at most twice.
#[utoipa::path(
    post,
    path = "/reports/v1/reports/{report_id}/reopenings",
    tag = "reports",
    operation_id = "reopenReport",
    params(("report_id" = Uuid, Path), ("Idempotency-Key" = String, Header)),
    request_body = ReopeningBody,
    responses(
        (status = 201, body = Moved),
        (status = 404, description = "not-found"),
        (status = 409, description = "report-changed, wrong-state"),
        (status = 422, description = "reopen-too-late, reopen-exhausted"),
    ),
    security(("bearer" = []))
)]
pub(super) async fn reopen(
    State(reports): State<App>,
    principal: Principal,
    Path(id): Path<Uuid>,
    request: IdempotentJson<ReopeningBody>,
) -> Result<Response, Problem> {
    let IdempotentJson { key: client_key, fingerprint, body } = request;
    let key = key(&principal, "report.reopen", client_key, fingerprint);
    act(&reports, key, id, deed(body.version, Action::Reopen, json!({"reason": body.reason.as_str()}))).await
}

/// What the reporter does, decided on a version.
fn deed(version: i64, action: Action, details: Value) -> Deed {
    Deed { actor: Actor::Reporter, officer: None, version, action, details, public_text: None }
}

/// Does it, if the key's caller is the reporter.
async fn act(reports: &App, key: Key, id: Uuid, deed: Deed) -> Result<Response, Problem> {
    let caller = key.caller;
    let deed = |standing: &Standing| match standing.reporter {
        Some(reporter) if reporter == caller => Ok(deed.clone()),
        _ => Err(Error::NotFound),
    };
    once(reports, key, Act { reports, id, deed }).await
}
