//! The stable codes of this service, with their titles in both languages.

use platform::problem::Code;

/// The text is no phone number.
pub const PHONE_INVALID: Code =
    Code::new("phone-invalid", 422, "Số điện thoại không hợp lệ", "Not a valid phone number");
/// The number can't receive messages.
pub const PHONE_NOT_MOBILE: Code =
    Code::new("phone-not-mobile", 422, "Cần số di động để nhận mã", "A mobile number is needed to receive a code");
/// Numbers of that country can't sign in.
pub const PHONE_NOT_SERVED: Code = Code::new(
    "phone-not-served",
    422,
    "Chưa hỗ trợ số điện thoại của nước này",
    "Numbers of this country are not supported",
);
/// The last code was sent moments ago.
pub const OTP_TOO_SOON: Code = Code::new(
    "otp-too-soon",
    429,
    "Mã vừa được gửi, vui lòng đợi rồi thử lại",
    "A code was just sent, please wait before asking again",
);
/// Too many codes were asked for.
pub const OTP_TOO_MANY: Code = Code::new(
    "otp-too-many",
    429,
    "Đã yêu cầu quá nhiều mã, vui lòng thử lại sau",
    "Too many codes were asked for, please try again later",
);
/// Codes can't be counted now, so none are sent.
pub const SIGN_IN_UNAVAILABLE: Code = Code::new(
    "sign-in-unavailable",
    503,
    "Tạm thời chưa gửi được mã, vui lòng thử lại sau ít phút",
    "Codes can't be sent right now, please try again in a few minutes",
);
/// Sending is paused, because it looks like abuse or has cost enough for a day.
pub const OTP_PAUSED: Code = Code::new(
    "otp-paused",
    503,
    "Tạm ngừng gửi mã, vui lòng thử lại sau hoặc dùng thiết bị đã từng đăng nhập",
    "Sending codes is paused, please try later, or on a device that you have signed in on",
);
/// Too many wrong codes from one address.
pub const OTP_TRIES_TOO_MANY: Code = Code::new(
    "otp-tries-too-many",
    429,
    "Đã nhập sai mã quá nhiều lần, vui lòng thử lại sau",
    "Too many wrong codes were sent, please try again later",
);
/// No such challenge for this device and purpose.
pub const OTP_UNKNOWN: Code = Code::new(
    "otp-unknown",
    422,
    "Không có mã nào đang chờ, hãy yêu cầu mã mới",
    "No such code is waiting, please ask for a new one",
);
/// The code is wrong.
pub const OTP_WRONG: Code = Code::new("otp-wrong", 422, "Mã không đúng", "The code is wrong");
/// No try is left.
pub const OTP_EXHAUSTED: Code = Code::new(
    "otp-exhausted",
    422,
    "Đã nhập sai quá nhiều lần, hãy yêu cầu mã mới",
    "Too many wrong codes, please ask for a new one",
);
/// The code's time is over.
pub const OTP_EXPIRED: Code = Code::new(
    "otp-expired",
    422,
    "Mã đã hết hạn, hãy yêu cầu mã mới",
    "The code has expired, please ask for a new one",
);
/// The code was used before.
pub const OTP_USED: Code = Code::new("otp-used", 409, "Mã đã được sử dụng", "The code was used before");
/// The refresh token is not, or no longer, good.
pub const REFRESH_TOKEN_INVALID: Code = Code::new(
    "refresh-token-invalid",
    401,
    "Phiên đăng nhập đã kết thúc, vui lòng đăng nhập lại",
    "The session has ended, please sign in again",
);
/// The refresh token was used before; its session was ended.
pub const REFRESH_TOKEN_REPLAYED: Code = Code::new(
    "refresh-token-replayed",
    401,
    "Phiên đăng nhập đã bị khóa vì mã làm mới bị dùng lại",
    "The session was ended because its refresh token was used twice",
);
/// Easy to guess.
pub const PIN_WEAK: Code = Code::new(
    "pin-weak",
    422,
    "Mã PIN quá dễ đoán, hãy chọn mã khác",
    "This PIN is too easy to guess, please choose another",
);
/// Not six digits.
pub const PIN_MALFORMED: Code =
    Code::new("pin-malformed", 422, "Mã PIN gồm đúng 6 chữ số", "A PIN has exactly 6 digits");
/// The current PIN is wrong.
pub const PIN_WRONG: Code = Code::new("pin-wrong", 403, "Mã PIN không đúng", "The PIN is wrong");
/// Too many wrong PINs; wait.
pub const PIN_DELAYED: Code = Code::new(
    "pin-delayed",
    429,
    "Nhập sai PIN nhiều lần, vui lòng đợi rồi thử lại",
    "Too many wrong PINs, please wait before trying again",
);
/// A PIN exists: prove it, or reset it.
pub const PIN_PROOF_REQUIRED: Code = Code::new(
    "pin-proof-required",
    422,
    "Cần mã PIN hiện tại hoặc mã xác nhận để đổi PIN",
    "Changing the PIN needs the current one, or a one-time code",
);
/// There is no PIN to prove.
pub const PIN_NOT_SET: Code = Code::new("pin-not-set", 409, "Chưa đặt mã PIN", "No PIN is set");
/// The PIN was changed at the same time.
pub const PIN_CHANGED: Code =
    Code::new("pin-changed", 409, "Mã PIN vừa được thay đổi", "The PIN was changed meanwhile");
/// The PIN was set too often.
pub const PIN_TOO_MANY: Code = Code::new(
    "pin-too-many",
    429,
    "Đã đặt mã PIN quá nhiều lần, vui lòng thử lại sau",
    "The PIN was set too often, please try again later",
);
/// The PIN was reset a short while ago and proves nothing yet.
pub const PIN_COOLING: Code = Code::new(
    "pin-cooling",
    403,
    "Mã PIN vừa được đặt lại nên chưa dùng để xác thực giao dịch",
    "The PIN was reset a short while ago and can't prove a transaction yet",
);
/// The key of a device or a passkey is new, and no PIN stood behind it; or the device itself is new, and power over money is given.
pub const KEY_COOLING: Code = Code::new(
    "key-cooling",
    403,
    "Thiết bị hoặc khóa này vừa được thêm nên chưa dùng để xác thực được",
    "This device or key was added a short while ago and proves nothing yet",
);
/// The device of the session announced no key.
pub const DEVICE_KEY_MISSING: Code =
    Code::new("device-key-missing", 409, "Thiết bị này chưa đăng ký khóa", "This device has announced no key");
/// The device's key did not sign this transaction.
pub const DEVICE_SIGNATURE_WRONG: Code = Code::new(
    "device-signature-wrong",
    403,
    "Chữ ký của thiết bị không đúng với giao dịch này",
    "The device's signature is not one for this transaction",
);
/// The signature is of another time.
pub const DEVICE_SIGNATURE_STALE: Code = Code::new(
    "device-signature-stale",
    403,
    "Chữ ký quá cũ hoặc đồng hồ thiết bị sai",
    "The signature is too old, or the device's clock is wrong",
);
/// Not a citizen number, or not one of that day of birth.
pub const CITIZEN_NUMBER_INVALID: Code = Code::new(
    "citizen-number-invalid",
    422,
    "Số định danh cá nhân không hợp lệ",
    "This is not a citizen identity number of that day of birth",
);
/// This city has no verifier.
pub const EKYC_UNAVAILABLE: Code = Code::new(
    "ekyc-unavailable",
    503,
    "Thành phố này chưa hỗ trợ xác thực số định danh",
    "This city can't verify citizen numbers yet",
);
/// A number is proved already.
pub const EKYC_DONE: Code =
    Code::new("ekyc-done", 409, "Số định danh đã được xác thực", "A citizen number is proved already");
/// The verifier is being asked already.
pub const EKYC_PENDING: Code =
    Code::new("ekyc-pending", 409, "Đang chờ kết quả xác thực", "The verifier is being asked already");
/// Too many requests in a day.
pub const EKYC_TOO_MANY: Code = Code::new(
    "ekyc-too-many",
    429,
    "Đã yêu cầu xác thực quá nhiều lần hôm nay",
    "The verifier was asked too often today",
);
/// The citizen has as many exports as are kept.
pub const EXPORTS_TOO_MANY: Code = Code::new(
    "exports-too-many",
    429,
    "Đã có nhiều bản sao dữ liệu đang được giữ",
    "As many exports as may be are kept",
);
/// Services still hand over their parts.
pub const EXPORT_NOT_READY: Code =
    Code::new("export-not-ready", 409, "Bản sao dữ liệu chưa hoàn tất", "The export is not complete yet");
/// There is no closing that could be taken back.
pub const CLOSING_NOT_OPEN: Code = Code::new(
    "closing-not-open",
    409,
    "Không có yêu cầu đóng tài khoản nào có thể rút lại",
    "There is no closing that could be taken back",
);
/// VNeID does not answer, or this city is not connected to it.
pub const VNEID_UNAVAILABLE: Code =
    Code::new("vneid-unavailable", 503, "Chưa kết nối được với VNeID", "VNeID can't be reached");
/// VNeID does not vouch for the citizen.
pub const VNEID_REFUSED: Code =
    Code::new("vneid-refused", 403, "VNeID không xác nhận danh tính này", "VNeID does not vouch for you");
/// No such visit waits in this session.
pub const VNEID_STATE_UNKNOWN: Code = Code::new(
    "vneid-state-unknown",
    422,
    "Lượt đăng nhập VNeID đã hết hạn hoặc không thuộc phiên này",
    "This visit to VNeID is over, or is not of this session",
);
/// The account at VNeID is linked to none here.
pub const VNEID_NOT_LINKED: Code =
    Code::new("vneid-not-linked", 403, "Tài khoản VNeID này chưa được liên kết", "This account at VNeID is not linked");
/// Too many visits to VNeID were begun.
pub const VNEID_TOO_MANY: Code = Code::new(
    "vneid-too-many",
    429,
    "Đã mở VNeID quá nhiều lần, vui lòng thử lại sau",
    "VNeID was visited too often, please try again later",
);
/// The account at VNeID is linked to another account here.
pub const VNEID_TAKEN: Code = Code::new(
    "vneid-taken",
    409,
    "Tài khoản VNeID này đã liên kết với người khác",
    "This account at VNeID is linked to somebody else",
);
/// This account is linked to another one at VNeID.
pub const VNEID_DIFFERS: Code = Code::new(
    "vneid-differs",
    409,
    "Bạn đã liên kết với một tài khoản VNeID khác",
    "You are linked to another account at VNeID",
);
/// Another account has the citizen number.
pub const NUMBER_TAKEN: Code =
    Code::new("number-taken", 409, "Số định danh này đã có tài khoản", "Another account has this citizen number");
/// This account has another citizen number.
pub const NUMBER_DIFFERS: Code =
    Code::new("number-differs", 409, "Số định danh khác với số đã xác thực", "You have proved another citizen number");
/// The city's address is no name that passkeys could be bound to.
pub const PASSKEYS_UNAVAILABLE: Code = Code::new(
    "passkeys-unavailable",
    503,
    "Thành phố này chưa hỗ trợ khóa truy cập (passkey)",
    "This city's address does not allow passkeys",
);
/// No passkey is registered.
pub const PASSKEY_MISSING: Code =
    Code::new("passkey-missing", 409, "Chưa đăng ký khóa truy cập (passkey)", "No passkey is registered");
/// The authenticator's answer proves nothing.
pub const PASSKEY_REFUSED: Code =
    Code::new("passkey-refused", 403, "Không xác thực được bằng khóa truy cập này", "The passkey's answer is not good");
/// No such challenge waits in this session for this.
pub const PASSKEY_CHALLENGE_UNKNOWN: Code = Code::new(
    "passkey-challenge-unknown",
    422,
    "Yêu cầu xác thực đã hết hạn hoặc đã dùng, hãy thử lại",
    "The challenge is over, was answered before, or was for something else",
);
/// The credential is registered already.
pub const PASSKEY_KNOWN: Code =
    Code::new("passkey-known", 409, "Khóa truy cập này đã được đăng ký", "This passkey is registered already");
/// As many passkeys as there may be.
pub const PASSKEYS_TOO_MANY: Code =
    Code::new("passkeys-too-many", 409, "Đã có quá nhiều khóa truy cập", "There are as many passkeys as there may be");
/// The first PIN needs a recent sign-in.
pub const SESSION_NOT_FRESH: Code =
    Code::new("session-not-fresh", 403, "Hãy đăng nhập lại để đặt mã PIN", "Please sign in again to set a PIN");

/// No such role.
pub const ROLE_UNKNOWN: Code = Code::new("role-unknown", 422, "Không có vai trò này", "There is no such role");
/// The scope does not fit the role.
pub const ROLE_SCOPE_INVALID: Code = Code::new(
    "role-scope-invalid",
    422,
    "Phạm vi không phù hợp với vai trò",
    "The agency or ward does not fit the role",
);
/// The city has no such agency.
pub const AGENCY_UNKNOWN: Code =
    Code::new("agency-unknown", 422, "Không có cơ quan này", "The city has no such agency");
/// The city has no such ward.
pub const WARD_UNKNOWN: Code =
    Code::new("ward-unknown", 422, "Không có phường, xã này", "The city has no such ward or commune");
/// The delegation is not in force.
pub const DELEGATION_OVER: Code =
    Code::new("delegation-over", 409, "Ủy quyền không còn hoặc chưa có hiệu lực", "The delegation is not in force");
/// As many delegations as there may be.
pub const DELEGATIONS_TOO_MANY: Code =
    Code::new("delegations-too-many", 409, "Đã có quá nhiều ủy quyền", "There are as many delegations as there may be");
/// Nobody gives a role to themself.
pub const OWN_ROLE: Code =
    Code::new("own-role", 403, "Không thể tự giao vai trò cho mình", "Nobody gives a role to themself");
/// The officer holds as many roles as tokens carry.
pub const ROLES_TOO_MANY: Code =
    Code::new("roles-too-many", 409, "Người này đã giữ quá nhiều vai trò", "This person holds too many roles");

/// The client was disabled.
pub const CLIENT_DISABLED: Code =
    Code::new("client-disabled", 409, "Ứng dụng đã bị ngừng", "The client has been disabled");
/// A public client has no secret.
pub const CLIENT_PUBLIC: Code =
    Code::new("client-public", 409, "Ứng dụng công khai không có mã bí mật", "A public client has no secret");

/// All codes of this service, for the documentation.
pub const ALL: &[Code] = &[
    PHONE_INVALID,
    PHONE_NOT_MOBILE,
    PHONE_NOT_SERVED,
    OTP_TOO_SOON,
    OTP_TOO_MANY,
    SIGN_IN_UNAVAILABLE,
    OTP_PAUSED,
    OTP_TRIES_TOO_MANY,
    OTP_UNKNOWN,
    OTP_WRONG,
    OTP_EXHAUSTED,
    OTP_EXPIRED,
    OTP_USED,
    REFRESH_TOKEN_INVALID,
    REFRESH_TOKEN_REPLAYED,
    PIN_WEAK,
    PIN_MALFORMED,
    PIN_WRONG,
    PIN_DELAYED,
    PIN_PROOF_REQUIRED,
    PIN_NOT_SET,
    PIN_CHANGED,
    PIN_TOO_MANY,
    PIN_COOLING,
    CITIZEN_NUMBER_INVALID,
    EKYC_UNAVAILABLE,
    EKYC_DONE,
    EKYC_PENDING,
    EKYC_TOO_MANY,
    EXPORTS_TOO_MANY,
    EXPORT_NOT_READY,
    CLOSING_NOT_OPEN,
    VNEID_UNAVAILABLE,
    VNEID_REFUSED,
    VNEID_STATE_UNKNOWN,
    VNEID_NOT_LINKED,
    VNEID_TOO_MANY,
    VNEID_TAKEN,
    VNEID_DIFFERS,
    NUMBER_TAKEN,
    NUMBER_DIFFERS,
    PASSKEYS_UNAVAILABLE,
    PASSKEY_MISSING,
    PASSKEY_REFUSED,
    PASSKEY_CHALLENGE_UNKNOWN,
    PASSKEY_KNOWN,
    PASSKEYS_TOO_MANY,
    KEY_COOLING,
    DEVICE_KEY_MISSING,
    DEVICE_SIGNATURE_WRONG,
    DEVICE_SIGNATURE_STALE,
    SESSION_NOT_FRESH,
    ROLE_UNKNOWN,
    ROLE_SCOPE_INVALID,
    AGENCY_UNKNOWN,
    WARD_UNKNOWN,
    OWN_ROLE,
    DELEGATION_OVER,
    DELEGATIONS_TOO_MANY,
    ROLES_TOO_MANY,
    CLIENT_DISABLED,
    CLIENT_PUBLIC,
];
