//! What a partner's callback says, once its signature holds. Everything is checked before anything is done.

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use http::HeaderMap;
use ledger::money::Money;
use platform::config::Secret;
use platform::problem::{BODY_TOO_LARGE, INVALID_BODY, MALFORMED_JSON, Problem};
use serde::Deserialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::Wallet;
use crate::error::Error;
use crate::partner::{Report, SIGNATURE, Said, Signed, Status, TIMESTAMP, verify};

/// What a partner says. Fields that a partner adds are ignored.
#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct Callback {
    /// The id that we gave.
    pub(super) request_id: Uuid,
    /// The partner's own reference; `bank_reference` and `biller_reference` are read as well.
    #[serde(alias = "bank_reference", alias = "biller_reference")]
    reference: Option<String>,
    /// `succeeded` or `failed`.
    status: Status,
    /// Why it failed.
    reason: Option<String>,
    /// How much it is about.
    amount: Money,
}

impl From<Callback> for Report {
    fn from(callback: Callback) -> Self {
        let Callback { reference, status, reason, amount, .. } = callback;
        Said { status, reference, reason, amount: Some(amount) }.into()
    }
}

/// A callback as it came.
pub(super) struct Received<'a> {
    /// Path of the URL.
    pub(super) path: &'a str,
    pub(super) headers: &'a HeaderMap,
    pub(super) body: Result<Bytes, BytesRejection>,
}

/// The callback, if it was signed with the secret and can be read. `code` names the partner in the log.
pub(super) fn proven(
    wallet: &Wallet,
    (code, secret): (&str, &Secret),
    received: Received<'_>,
) -> Result<Callback, Problem> {
    let body = received.body.map_err(|rejection| Problem::new(BODY_TOO_LARGE).source(rejection))?;
    let header = |name| received.headers.get(name).and_then(|value| value.to_str().ok());
    let message = Signed { method: "POST", path: received.path, body: &body };
    if !verify(secret.expose(), message, header(TIMESTAMP), header(SIGNATURE), wallet.clock.now()) {
        tracing::warn!(partner.code = code, "callback without a valid signature");
        return Err(Error::Signature.into());
    }
    serde_json::from_slice(&body).map_err(|error| {
        let code = if error.is_data() { INVALID_BODY } else { MALFORMED_JSON };
        Problem::new(code).source(error)
    })
}
