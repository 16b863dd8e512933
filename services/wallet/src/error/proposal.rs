//! What can be wrong with a proposal or a decision on it, and the stable codes for it.

use platform::problem::{Code, FORBIDDEN};

const NOT_STUCK: Code = Code::new(
    "not-stuck",
    409,
    "Giao dịch không bị treo, không cần quyết định",
    "The payment is not stuck: nobody has to decide on it",
);
const PROPOSAL_OPEN: Code =
    Code::new("proposal-open", 409, "Đã có đề xuất cho giao dịch này", "There is an open proposal about this payment");
const OWN_PROPOSAL: Code = Code::new(
    "own-proposal",
    403,
    "Người đề xuất không được tự phê duyệt",
    "Nobody approves what they proposed themselves",
);
const PROPOSAL_DECIDED: Code =
    Code::new("proposal-decided", 409, "Đề xuất đã được quyết định", "The proposal has been decided on");
const PROPOSAL_EXPIRED: Code =
    Code::new("proposal-expired", 409, "Đề xuất đã hết hạn", "The proposal was not decided on in time");
const PROPOSAL_DIFFERS: Code = Code::new(
    "proposal-differs",
    409,
    "Nội dung phê duyệt khác với đề xuất",
    "The proposal says something else than what was approved",
);

/// Every code of this file.
pub(super) const CODES: [Code; 6] =
    [NOT_STUCK, PROPOSAL_OPEN, OWN_PROPOSAL, PROPOSAL_DECIDED, PROPOSAL_EXPIRED, PROPOSAL_DIFFERS];

/// Why a proposal or a decision is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ProposalFault {
    /// The officer's roles do not allow it.
    #[error("not allowed")]
    NotAllowed,
    /// The partner may still answer by itself, or has.
    #[error("not stuck")]
    NotStuck,
    /// Another one about the same thing waits.
    #[error("another proposal is open")]
    Open,
    /// Who proposed it may not approve it.
    #[error("own proposal")]
    Own,
    /// It was approved or refused before.
    #[error("decided before")]
    Decided,
    /// Its time is over.
    #[error("expired")]
    Expired,
    /// The digest is not that of the content.
    #[error("other content")]
    OtherContent,
}

impl ProposalFault {
    pub(super) fn code(self) -> Code {
        match self {
            Self::NotAllowed => FORBIDDEN,
            Self::NotStuck => NOT_STUCK,
            Self::Open => PROPOSAL_OPEN,
            Self::Own => OWN_PROPOSAL,
            Self::Decided => PROPOSAL_DECIDED,
            Self::Expired => PROPOSAL_EXPIRED,
            Self::OtherContent => PROPOSAL_DIFFERS,
        }
    }
}
