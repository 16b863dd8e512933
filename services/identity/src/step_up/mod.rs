//! Step-up: a citizen proves that it is them who want one transaction, and gets a token that is good for that one only.
//!
//! | method | what is checked | level |
//! | --- | --- | --- |
//! | `pin` | the payment PIN, each check counted before it is made; not while it cools down after a reset | `pin` |
//! | `device` | a signature over the transaction's digest by the key of the session's device; not while a new key cools down | `pin` |
//! | `passkey` | an answer to a challenge that was made for this transaction ([`crate::passkey`]) | `biometric` |
//! | `passkey` and the device's signature | both | `signature` |
//!
//! The PIN confirms the key of the device on which it is typed, which then proves at once.
//! The token is a statement ([`platform::auth::STEP_UP`]) of three minutes, bound to the citizen, the session and the transaction;
//! its nonce is the `Idempotency-Key` under which the money will be asked to move. Whoever moves the money checks it
//! and remembers its id. Nothing of the transaction is stored here or logged.

mod device;
mod transaction;

use std::net::IpAddr;

use jsonwebtoken::Header;
use platform::auth::{Principal, STEP_UP, Statement};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use webauthn_rs::prelude::PublicKeyCredential;

pub(crate) use self::device::DeviceSignature;
pub(crate) use self::transaction::Transaction;
#[cfg(test)]
pub(crate) use self::transaction::tests::transaction as example;
use crate::Identity;
use crate::audit::{self, Action, Entry, Origin};
use crate::error::Error;
use crate::passkey::PasskeyChallengeId;
use crate::pin::strength::Pin;

/// How strong a proof is, from weak to strong; the rules of those who ask for one name these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = ProofLevel)]
pub(crate) enum Level {
    /// A second factor: the PIN, or the device's own key.
    Pin,
    /// A passkey that verified its user.
    Biometric,
    /// A passkey, and a signature by the registered device.
    Signature,
}

/// What a citizen proves with.
#[derive(Clone, Debug)]
pub(crate) enum Method {
    /// The payment PIN.
    Pin(Pin),
    /// A signature by the key of the session's device.
    Device(DeviceSignature),
    /// A passkey, and the device's signature where that is wanted too.
    Passkey {
        /// The challenge that was made for the transaction.
        challenge: PasskeyChallengeId,
        /// The authenticator's answer.
        answer: Box<PublicKeyCredential>,
        /// The device's signature.
        device: Option<DeviceSignature>,
    },
}

impl Method {
    /// As requests, metrics and the audit say it.
    fn name(&self) -> &'static str {
        match self {
            Self::Pin(_) => "pin",
            Self::Device(_) => "device",
            Self::Passkey { .. } => "passkey",
        }
    }
}

/// A proof.
#[derive(Debug)]
pub(crate) struct StepUp {
    /// The token.
    pub token: String,
    /// How strong it is.
    pub level: Level,
    /// Seconds until it is over.
    pub expires_in_s: i64,
}

/// What the token says.
#[derive(Serialize)]
struct Says {
    level: Level,
    transaction: Transaction,
}

impl Identity {
    /// Checks what the caller proves with, and signs that they did for this transaction.
    pub(crate) async fn step_up(
        &self,
        caller: &Principal,
        transaction: Transaction,
        method: Method,
        address: Option<IpAddr>,
    ) -> Result<StepUp, Error> {
        let name = method.name();
        let by_pin = matches!(method, Method::Pin(_));
        let proved = self.prove(caller, &transaction, method).await;
        self.meter.step_up(name, if proved.is_ok() { "proved" } else { "refused" });
        let level = proved?;
        let signer = self.signer().await?;
        let now = self.now();
        let says = Says { level, transaction };
        let statement = Statement::new(STEP_UP, &self.issuer, (caller.subject, caller.session), says, now);
        let mut header = Header::new(signer.algorithm.of_header());
        header.typ = Some(STEP_UP.typ.to_owned());
        header.kid = Some(signer.kid.clone());
        let token = jsonwebtoken::encode(&header, &statement, &signer.key)?;
        let origin = Origin { address, session: Some(caller.session.into()), device: None };
        let entry = Entry::of(caller.subject.into(), Action::StepUp, statement.jti, &self.source(origin)).because(name);
        let mut tx = platform::db::begin(&self.pool).await?;
        if by_pin {
            crate::device::confirm_key(&mut tx, (caller.subject.into(), caller.session.into()), now).await?;
        }
        audit::append(&mut tx, &[entry], now).await?;
        tx.commit().await?;
        Ok(StepUp { token, level, expires_in_s: STEP_UP.lifetime_s })
    }

    async fn prove(&self, caller: &Principal, transaction: &Transaction, method: Method) -> Result<Level, Error> {
        match method {
            Method::Pin(pin) => {
                self.refuse_cooling_pin(caller.subject.into()).await?;
                self.check_pin(caller.subject.into(), &pin).await?;
                Ok(Level::Pin)
            }
            Method::Device(signature) => {
                self.check_device(caller, transaction, &signature, self.now()).await?;
                Ok(Level::Pin)
            }
            Method::Passkey { challenge, answer, device } => {
                self.check_passkey(caller, transaction, challenge, &answer).await?;
                let Some(signature) = device else { return Ok(Level::Biometric) };
                self.check_device(caller, transaction, &signature, self.now()).await?;
                Ok(Level::Signature)
            }
        }
    }
}
