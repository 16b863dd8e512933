//! The stable code of each refusal, listed once, with titles that a person understands in both languages.

use platform::problem::{self, Code};

use super::{bill, delegation, fee, proposal};
use crate::qr;

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
/// Payments keep coming in while a shop is closed.
pub(crate) const MERCHANT_BUSY: Code =
    Code::new("merchant-busy", 409, "Điểm bán đang nhận tiền, hãy thử lại", "The shop is being paid, try again");
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
/// A proof came along that is not one for this transaction, or not any more.
pub(crate) const STEP_UP_INVALID: Code = Code::new(
    "step-up-invalid",
    403,
    "Mã xác thực không dùng được cho giao dịch này",
    "The proof is not good for this transaction",
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
pub(crate) const SIGNATURE_INVALID: Code = platform::signature::INVALID;
/// A callback about another amount.
pub(crate) const CALLBACK_AMOUNT_MISMATCH: Code =
    Code::new("callback-amount-mismatch", 422, "Số tiền khác với yêu cầu", "The amount is not that of the request");

pub(super) const QR_CODES: [Code; 12] = [
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

/// The code of what is wrong with a payment code.
pub(crate) fn qr_code(reason: qr::Reason) -> Code {
    QR_CODES.into_iter().find(|code| code.code() == reason.code()).unwrap_or(problem::INVALID_BODY)
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
        STEP_UP_INVALID,
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
        MERCHANT_BUSY,
        OUTCOME_UNKNOWN,
        SIGNATURE_INVALID,
        CALLBACK_AMOUNT_MISMATCH,
    ];
    codes.extend(QR_CODES);
    codes.extend(bill::CODES);
    codes.extend(fee::CODES);
    codes.extend(proposal::CODES);
    codes.extend(delegation::CODES);
    codes
}
