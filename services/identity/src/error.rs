//! What can go wrong for a caller.
//!
//! | module | what lives there |
//! | --- | --- |
//! | `answer` | what the caller is told of each: which code, and what stands beside it |
//! | `code` | the stable codes with their titles |
//! | `dependent` | the same three for people without a telephone |
//!
//! Invariant: no variant carries a phone number, name, code, PIN or token; a source is logged once, by platform.

mod answer;
mod code;
mod dependent;
#[cfg(test)]
mod tests;

use chrono::{DateTime, Utc};
use platform::problem::Problem;

pub use self::code::*;
pub(crate) use self::dependent::DependentFault;

use crate::archive::ArchiveFault;
use crate::closing::ClosingFault;
use crate::ekyc::number::NumberFault;
use crate::officer::RoleFault;
use crate::phone::PhoneFault;
use crate::pin::strength::PinFault;
use crate::vault::Unsealable;
use crate::vneid::LinkConflict;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// What can go wrong for a caller.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// A number that may not sign in.
    #[error(transparent)]
    Phone(#[from] PhoneFault),
    /// The pause after the last code is not over.
    #[error("a code was sent moments ago")]
    CodeTooSoon {
        /// Seconds left.
        retry_s: u64,
    },
    /// A cap was reached.
    #[error("a cap on one-time codes was reached")]
    CodeCapped {
        /// Seconds until the next is allowed.
        retry_s: u64,
    },
    /// The breaker is open, or the budget is spent.
    #[error("sending one-time codes is paused")]
    CodesPaused {
        /// Seconds until the next is allowed.
        retry_s: u64,
    },
    /// Too many wrong answers came from one address.
    #[error("a cap on wrong one-time codes was reached")]
    AnswersCapped {
        /// Seconds until the next is looked at.
        retry_s: u64,
    },
    /// Redis is away, so caps can't be kept.
    #[error("caps on one-time codes can't be checked")]
    CapsAway(#[source] BoxError),
    /// No such challenge for this device and purpose.
    #[error("no such challenge")]
    ChallengeUnknown,
    /// Wrong code.
    #[error("wrong one-time code")]
    CodeWrong {
        /// Tries that are left.
        left: u8,
    },
    /// No try is left.
    #[error("no try is left")]
    CodeExhausted,
    /// Too late.
    #[error("the one-time code has expired")]
    CodeExpired,
    /// It was used before.
    #[error("the one-time code was used before")]
    CodeUsed,
    /// Not a token of a live session.
    #[error("the refresh token is not good")]
    RefreshInvalid,
    /// A token that was used before; its family is dead now.
    #[error("the refresh token was replayed")]
    RefreshReplayed,
    /// Not a PIN, or a weak one.
    #[error(transparent)]
    Pin(#[from] PinFault),
    /// The current PIN is wrong.
    #[error("wrong PIN")]
    PinWrong {
        /// When the next try is allowed, if not at once.
        retry_at: Option<DateTime<Utc>>,
    },
    /// No try before a time.
    #[error("PIN tries are delayed")]
    PinDelayed {
        /// Seconds left.
        retry_s: u64,
    },
    /// A PIN exists and nothing proved the right to change it.
    #[error("the current PIN or a one-time code is needed")]
    PinProofRequired,
    /// No PIN exists.
    #[error("no PIN is set")]
    PinNotSet,
    /// Somebody else changed it in between.
    #[error("the PIN was changed meanwhile")]
    PinChanged,
    /// The citizen set too many PINs.
    #[error("the cap on new PINs was reached")]
    PinCapped {
        /// Seconds until the next is allowed.
        retry_s: u64,
    },
    /// Redis is away, so the cap on new PINs can't be kept.
    #[error("the cap on new PINs can't be checked")]
    PinCapAway(#[source] BoxError),
    /// The PIN was reset by one-time code a short while ago.
    #[error("the PIN cools down")]
    PinCooling {
        /// Until when.
        until: DateTime<Utc>,
    },
    /// The key of a device or a passkey is new, and no PIN stood behind it.
    #[error("the key cools down")]
    KeyCooling {
        /// Until when.
        until: DateTime<Utc>,
    },
    /// The device of the session announced no key.
    #[error("the device has no key")]
    DeviceKeyMissing,
    /// A signature that the device's key did not make for this transaction.
    #[error("wrong signature of a device")]
    DeviceSignatureWrong,
    /// A signature of another time.
    #[error("a device's signature is of another time")]
    DeviceSignatureStale {
        /// Our time.
        now: DateTime<Utc>,
    },
    /// No citizen number.
    #[error(transparent)]
    Number(#[from] NumberFault),
    /// This city has no verifier.
    #[error("no verifier of citizen numbers")]
    EkycUnavailable,
    /// A number is proved already.
    #[error("a citizen number is proved already")]
    EkycDone,
    /// The verifier is being asked already.
    #[error("the verifier is being asked")]
    EkycPending,
    /// Too many requests in a day.
    #[error("too many requests to the verifier")]
    EkycTooMany,
    /// VNeID does not answer, or this city is not connected to it.
    #[error("VNeID is not available")]
    VneidUnavailable,
    /// VNeID does not vouch for the citizen.
    #[error("VNeID does not vouch")]
    VneidRefused,
    /// No such visit waits in this session, or on this device.
    #[error("no such visit to VNeID")]
    VneidStateUnknown,
    /// The account at VNeID is nobody's here.
    #[error("an account at VNeID is not linked")]
    VneidNotLinked,
    /// Too many visits were begun.
    #[error("a cap on visits to VNeID was reached")]
    VneidCapped {
        /// Seconds until the next is allowed.
        retry_s: u64,
    },
    /// Redis is away, so the caps on visits can't be kept.
    #[error("the caps on visits to VNeID can't be checked")]
    VneidCapAway(#[source] BoxError),
    /// The account at VNeID can't be this citizen's.
    #[error("an account at VNeID can't be linked")]
    Link(LinkConflict),
    /// The city's address is no name that passkeys could be bound to.
    #[error("passkeys are not available")]
    PasskeysUnavailable,
    /// No passkey is registered.
    #[error("no passkey")]
    PasskeyMissing,
    /// An answer that proves nothing.
    #[error("passkey refused")]
    PasskeyRefused,
    /// No such challenge waits in this session for this.
    #[error("no such passkey challenge")]
    PasskeyChallengeUnknown,
    /// The credential is registered already.
    #[error("the passkey is known")]
    PasskeyKnown,
    /// The citizen has as many as there may be.
    #[error("too many passkeys")]
    PasskeysTooMany,
    /// Too many PINs are being hashed.
    #[error("too many PIN checks at once")]
    PinBusy,
    /// A copy of everything can't be made, or not be read yet.
    #[error(transparent)]
    Archive(#[from] ArchiveFault),
    /// A closing does not go on.
    #[error(transparent)]
    Closing(#[from] ClosingFault),
    /// The sign-in is too long ago.
    #[error("the session is not fresh")]
    NotFresh,
    /// No role, or one with a scope that does not fit.
    #[error(transparent)]
    Role(#[from] RoleFault),
    /// A delegation that is not confirmed, has ended, or whose time is over.
    #[error("the delegation is not in force")]
    DelegationOver,
    /// Something about somebody without a telephone does not go on.
    #[error(transparent)]
    Dependent(#[from] DependentFault),
    /// As many delegations as there may be.
    #[error("too many delegations")]
    DelegationsTooMany,
    /// Nobody gives a role to themself.
    #[error("nobody gives a role to themself")]
    OwnRole,
    /// The officer holds as many roles as tokens carry.
    #[error("the officer holds too many roles")]
    RolesTooMany,
    /// The client was disabled for ever.
    #[error("the client is disabled")]
    ClientDisabled,
    /// A public client keeps no secret.
    #[error("the client is public")]
    ClientPublic,
    /// The caller's own roles do not allow it.
    #[error("not allowed")]
    Forbidden,
    /// No such thing of this citizen.
    #[error("not found")]
    NotFound,
    /// The profile changed since it was read.
    #[error("the version does not match")]
    VersionMismatch,
    /// A field of a request breaks its rule.
    #[error("field {field} is not valid")]
    Field {
        /// Its path in the body.
        field: &'static str,
        /// The rule, in Vietnamese.
        vi: &'static str,
        /// The rule, in English.
        en: &'static str,
    },
    /// No key signs tokens yet.
    #[error("no signing key is at hand")]
    NoSigningKey,
    /// A token could not be signed.
    #[error("signing failed")]
    Signing(#[from] jsonwebtoken::errors::Error),
    /// A stored value does not open.
    #[error(transparent)]
    Unsealable(#[from] Unsealable),
    /// A hash could not be made or read.
    #[error("hashing failed: {0}")]
    Hashing(String),
    /// The database.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
    /// Platform refused.
    #[error(transparent)]
    Platform(#[from] Problem),
}

/// Whole seconds from `now` until `then`, at least 1.
pub(crate) fn seconds_until(then: DateTime<Utc>, now: DateTime<Utc>) -> u64 {
    let milliseconds = (then - now).num_milliseconds().max(1);
    u64::try_from(milliseconds).unwrap_or(1).div_ceil(1_000)
}
