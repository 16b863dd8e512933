//! What the pages of a sign-in say, in Vietnamese and English.

use platform::http::Language;
use serde::Serialize;

use super::page::Face;
use crate::sign_in::Refusal;

/// A title and what stands below it.
type Said = (&'static str, &'static str);

/// The words of one language.
#[derive(Debug, Serialize)]
pub(super) struct Text {
    again: &'static str,
    sign_out: &'static str,
    account: &'static str,
    how: &'static str,
    #[serde(skip)]
    not_under_way: Said,
    #[serde(skip)]
    foreign: Said,
    #[serde(skip)]
    declined: Said,
    #[serde(skip)]
    not_believed: Said,
    #[serde(skip)]
    away: Said,
    #[serde(skip)]
    no_role: Said,
    #[serde(skip)]
    signed_out_here: Said,
    #[serde(skip)]
    not_set_up: Said,
}

impl Text {
    pub(super) fn of_face(&self, face: Face) -> Said {
        match face {
            Face::Refused(Refusal::NotUnderWay) => self.not_under_way,
            Face::Refused(Refusal::Foreign) => self.foreign,
            Face::Refused(Refusal::Declined) => self.declined,
            Face::Refused(Refusal::NotBelieved) => self.not_believed,
            Face::Refused(Refusal::Away) => self.away,
            Face::NoRole(_) => self.no_role,
            Face::SignedOutHere => self.signed_out_here,
            Face::NotSetUp => self.not_set_up,
        }
    }
}

const VI: Text = Text {
    again: "Đăng nhập lại",
    sign_out: "Đăng xuất",
    account: "Mã tài khoản của bạn:",
    how: "Quản trị viên cấp vai trò bằng lệnh:",
    not_under_way: (
        "Lần đăng nhập này đã kết thúc",
        "Lần đăng nhập này đã dùng rồi, đã quá lâu, hoặc bắt đầu ở trình duyệt khác. Hãy đăng nhập lại.",
    ),
    foreign: (
        "Không nhận được câu trả lời này",
        "Câu trả lời không thuộc lần đăng nhập nào của trình duyệt này. Hãy đăng nhập lại từ màn hình điều hành.",
    ),
    declined: ("Chưa đăng nhập", "Bạn đã dừng việc đăng nhập, hoặc dịch vụ đăng nhập không thực hiện được."),
    not_believed: (
        "Không xác nhận được việc đăng nhập",
        "Dịch vụ đăng nhập không xác nhận lần này. Hãy đăng nhập lại.",
    ),
    away: ("Tạm thời chưa đăng nhập được", "Dịch vụ đăng nhập đang không trả lời. Hãy thử lại sau ít phút."),
    no_role: (
        "Tài khoản này chưa có vai trò",
        "Bạn đã đăng nhập, nhưng màn hình điều hành chỉ dành cho trực ban, chỉ huy và quản trị viên.",
    ),
    signed_out_here: (
        "Đã đăng xuất khỏi màn hình",
        "Dịch vụ đăng nhập đang không trả lời, nên trình duyệt này có thể vẫn còn đăng nhập ở đó. Hãy đóng trình duyệt.",
    ),
    not_set_up: (
        "Chưa cài đặt đăng nhập",
        "Quản trị viên cần đặt `ioc.sign_in` rồi chạy `trangtien admin set-up-wall`.",
    ),
};

const EN: Text = Text {
    again: "Sign in again",
    sign_out: "Sign out",
    account: "Your account:",
    how: "An administrator gives it a role by",
    not_under_way: (
        "This sign-in is over",
        "It was used already, took too long, or was begun in another browser. Please sign in again.",
    ),
    foreign: (
        "This answer is not taken",
        "It belongs to no sign-in of this browser. Please sign in again from the wall.",
    ),
    declined: ("Not signed in", "You stopped the sign-in, or the sign-in service could not do it."),
    not_believed: (
        "The sign-in could not be confirmed",
        "The sign-in service did not confirm it. Please sign in again.",
    ),
    away: ("Nobody can sign in right now", "The sign-in service does not answer. Please try again in a few minutes."),
    no_role: (
        "This account has no role here",
        "You are signed in, but the wall is for operators, leads and administrators only.",
    ),
    signed_out_here: (
        "Signed out of the wall",
        "The sign-in service does not answer, so this browser may still be signed in there. Please close the browser.",
    ),
    not_set_up: (
        "No sign-in is set up",
        "An administrator has to set `ioc.sign_in` and then run `trangtien admin set-up-wall`.",
    ),
};

/// The words of a language.
pub(super) const fn of(language: Language) -> &'static Text {
    match language {
        Language::Vi => &VI,
        Language::En => &EN,
    }
}
