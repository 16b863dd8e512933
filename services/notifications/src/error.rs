//! What a citizen's request may run into, and the stable code of each.

use platform::auth::AuthError;
use platform::person::PersonError;
use platform::problem::{Code, FORBIDDEN, NOT_FOUND, PRECONDITION_FAILED, Problem};

use crate::alert::desk::MAX_LIFE;
use crate::alert::{AlertId, Refusal, State};
use crate::lane::Lane;
use crate::news::NewsId;

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
/// A ward's code is not the city's.
pub(crate) const WARD_UNKNOWN: Code =
    Code::new("ward-unknown", 422, "Không có phường, xã này", "There is no such ward");
/// No ward, too many, or one twice.
pub(crate) const WARDS_INVALID: Code =
    Code::new("wards-invalid", 422, "Danh sách phường, xã không hợp lệ", "The list of wards is not valid");
/// A polygon or circle is not one of CAP.
pub(crate) const ALERT_AREA_INVALID: Code =
    Code::new("alert-area-invalid", 422, "Vùng cảnh báo không hợp lệ", "The area of the alert is not valid");
/// An alert would end too soon or too late.
pub(crate) const ALERT_EXPIRY_INVALID: Code =
    Code::new("alert-expiry-invalid", 422, "Thời điểm hết hiệu lực không hợp lệ", "The end of the alert is not valid");
/// Whoever drafted an alert wants to release it.
pub(crate) const ALERT_SAME_OFFICER: Code = Code::new(
    "alert-same-officer",
    409,
    "Cảnh báo phải do cán bộ khác phát hành",
    "Another officer must release the alert",
);
/// An alert is no draft.
pub(crate) const ALERT_NOT_DRAFTED: Code =
    Code::new("alert-not-drafted", 409, "Cảnh báo không còn là bản nháp", "The alert is not a draft");
/// An alert is not in force.
pub(crate) const ALERT_NOT_IN_FORCE: Code =
    Code::new("alert-not-in-force", 409, "Cảnh báo không còn hiệu lực", "The alert is not in force");

/// Nobody stands for a draft yet.
pub(crate) const ALERT_NOT_ADOPTED: Code =
    Code::new("alert-not-adopted", 409, "Chưa có cán bộ nào nhận bản nháp này", "No officer has adopted the draft");
/// An officer stands for a draft already.
pub(crate) const ALERT_ALREADY_ADOPTED: Code =
    Code::new("alert-already-adopted", 409, "Bản nháp này đã có cán bộ nhận", "An officer has adopted the draft");
/// What says that a warning is over is sent as it is.
pub(crate) const ALERT_NEEDS_NO_ADOPTION: Code = Code::new(
    "alert-needs-no-adoption",
    409,
    "Bản kết thúc cảnh báo không cần cán bộ nhận",
    "The end of a warning needs nobody's adoption",
);
/// An exercise would replace a warning that is meant, or the other way round.
pub(crate) const ALERT_STATUS_DIFFERS: Code = Code::new(
    "alert-status-differs",
    409,
    "Diễn tập không thay thế được cảnh báo thật",
    "An exercise and a real warning can't replace each other",
);
/// A draft says something else than the releasing officer read.
pub(crate) const ALERT_CHANGED: Code =
    Code::new("alert-changed", 409, "Bản nháp đã được sửa, hãy đọc lại", "The draft has been changed; read it again");
/// A document breaks a rule of CAP 1.2.
pub(crate) const CAP_INVALID: Code =
    Code::new("cap-invalid", 422, "Văn bản CAP không hợp lệ", "The CAP document is not valid");
/// A document is a test, a draft, an acknowledgement, or not for the public.
pub(crate) const CAP_NOT_PUBLIC: Code =
    Code::new("cap-not-public", 422, "Văn bản CAP không dành cho công chúng", "The CAP document is not for the public");
/// None of a document's areas is in the city.
pub(crate) const CAP_ELSEWHERE: Code = Code::new(
    "cap-elsewhere",
    422,
    "Vùng cảnh báo nằm ngoài thành phố",
    "The CAP document concerns no ward of the city",
);
/// A sender's identifier names another document.
pub(crate) const CAP_IDENTIFIER_REUSED: Code =
    Code::new("cap-identifier-reused", 409, "Mã văn bản CAP đã được dùng", "The identifier names another document");
/// A cancellation refers to nothing that is drafted or in force.
pub(crate) const CAP_REFERENCE_UNKNOWN: Code =
    Code::new("cap-reference-unknown", 422, "Không có cảnh báo được tham chiếu", "What it refers to is not here");
/// A document's sender is not one for whom this caller may speak.
pub(crate) const CAP_SENDER_FORBIDDEN: Code = Code::new(
    "cap-sender-forbidden",
    403,
    "Không được gửi thay đơn vị này",
    "You may not send in the name of this sender",
);
/// As many drafts of a partner's as may be wait for an officer.
pub(crate) const CAP_DRAFTS_TOO_MANY: Code =
    Code::new("cap-drafts-too-many", 429, "Quá nhiều bản nháp đang chờ", "Too many drafts wait for an officer");

/// As many news as may be were published in a day.
pub(crate) const NEWS_TOO_MANY: Code =
    Code::new("news-too-many", 429, "Đã đăng đủ số tin trong 24 giờ", "Enough news were published in 24 hours");

/// The codes of this service, for the documentation.
pub const CODES: &[Code] = &[
    LANE_LOCKED,
    TOO_MANY_DEVICES,
    INVALID_FIELD,
    TOO_MANY_STREAMS,
    WARD_UNKNOWN,
    WARDS_INVALID,
    ALERT_AREA_INVALID,
    ALERT_EXPIRY_INVALID,
    ALERT_SAME_OFFICER,
    ALERT_NOT_DRAFTED,
    ALERT_NOT_IN_FORCE,
    ALERT_NOT_ADOPTED,
    ALERT_ALREADY_ADOPTED,
    ALERT_NEEDS_NO_ADOPTION,
    ALERT_CHANGED,
    ALERT_STATUS_DIFFERS,
    CAP_INVALID,
    CAP_NOT_PUBLIC,
    CAP_ELSEWHERE,
    CAP_IDENTIFIER_REUSED,
    CAP_REFERENCE_UNKNOWN,
    CAP_SENDER_FORBIDDEN,
    CAP_DRAFTS_TOO_MANY,
    NEWS_TOO_MANY,
];

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
    /// None of the caller's roles may do this.
    #[error("none of the caller's roles may do this")]
    Forbidden,
    /// A ward's code is not the city's.
    #[error("ward {0} is unknown")]
    WardUnknown(String),
    /// A ward stands in a list twice.
    #[error("ward {0} is there twice")]
    WardTwice(String),
    /// A list of wards is empty or too long.
    #[error("1 to {max} wards are needed")]
    WardCount {
        /// Wards at most.
        max: usize,
    },
    /// A polygon or circle is not one of CAP.
    #[error("a shape is not valid")]
    AreaInvalid,
    /// An alert would end too soon or too late.
    #[error("the end is not in the time to come, or too far in it")]
    ExpiryInvalid,
    /// The life of an alert does not allow it.
    #[error("refused: {0:?}")]
    Refused(Refusal),
    /// The draft says something else than was read.
    #[error("the draft is at revision {0}")]
    AlertChanged(i32),
    /// An exercise would replace a warning that is meant, or the other way round.
    #[error("an exercise and a real warning can't replace each other")]
    StatusDiffers,
    /// A document breaks a rule of CAP.
    #[error(transparent)]
    CapInvalid(crate::alert::intake::Fault),
    /// A document is not for the public.
    #[error("the document is not for the public")]
    CapNotPublic,
    /// None of a document's areas is in the city.
    #[error("the document concerns no ward")]
    CapElsewhere,
    /// A sender's identifier names another document.
    #[error("the identifier names another document")]
    CapIdentifierReused,
    /// A cancellation refers to nothing that is drafted or in force.
    #[error("what the document refers to is not here")]
    CapReferenceUnknown,
    /// A document's sender is not one for whom this caller may speak.
    #[error("the caller may not speak for this sender")]
    CapSenderForbidden,
    /// As many drafts of the partner's as may be wait for an officer.
    #[error("too many drafts of the partner wait")]
    CapDraftsTooMany,
    /// What came is not signed by whom it should be, or not lately.
    #[error("the signature is not valid")]
    Signature,
    /// As many news as may be were published in a day.
    #[error("enough news were published in a day")]
    NewsTooMany,
    /// An officer's act is not on record in the audit; what identity answered.
    #[error("the act is not on record")]
    NotOnRecord(Box<Problem>),
    /// What is stored of an item of news can't be read.
    #[error("news {0} can't be read")]
    NewsUnreadable(NewsId),
    /// What is stored of an alert can't be read.
    #[error("alert {0} can't be read")]
    Unreadable(AlertId),
    /// Something of a citizen can't be opened.
    #[error(transparent)]
    Sealed(PersonError),
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
            Self::Forbidden => FORBIDDEN,
            Self::WardUnknown(_) => WARD_UNKNOWN,
            Self::WardTwice(_) | Self::WardCount { .. } => WARDS_INVALID,
            Self::AreaInvalid => ALERT_AREA_INVALID,
            Self::ExpiryInvalid => ALERT_EXPIRY_INVALID,
            Self::Refused(Refusal::SameOfficer) => ALERT_SAME_OFFICER,
            Self::Refused(Refusal::NotAdopted) => ALERT_NOT_ADOPTED,
            Self::Refused(Refusal::Adopted) => ALERT_ALREADY_ADOPTED,
            Self::Refused(Refusal::NeedsNobody) => ALERT_NEEDS_NO_ADOPTION,
            Self::AlertChanged(_) => ALERT_CHANGED,
            Self::StatusDiffers => ALERT_STATUS_DIFFERS,
            Self::CapInvalid(_) => CAP_INVALID,
            Self::CapNotPublic => CAP_NOT_PUBLIC,
            Self::CapElsewhere => CAP_ELSEWHERE,
            Self::CapIdentifierReused => CAP_IDENTIFIER_REUSED,
            Self::CapReferenceUnknown => CAP_REFERENCE_UNKNOWN,
            Self::CapSenderForbidden => CAP_SENDER_FORBIDDEN,
            Self::CapDraftsTooMany => CAP_DRAFTS_TOO_MANY,
            Self::NewsTooMany => NEWS_TOO_MANY,
            Self::Signature => platform::signature::INVALID,
            Self::Refused(Refusal::NotDrafted(_)) => ALERT_NOT_DRAFTED,
            Self::Refused(Refusal::NotInForce(_)) => ALERT_NOT_IN_FORCE,
            Self::SessionEnded
            | Self::NotOnRecord(_)
            | Self::NewsUnreadable(_)
            | Self::Unreadable(_)
            | Self::Sealed(_)
            | Self::Database(_) => return None,
        })
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let Some(code) = error.code() else {
            return match error {
                Error::Database(source) => Self::from(source),
                Error::SessionEnded => Self::from(AuthError::Revoked),
                Error::NotOnRecord(problem) => *problem,
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
            Error::WardUnknown(code) | Error::WardTwice(code) => problem.with("ward", code),
            Error::WardCount { max } => {
                problem.detail(format!("Cần từ 1 đến {max} phường, xã."), format!("1 to {max} wards are needed."))
            }
            Error::ExpiryInvalid => problem.detail(
                format!("Thời điểm hết hiệu lực phải ở tương lai, không quá {} ngày.", MAX_LIFE.num_days()),
                format!("The end must be in the time to come, at most {} days away.", MAX_LIFE.num_days()),
            ),
            Error::CapInvalid(fault) => {
                problem.detail(format!("Văn bản không theo CAP 1.2: {fault}."), format!("Not CAP 1.2: {fault}."))
            }
            Error::AlertChanged(revision) => problem.with("revision", revision),
            Error::Refused(Refusal::NotDrafted(state) | Refusal::NotInForce(state)) => stands(problem, state),
            _ => problem,
        }
    }
}

fn stands(problem: Problem, state: State) -> Problem {
    problem.with("state", state.name())
}
