//! What a citizen's request may run into, and the stable code of each.

use platform::auth::AuthError;
use platform::problem::{Code, NOT_FOUND, PRECONDITION_FAILED, Problem};

use crate::lane::Lane;

/// A lane that can't be switched off was switched off.
pub(crate) const LANE_LOCKED: Code =
    Code::new("lane-locked", 422, "Không thể tắt loại thông báo này", "These messages can't be switched off");
/// The citizen has as many devices as may be.
pub(crate) const TOO_MANY_DEVICES: Code =
    Code::new("too-many-devices", 422, "Bạn đã đăng ký quá nhiều thiết bị", "Too many devices are registered");
/// A field's text is too short, too long or not of its form.
pub(crate) const INVALID_FIELD: Code =
    Code::new("invalid-field", 422, "Thông tin không hợp lệ", "A field is not valid");
/// More streams are open than may be.
pub(crate) const TOO_MANY_STREAMS: Code =
    Code::new("too-many-streams", 429, "Quá nhiều kết nối đang mở", "Too many streams are open");

/// The codes of this service, for the documentation.
pub const CODES: &[Code] = &[LANE_LOCKED, TOO_MANY_DEVICES, INVALID_FIELD, TOO_MANY_STREAMS];

/// Why a request is refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// No such thing, or it is another citizen's.
    #[error("not found")]
    NotFound,
    /// A lane that always reaches people was switched off.
    #[error("lane {} can't be switched off", .0.name())]
    LaneLocked(Lane),
    /// One device more than a citizen may have.
    #[error("a citizen has at most {0} devices")]
    TooManyDevices(i64),
    /// A field's text is too short, too long or not of its form.
    #[error("field {field} must have {min} to {max} characters")]
    InvalidField {
        /// Which field.
        field: &'static str,
        /// Characters at least.
        min: usize,
        /// Characters at most.
        max: usize,
    },
    /// Somebody changed it meanwhile.
    #[error("changed meanwhile")]
    Changed,
    /// The citizen, or this process, has as many streams open as may be.
    #[error("too many streams are open")]
    TooManyStreams,
    /// The session ended, though its token has not expired yet.
    #[error("the session has ended")]
    SessionEnded,
    /// The database did not do it.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

impl Error {
    /// The stable code; `None` when the database decides.
    fn code(&self) -> Option<Code> {
        Some(match self {
            Self::NotFound => NOT_FOUND,
            Self::LaneLocked(_) => LANE_LOCKED,
            Self::TooManyDevices(_) => TOO_MANY_DEVICES,
            Self::InvalidField { .. } => INVALID_FIELD,
            Self::Changed => PRECONDITION_FAILED,
            Self::TooManyStreams => TOO_MANY_STREAMS,
            Self::SessionEnded | Self::Database(_) => return None,
        })
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let Some(code) = error.code() else {
            return match error {
                Error::Database(source) => Self::from(source),
                Error::SessionEnded => Self::from(AuthError::Revoked),
                other => Self::new(platform::problem::INTERNAL).source(other),
            };
        };
        let problem = Self::new(code);
        match error {
            Error::LaneLocked(lane) => problem
                .detail(
                    "Cảnh báo khẩn cấp và thông báo bảo mật luôn được gửi đến bạn.",
                    "Emergency warnings and security messages always reach you.",
                )
                .with("lane", lane.name()),
            Error::TooManyDevices(max) => problem.detail(
                format!("Mỗi người có tối đa {max} thiết bị; hãy gỡ bớt một thiết bị cũ."),
                format!("A citizen has at most {max} devices; remove an old one."),
            ),
            Error::InvalidField { field, min, max } => problem
                .detail(
                    format!("Trường `{field}` phải có từ {min} đến {max} ký tự."),
                    format!("Field `{field}` must have {min} to {max} characters."),
                )
                .with("field", field),
            Error::TooManyStreams => problem.retry_after(5),
            _ => problem,
        }
    }
}
