//! What a caller is told of each thing that can go wrong: its stable code, and what a client needs beside it.
//!
//! Invariant: whatever is not the caller's doing is `internal` or `unavailable`, with its source for the log alone.

use platform::problem::{
    Code, FORBIDDEN, INTERNAL, INVALID_BODY, NOT_FOUND, OVERLOADED, PRECONDITION_FAILED, Problem, UNAVAILABLE,
};

use super::Error;
use super::code::{
    AGENCY_UNKNOWN, CITIZEN_NUMBER_INVALID, CLIENT_DISABLED, CLIENT_PUBLIC, CLOSING_NOT_OPEN, DELEGATION_OVER,
    DELEGATIONS_TOO_MANY, DEVICE_KEY_MISSING, DEVICE_SIGNATURE_STALE, DEVICE_SIGNATURE_WRONG, EKYC_DONE, EKYC_PENDING,
    EKYC_TOO_MANY, EKYC_UNAVAILABLE, EXPORT_NOT_READY, EXPORTS_TOO_MANY, KEY_COOLING, NUMBER_DIFFERS, NUMBER_TAKEN,
    OTP_EXHAUSTED, OTP_EXPIRED, OTP_PAUSED, OTP_TOO_MANY, OTP_TOO_SOON, OTP_TRIES_TOO_MANY, OTP_UNKNOWN, OTP_USED,
    OTP_WRONG, OWN_ROLE, PASSKEY_CHALLENGE_UNKNOWN, PASSKEY_KNOWN, PASSKEY_MISSING, PASSKEY_REFUSED, PASSKEYS_TOO_MANY,
    PASSKEYS_UNAVAILABLE, PHONE_INVALID, PHONE_NOT_MOBILE, PHONE_NOT_SERVED, PIN_CHANGED, PIN_COOLING, PIN_DELAYED,
    PIN_MALFORMED, PIN_NOT_SET, PIN_PROOF_REQUIRED, PIN_TOO_MANY, PIN_WEAK, PIN_WRONG, REFRESH_TOKEN_INVALID,
    REFRESH_TOKEN_REPLAYED, ROLE_SCOPE_INVALID, ROLE_UNKNOWN, ROLES_TOO_MANY, SESSION_NOT_FRESH, SIGN_IN_UNAVAILABLE,
    VNEID_DIFFERS, VNEID_NOT_LINKED, VNEID_REFUSED, VNEID_STATE_UNKNOWN, VNEID_TAKEN, VNEID_TOO_MANY,
    VNEID_UNAVAILABLE, WARD_UNKNOWN,
};
use crate::archive::ArchiveFault;
use crate::closing::ClosingFault;
use crate::ekyc::NumberConflict;
use crate::officer::RoleFault;
use crate::phone::PhoneFault;
use crate::pin::strength::PinFault;
use crate::vneid::LinkConflict;

impl Error {
    /// The stable code.
    pub(crate) fn code(&self) -> Code {
        match self {
            Self::Phone(PhoneFault::Invalid) => PHONE_INVALID,
            Self::Phone(PhoneFault::NotMobile) => PHONE_NOT_MOBILE,
            Self::Phone(PhoneFault::NotServed) => PHONE_NOT_SERVED,
            Self::CodeTooSoon { .. } => OTP_TOO_SOON,
            Self::CodeCapped { .. } => OTP_TOO_MANY,
            Self::CodesPaused { .. } => OTP_PAUSED,
            Self::AnswersCapped { .. } => OTP_TRIES_TOO_MANY,
            Self::CapsAway(_) => SIGN_IN_UNAVAILABLE,
            Self::ChallengeUnknown => OTP_UNKNOWN,
            Self::CodeWrong { .. } => OTP_WRONG,
            Self::CodeExhausted => OTP_EXHAUSTED,
            Self::CodeExpired => OTP_EXPIRED,
            Self::CodeUsed => OTP_USED,
            Self::RefreshInvalid => REFRESH_TOKEN_INVALID,
            Self::RefreshReplayed => REFRESH_TOKEN_REPLAYED,
            Self::Pin(PinFault::Malformed) => PIN_MALFORMED,
            Self::Pin(PinFault::Weak) => PIN_WEAK,
            Self::PinWrong { .. } => PIN_WRONG,
            Self::PinDelayed { .. } => PIN_DELAYED,
            Self::PinProofRequired => PIN_PROOF_REQUIRED,
            Self::PinNotSet => PIN_NOT_SET,
            Self::PinChanged => PIN_CHANGED,
            Self::PinCapped { .. } => PIN_TOO_MANY,
            Self::PinCooling { .. } => PIN_COOLING,
            Self::Number(_) => CITIZEN_NUMBER_INVALID,
            Self::EkycUnavailable => EKYC_UNAVAILABLE,
            Self::EkycDone => EKYC_DONE,
            Self::EkycPending => EKYC_PENDING,
            Self::EkycTooMany => EKYC_TOO_MANY,
            Self::Archive(ArchiveFault::TooMany) => EXPORTS_TOO_MANY,
            Self::Archive(ArchiveFault::NotReady) => EXPORT_NOT_READY,
            Self::Archive(ArchiveFault::Piece) | Self::Closing(ClosingFault::Answer) => INVALID_BODY,
            Self::Closing(ClosingFault::None) => CLOSING_NOT_OPEN,
            Self::VneidUnavailable | Self::VneidCapAway(_) => VNEID_UNAVAILABLE,
            Self::VneidRefused => VNEID_REFUSED,
            Self::VneidStateUnknown => VNEID_STATE_UNKNOWN,
            Self::VneidNotLinked => VNEID_NOT_LINKED,
            Self::VneidCapped { .. } => VNEID_TOO_MANY,
            Self::Link(LinkConflict::Taken) => VNEID_TAKEN,
            Self::Link(LinkConflict::Differs) => VNEID_DIFFERS,
            Self::Link(LinkConflict::Number(NumberConflict::Taken)) => NUMBER_TAKEN,
            Self::Link(LinkConflict::Number(NumberConflict::Differs)) => NUMBER_DIFFERS,
            Self::PasskeysUnavailable => PASSKEYS_UNAVAILABLE,
            Self::PasskeyMissing => PASSKEY_MISSING,
            Self::PasskeyRefused => PASSKEY_REFUSED,
            Self::PasskeyChallengeUnknown => PASSKEY_CHALLENGE_UNKNOWN,
            Self::PasskeyKnown => PASSKEY_KNOWN,
            Self::PasskeysTooMany => PASSKEYS_TOO_MANY,
            Self::KeyCooling { .. } => KEY_COOLING,
            Self::DeviceKeyMissing => DEVICE_KEY_MISSING,
            Self::DeviceSignatureWrong => DEVICE_SIGNATURE_WRONG,
            Self::DeviceSignatureStale { .. } => DEVICE_SIGNATURE_STALE,
            Self::PinBusy => OVERLOADED,
            Self::NotFresh => SESSION_NOT_FRESH,
            Self::Role(RoleFault::Unknown) => ROLE_UNKNOWN,
            Self::Role(RoleFault::Scope) => ROLE_SCOPE_INVALID,
            Self::Role(RoleFault::AgencyUnknown) => AGENCY_UNKNOWN,
            Self::Role(RoleFault::WardUnknown) => WARD_UNKNOWN,
            Self::OwnRole => OWN_ROLE,
            Self::DelegationOver => DELEGATION_OVER,
            Self::Dependent(fault) => fault.code(),
            Self::DelegationsTooMany => DELEGATIONS_TOO_MANY,
            Self::RolesTooMany => ROLES_TOO_MANY,
            Self::ClientDisabled => CLIENT_DISABLED,
            Self::ClientPublic => CLIENT_PUBLIC,
            Self::Forbidden => FORBIDDEN,
            Self::NotFound => NOT_FOUND,
            Self::VersionMismatch => PRECONDITION_FAILED,
            Self::Field { .. } => INVALID_BODY,
            Self::NoSigningKey | Self::PinCapAway(_) => UNAVAILABLE,
            Self::Signing(_) | Self::Unsealable(_) | Self::Hashing(_) | Self::Database(_) | Self::Platform(_) => {
                INTERNAL
            }
        }
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let problem = Self::new(error.code());
        match error {
            Error::CodeTooSoon { retry_s }
            | Error::CodeCapped { retry_s }
            | Error::CodesPaused { retry_s }
            | Error::AnswersCapped { retry_s }
            | Error::PinDelayed { retry_s }
            | Error::VneidCapped { retry_s }
            | Error::PinCapped { retry_s } => problem.with("retry_after", retry_s).retry_after(retry_s),
            Error::CapsAway(source) | Error::PinCapAway(source) | Error::VneidCapAway(source) => {
                problem.retry_after(30).source(source)
            }
            Error::CodeWrong { left } => problem
                .detail(
                    format!("Mã không đúng, bạn còn {left} lần thử."),
                    format!("The code is wrong; {left} tries are left."),
                )
                .with("tries_left", left),
            Error::PinWrong { retry_at: Some(retry_at) } => problem.with("retry_at", retry_at),
            Error::VneidUnavailable => problem.retry_after(30),
            Error::VneidNotLinked => problem.detail(
                "Hãy đăng nhập bằng số điện thoại, rồi liên kết với VNeID trong ứng dụng.",
                "Sign in by phone, then link your account to VNeID in the app.",
            ),
            Error::Number(fault) => problem.with("reason", fault.reason()),
            Error::PinCooling { until } | Error::KeyCooling { until } => problem.with("cooling_until", until),
            Error::DeviceSignatureStale { now } => problem.with("now", now),
            Error::Field { field, vi, en } => problem.detail(vi, en).with("field", field),
            Error::PinBusy | Error::NoSigningKey => problem.retry_after(1),
            Error::Database(source) => source.into(),
            Error::Platform(inner) => inner,
            source @ (Error::Signing(_) | Error::Unsealable(_) | Error::Hashing(_)) => problem.source(source),
            _ => problem,
        }
    }
}
