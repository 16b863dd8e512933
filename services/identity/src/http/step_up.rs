//! `POST /identity/v1/step-ups`

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use platform::auth::Principal;
use platform::http::Json;
use platform::problem::Problem;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::address::ClientAddress;
use super::hidden::Hidden;
use super::{App, private};
use crate::error::Error;
use crate::pin::strength::Pin;
use crate::step_up::{DeviceSignature, Level, Method, StepUp, Transaction};

/// What a citizen proves with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum StepUpMethod {
    /// The payment PIN; needs `pin`.
    Pin,
    /// The key of the session's device; needs `signature` and `signed_at`.
    Device,
}

/// A proof for one transaction.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct StepUpRequest {
    /// What the citizen proves with.
    method: StepUpMethod,
    /// The one transaction that is proved: as `step-up-required` gives it.
    transaction: Transaction,
    /// The payment PIN.
    #[serde(default)]
    #[schema(value_type = Option<String>, min_length = 6, max_length = 6)]
    pin: Option<Hidden>,
    /// The device's signature (Ed25519, or ECDSA on P-256 with SHA-256) over the transaction's digest, in base64.
    #[serde(default)]
    #[schema(max_length = 256)]
    signature: Option<String>,
    /// When the device signed, in Unix seconds; part of what is signed.
    #[serde(default)]
    signed_at: Option<i64>,
}

/// A proof.
#[derive(Serialize, ToSchema)]
pub(super) struct StepUpAnswer {
    /// For the header `Step-Up-Token` of the transaction's own request.
    step_up_token: String,
    /// How strong the proof is.
    level: Level,
    /// Seconds until it is over.
    expires_in: i64,
}

impl From<StepUp> for StepUpAnswer {
    fn from(proof: StepUp) -> Self {
        Self { step_up_token: proof.token, level: proof.level, expires_in: proof.expires_in_s }
    }
}

impl StepUpRequest {
    fn method(&self) -> Result<Method, Error> {
        let missing =
            |field| Error::Field {
                field, vi: "Phương thức này cần trường này.", en: "The method needs this field."
            };
        let foreign = |field| Error::Field {
            field,
            vi: "Phương thức này không dùng trường này.",
            en: "The method has no use for this field.",
        };
        match self.method {
            StepUpMethod::Pin if self.signature.is_some() => Err(foreign("signature")),
            StepUpMethod::Pin if self.signed_at.is_some() => Err(foreign("signed_at")),
            StepUpMethod::Pin => Ok(Method::Pin(Pin::parse(&self.pin.as_ref().ok_or(missing("pin"))?.0)?)),
            StepUpMethod::Device if self.pin.is_some() => Err(foreign("pin")),
            StepUpMethod::Device => {
                let signature = self.signature.as_deref().ok_or(missing("signature"))?;
                let signed_at = self.signed_at.ok_or(missing("signed_at"))?;
                Ok(Method::Device(DeviceSignature::parse(signature, signed_at)?))
            }
        }
    }
}

/// Prove one transaction
///
/// The token is good for three minutes, in this session, and for exactly this transaction: kind, payee, amount, currency and nonce.
/// Send it as `Step-Up-Token` with the transaction's own request; it serves once.
#[utoipa::path(
    post, path = "/identity/v1/step-ups", tag = "identity", security(("bearer" = [])), request_body = StepUpRequest,
    responses(
        (status = 201, description = "The proof", body = StepUpAnswer),
        (status = 401, description = "`unauthenticated`", content_type = "application/problem+json"),
        (status = 403, description = "`pin-wrong`, `pin-cooling` (with `cooling_until`), `device-signature-wrong`, `device-signature-stale` (with `now`)", content_type = "application/problem+json"),
        (status = 409, description = "`pin-not-set`, `device-key-missing`", content_type = "application/problem+json"),
        (status = 422, description = "`pin-malformed`, `invalid-body`", content_type = "application/problem+json"),
        (status = 429, description = "`pin-delayed`: wait before the next try", content_type = "application/problem+json"),
    )
)]
pub(super) async fn prove(
    State(identity): App,
    caller: Principal,
    ClientAddress(address): ClientAddress,
    Json(request): Json<StepUpRequest>,
) -> Result<Response, Problem> {
    let method = request.method()?;
    let transaction = request.transaction.checked()?;
    let proof = identity.step_up(&caller, transaction, method, address).await?;
    Ok(private(StatusCode::CREATED, StepUpAnswer::from(proof)))
}
