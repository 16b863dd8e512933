//! What can go wrong in the operations centre.

use platform::dataset::{Fault, Faults};
use platform::problem::{Code, NOT_FOUND, Problem};

/// The caller is not inside the city's network.
pub(crate) const INTERNAL_ONLY: Code =
    Code::new("internal-only", 403, "Chỉ truy cập được từ mạng nội bộ", "Only reachable from inside the network");
/// As many walls as this process serves are open.
pub(crate) const TOO_MANY_WALLS: Code =
    Code::new("too-many-walls", 503, "Đã mở quá nhiều màn hình", "Too many walls are open");

/// A page of another site sent a request with the wall's cookie.
pub(crate) const CROSS_SITE_REQUEST: Code =
    Code::new("cross-site-request", 403, "Yêu cầu đến từ trang khác", "Another site sent the request");
/// The OpenID provider does not answer.
pub(crate) const SIGN_IN_AWAY: Code =
    Code::new("sign-in-away", 503, "Dịch vụ đăng nhập không trả lời", "The sign-in service does not answer");

/// An entity of SensorThings is not valid.
pub(crate) const STA_ENTITY_INVALID: Code =
    Code::new("sta-entity-invalid", 400, "Dữ liệu cảm biến không hợp lệ", "The entity is not valid");
/// A query option of SensorThings is not understood.
pub(crate) const STA_QUERY_INVALID: Code =
    Code::new("sta-query-invalid", 400, "Tham số truy vấn không hợp lệ", "The query option is not understood");
/// A query option of SensorThings is one that is not there (18-088, section 9.3: 501).
pub(crate) const STA_QUERY_UNSUPPORTED: Code =
    Code::new("sta-query-unsupported", 501, "Chưa hỗ trợ tham số truy vấn này", "The query option is not supported");
/// The levels of that station are another client's to send.
pub(crate) const STATION_FORBIDDEN: Code =
    Code::new("station-forbidden", 403, "Trạm của đơn vị khác", "The station is another client's");
/// A client for exercises sent something that is not marked as one.
pub(crate) const EXERCISE_ONLY: Code =
    Code::new("exercise-only", 403, "Chỉ được gửi số liệu diễn tập", "Only readings of exercises may be sent");
/// Another result is known for a reading's time.
pub(crate) const OBSERVATION_CONFLICTS: Code =
    Code::new("observation-conflicts", 409, "Đã có kết quả đo khác", "Another result is known for that time");
/// A reading comes from the future.
pub(crate) const OBSERVATION_AHEAD_OF_TIME: Code =
    Code::new("observation-ahead-of-time", 400, "Thời điểm đo ở tương lai", "The reading is ahead of time");
/// As many things, or datastreams of one, as may be are registered.
pub(crate) const TOO_MANY_THINGS: Code =
    Code::new("too-many-things", 409, "Đã đăng ký quá nhiều thiết bị", "Too many things are registered");
/// An alarm has ended.
pub(crate) const ALARM_CLOSED: Code = Code::new("alarm-closed", 409, "Báo động đã kết thúc", "The alarm has ended");
/// A note is empty or too long.
pub(crate) const ALARM_NOTE_INVALID: Code =
    Code::new("alarm-note-invalid", 422, "Ghi chú không hợp lệ", "The note is not valid");

/// Why a request of the centre failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database failed.
    #[error("the database failed")]
    Database(#[from] sqlx::Error),
    /// As many walls as allowed are open, or the process is stopping.
    #[error("no wall can be opened now")]
    NoWall,
    /// The caller is outside.
    #[error("the caller is not inside the network")]
    Outside,
    /// A page of another site sent the request.
    #[error("the request is of another site")]
    CrossSite,
    /// The OpenID provider does not answer.
    #[error("the OpenID provider does not answer")]
    SignInAway,
    /// There is no such thing, or it is another's.
    #[error("not found")]
    NotFound,
    /// An entity of SensorThings is not valid.
    #[error("{field} is not valid: {reason}")]
    EntityInvalid {
        /// Which member.
        field: &'static str,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A query option of SensorThings is not understood.
    #[error("query option {0} is not understood")]
    QueryInvalid(String),
    /// A query option of SensorThings, or what it asks for, is not there.
    #[error("query option {0} is not supported")]
    QueryUnsupported(String),
    /// The levels of that station are another client's to send.
    #[error("the station is another client's")]
    StationForbidden,
    /// A client for exercises sent something that is not marked as one.
    #[error("the client is for exercises only")]
    ExerciseOnly,
    /// Another result is known for a reading's time.
    #[error("another result is known for that time")]
    ObservationConflicts,
    /// A reading comes from the future.
    #[error("the reading is ahead of time")]
    AheadOfTime,
    /// As many things, or datastreams of one, as may be are registered.
    #[error("there are {0} already")]
    TooManyThings(i64),
    /// An alarm has ended.
    #[error("the alarm has ended")]
    AlarmClosed,
    /// A note is empty or too long.
    #[error("the note is not valid")]
    NoteInvalid,
}

impl Error {
    /// The stable code, where the error has one of its own.
    pub fn code(&self) -> Option<Code> {
        match self {
            Self::Database(_) => None,
            Self::NoWall => Some(TOO_MANY_WALLS),
            Self::Outside => Some(INTERNAL_ONLY),
            Self::CrossSite => Some(CROSS_SITE_REQUEST),
            Self::SignInAway => Some(SIGN_IN_AWAY),
            Self::NotFound => Some(NOT_FOUND),
            Self::EntityInvalid { .. } => Some(STA_ENTITY_INVALID),
            Self::QueryInvalid(_) => Some(STA_QUERY_INVALID),
            Self::QueryUnsupported(_) => Some(STA_QUERY_UNSUPPORTED),
            Self::StationForbidden => Some(STATION_FORBIDDEN),
            Self::ExerciseOnly => Some(EXERCISE_ONLY),
            Self::ObservationConflicts => Some(OBSERVATION_CONFLICTS),
            Self::AheadOfTime => Some(OBSERVATION_AHEAD_OF_TIME),
            Self::TooManyThings(_) => Some(TOO_MANY_THINGS),
            Self::AlarmClosed => Some(ALARM_CLOSED),
            Self::NoteInvalid => Some(ALARM_NOTE_INVALID),
        }
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let code = error.code();
        match error {
            Error::Database(source) => Self::from(source),
            Error::NoWall => Self::new(TOO_MANY_WALLS).retry_after(5),
            Error::Outside => Self::new(INTERNAL_ONLY).detail(
                "Trang này chỉ trả lời máy trong mạng nội bộ của thành phố.",
                "This answers machines inside the city's own network only.",
            ),
            Error::EntityInvalid { field, reason } => Self::new(STA_ENTITY_INVALID)
                .detail(format!("`{field}` không hợp lệ."), format!("`{field}` is not valid: {reason}."))
                .with("field", field),
            Error::QueryInvalid(option) => Self::new(STA_QUERY_INVALID).with("option", option),
            Error::QueryUnsupported(option) => Self::new(STA_QUERY_UNSUPPORTED).with("option", option),
            Error::TooManyThings(most) => Self::new(TOO_MANY_THINGS).with("most", most),
            Error::SignInAway => Self::new(SIGN_IN_AWAY).retry_after(2),
            Error::NotFound
            | Error::CrossSite
            | Error::StationForbidden
            | Error::ExerciseOnly
            | Error::ObservationConflicts
            | Error::AheadOfTime
            | Error::AlarmClosed
            | Error::NoteInvalid => Self::new(code.expect("these have a code of their own")),
        }
    }
}

/// Why the role can't start.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The city's folder has a fault.
    #[error(transparent)]
    City(#[from] Fault),
    /// So have files that name its places.
    #[error(transparent)]
    Places(#[from] Faults),
    /// A peer is not usable as it is configured.
    #[error("peer {url}: {reason}")]
    Peer {
        /// Its address.
        url: String,
        /// What is wrong.
        reason: String,
    },
    /// A client of sensors is of a station that the city does not have.
    #[error("ioc.sensor_clients.{client}: the city has no station {station}")]
    SensorStation {
        /// The client.
        client: String,
        /// The station.
        station: String,
    },
    /// The wall's secret at the OpenID provider can be guessed.
    #[error("ioc.sign_in.client_secret has fewer than 32 bytes")]
    WeakSecret,
    /// The HTTP client can't be made.
    #[error("the HTTP client can't be made")]
    Http(#[from] reqwest::Error),
}
