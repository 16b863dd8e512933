//! What can go wrong in the wallet, and the stable code that clients get for it.

use chrono::{DateTime, Utc};
use ledger::limit::Period;
use ledger::money::Money;
use ledger::{PostError, Reject};
use platform::problem::{self, Code, Problem};

use crate::city::Proof;
use crate::qr;
use crate::step_up::Needed;

mod bill;
mod code;
mod delegation;
mod fee;
mod proposal;
#[cfg(test)]
mod tests;

pub(crate) use bill::BillFault;
pub use code::codes;
pub(crate) use code::*;
pub(crate) use delegation::DelegationFault;
pub(crate) use fee::FeeFault;
pub(crate) use proposal::ProposalFault;

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
    /// A proof is needed, and for what.
    #[error("step-up required")]
    StepUp(Box<Needed>),
    /// A proof came along that is no good.
    #[error(transparent)]
    Proof(#[from] ProofFault),
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
    /// What can be wrong with a notice of a fee.
    #[error(transparent)]
    Fee(#[from] FeeFault),
    /// Why a guardian may not pay.
    #[error(transparent)]
    Delegation(#[from] DelegationFault),
    /// What can be wrong with a proposal of an officer.
    #[error(transparent)]
    Proposal(#[from] ProposalFault),
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
    StepUp { threshold: Money, proof: Proof },
    #[error("no rule in force")]
    NoRule,
}

/// Why a proof that came along is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ProofFault {
    /// No proof of this citizen in this session.
    #[error("proof invalid")]
    Invalid,
    /// Its time is over.
    #[error("proof expired")]
    Expired,
    /// It was given for something else.
    #[error("proof of another transaction")]
    OtherTransaction,
    /// It moved money before.
    #[error("proof used before")]
    Used,
}

impl ProofFault {
    /// The word for clients.
    fn reason(self) -> &'static str {
        match self {
            Self::Invalid => "invalid",
            Self::Expired => "expired",
            Self::OtherTransaction => "other-transaction",
            Self::Used => "used",
        }
    }
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
            Self::StepUp(_) => STEP_UP_REQUIRED,
            Self::Proof(_) => STEP_UP_INVALID,
            Self::PayeeRequired => PAYEE_REQUIRED,
            Self::PayeeUnknown => PAYEE_UNKNOWN,
            Self::BankUnknown => BANK_UNKNOWN,
            Self::Unprintable(_) => NAME_UNPRINTABLE,
            Self::TooMany(_) => TOO_MANY,
            Self::TooManyTopUps(_) => TOO_MANY_TOP_UPS,
            Self::Bill(fault) => fault.code(),
            Self::Fee(fault) => fault.code(),
            Self::Delegation(fault) => fault.code(),
            Self::Proposal(fault) => fault.code(),
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
            Self::StepUp { .. } => STEP_UP_REQUIRED,
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
            Error::StepUp(needed) => {
                let problem = step_up_problem(problem, needed.threshold, needed.proof);
                problem.with("transaction", serde_json::json!(needed.transaction))
            }
            Error::Proof(fault) => problem.with("reason", fault.reason()),
            Error::Bill(fault) => fault.explain(problem),
            Error::Fee(fault) => fault.explain(problem),
            Error::Delegation(fault) => fault.explain(problem),
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

fn step_up_problem(problem: Problem, threshold: Money, proof: Proof) -> Problem {
    problem
        .detail(
            format!("Giao dịch trên {} đồng cần xác thực thêm.", threshold.minor()),
            format!("A payment above {} đồng needs a further proof.", threshold.minor()),
        )
        .with("threshold", threshold)
        .with("proof", proof.name())
}

fn amount_problem(problem: Problem, fault: AmountFault) -> Problem {
    match fault {
        AmountFault::OverLimit(over) => over.explain(problem),
        AmountFault::StepUp { threshold, proof } => step_up_problem(problem, threshold, proof),
        AmountFault::Mismatch(expected) => problem
            .detail(
                format!("Mã QR yêu cầu đúng {} đồng.", expected.minor()),
                format!("The code asks for exactly {} đồng.", expected.minor()),
            )
            .with("expected", expected),
        AmountFault::Currency | AmountFault::Required | AmountFault::NoRule => problem,
    }
}
