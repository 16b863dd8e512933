//! Which events call for which messages, and that their parameters fill the texts.

use chrono::Utc;
use platform::http::Language;
use prost::{Message, Name};

use super::*;

pub(crate) fn event<M: Message + Name>(subject: Uuid, message: &M) -> Event {
    Event {
        id: platform::id::new(),
        source: "test".to_owned(),
        position: 1,
        kind: M::full_name(),
        subject,
        time: Utc::now(),
        traceparent: None,
        data: message.encode_to_vec().into(),
    }
}

pub(crate) fn dong(amount: i64) -> Option<Money> {
    Some(Money { minor_units: amount, currency: "VND".to_owned() })
}

pub(crate) fn payment_of(payer: Uuid, owner: Uuid) -> PaymentCompleted {
    PaymentCompleted {
        payment_id: platform::id::new().to_string(),
        payer_user_id: payer.to_string(),
        merchant_id: platform::id::new().to_string(),
        merchant_name: "Cà phê Muối".to_owned(),
        merchant_owner_user_id: owner.to_string(),
        till_id: platform::id::new().to_string(),
        amount: dong(25_000),
        payer_balance: dong(175_000),
        acted_by: String::new(),
    }
}

/// The English texts of an event's in-app messages, by who reads them.
pub(crate) fn told<M: Message + Name>(subject: Uuid, message: &M) -> Vec<(Uuid, Lane, String)> {
    let made = drafts(&event(subject, message)).expect("well formed");
    let in_app = made.into_iter().filter(|draft| draft.channel == Channel::InApp);
    in_app
        .map(|draft| {
            for language in [Language::Vi, Language::En] {
                draft.template.text(language, &draft.parameters).expect("the parameters fill the template");
                if draft.lane == Lane::Security {
                    draft.template.sms(language, &draft.parameters).expect("it climbs");
                }
            }
            (draft.recipient, draft.lane, draft.template.text(Language::En, &draft.parameters).expect("fills").body)
        })
        .collect()
}

#[test]
fn a_refund_tells_the_payer() {
    let payer = platform::id::new();
    let completed = RefundCompleted {
        refund_id: platform::id::new().to_string(),
        payment_id: platform::id::new().to_string(),
        payer_user_id: payer.to_string(),
        merchant_name: "Cà phê Muối".to_owned(),
        amount: dong(25_000),
        payer_balance: dong(200_000),
        ..RefundCompleted::default()
    };
    let made = drafts(&event(payer, &completed)).expect("well formed");
    assert_eq!(made.len(), 2);
    for draft in &made {
        assert_eq!((draft.recipient, draft.lane), (payer, Lane::Payment));
        for language in [Language::Vi, Language::En] {
            draft.template.text(language, &draft.parameters).expect("the parameters fill the template");
        }
    }
}

#[test]
fn a_payment_tells_both_sides() {
    let (payer, owner) = (platform::id::new(), platform::id::new());
    let made = drafts(&event(payer, &payment_of(payer, owner))).expect("well formed");
    let to: Vec<_> = made.iter().map(|draft| (draft.recipient, draft.channel)).collect();
    use Channel::{InApp, Push};
    assert_eq!(to, [(payer, InApp), (payer, Push), (owner, InApp), (owner, Push)]);
    for draft in &made {
        assert_eq!(draft.lane, Lane::Payment);
        for language in [Language::Vi, Language::En] {
            draft.template.text(language, &draft.parameters).expect("the parameters fill the template");
        }
    }
}

#[test]
fn top_ups_fill_their_templates() {
    let user = platform::id::new();
    let completed = TopUpCompleted {
        top_up_id: platform::id::new().to_string(),
        transfer_id: platform::id::new().to_string(),
        user_id: user.to_string(),
        amount: dong(200_000),
        balance: dong(200_000),
        bank_code: "vcb".to_owned(),
    };
    let failed = TopUpFailed {
        top_up_id: platform::id::new().to_string(),
        user_id: user.to_string(),
        amount: dong(1),
        reason: "bank-timeout".to_owned(),
    };
    for event in [event(user, &completed), event(user, &failed)] {
        let made = drafts(&event).expect("well formed");
        assert_eq!(made.len(), 2);
        made[0].template.text(Language::En, &made[0].parameters).expect("the parameters fill the template");
    }
}

#[test]
fn bills_fill_their_templates_and_say_what_became_of_the_money() {
    let user = platform::id::new();
    let texts = |made: Vec<Draft>| {
        assert_eq!(made.len(), 2);
        assert!(made.iter().all(|draft| (draft.recipient, draft.lane) == (user, Lane::Payment)));
        [Language::Vi, Language::En].map(|language| {
            made[0].template.text(language, &made[0].parameters).expect("the parameters fill the template").body
        })
    };
    let paid = BillPaid {
        user_id: user.to_string(),
        kind: "electricity".to_owned(),
        period: "2025-11".to_owned(),
        amount: dong(636_768),
        balance: dong(363_232),
        ..BillPaid::default()
    };
    assert_eq!(
        texts(drafts(&event(user, &paid)).expect("well formed")),
        [
            "Hóa đơn tiền điện kỳ 2025-11: 636.768 ₫ đã được thanh toán. Số dư: 363.232 ₫.",
            "Your electricity bill for 2025-11, 636.768 ₫, is paid. Balance: 363.232 ₫.",
        ]
    );
    let fee = BillPaid { kind: "fee".to_owned(), period: "1.000005".to_owned(), ..paid.clone() };
    let [vi, en] = texts(drafts(&event(user, &fee)).expect("well formed"));
    assert!(vi.starts_with("Phí, lệ phí của thủ tục 1.000005: 636.768 ₫"), "{vi}");
    assert!(en.starts_with("The fee of procedure 1.000005, 636.768 ₫, is paid."), "{en}");
    let notice = FeeNoticeIssued {
        user_id: user.to_string(),
        agency_name_vi: "Trung tâm Phục vụ hành chính công".to_owned(),
        agency_name_en: "Public Administration Service Centre".to_owned(),
        procedure: "1.000005".to_owned(),
        amount: dong(120_000),
        due_on: "2025-12-01".to_owned(),
        ..FeeNoticeIssued::default()
    };
    assert_eq!(
        texts(drafts(&event(user, &notice)).expect("well formed"))[1],
        "Public Administration Service Centre asks for 120.000 ₫ for procedure 1.000005, by 2025-12-01. You can pay it among your bills."
    );
    for (reason, says) in [
        ("insufficient-funds", "the wallet holds too little"),
        ("bill-paid", "it was paid elsewhere"),
        ("bill-payment-expired", "the biller could not be asked in time"),
        ("amount-mismatch", "the payment was refused"),
    ] {
        let failed = BillPaymentFailed {
            user_id: user.to_string(),
            kind: "water".to_owned(),
            period: "2025-11".to_owned(),
            amount: dong(1),
            reason: reason.to_owned(),
            ..BillPaymentFailed::default()
        };
        let [_, en] = texts(drafts(&event(user, &failed)).expect("well formed"));
        assert!(en.contains(says) && en.starts_with("Your water bill") && en.ends_with("from your wallet."), "{en}");
    }
}

#[test]
fn bills_that_come_or_fall_due_and_money_in_between_are_spoken_of() {
    let user = platform::id::new();
    let english = |made: Vec<Draft>| {
        let to: Vec<_> = made.iter().map(|draft| (draft.recipient, draft.lane, draft.channel)).collect();
        assert_eq!(to, [(user, Lane::Payment, Channel::InApp), (user, Lane::Payment, Channel::Push)]);
        let [vi, en] = [Language::Vi, Language::En].map(|language| {
            made[0].template.text(language, &made[0].parameters).expect("the parameters fill the template").body
        });
        assert!(vi.contains("636.768 ₫"), "{vi}");
        en
    };
    let found = BillFound {
        user_id: user.to_string(),
        kind: "electricity".to_owned(),
        period: "2025-11".to_owned(),
        amount: dong(636_768),
        due_on: "2025-12-10".to_owned(),
        ..BillFound::default()
    };
    assert_eq!(
        english(drafts(&event(user, &found)).expect("well formed")),
        "Your electricity bill for 2025-11 has come: 636.768 ₫, by 2025-12-10. You can pay it among your bills."
    );
    let due = |kind: &str, period: &str| {
        let due = BillDue {
            user_id: user.to_string(),
            kind: kind.to_owned(),
            period: period.to_owned(),
            amount: dong(636_768),
            due_on: "2025-12-10".to_owned(),
            ..BillDue::default()
        };
        english(drafts(&event(user, &due)).expect("well formed"))
    };
    assert!(due("water", "2025-11").starts_with("Your water bill for 2025-11, 636.768 ₫, is not paid yet"));
    assert!(due("fee", "1.000005").starts_with("The fee of procedure 1.000005, 636.768 ₫, is not paid yet"));
    let unclear = BillPaymentUnclear {
        user_id: user.to_string(),
        kind: "electricity".to_owned(),
        period: "2025-11".to_owned(),
        amount: dong(636_768),
        ..BillPaymentUnclear::default()
    };
    let said = english(drafts(&event(user, &unclear)).expect("well formed"));
    assert!(said.contains("is being confirmed") && said.contains("no need to pay again"), "{said}");
    let top_up = TopUpUnclear {
        user_id: user.to_string(),
        amount: dong(636_768),
        bank_code: "vcb".to_owned(),
        ..TopUpUnclear::default()
    };
    let said = english(drafts(&event(user, &top_up)).expect("well formed"));
    assert!(said.starts_with("Your top-up of 636.768 ₫ from VCB is being confirmed"), "{said}");
}

#[test]
fn another_pin_and_a_new_device_are_told_where_nobody_can_mute_it() {
    let user = platform::id::new();
    let pin = |way: &str, cooling_s: i64| {
        let changed = PinChanged { user_id: user.to_string(), way: way.to_owned(), ..PinChanged::default() };
        let told = event(user, &changed);
        let cooling_until = if cooling_s == 0 { 0 } else { told.time.timestamp() + cooling_s };
        let changed = PinChanged { cooling_until, ..changed };
        drafts(&Event { data: changed.encode_to_vec().into(), ..told }).expect("well formed")
    };
    let linked = drafts(&event(user, &VneidLinked { user_id: user.to_string() })).expect("well formed");
    let device = |first: bool| {
        let device_id = platform::id::new().to_string();
        let added = DeviceAdded { user_id: user.to_string(), device_id, first, ..DeviceAdded::default() };
        drafts(&event(user, &added)).expect("well formed")
    };
    for (made, says) in [
        (pin("first", 0), "A PIN was set for your account. If"),
        (pin("changed", 0), "Your PIN was changed. If"),
        (pin("reset", 86_400), "For 24 hours it proves no transaction."),
        (device(false), "signed in to on a new device"),
        (linked, "can be signed in to by it"),
    ] {
        let to: Vec<_> = made.iter().map(|draft| (draft.recipient, draft.lane, draft.channel)).collect();
        assert_eq!(to, [(user, Lane::Security, Channel::InApp), (user, Lane::Security, Channel::Push)]);
        let text = made[0].template.text(Language::En, &made[0].parameters).expect("the parameters fill the template");
        assert!(text.body.contains(says), "{text:?}");
        made[0].template.text(Language::Vi, &made[0].parameters).expect("the parameters fill the template");
        made[0].template.sms(Language::Vi, &made[0].parameters).expect("it climbs");
    }
    assert!(device(true).is_empty(), "an account begins on a device of its own");
}

#[test]
fn a_reporter_hears_of_the_steps_they_wait_for() {
    let user = platform::id::new();
    let notice = |action: &str, to_state: &str| {
        let notice = ReporterNotice {
            user_id: user.to_string(),
            report_id: platform::id::new().to_string(),
            action: action.to_owned(),
            to_state: to_state.to_owned(),
            category: "HT".to_owned(),
            category_vi: "Hạ tầng giao thông".to_owned(),
            category_en: "Roads and pavements".to_owned(),
        };
        drafts(&event(user, &notice)).expect("well formed")
    };
    for (action, to_state) in [
        ("submit", "received"),
        ("ask", "needs-info"),
        ("distribute", "distributed"),
        ("reject", "rejected"),
        ("merge", "duplicate"),
        ("approve", "published"),
        ("grant-extension", "in-progress"),
        ("reopen", "verifying"),
        ("expire", "rejected"),
        ("accept", "in-progress"),
        ("return", "verifying"),
        ("rate", "closed"),
        ("expire", "closed"),
    ] {
        let made = notice(action, to_state);
        let quiet = matches!((action, to_state), ("accept" | "return" | "rate", _) | ("expire", "closed"));
        let channels: Vec<Channel> = made.iter().map(|draft| draft.channel).collect();
        let expected: &[Channel] = if quiet { &[Channel::InApp] } else { &[Channel::InApp, Channel::Push] };
        assert_eq!(channels, expected, "{action} to {to_state}");
        for draft in &made {
            assert_eq!((draft.recipient, draft.lane), (user, Lane::Service));
            for (language, name) in [(Language::Vi, "Hạ tầng giao thông"), (Language::En, "Roads and pavements")] {
                let text = draft.template.text(language, &draft.parameters).expect("the parameters fill it");
                assert!(text.body.contains(name), "{text:?}");
            }
        }
    }
    for (action, to_state) in [("claim", "verifying"), ("submit-result", "result-submitted"), ("answer", "verifying")] {
        assert!(notice(action, to_state).is_empty(), "{action} to {to_state} is in the list only");
    }
}

#[test]
fn a_code_request_stores_nothing_but_the_challenge() {
    let challenge = platform::id::new();
    let made = drafts(&event(challenge, &OtpRequested { challenge_id: challenge.to_string() })).expect("well formed");
    assert_eq!((made.len(), made[0].recipient, &made[0].parameters), (1, challenge, &json!({})));
    assert_eq!((made[0].lane, made[0].channel), (Lane::Security, Channel::Sms));
}

#[test]
fn what_can_not_be_read_is_poison_and_what_is_foreign_is_skipped() {
    let user = platform::id::new();
    let broken = PaymentCompleted { payer_user_id: "x".to_owned(), ..payment_of(user, user) };
    assert!(matches!(drafts(&event(user, &broken)), Err(HandleError::Poison(_))));
    let amountless = PaymentCompleted { amount: None, ..payment_of(user, user) };
    assert!(matches!(drafts(&event(user, &amountless)), Err(HandleError::Poison(_))));
    assert!(drafts(&event(user, &Money::default())).expect("skipped").is_empty());
}
