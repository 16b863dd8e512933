//! What can go wrong in the wallet, and the stable code that clients get for it.
//!
//! Codes are listed once here, with titles that a person understands in both languages.

use chrono::{DateTime, Utc};
use ledger::limit::Period;
use ledger::money::Money;
use ledger::{PostError, Reject};
use platform::problem::{self, Code, Problem};

use crate::qr;

mod bill;

pub(crate) use bill::BillFault;

/// The account holds too little.
pub(crate) const INSUFFICIENT_FUNDS: Code =
    Code::new("insufficient-funds", 422, "Số dư trong ví không đủ", "The wallet holds too little");
/// The account may not move money.
pub(crate) const ACCOUNT_FROZEN: Code =
    Code::new("account-frozen", 422, "Tài khoản đang tạm khóa", "The account is frozen");
/// The account is closed.
pub(crate) const ACCOUNT_CLOSED: Code = Code::new("account-closed", 422, "Tài khoản đã đóng", "The account is closed");
/// The balance would leave 64 bits.
pub(crate) const BALANCE_OVERFLOW: Code = Code::new(
    "balance-overflow",
    422,
    "Số dư vượt mức hệ thống ghi nhận được",
    "The balance would be larger than can be booked",
);
/// More than one payment may be.
pub(crate) const AMOUNT_ABOVE_LIMIT: Code = Code::new(
    "amount-above-limit",
    422,
    "Số tiền vượt hạn mức một giao dịch",
    "The amount is above the limit for one transaction",
);
/// More than may be moved in a day.
pub(crate) const LIMIT_DAY: Code =
    Code::new("limit-day", 422, "Vượt hạn mức trong ngày", "Above the limit for one day");
/// More than may be moved in a month.
pub(crate) const LIMIT_MONTH: Code =
    Code::new("limit-month", 422, "Vượt hạn mức trong tháng", "Above the limit for one month");
/// Another currency than đồng.
pub(crate) const CURRENCY_UNSUPPORTED: Code =
    Code::new("currency-unsupported", 422, "Ví chỉ nhận đồng Việt Nam", "The wallet takes Vietnamese đồng only");
/// The payment needs a fresh proof by the citizen.
pub(crate) const STEP_UP_REQUIRED: Code = Code::new(
    "step-up-required",
    403,
    "Giao dịch này cần xác thực thêm",
    "This payment needs a further proof that it is you",
);
/// No rule allows moving money on this day.
pub(crate) const NOT_ALLOWED_YET: Code = Code::new(
    "no-rule-in-force",
    422,
    "Chưa có quy định cho phép giao dịch này",
    "No rule in force allows this payment",
);
/// A static code needs an amount from the payer.
pub(crate) const AMOUNT_REQUIRED: Code = Code::new("amount-required", 422, "Hãy nhập số tiền", "Enter the amount");
/// The client's amount is not the code's.
pub(crate) const AMOUNT_MISMATCH: Code =
    Code::new("amount-mismatch", 422, "Số tiền không khớp với mã QR", "The amount is not that of the QR code");
/// Neither or both of `qr_payload` and `till_id`.
pub(crate) const PAYEE_REQUIRED: Code =
    Code::new("payee-required", 422, "Hãy gửi hoặc mã QR hoặc mã quầy", "Send either a QR payload or a till");
/// The code or id names no till of this city.
pub(crate) const PAYEE_UNKNOWN: Code = Code::new(
    "payee-unknown",
    422,
    "Không tìm thấy nơi nhận tiền này trong thành phố",
    "This city knows no such payee",
);
/// No such bank, or none that money can come from.
pub(crate) const BANK_UNKNOWN: Code =
    Code::new("bank-unknown", 422, "Chưa liên kết với ngân hàng này", "This bank is not connected");
/// A name of which a code can show nothing.
pub(crate) const NAME_UNPRINTABLE: Code =
    Code::new("name-unprintable", 422, "Tên phải có chữ cái hoặc chữ số", "The name must have letters or digits");
/// As many as one may have.
pub(crate) const TOO_MANY: Code =
    Code::new("too-many", 422, "Đã đạt số lượng tối đa", "There are as many as there may be");
/// Too many top-ups of the citizen have not ended.
pub(crate) const TOO_MANY_TOP_UPS: Code = Code::new(
    "too-many-top-ups",
    422,
    "Có quá nhiều lệnh nạp tiền đang chờ ngân hàng",
    "Too many top-ups are waiting for a bank",
);
/// More than was paid, less what was given back before.
pub(crate) const REFUND_EXCEEDS_PAYMENT: Code = Code::new(
    "refund-exceeds-payment",
    422,
    "Tổng số tiền hoàn vượt số tiền đã thanh toán",
    "Refunds together would exceed the payment",
);
/// Whether the payment was made is not known.
pub(crate) const OUTCOME_UNKNOWN: Code = Code::new(
    "outcome-unknown",
    503,
    "Chưa rõ kết quả giao dịch; hãy gửi lại cùng Idempotency-Key",
    "The outcome is not known; send it again with the same Idempotency-Key",
);
/// A callback whose signature or time is wrong.
pub(crate) const SIGNATURE_INVALID: Code =
    Code::new("signature-invalid", 401, "Chữ ký không hợp lệ", "The signature is not valid");
/// A callback about another amount.
pub(crate) const CALLBACK_AMOUNT_MISMATCH: Code =
    Code::new("callback-amount-mismatch", 422, "Số tiền khác với yêu cầu", "The amount is not that of the request");

const QR_CODES: [Code; 12] = [
    Code::new("qr-not-payment-code", 422, "Đây không phải mã thanh toán", "This is not a payment code"),
    Code::new("qr-too-long", 422, "Mã QR quá dài", "The code is too long"),
    Code::new("qr-version", 422, "Phiên bản mã QR chưa được hỗ trợ", "This version of the code is not supported"),
    Code::new("qr-crc", 422, "Mã QR bị sai mã kiểm tra", "The checksum of the code is wrong"),
    Code::new("qr-length", 422, "Mã QR có độ dài trường không đúng", "A length inside the code is wrong"),
    Code::new("qr-missing-field", 422, "Mã QR thiếu trường bắt buộc", "A required field of the code is missing"),
    Code::new("qr-duplicate-field", 422, "Mã QR có trường bị lặp", "A field of the code stands twice"),
    Code::new("qr-order", 422, "Mã QR sai thứ tự trường", "The fields of the code are out of order"),
    Code::new("qr-field", 422, "Mã QR có trường không hợp lệ", "A field of the code is not valid"),
    Code::new("qr-amount", 422, "Số tiền trong mã QR không hợp lệ", "The amount in the code is not valid"),
    Code::new("qr-currency", 422, "Mã QR dùng loại tiền khác", "The code asks for another currency"),
    Code::new("qr-text", 422, "Mã QR có nội dung không rõ ràng", "The text of the code can be read in two ways"),
];

/// A failure of the wallet.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// Not there, or not the caller's.
    #[error("not found")]
    NotFound,
    /// A payload that is not a right code.
    #[error("qr payload refused")]
    Qr(#[from] qr::Fault),
    /// A picture of a code could not be made.
    #[error("qr code not drawn")]
    Render(#[from] qr::RenderError),
    /// The ledger refused the posting for a reason of business.
    #[error("posting rejected: {}", .0.code())]
    Rejected(Reject),
    /// A rule about the amount.
    #[error("amount refused")]
    Amount(#[from] AmountFault),
    /// Neither or both ways of naming the payee.
    #[error("payee not named")]
    PayeeRequired,
    /// No till of this city.
    #[error("payee unknown")]
    PayeeUnknown,
    /// No connected bank of that code.
    #[error("bank unknown")]
    BankUnknown,
    /// A name of which a code can show nothing; the field's name.
    #[error("name unprintable")]
    Unprintable(&'static str),
    /// No more of this kind; how many there may be.
    #[error("too many")]
    TooMany(i64),
    /// No more top-ups until one has ended; how many there may be.
    #[error("too many top-ups")]
    TooManyTopUps(i64),
    /// More would be given back than was paid; what was given back so far.
    #[error("refund exceeds payment")]
    RefundExceeds { reject: Reject, refunded: Money },
    /// What can be wrong with a bill, its customer or its biller.
    #[error(transparent)]
    Bill(#[from] BillFault),
    /// The key belongs to another request.
    #[error("idempotency key reused")]
    KeyReused,
    /// The ledger's queue is full.
    #[error("queue full")]
    QueueFull(std::time::Duration),
    /// The ledger can't be reached; nothing was posted.
    #[error("ledger unavailable")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Whether the posting was made is not known.
    #[error("outcome unknown")]
    OutcomeUnknown,
    /// A callback that does not prove its sender.
    #[error("signature invalid")]
    Signature,
    /// A callback about another amount.
    #[error("callback amount mismatch")]
    CallbackAmount,
    /// Something that can't be by the wallet's own invariants.
    #[error("broken invariant: {0}")]
    Broken(String),
    /// The database.
    #[error("database")]
    Database(#[from] sqlx::Error),
    /// What platform refused already.
    #[error(transparent)]
    Problem(#[from] Problem),
}

/// Why an amount is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AmountFault {
    #[error("currency unsupported")]
    Currency,
    #[error("amount required")]
    Required,
    #[error("amount is not that of the code")]
    Mismatch(Money),
    #[error("amount above limit")]
    OverLimit(OverLimit),
    #[error("step-up required")]
    StepUp(Money),
    #[error("no rule in force")]
    NoRule,
}

/// A limit of the city's rules that a payment does not keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OverLimit {
    /// The limit's period.
    pub(crate) period: Period,
    /// How much may be moved in it.
    pub(crate) maximum: Money,
    /// When the next period begins; `None` for one transaction.
    pub(crate) resets_at: Option<DateTime<Utc>>,
}

impl OverLimit {
    fn code(self) -> Code {
        match self.period {
            Period::Transaction => AMOUNT_ABOVE_LIMIT,
            Period::Day => LIMIT_DAY,
            Period::Month => LIMIT_MONTH,
        }
    }

    fn explain(self, problem: Problem) -> Problem {
        let problem = match self.resets_at {
            Some(resets_at) => problem.with("resets_at", resets_at),
            None => problem,
        };
        let maximum = self.maximum;
        let (vi, en) = match self.period {
            Period::Transaction => ("Một giao dịch", "One transaction"),
            Period::Day => ("Tổng giao dịch một ngày", "All payments of one day together"),
            Period::Month => ("Tổng giao dịch một tháng", "All payments of one month together"),
        };
        problem
            .detail(
                format!("{vi} không được quá {} đồng với ví của bạn lúc này.", maximum.minor()),
                format!("{en} may be at most {} đồng for your wallet now.", maximum.minor()),
            )
            .with("maximum", maximum)
    }
}

impl Error {
    /// The stable code.
    pub(crate) fn code(&self) -> Code {
        match self {
            Self::NotFound => problem::NOT_FOUND,
            Self::Qr(fault) => qr_code(fault.reason),
            Self::Rejected(reject) | Self::RefundExceeds { reject, .. } => reject_code(*reject),
            Self::Amount(fault) => fault.code(),
            Self::PayeeRequired => PAYEE_REQUIRED,
            Self::PayeeUnknown => PAYEE_UNKNOWN,
            Self::BankUnknown => BANK_UNKNOWN,
            Self::Unprintable(_) => NAME_UNPRINTABLE,
            Self::TooMany(_) => TOO_MANY,
            Self::TooManyTopUps(_) => TOO_MANY_TOP_UPS,
            Self::Bill(fault) => fault.code(),
            Self::KeyReused => problem::IDEMPOTENCY_KEY_REUSED,
            Self::QueueFull(_) => problem::OVERLOADED,
            Self::Unavailable(_) => problem::UNAVAILABLE,
            Self::OutcomeUnknown => OUTCOME_UNKNOWN,
            Self::Signature => SIGNATURE_INVALID,
            Self::CallbackAmount => CALLBACK_AMOUNT_MISMATCH,
            Self::Render(_) | Self::Broken(_) | Self::Database(_) | Self::Problem(_) => problem::INTERNAL,
        }
    }

    /// The code in metrics and events: bounded.
    pub(crate) fn name(&self) -> &'static str {
        self.code().code()
    }
}

impl From<PostError> for Error {
    fn from(error: PostError) -> Self {
        match error {
            PostError::QueueFull { retry_after } => Self::QueueFull(retry_after),
            PostError::KeyConflict => Self::KeyReused,
            PostError::OutcomeUnknown => Self::OutcomeUnknown,
            PostError::Unavailable(_) => Self::Unavailable(Box::new(error)),
            other => Self::Broken(format!("the ledger can't post: {}", other.code())),
        }
    }
}

impl AmountFault {
    fn code(self) -> Code {
        match self {
            Self::Currency => CURRENCY_UNSUPPORTED,
            Self::Required => AMOUNT_REQUIRED,
            Self::Mismatch(_) => AMOUNT_MISMATCH,
            Self::OverLimit(over) => over.code(),
            Self::StepUp(_) => STEP_UP_REQUIRED,
            Self::NoRule => NOT_ALLOWED_YET,
        }
    }
}

fn reject_code(reject: Reject) -> Code {
    match reject {
        Reject::InsufficientFunds(_) => INSUFFICIENT_FUNDS,
        Reject::AccountFrozen(_) => ACCOUNT_FROZEN,
        Reject::AccountClosed(_) => ACCOUNT_CLOSED,
        Reject::BalanceOverflow(_) => BALANCE_OVERFLOW,
        Reject::LimitTransaction(_) => AMOUNT_ABOVE_LIMIT,
        Reject::LimitDay(_) => LIMIT_DAY,
        Reject::LimitMonth(_) => LIMIT_MONTH,
        Reject::ProofRequired(_) => STEP_UP_REQUIRED,
        Reject::RefundExceedsPayment(_) => REFUND_EXCEEDS_PAYMENT,
        // The wallet opens what it names, in one currency, under ids of its own: the rest can't be.
        _ => problem::INTERNAL,
    }
}

pub(crate) fn qr_code(reason: qr::Reason) -> Code {
    QR_CODES.into_iter().find(|code| code.code() == reason.code()).unwrap_or(problem::INVALID_BODY)
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let problem = Self::new(error.code());
        match error {
            Error::Problem(problem) => problem,
            Error::Database(source) => Self::from(source),
            Error::Qr(fault) => {
                let (vi, en) = if fault.tag.is_empty() {
                    (String::new(), String::new())
                } else {
                    (format!(" (trường {})", fault.tag), format!(" (field {})", fault.tag))
                };
                let code = qr_code(fault.reason);
                problem
                    .detail(
                        format!("{}{vi}.", code.title(platform::http::Language::Vi)),
                        format!("{}{en}.", code.title(platform::http::Language::En)),
                    )
                    .with("field", fault.tag)
            }
            Error::Amount(fault) => amount_problem(problem, fault),
            Error::Bill(fault) => fault.explain(problem),
            Error::Unprintable(field) => problem.with("field", field),
            Error::TooMany(most) => problem
                .detail(format!("Tối đa là {most}."), format!("There may be at most {most}."))
                .with("maximum", most),
            Error::TooManyTopUps(most) => problem
                .detail(
                    format!("Tối đa {most} lệnh nạp tiền được chờ cùng lúc; hãy đợi một lệnh hoàn tất."),
                    format!("At most {most} may wait at a time; please wait until one of them has ended."),
                )
                .with("maximum", most),
            Error::RefundExceeds { refunded, .. } => problem.with("refunded", refunded),
            Error::QueueFull(wait) => problem.retry_after(wait.as_secs().max(1)),
            Error::OutcomeUnknown => problem.retry_after(2),
            Error::Unavailable(source) => problem.retry_after(1).source(source),
            Error::Rejected(reject) if reject_code(reject) == problem::INTERNAL => {
                problem.source(format!("the ledger rejected a posting: {} {}", reject.code(), reject.subject()))
            }
            Error::Render(_) | Error::Broken(_) => problem.source(error),
            _ => problem,
        }
    }
}

fn amount_problem(problem: Problem, fault: AmountFault) -> Problem {
    match fault {
        AmountFault::OverLimit(over) => over.explain(problem),
        AmountFault::StepUp(threshold) => problem
            .detail(
                format!("Giao dịch trên {} đồng cần xác thực thêm.", threshold.minor()),
                format!("A payment above {} đồng needs a further proof.", threshold.minor()),
            )
            .with("threshold", threshold),
        AmountFault::Mismatch(expected) => problem
            .detail(
                format!("Mã QR yêu cầu đúng {} đồng.", expected.minor()),
                format!("The code asks for exactly {} đồng.", expected.minor()),
            )
            .with("expected", expected),
        AmountFault::Currency | AmountFault::Required | AmountFault::NoRule => problem,
    }
}

/// Every code of the wallet, for the documentation and for tests.
#[must_use]
pub fn codes() -> Vec<Code> {
    let mut codes = vec![
        INSUFFICIENT_FUNDS,
        ACCOUNT_FROZEN,
        ACCOUNT_CLOSED,
        BALANCE_OVERFLOW,
        AMOUNT_ABOVE_LIMIT,
        LIMIT_DAY,
        LIMIT_MONTH,
        CURRENCY_UNSUPPORTED,
        STEP_UP_REQUIRED,
        NOT_ALLOWED_YET,
        AMOUNT_REQUIRED,
        AMOUNT_MISMATCH,
        PAYEE_REQUIRED,
        PAYEE_UNKNOWN,
        BANK_UNKNOWN,
        NAME_UNPRINTABLE,
        TOO_MANY,
        TOO_MANY_TOP_UPS,
        REFUND_EXCEEDS_PAYMENT,
        OUTCOME_UNKNOWN,
        SIGNATURE_INVALID,
        CALLBACK_AMOUNT_MISMATCH,
    ];
    codes.extend(QR_CODES);
    codes.extend(bill::CODES);
    codes
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::time::Duration;

    use ledger::PostError;
    use platform::problem::Problem;

    use super::{Error, QR_CODES, codes, qr_code};
    use crate::qr::Reason;

    #[test]
    fn codes_are_unique() {
        let all = codes();
        let names: HashSet<_> = all.iter().map(|code| code.code()).collect();
        assert_eq!(names.len(), all.len());
    }

    #[test]
    fn what_the_ledger_can_not_do_now_says_when_to_ask_again() {
        for (error, code, wait) in [
            (PostError::QueueFull { retry_after: Duration::from_secs(3) }, "overloaded", Some("3")),
            (PostError::QueueFull { retry_after: Duration::from_millis(10) }, "overloaded", Some("1")),
            (PostError::Unavailable(None), "unavailable", Some("1")),
            (PostError::OutcomeUnknown, "outcome-unknown", Some("2")),
            (PostError::KeyConflict, "idempotency-key-reused", None),
        ] {
            let problem = Problem::from(Error::from(error));
            assert_eq!(problem.code(), code);
            let response = axum::response::IntoResponse::into_response(problem);
            let header = response.headers().get("retry-after").and_then(|value| value.to_str().ok());
            assert_eq!(header, wait, "{code}");
        }
    }

    #[test]
    fn every_fault_of_a_code_has_its_own_problem() {
        let reasons = [
            Reason::NotPaymentCode,
            Reason::TooLong,
            Reason::Version,
            Reason::Crc,
            Reason::Length,
            Reason::MissingField,
            Reason::DuplicateField,
            Reason::Order,
            Reason::Field,
            Reason::Amount,
            Reason::Currency,
            Reason::Text,
        ];
        assert_eq!(reasons.len(), QR_CODES.len());
        for reason in reasons {
            assert_eq!(qr_code(reason).code(), reason.code());
        }
    }
}
