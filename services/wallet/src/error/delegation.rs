//! Why a guardian may not pay, and the stable codes for it.

use ledger::money::Money;
use platform::problem::{Code, Problem};

use crate::account::CURRENCY;

const DELEGATION_ENDED: Code =
    Code::new("delegation-ended", 403, "Ủy quyền không còn hiệu lực", "The delegation is not in force any more");
const DELEGATION_KIND: Code =
    Code::new("delegation-kind", 403, "Ủy quyền không gồm loại thanh toán này", "The delegation does not cover this");
const DELEGATION_LIMIT: Code =
    Code::new("delegation-limit", 422, "Vượt hạn mức của ủy quyền", "Above the limit of the delegation");

/// Every code of this file.
pub(super) const CODES: [Code; 3] = [DELEGATION_ENDED, DELEGATION_KIND, DELEGATION_LIMIT];

/// Why a guardian may not pay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DelegationFault {
    /// It ended, or its time is over.
    #[error("delegation ended")]
    Ended,
    /// It is not about this.
    #[error("not of the delegation's kinds")]
    Kind,
    /// More than it allows.
    #[error("above the delegation's limit")]
    Over {
        /// `transaction`, `day` or `month`.
        period: &'static str,
        /// The most in it, in đồng.
        maximum: i64,
    },
}

impl DelegationFault {
    pub(super) fn code(self) -> Code {
        match self {
            Self::Ended => DELEGATION_ENDED,
            Self::Kind => DELEGATION_KIND,
            Self::Over { .. } => DELEGATION_LIMIT,
        }
    }

    pub(super) fn explain(self, problem: Problem) -> Problem {
        match self {
            Self::Over { period, maximum } => {
                problem.with("period", period).with("maximum", Money::from_minor(maximum, CURRENCY))
            }
            Self::Ended | Self::Kind => problem,
        }
    }
}
