//! What can go wrong with reports, and the stable code that clients get for it.

use platform::person::PersonError;
use platform::problem::{self, Code, Problem};

use crate::city::Misfit;
use crate::lifecycle::Refusal;
use crate::store::StoreError;

/// Somebody else was faster.
pub(crate) const REPORT_CHANGED: Code = Code::new(
    "report-changed",
    409,
    "Phản ánh đã thay đổi, hãy tải lại",
    "The report was changed meanwhile, load it again",
);
/// The report does not stand where this can be done.
pub(crate) const WRONG_STATE: Code = Code::new(
    "wrong-state",
    409,
    "Không thể làm việc này ở trạng thái hiện tại",
    "This can't be done in the report's state",
);
/// The position lies outside the city.
pub(crate) const OUTSIDE_CITY: Code =
    Code::new("outside-city", 422, "Vị trí nằm ngoài thành phố", "The position lies outside the city");
/// No such category.
pub(crate) const CATEGORY_UNKNOWN: Code =
    Code::new("category-unknown", 422, "Không có lĩnh vực này", "There is no such category");
/// An answer does not fit the category's form.
pub(crate) const ATTRIBUTE_INVALID: Code =
    Code::new("attribute-invalid", 422, "Biểu mẫu chưa hợp lệ", "An answer does not fit the category's form");
/// No such agency.
pub(crate) const AGENCY_UNKNOWN: Code =
    Code::new("agency-unknown", 422, "Không có đơn vị này", "There is no such agency");
/// The helping agencies are too many, or one stands twice.
pub(crate) const AGENCIES_INVALID: Code =
    Code::new("agencies-invalid", 422, "Danh sách đơn vị phối hợp không hợp lệ", "The helping agencies are not valid");
/// The deadline can't be.
pub(crate) const DEADLINE_INVALID: Code =
    Code::new("deadline-invalid", 422, "Thời hạn không hợp lệ", "The deadline is not valid");
/// A result needs a photo.
pub(crate) const EVIDENCE_MISSING: Code =
    Code::new("evidence-missing", 422, "Kết quả cần có ảnh hiện trường", "A result needs a photo as evidence");
/// No further extension can be asked for.
pub(crate) const EXTENSION_NOT_OPEN: Code =
    Code::new("extension-not-open", 409, "Không thể xin gia hạn thêm", "No further extension can be asked for");
/// No extension is asked for.
pub(crate) const NO_EXTENSION_ASKED: Code =
    Code::new("no-extension-asked", 409, "Không có đề nghị gia hạn", "No extension is asked for");
/// The time in which the reporter may reopen has passed.
pub(crate) const REOPEN_TOO_LATE: Code =
    Code::new("reopen-too-late", 422, "Đã hết thời gian yêu cầu xem lại", "The time to reopen has passed");
/// The reporter has reopened as often as may be.
pub(crate) const REOPEN_EXHAUSTED: Code = Code::new(
    "reopen-exhausted",
    422,
    "Đã hết số lần yêu cầu xem lại; hãy liên hệ giám sát",
    "It was reopened as often as may be; only a supervisor can do it again",
);
/// The report to merge into does not exist or is merged itself.
pub(crate) const MERGE_TARGET_INVALID: Code = Code::new(
    "merge-target-invalid",
    422,
    "Không thể gộp vào phản ánh này",
    "The report can't be merged into that one",
);
/// The bytes are no photo that is taken.
pub(crate) const PHOTO_UNREADABLE: Code = Code::new(
    "photo-unreadable",
    422,
    "Không đọc được ảnh (JPEG, PNG, WebP)",
    "The photo can't be read (JPEG, PNG, WebP)",
);
/// More pixels than are taken.
pub(crate) const PHOTO_TOO_LARGE: Code =
    Code::new("photo-too-large", 422, "Ảnh có kích thước quá lớn", "The photo has too many pixels");
/// The report has as many photos as may be.
pub(crate) const TOO_MANY_PHOTOS: Code =
    Code::new("too-many-photos", 422, "Phản ánh đã đủ ảnh", "The report has as many photos as it may have");
/// Photos can neither be kept nor fetched now.
pub(crate) const PHOTO_STORE_UNAVAILABLE: Code = Code::new(
    "photo-store-unavailable",
    503,
    "Kho ảnh tạm thời không dùng được",
    "The store of photos can't be used now",
);
/// The citizen has sent as many reports today as may be.
pub(crate) const TOO_MANY_REPORTS: Code = Code::new(
    "too-many-reports",
    429,
    "Bạn đã gửi quá nhiều phản ánh trong ngày",
    "You have sent as many reports today as may be",
);

/// Why a request is not met.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("there is no such report")]
    NotFound,
    #[error("the caller may not do this")]
    Forbidden,
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error("there is no such category")]
    CategoryUnknown,
    #[error("an attribute does not fit")]
    Attribute(Misfit),
    #[error("the position lies outside the city")]
    OutsideCity,
    #[error("there is no such agency")]
    AgencyUnknown,
    #[error("the report can't be merged into that one")]
    MergeTarget,
    #[error("the photo can't be read")]
    PhotoUnreadable,
    #[error("the photo has too many pixels")]
    PhotoTooLarge,
    #[error("the report has as many photos as it may have")]
    TooManyPhotos,
    #[error("the citizen has sent as many reports today as may be")]
    TooManyReports,
    #[error("too many photos are under way")]
    Busy,
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("something of a citizen can't be opened")]
    Sealed(#[source] PersonError),
    #[error("the database does not answer")]
    Database(#[from] sqlx::Error),
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::NotAllowed => Self::new(problem::FORBIDDEN),
            Refusal::Stale(version) => Self::new(REPORT_CHANGED).with("version", version),
            Refusal::WrongState(state) => Self::new(WRONG_STATE).with("state", state),
            // Only the system's own waits are judged so; no request ends here.
            Refusal::NotDue => Self::new(WRONG_STATE),
            Refusal::Deadline => Self::new(DEADLINE_INVALID),
            Refusal::Agencies => Self::new(AGENCIES_INVALID),
            Refusal::EvidenceMissing => Self::new(EVIDENCE_MISSING),
            Refusal::ExtensionNotOpen => Self::new(EXTENSION_NOT_OPEN),
            Refusal::NoExtensionAsked => Self::new(NO_EXTENSION_ASKED),
            Refusal::ReopenTooLate => Self::new(REOPEN_TOO_LATE),
            Refusal::ReopenExhausted => Self::new(REOPEN_EXHAUSTED),
        }
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        match error {
            Error::NotFound => Self::new(problem::NOT_FOUND),
            Error::Forbidden => Self::new(problem::FORBIDDEN),
            Error::Refused(refusal) => refusal.into(),
            Error::CategoryUnknown => Self::new(CATEGORY_UNKNOWN),
            Error::Attribute(misfit) => {
                let Misfit { attribute, reason: (vi, en) } = misfit;
                Self::new(ATTRIBUTE_INVALID)
                    .detail(format!("`{attribute}` {vi}."), format!("`{attribute}` {en}."))
                    .with("attribute", attribute)
            }
            Error::OutsideCity => Self::new(OUTSIDE_CITY),
            Error::AgencyUnknown => Self::new(AGENCY_UNKNOWN),
            Error::MergeTarget => Self::new(MERGE_TARGET_INVALID),
            Error::PhotoUnreadable => Self::new(PHOTO_UNREADABLE),
            Error::PhotoTooLarge => Self::new(PHOTO_TOO_LARGE),
            Error::TooManyPhotos => Self::new(TOO_MANY_PHOTOS),
            Error::TooManyReports => Self::new(TOO_MANY_REPORTS).retry_after(3_600),
            Error::Busy => Self::new(problem::OVERLOADED).retry_after(2),
            // What was stored and is gone does not come back by waiting.
            Error::Store(source @ StoreError::Lost(_)) => Self::new(problem::INTERNAL).source(source),
            Error::Store(source) => Self::new(PHOTO_STORE_UNAVAILABLE).retry_after(2).source(source),
            Error::Sealed(_) => Self::new(problem::INTERNAL).source(error),
            Error::Database(source) => source.into(),
        }
    }
}
