//! `POST`, `GET` and `DELETE /notifications/v1/devices`.

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
use utoipa::ToSchema;
use uuid::Uuid;

use super::Routes;
use crate::SCHEMA;
use crate::device::{self, Device, DeviceId, NewDevice, Owner};

/// Which push service reaches a device.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum PlatformBody {
    /// Firebase Cloud Messaging.
    Fcm,
}

/// A device to register.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewDeviceBody {
    /// The app's registration token.
    #[schema(min_length = 1, max_length = 4096)]
    token: String,
    /// The push service that gave it.
    #[allow(dead_code, reason = "there is one platform; others are refused while the body is read")]
    platform: PlatformBody,
    /// What the citizen calls it.
    #[schema(min_length = 1, max_length = 100, example = "Điện thoại của Lan")]
    name: String,
}

/// A registered device. Its token is not shown.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct DeviceBody {
    /// The device.
    #[schema(value_type = Uuid)]
    id: DeviceId,
    /// The push service that reaches it.
    platform: PlatformBody,
    /// What the citizen calls it.
    name: String,
    /// When it was registered.
    created_at: DateTime<Utc>,
}

impl From<Device> for DeviceBody {
    fn from(device: Device) -> Self {
        Self { id: device.id, platform: PlatformBody::Fcm, name: device.name, created_at: device.created_at }
    }
}

/// Registers a device for push messages. A token that is known already is renamed and becomes this citizen's.
///
/// The device goes with the session: when it ends, nothing is sent there any more until a new session registers it.
#[utoipa::path(
    post,
    path = "/notifications/v1/devices",
    tag = "notifications",
    operation_id = "registerPushDevice",
    params(("Idempotency-Key" = String, Header, description = "1 to 255 visible ASCII characters, new for each action.")),
    request_body = NewDeviceBody,
    responses(
        (status = 201, description = "It is registered.", body = DeviceBody),
        (status = 400, description = "`idempotency-key-missing`, `malformed-json`."),
        (status = 422, description = "`too-many-devices`, `invalid-field`, `invalid-body`, `idempotency-key-reused`.")
    ),
    security(("bearer" = []))
)]
pub(super) async fn register(
    State(routes): State<Routes>,
    principal: Principal,
    request: IdempotentJson<NewDeviceBody>,
) -> Result<Response, Problem> {
    let wanted = NewDevice::try_new(request.body.token, request.body.name)?;
    let key = Key {
        caller: principal.subject,
        operation: "device.register",
        key: request.key,
        fingerprint: request.fingerprint,
    };
    let now = routes.clock.now();
    let mut transaction = platform::db::begin(&routes.pool).await?;
    let (status, body) = match idempotency::claim(&mut transaction, SCHEMA, &key, now).await? {
        Claim::Replay(stored) => (stored.status, stored.body),
        Claim::New => {
            let owner = Owner { user: principal.subject, session: principal.session };
            let device = device::register(&mut transaction, &routes.persons, owner, &wanted, now).await?;
            let body = serde_json::to_value(DeviceBody::from(device)).expect("a device serialises");
            let status = StatusCode::CREATED.as_u16();
            idempotency::store(&mut transaction, SCHEMA, &key, status, &body).await?;
            (status, body)
        }
    };
    transaction.commit().await?;
    Ok((StatusCode::from_u16(status).unwrap_or(StatusCode::CREATED), Json(body)).into_response())
}

/// The citizen's devices, oldest first.
#[utoipa::path(
    get,
    path = "/notifications/v1/devices",
    tag = "notifications",
    operation_id = "listPushDevices",
    params(PageQuery),
    responses((status = 200, description = "A page of devices.", body = Page<DeviceBody>)),
    security(("bearer" = []))
)]
pub(super) async fn list(
    State(routes): State<Routes>,
    principal: Principal,
    Query(query): Query<PageQuery>,
) -> Result<Json<Page<DeviceBody>>, Problem> {
    let limit = query.limit()?;
    let devices = device::list((&routes.pool, &routes.persons), principal.subject, query.after()?, limit + 1).await?;
    let page = Page::from_rows(devices, limit, |device| device.id);
    Ok(Json(page.map(DeviceBody::from)))
}

/// Removes a device; no push message goes there any more.
#[utoipa::path(
    delete,
    path = "/notifications/v1/devices/{id}",
    tag = "notifications",
    operation_id = "removePushDevice",
    params(("id" = Uuid, Path, description = "The device.")),
    responses(
        (status = 204, description = "It is removed."),
        (status = 404, description = "`not-found`: this citizen has no such device.")
    ),
    security(("bearer" = []))
)]
pub(super) async fn remove(
    State(routes): State<Routes>,
    principal: Principal,
    Path(id): Path<Uuid>,
) -> Result<StatusCode, Problem> {
    device::remove(&routes.pool, principal.subject, DeviceId::from(id)).await?;
    Ok(StatusCode::NO_CONTENT)
}
