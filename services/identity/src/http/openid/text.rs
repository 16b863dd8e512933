//! What the hosted pages say, in both languages.

use platform::http::Language;
use serde::Serialize;

use crate::openid::scope::Scope;

/// The sentences of the pages; `{client}` and `{phone}` stand for what they speak of.
#[derive(Serialize)]
pub(super) struct Text {
    pub sign_in: &'static str,
    pub to: &'static str,
    pub phone: &'static str,
    pub phone_hint: &'static str,
    pub send: &'static str,
    pub vneid: &'static str,
    pub onward: &'static str,
    pub go_on: &'static str,
    pub enter_code: &'static str,
    pub sent_to: &'static str,
    pub code: &'static str,
    pub code_hint: &'static str,
    pub enter: &'static str,
    pub again: &'static str,
    pub other: &'static str,
    pub consent: &'static str,
    pub wants: &'static str,
    pub signed_in_as: &'static str,
    pub revocable: &'static str,
    pub allow: &'static str,
    pub deny: &'static str,
    pub goes_to: &'static str,
    pub sign_out: &'static str,
    pub sign_out_asks: &'static str,
    pub stay_hint: &'static str,
    pub signed_out: &'static str,
    pub signed_out_says: &'static str,
    pub wrong: &'static str,
    pub language: &'static str,
}

static VI: Text = Text {
    sign_in: "Đăng nhập",
    to: "để dùng",
    phone: "Số điện thoại",
    phone_hint: "Chúng tôi sẽ gửi một mã 6 chữ số qua tin nhắn.",
    send: "Gửi mã",
    vneid: "Đăng nhập bằng VNeID",
    onward: "Bạn đang được chuyển tới VNeID",
    go_on: "Tiếp tục tới VNeID",
    enter_code: "Nhập mã xác nhận",
    sent_to: "Mã đã được gửi tới",
    code: "Mã 6 chữ số",
    code_hint: "Không đưa mã này cho bất kỳ ai.",
    enter: "Đăng nhập",
    again: "Gửi lại mã",
    other: "Dùng số khác",
    consent: "Cho phép truy cập",
    wants: "muốn:",
    signed_in_as: "Bạn đang đăng nhập bằng số",
    revocable: "Bạn có thể thu hồi quyền này bất cứ lúc nào trong ứng dụng.",
    allow: "Cho phép",
    deny: "Từ chối",
    goes_to: "Sau đó bạn sẽ trở lại",
    sign_out: "Đăng xuất",
    sign_out_asks: "Bạn có muốn đăng xuất khỏi trình duyệt này không?",
    stay_hint: "Nếu không, hãy đóng trang này.",
    signed_out: "Đã đăng xuất",
    signed_out_says: "Bạn đã đăng xuất khỏi trình duyệt này.",
    wrong: "Không thực hiện được",
    language: "Ngôn ngữ",
};

static EN: Text = Text {
    sign_in: "Sign in",
    to: "to use",
    phone: "Telephone number",
    phone_hint: "We will send a code of 6 digits by text message.",
    send: "Send the code",
    vneid: "Sign in with VNeID",
    onward: "You are being taken to VNeID",
    go_on: "Go on to VNeID",
    enter_code: "Enter the code",
    sent_to: "A code was sent to",
    code: "Code of 6 digits",
    code_hint: "Never give this code to anybody.",
    enter: "Sign in",
    again: "Send another code",
    other: "Use another number",
    consent: "Allow access",
    wants: "would like:",
    signed_in_as: "You are signed in with",
    revocable: "You can take this back at any time in the app.",
    allow: "Allow",
    deny: "Deny",
    goes_to: "You will then return to",
    sign_out: "Sign out",
    sign_out_asks: "Do you want to sign out of this browser?",
    stay_hint: "If not, close this page.",
    signed_out: "Signed out",
    signed_out_says: "You have signed out of this browser.",
    wrong: "This can't be done",
    language: "Language",
};

/// The sentences in a language.
pub(super) fn of(language: Language) -> &'static Text {
    match language {
        Language::Vi => &VI,
        Language::En => &EN,
    }
}

/// What letting a client have a scope means.
pub(super) fn scope(scope: Scope, language: Language) -> &'static str {
    let (vi, en) = match scope {
        Scope::OpenId => {
            ("nhận ra bạn bằng một mã riêng của ứng dụng này", "to recognise you, by an id that only this app sees")
        }
        Scope::Profile => ("xem tên hiển thị và ngôn ngữ của bạn", "to see your display name and language"),
        Scope::Phone => ("xem số điện thoại của bạn", "to see your telephone number"),
        Scope::Tier => ("xem mức độ xác thực danh tính của bạn", "to see how far you have proved who you are"),
        Scope::OfflineAccess => {
            ("giữ các quyền này cả khi bạn đã đăng xuất", "to keep this access after you have signed out")
        }
        Scope::FeesWrite | Scope::TokensIntrospect => ("", ""),
    };
    match language {
        Language::Vi => vi,
        Language::En => en,
    }
}

/// Why a page can't go on.
pub(super) fn refusal(why: &str, language: Language) -> &'static str {
    let (vi, en) = match why {
        "client" => {
            ("Ứng dụng yêu cầu đăng nhập không được biết đến.", "The app that asks for a sign-in is not known.")
        }
        "redirect" => (
            "Ứng dụng muốn nhận câu trả lời ở một địa chỉ chưa đăng ký.",
            "The app wants the answer at an address that is not registered.",
        ),
        "form" => (
            "Trang này đã quá cũ hoặc thuộc về trình duyệt khác. Hãy trở lại ứng dụng và bắt đầu lại. Trình duyệt cần cho phép cookie.",
            "This page is too old or belongs to another browser. Return to the app and start again. Cookies must be allowed.",
        ),
        _ => ("Yêu cầu không đọc được.", "The request can't be read."),
    };
    match language {
        Language::Vi => vi,
        Language::En => en,
    }
}
