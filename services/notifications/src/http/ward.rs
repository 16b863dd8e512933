//! `GET` and `PUT /notifications/v1/wards`.

use axum::extract::State;
use platform::auth::Principal;
use platform::http::Json;
use platform::problem::Problem;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Routes;
use crate::error::Error;
use crate::ward::{self, MAX_WARDS};

/// The wards that concern a citizen.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct WardsBody {
    /// Their codes, at most 5, each once; none: no warnings.
    #[schema(example = json!(["19774", "19753"]), max_items = 5)]
    codes: Vec<String>,
}

/// The wards whose warnings the citizen gets.
#[utoipa::path(
    get,
    path = "/notifications/v1/wards",
    tag = "notifications",
    operation_id = "getWards",
    responses((status = 200, description = "The wards, in order of their codes.", body = WardsBody)),
    security(("bearer" = []))
)]
pub(super) async fn show(State(routes): State<Routes>, principal: Principal) -> Result<Json<WardsBody>, Problem> {
    Ok(Json(WardsBody { codes: ward::read(&routes.pool, principal.subject).await? }))
}

/// Replaces them: where the citizen lives, works, has a family. Warnings released from then on follow.
#[utoipa::path(
    put,
    path = "/notifications/v1/wards",
    tag = "notifications",
    operation_id = "replaceWards",
    request_body = WardsBody,
    responses(
        (status = 200, description = "The wards as they are now.", body = WardsBody),
        (status = 422, description = "`ward-unknown`; `wards-invalid`: more than 5, or one twice; `invalid-body`.")
    ),
    security(("bearer" = []))
)]
pub(super) async fn replace(
    State(routes): State<Routes>,
    principal: Principal,
    Json(WardsBody { mut codes }): Json<WardsBody>,
) -> Result<Json<WardsBody>, Problem> {
    if !codes.is_empty() {
        routes.desk.city.check_wards(&codes, MAX_WARDS)?;
    }
    let mut transaction = platform::db::begin(&routes.pool).await.map_err(Error::from)?;
    ward::replace(&mut transaction, principal.subject, &codes, routes.clock.now()).await?;
    transaction.commit().await?;
    codes.sort();
    Ok(Json(WardsBody { codes }))
}
