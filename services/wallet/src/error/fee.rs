//! What can be wrong with a notice of a fee, and the stable codes for it.

use ledger::money::Money;
use platform::problem::{Code, Problem};

const PROCEDURE_UNKNOWN: Code =
    Code::new("procedure-unknown", 422, "Không có thủ tục hành chính này", "There is no such procedure");
const FEE_NOT_LISTED: Code = Code::new(
    "fee-not-listed",
    422,
    "Thủ tục này không thu khoản phí, lệ phí như vậy",
    "This is no fee that is listed for the procedure",
);
const FEE_DUE_DAY: Code = Code::new(
    "fee-due-day",
    422,
    "Hạn nộp phải từ hôm nay và trong vòng một năm",
    "The last day to pay is today or later, within a year",
);
const FEE_REFERENCE_USED: Code = Code::new(
    "fee-reference-used",
    409,
    "Mã tham chiếu đã dùng cho một thông báo khác",
    "The reference names another notice",
);
const PAYER_UNKNOWN: Code =
    Code::new("payer-unknown", 422, "Không có người dùng với số điện thoại này", "No citizen has this number");
const AGENCY_UNKNOWN: Code = Code::new(
    "agency-unknown",
    403,
    "Ứng dụng không thuộc cơ quan nào của thành phố",
    "The client acts for no agency of the city",
);

/// Every code of this file.
pub(super) const CODES: [Code; 6] =
    [PROCEDURE_UNKNOWN, FEE_NOT_LISTED, FEE_DUE_DAY, FEE_REFERENCE_USED, PAYER_UNKNOWN, AGENCY_UNKNOWN];

/// Why a notice is not issued.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FeeFault {
    /// Not in the city's list.
    #[error("procedure unknown")]
    ProcedureUnknown,
    /// Another amount than the portal lists; those that it does.
    #[error("fee not listed")]
    AmountNotListed(Vec<Money>),
    /// Over, or too far ahead.
    #[error("due day out of bounds")]
    DueDay,
    /// The reference names another notice.
    #[error("reference used")]
    ReferenceUsed,
    /// No citizen has the number.
    #[error("payer unknown")]
    PayerUnknown,
    /// The client acts for no agency of the city.
    #[error("agency unknown")]
    AgencyUnknown,
}

impl FeeFault {
    pub(super) fn code(&self) -> Code {
        match self {
            Self::ProcedureUnknown => PROCEDURE_UNKNOWN,
            Self::AmountNotListed(_) => FEE_NOT_LISTED,
            Self::DueDay => FEE_DUE_DAY,
            Self::ReferenceUsed => FEE_REFERENCE_USED,
            Self::PayerUnknown => PAYER_UNKNOWN,
            Self::AgencyUnknown => AGENCY_UNKNOWN,
        }
    }

    pub(super) fn explain(self, problem: Problem) -> Problem {
        match self {
            Self::AmountNotListed(listed) => problem.with("listed", listed),
            _ => problem,
        }
    }
}
