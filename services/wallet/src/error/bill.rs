//! What can be wrong with a bill, its customer or its biller, and the stable codes for it.

use ledger::money::Money;
use platform::problem::{Code, Problem};

/// Seconds after which a biller that did not answer is worth asking again.
const RETRY_AFTER_S: u64 = 5;

const BILLER_UNKNOWN: Code =
    Code::new("biller-unknown", 422, "Chưa liên kết với nhà cung cấp này", "This biller is not connected");
const CUSTOMER_CODE_INVALID: Code = Code::new(
    "customer-code-invalid",
    422,
    "Mã khách hàng không đúng dạng của nhà cung cấp",
    "The customer code has not this biller's form",
);
const CUSTOMER_UNKNOWN: Code =
    Code::new("customer-unknown", 422, "Nhà cung cấp không có mã khách hàng này", "The biller has no such customer");
const ALREADY_LINKED: Code =
    Code::new("already-linked", 409, "Mã khách hàng này đã được liên kết", "This customer code is linked already");
const BILLER_UNAVAILABLE: Code = Code::new(
    "biller-unavailable",
    503,
    "Nhà cung cấp chưa trả lời; hãy thử lại sau",
    "The biller does not answer now; try again later",
);
const BILL_CLOSED: Code =
    Code::new("bill-closed", 409, "Nhà cung cấp không còn thu hóa đơn này", "The biller no longer asks for this bill");
const BILL_PAID: Code = Code::new("bill-paid", 409, "Hóa đơn này đã được thanh toán", "This bill is paid");
const BILL_BEING_PAID: Code =
    Code::new("bill-being-paid", 409, "Hóa đơn này đang được thanh toán", "This bill is being paid");
const BILL_AMOUNT_CHANGED: Code = Code::new(
    "bill-amount-changed",
    422,
    "Số tiền của hóa đơn đã khác; hãy xem lại hóa đơn",
    "The bill's amount is another; look at the bill again",
);
const TOO_MANY_BILL_PAYMENTS: Code = Code::new(
    "too-many-bill-payments",
    422,
    "Có quá nhiều hóa đơn đang chờ nhà cung cấp xác nhận",
    "Too many bills are waiting for a biller's confirmation",
);
/// A rule took so long to decide that the citizen no longer counts on it.
const BILL_PAYMENT_EXPIRED: Code = Code::new(
    "bill-payment-expired",
    422,
    "Lệnh thanh toán đã hết hạn trước khi gửi tới nhà cung cấp",
    "The payment expired before the biller was asked",
);

/// Every code of this file.
pub(super) const CODES: [Code; 11] = [
    BILLER_UNKNOWN,
    CUSTOMER_CODE_INVALID,
    CUSTOMER_UNKNOWN,
    ALREADY_LINKED,
    BILLER_UNAVAILABLE,
    BILL_CLOSED,
    BILL_PAID,
    BILL_BEING_PAID,
    BILL_AMOUNT_CHANGED,
    TOO_MANY_BILL_PAYMENTS,
    BILL_PAYMENT_EXPIRED,
];

/// Why a customer is not linked, or a bill not paid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BillFault {
    /// No connected biller of that code.
    #[error("biller unknown")]
    BillerUnknown,
    /// Not the form of the biller's customer codes.
    #[error("customer code invalid")]
    CustomerCodeInvalid,
    /// The biller has no such customer.
    #[error("customer unknown")]
    CustomerUnknown,
    /// The citizen has linked it before.
    #[error("already linked")]
    AlreadyLinked,
    /// The biller gives no answer, or too many ask it.
    #[error("biller unavailable")]
    BillerUnavailable,
    /// The biller asks for it no more.
    #[error("bill closed")]
    Closed,
    /// It is paid.
    #[error("bill paid")]
    Paid,
    /// Somebody is paying it.
    #[error("bill being paid")]
    BeingPaid,
    /// The citizen saw another amount; what it is now.
    #[error("bill amount changed")]
    AmountChanged(Money),
    /// No more until one has ended; how many there may be.
    #[error("too many bill payments")]
    TooManyPayments(i64),
    /// Nothing was sent within the time that a citizen counts on.
    #[error("bill payment expired")]
    Expired,
}

impl BillFault {
    /// The code in metrics and events: bounded.
    pub(crate) fn name(self) -> &'static str {
        self.code().code()
    }

    pub(super) fn code(self) -> Code {
        match self {
            Self::BillerUnknown => BILLER_UNKNOWN,
            Self::CustomerCodeInvalid => CUSTOMER_CODE_INVALID,
            Self::CustomerUnknown => CUSTOMER_UNKNOWN,
            Self::AlreadyLinked => ALREADY_LINKED,
            Self::BillerUnavailable => BILLER_UNAVAILABLE,
            Self::Closed => BILL_CLOSED,
            Self::Paid => BILL_PAID,
            Self::BeingPaid => BILL_BEING_PAID,
            Self::AmountChanged(_) => BILL_AMOUNT_CHANGED,
            Self::TooManyPayments(_) => TOO_MANY_BILL_PAYMENTS,
            Self::Expired => BILL_PAYMENT_EXPIRED,
        }
    }

    pub(super) fn explain(self, problem: Problem) -> Problem {
        match self {
            Self::AmountChanged(expected) => problem
                .detail(
                    format!("Hóa đơn này bây giờ là {} đồng.", expected.minor()),
                    format!("This bill is {} đồng now.", expected.minor()),
                )
                .with("expected", expected),
            Self::TooManyPayments(most) => problem
                .detail(
                    format!("Mỗi lúc chỉ có thể chờ {most} hóa đơn; vui lòng đợi một hóa đơn được xác nhận."),
                    format!("At most {most} may wait at a time; please wait until one of them has ended."),
                )
                .with("maximum", most),
            Self::BillerUnavailable => problem.retry_after(RETRY_AFTER_S),
            _ => problem,
        }
    }
}
