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
    }
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
        ("expire", "rejected"),
    ] {
        let made = notice(action, to_state);
        assert_eq!(made.len(), 2, "{action}");
        for draft in &made {
            assert_eq!((draft.recipient, draft.lane), (user, Lane::Service));
            for (language, name) in [(Language::Vi, "Hạ tầng giao thông"), (Language::En, "Roads and pavements")] {
                let text = draft.template.text(language, &draft.parameters).expect("the parameters fill it");
                assert!(text.body.contains(name), "{text:?}");
            }
        }
    }
    for (action, to_state) in [("claim", "verifying"), ("rate", "closed"), ("expire", "closed")] {
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
