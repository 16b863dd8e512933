//! What can go wrong with people without a telephone and their guardians, and the stable code of each.

use platform::problem::Code;

use super::NUMBER_TAKEN;

/// Nobody with that citizen number has an account of their own.
pub(super) const GUARDIAN_NOT_VERIFIED: Code = Code::new(
    "guardian-not-verified",
    422,
    "Chưa có tài khoản nào đã xác thực số định danh của người giám hộ",
    "No account has proved the guardian's citizen number",
);
/// The guardian is closing their own account.
pub(super) const GUARDIAN_LEAVES: Code = Code::new(
    "guardian-leaves",
    409,
    "Người giám hộ đang đóng tài khoản của mình",
    "The guardian is closing their own account",
);
/// Somebody registered the person already, and their guardian has not answered yet.
pub(super) const DEPENDENT_REGISTERED: Code = Code::new(
    "dependent-registered",
    409,
    "Người này đã được đăng ký và đang chờ người giám hộ xác nhận",
    "This person is registered already, and their guardian has not answered yet",
);
/// The registration was answered, taken back, or has lapsed.
pub(super) const REGISTRATION_OVER: Code = Code::new(
    "registration-over",
    409,
    "Đăng ký đã được trả lời, rút lại hoặc hết hạn",
    "The registration was answered, taken back, or has lapsed",
);
/// Nobody but the guardian stands for somebody who has no number.
pub(super) const DEPENDENT_WITHOUT_PHONE: Code = Code::new(
    "dependent-without-phone",
    409,
    "Người này chưa có số điện thoại: hãy gắn số, đóng tài khoản, hoặc nhờ phường, xã đổi người giám hộ",
    "This person has no telephone: attach a number, close the account, or have the ward name another guardian",
);
/// The account has a number: its owner speaks for it.
pub(super) const DEPENDENT_HAS_PHONE: Code = Code::new(
    "dependent-has-phone",
    409,
    "Tài khoản này đã có số điện thoại và do chủ của nó quản lý",
    "This account has a telephone number, and its owner speaks for it",
);
/// The number is another account's.
pub(super) const PHONE_TAKEN: Code =
    Code::new("phone-taken", 409, "Số điện thoại đã có tài khoản", "The telephone number has an account already");

/// All of them.
#[cfg(test)]
pub(super) const ALL: [Code; 7] = [
    GUARDIAN_NOT_VERIFIED,
    GUARDIAN_LEAVES,
    DEPENDENT_REGISTERED,
    REGISTRATION_OVER,
    DEPENDENT_WITHOUT_PHONE,
    DEPENDENT_HAS_PHONE,
    PHONE_TAKEN,
];

/// Why something about somebody without a telephone does not go on, beside what can always go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DependentFault {
    /// The guardian's number is nobody's who can sign in.
    #[error("no account has proved the guardian's number")]
    GuardianUnknown,
    /// The guardian's own account is being closed.
    #[error("the guardian is leaving")]
    GuardianLeaves,
    /// The dependent's number is the account of somebody who has a telephone.
    #[error("the number has an account of its own")]
    NumberTaken,
    /// A registration waits already.
    #[error("a registration waits already")]
    Registered,
    /// It waits no more.
    #[error("the registration is over")]
    Over,
    /// The guardian can't just go.
    #[error("the dependent has no telephone")]
    WithoutPhone,
    /// The guardian has no say any more.
    #[error("the dependent has a telephone")]
    HasPhone,
    /// The number to be attached is another account's.
    #[error("the telephone number has an account")]
    PhoneTaken,
}

impl DependentFault {
    /// The stable code.
    pub(super) fn code(self) -> Code {
        match self {
            Self::GuardianUnknown => GUARDIAN_NOT_VERIFIED,
            Self::GuardianLeaves => GUARDIAN_LEAVES,
            Self::NumberTaken => NUMBER_TAKEN,
            Self::Registered => DEPENDENT_REGISTERED,
            Self::Over => REGISTRATION_OVER,
            Self::WithoutPhone => DEPENDENT_WITHOUT_PHONE,
            Self::HasPhone => DEPENDENT_HAS_PHONE,
            Self::PhoneTaken => PHONE_TAKEN,
        }
    }
}
