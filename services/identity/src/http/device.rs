//! `GET /identity/v1/me/devices`, `DELETE /identity/v1/me/devices/{id}`

use axum::extract::State;
use axum::response::Response;
use chrono::{DateTime, Utc};
use http::StatusCode;
use platform::auth::Principal;
use platform::http::Path;
use platform::problem::Problem;
use serde::Serialize;
use utoipa::ToSchema;

use super::address::ClientAddress;
use super::{App, origin, private};
use crate::device::DeviceId;

/// The devices that the caller signed in on; at most 20, so there is one page.
#[derive(Serialize, ToSchema)]
pub(super) struct DeviceList {
    /// The one used last first.
    items: Vec<DeviceItem>,
    /// Always null.
    next_cursor: Option<String>,
}

/// A device.
#[derive(Serialize, ToSchema)]
pub(super) struct DeviceItem {
    /// The device.
    id: DeviceId,
    /// What its owner calls it.
    name: String,
    /// Whether this request came from it.
    current: bool,
    /// Whether it is signed in.
    signed_in: bool,
    /// Whether it has announced a key.
    has_public_key: bool,
    /// Since when.
    created_at: DateTime<Utc>,
    /// When it was used last.
    last_seen_at: DateTime<Utc>,
}

/// List my devices
#[utoipa::path(
    get, path = "/identity/v1/me/devices", tag = "identity", security(("bearer" = [])),
    responses(
        (status = 200, description = "The devices", body = DeviceList),
        (status = 401, description = "`unauthenticated`", content_type = "application/problem+json"),
    )
)]
pub(super) async fn list(State(identity): App, caller: Principal) -> Result<Response, Problem> {
    let devices = identity.devices(caller.subject.into()).await?;
    let items = devices
        .into_iter()
        .map(|device| DeviceItem {
            id: device.id,
            name: device.name,
            current: device.session.is_some_and(|session| session.uuid() == caller.session),
            signed_in: device.session.is_some(),
            has_public_key: device.has_key,
            created_at: device.created_at,
            last_seen_at: device.last_seen_at,
        })
        .collect();
    Ok(private(StatusCode::OK, DeviceList { items, next_cursor: None }))
}

/// Remove a device
///
/// Forgets the device and ends its session, wherever it is: remote sign-out.
#[utoipa::path(
    delete, path = "/identity/v1/me/devices/{id}", tag = "identity", security(("bearer" = [])),
    params(("id" = DeviceId, Path, description = "The device")),
    responses(
        (status = 204, description = "The device is forgotten and signed out"),
        (status = 401, description = "`unauthenticated`", content_type = "application/problem+json"),
        (status = 404, description = "`not-found`: no device of yours", content_type = "application/problem+json"),
    )
)]
pub(super) async fn remove(
    State(identity): App,
    caller: Principal,
    ClientAddress(address): ClientAddress,
    Path(id): Path<DeviceId>,
) -> Result<StatusCode, Problem> {
    identity.remove_device(caller.subject.into(), id, origin(&caller, address)).await?;
    Ok(StatusCode::NO_CONTENT)
}
