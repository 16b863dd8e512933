//! That every text is there in both languages, fills from its parameters, and reads well.

use std::collections::BTreeSet;
use std::path::Path;

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::sms;

const LANGUAGES: [Language; 2] = [Language::Vi, Language::En];

fn parameters() -> Value {
    json!({
        "amount": { "amount": "150000", "currency": "VND" },
        "balance": { "amount": "1350000", "currency": "VND" },
        "merchant": "Bún bò Mệ Kéo",
        "bank": "VCB",
        "category": { "vi": "hạ tầng giao thông", "en": "roads and pavements" },
        "reason": "insufficient-funds",
        "code": "123456",
        "purpose": "sign-in",
        "kind": "electricity",
        "period": "2025-11",
        "minutes": 5,
        "count": 3,
        "agency": { "vi": "Trung tâm Phục vụ hành chính công", "en": "Public Administration Service Centre" },
        "procedure": "1.000005",
        "days": 7,
        "tier": 1,
        "way": "reset",
        "side": "dependent",
        "what": "merchant",
        "left": true,
        "hindrances": ["balance-not-zero"],
        "hours": 24,
        "due_on": "2025-12-01",
        "exercise": true,
        "level": 80,
        "ward": { "vi": "Phường Kim Long", "en": "Kim Long Ward" },
        "title": { "vi": "Chợ Đông Ba mở cửa lại", "en": "Đông Ba market opens again" },
        "headline": { "vi": "Lũ sông Hương trên báo động 3", "en": "Perfume River above flood alarm 3" },
        "text": { "vi": "Di chuyển lên nơi cao.", "en": "Move to higher ground." },
    })
}

#[test]
fn texts_read_well_in_both_languages() {
    let text = |template: Template, language| template.text(language, &parameters()).expect("fills").body;
    assert_eq!(
        text(REPORT_LIMIT_NEAR, Language::En),
        "80% of the time limit of Public Administration Service Centre is spent for a report about roads and pavements (Kim Long Ward)."
    );
    assert_eq!(text(PAYMENT_SENT, Language::Vi), "Bạn đã trả 150.000 ₫ cho Bún bò Mệ Kéo. Số dư: 1.350.000 ₫.");
    assert_eq!(text(PAYMENT_SENT, Language::En), "You paid 150.000 ₫ to Bún bò Mệ Kéo. Balance: 1.350.000 ₫.");
    assert_eq!(text(TOP_UP_FAILED, Language::Vi), "Không nạp được 150.000 ₫: tài khoản ngân hàng không đủ tiền.");
    assert_eq!(
        OTP.sms(Language::Vi, &parameters()).expect("fills"),
        "Trang Tien: 123456 la ma dang nhap cua ban, co hieu luc 5 phut. Khong dua ma nay cho bat ky ai."
    );
}

#[test]
fn every_source_fills_in_both_languages() {
    for source in SOURCES {
        for language in LANGUAGES {
            let template = Template::find(source.name).expect("its own name");
            let text = template.render(source.part, language, &parameters()).expect("fills");
            assert!(!text.is_empty() && text.trim() == text, "{text:?}");
            let missing = json!({});
            // A text that prints nothing of its event can't miss it.
            let prints = [source.vi, source.en].iter().all(|text| text.contains("{{"));
            if source.part != Part::Title && prints && source.name != PIN_CHANGED.name() {
                assert!(template.render(source.part, language, &missing).is_err(), "{}", source.name);
            }
        }
    }
    assert!(Template::find("otp.v0").is_err());
    assert_eq!(PAYMENT_SENT.kind(), "payment-sent");
}

#[test]
fn every_file_is_a_source_and_every_source_is_a_file_in_both_languages() {
    let expected: BTreeSet<String> =
        SOURCES.iter().map(|source| format!("{}.{}.txt", source.name, source.part.name())).collect();
    for language in LANGUAGES {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("templates").join(language.tag());
        let files = std::fs::read_dir(folder).expect("the folder exists");
        let names = files.map(|file| file.expect("readable").file_name().into_string().expect("UTF-8"));
        assert_eq!(names.collect::<BTreeSet<_>>(), expected);
    }
}

#[test]
fn a_new_pin_says_how_it_came_and_from_when_it_counts() {
    let body = |way: &str, hours: i64, language| {
        PIN_CHANGED.text(language, &json!({ "way": way, "hours": hours })).expect("fills").body
    };
    assert!(body("first", 0, Language::En).starts_with("A PIN was set for your account. If this was not you"));
    assert!(body("changed", 0, Language::Vi).starts_with("Mã PIN của bạn đã được đổi. Nếu không phải bạn làm"));
    let reset = body("reset", 24, Language::En);
    assert!(
        reset.starts_with("Your PIN was reset by a one-time code. For 24 hours it proves no transaction."),
        "{reset}"
    );
}

/// All that goes by SMS but codes, which are nobody's account yet, and warnings, which are as long as they were written.
#[test]
fn texts_about_the_account_cost_one_part_also_when_they_go_to_a_guardian() {
    let about_account = |name: &str| name != OTP.name() && !name.starts_with("alert-");
    let texts = SOURCES.iter().filter(|source| source.part == Part::Sms && about_account(source.name));
    for (source, language) in texts.flat_map(|source| LANGUAGES.map(|language| (source, language))) {
        let template = Template::find(source.name).expect("its own name");
        for (index, way) in ["first", "changed", "reset"].into_iter().enumerate() {
            for (side, to_guardian) in
                [("guardian", false), ("dependent", false), ("guardian", true), ("dependent", true)]
            {
                let mut longest = parameters();
                for (name, value) in [("way", json!(way)), ("side", json!(side)), ("left", json!(index == 0))] {
                    longest[name] = value;
                }
                for name in ["minutes", "hours", "days"] {
                    longest[name] = json!(999);
                }
                longest[dependent::REDIRECTED] = json!(to_guardian);
                let text = template.sms(language, &longest).expect("fills");
                let cost = sms::cost(&text);
                assert_eq!((cost.encoding, cost.parts), (sms::Encoding::Gsm7, 1), "{template:?}: {text}");
                assert_eq!(text.starts_with('('), to_guardian, "it says whose account: {text}");
            }
        }
    }
}

#[test]
fn one_time_codes_cost_one_part() {
    for language in LANGUAGES {
        for purpose in ["sign-in", "pin-reset", "attach-phone"] {
            let parameters = json!({ "code": "123456", "purpose": purpose, "minutes": 15 });
            let cost = sms::cost(&OTP.sms(language, &parameters).expect("fills"));
            assert_eq!((cost.encoding, cost.parts), (sms::Encoding::Gsm7, 1));
        }
    }
}

#[test]
fn a_parameter_is_text_and_never_template() {
    let mut parameters = parameters();
    parameters["merchant"] = json!("{{ code }} <b>");
    let text = PAYMENT_RECEIVED.text(Language::En, &parameters).expect("fills");
    assert_eq!(text.body, "{{ code }} <b> has received 150.000 ₫.");
}

proptest! {
    #[test]
    fn grouping_changes_no_digit(amount in any::<i64>()) {
        let grouped = group(&amount.to_string()).expect("a whole number");
        prop_assert_eq!(grouped.replace('.', ""), amount.to_string());
        for part in grouped.trim_start_matches('-').split('.').skip(1) {
            prop_assert_eq!(part.len(), 3);
        }
    }
}
