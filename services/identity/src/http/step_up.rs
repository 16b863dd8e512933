//! `POST /identity/v1/step-ups`

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use platform::auth::Principal;
use platform::http::Json;
use platform::problem::Problem;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use webauthn_rs::prelude::PublicKeyCredential;

use super::address::ClientAddress;
use super::hidden::Hidden;
use super::{App, private};
use crate::error::Error;
use crate::passkey::PasskeyChallengeId;
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
    /// A passkey; needs `challenge_id` and `credential`, and takes `signature` and `signed_at` of the device for the strongest proof.
    Passkey,
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
    /// From `POST /identity/v1/step-ups/challenges`.
    #[serde(default)]
    challenge_id: Option<PasskeyChallengeId>,
    /// The authenticator's answer: `AuthenticationResponseJSON`, from `toJSON()`.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    credential: Option<Box<PublicKeyCredential>>,
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

/// What a request has beside its method and its transaction.
struct Fields {
    pin: Option<Hidden>,
    signature: Option<String>,
    signed_at: Option<i64>,
    challenge_id: Option<PasskeyChallengeId>,
    credential: Option<Box<PublicKeyCredential>>,
}

impl Fields {
    /// Reads what the method needs, and refuses what it has no use for.
    fn read(mut self, method: StepUpMethod) -> Result<Method, Error> {
        let read = match method {
            StepUpMethod::Pin => Method::Pin(Pin::parse(&needed("pin", self.pin.take())?.0)?),
            StepUpMethod::Device => Method::Device(needed("signature", self.signature()?)?),
            StepUpMethod::Passkey => Method::Passkey {
                challenge: needed("challenge_id", self.challenge_id.take())?,
                answer: needed("credential", self.credential.take())?,
                device: self.signature()?,
            },
        };
        match self.left() {
            None => Ok(read),
            Some(field) => Err(Error::Field {
                field,
                vi: "Phương thức này không dùng trường này.",
                en: "The method has no use for this field.",
            }),
        }
    }

    /// The device's signature, if one came.
    fn signature(&mut self) -> Result<Option<DeviceSignature>, Error> {
        let Some(signature) = self.signature.take() else { return Ok(None) };
        let signed_at = needed("signed_at", self.signed_at.take())?;
        DeviceSignature::parse(&signature, signed_at).map(Some)
    }

    /// The first field that nothing has read.
    fn left(&self) -> Option<&'static str> {
        let fields = [
            ("pin", self.pin.is_some()),
            ("signature", self.signature.is_some()),
            ("signed_at", self.signed_at.is_some()),
            ("challenge_id", self.challenge_id.is_some()),
            ("credential", self.credential.is_some()),
        ];
        fields.into_iter().find(|(_, left)| *left).map(|(field, _)| field)
    }
}

fn needed<T>(field: &'static str, value: Option<T>) -> Result<T, Error> {
    value.ok_or(Error::Field {
        field, vi: "Phương thức này cần trường này.", en: "The method needs this field."
    })
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
        (status = 403, description = "`passkey-refused`, `pin-wrong`, `pin-cooling` and `key-cooling` (with `cooling_until`), `device-signature-wrong`, `device-signature-stale` (with `now`)", content_type = "application/problem+json"),
        (status = 409, description = "`pin-not-set`, `device-key-missing`", content_type = "application/problem+json"),
        (status = 422, description = "`passkey-challenge-unknown`, `pin-malformed`, `invalid-body`", content_type = "application/problem+json"),
        (status = 429, description = "`pin-delayed`: wait before the next try", content_type = "application/problem+json"),
        (status = 503, description = "`passkeys-unavailable`: the city's address is no name", content_type = "application/problem+json"),
    )
)]
pub(super) async fn prove(
    State(identity): App,
    caller: Principal,
    ClientAddress(address): ClientAddress,
    Json(request): Json<StepUpRequest>,
) -> Result<Response, Problem> {
    let StepUpRequest { method, transaction, pin, signature, signed_at, challenge_id, credential } = request;
    let method = Fields { pin, signature, signed_at, challenge_id, credential }.read(method)?;
    let transaction = transaction.checked()?;
    let proof = identity.on_record(&caller, address, identity.step_up(&caller, transaction, method, address)).await?;
    Ok(private(StatusCode::CREATED, StepUpAnswer::from(proof)))
}
