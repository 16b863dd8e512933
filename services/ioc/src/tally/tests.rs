//! What events count as.

use super::*;

fn hue() -> City {
    City {
        name: crate::city::Name::default(),
        zone: chrono_tz::Asia::Ho_Chi_Minh,
        currency: "VND".to_owned(),
        minor_digits: 0,
    }
}

fn event<M: prost::Message + Name>(position: i64, time: &str, message: &M) -> Event {
    Event {
        id: platform::id::new(),
        source: JOURNAL.to_owned(),
        position,
        kind: M::full_name(),
        subject: platform::id::new(),
        time: time.parse().expect("a time"),
        traceparent: None,
        data: message.encode_to_vec().into(),
    }
}

fn payment(amount: i64, currency: &str) -> PaymentCompleted {
    let amount = Some(Money { minor_units: amount, currency: currency.to_owned() });
    PaymentCompleted { merchant_name: "Bún bò".to_owned(), amount, ..PaymentCompleted::default() }
}

fn label(kind: &str, outcome: &str) -> Label {
    Label { kind: kind.to_owned(), outcome: outcome.to_owned() }
}

#[test]
fn a_day_is_a_day_of_the_city() {
    let mut batch = Batch::default();
    for (position, time) in [(1, "2025-11-22T16:59:59.9Z"), (2, "2025-11-22T17:00:00Z"), (3, "2025-11-22T17:00:59Z")] {
        batch.add(JOURNAL, &hue(), &event(position, time, &payment(50_000, "VND"))).expect("counted");
    }
    let paid = label("payment", "completed");
    let day = |day: &str| batch.days[&(day.parse().expect("a day"), paid.clone())];
    assert_eq!(day("2025-11-22"), Sum { count: 1, amount: 50_000 });
    assert_eq!(day("2025-11-23"), Sum { count: 2, amount: 100_000 });
    let minute = "2025-11-22T17:00:00Z".parse().expect("a time");
    assert_eq!(batch.minutes[&(minute, paid)], Sum { count: 2, amount: 100_000 });
    assert_eq!(batch.entries.len(), 3);
    assert_eq!(batch.payments[1].merchant, "Bún bò");
    assert_eq!(batch.positions.values().max(), Some(&3));
}

#[test]
fn fees_are_no_bills_and_count_as_the_books_have_them() {
    let amount = || Some(Money { minor_units: 120_000, currency: "VND".to_owned() });
    let paid = |booked_as: &str| BillPaid {
        kind: "fee".to_owned(),
        booked_as: booked_as.to_owned(),
        amount: amount(),
        ..BillPaid::default()
    };
    let failed =
        |kind: &str| BillPaymentFailed { kind: kind.to_owned(), amount: amount(), ..BillPaymentFailed::default() };
    let time = "2025-11-22T17:00:00Z";
    let mut batch = Batch::default();
    for (position, booked_as) in [(1, "fee"), (2, "bill"), (3, "")] {
        batch.add(JOURNAL, &hue(), &event(position, time, &paid(booked_as))).expect("counted");
    }
    let booked: Vec<&str> = batch.entries.iter().map(|entry| entry.kind.as_str()).collect();
    assert_eq!(booked, ["fee", "bill", "bill"], "also those of fees from before they had a kind");
    for (position, kind) in [(1, "fee"), (2, "water")] {
        batch.add("wallet", &hue(), &event(position, time, &failed(kind))).expect("counted");
    }
    let counts: Vec<_> = batch.days.iter().map(|((_, label), sum)| (label.clone(), sum.count)).collect();
    let [bill, fee] = ["bill", "fee"].map(|kind| [label(kind, "completed"), label(kind, "failed")]);
    let refused = (label("refusal", "other"), 2);
    assert_eq!(counts, [(bill[0].clone(), 2), (bill[1].clone(), 1), (fee[0].clone(), 1), (fee[1].clone(), 1), refused]);
}

#[test]
fn what_did_not_come_to_be_is_refused_for_a_reason() {
    let amount = || Some(Money { minor_units: 5, currency: "VND".to_owned() });
    let poor = || "insufficient-funds".to_owned();
    let time = "2025-11-22T17:00:00Z";
    let bill = |kind: &str| BillPaymentFailed {
        kind: kind.to_owned(),
        amount: amount(),
        reason: poor(),
        ..BillPaymentFailed::default()
    };
    let payment =
        PaymentRejected { kind: "payment".to_owned(), amount: amount(), code: poor(), ..PaymentRejected::default() };
    let top_up = TopUpFailed { amount: amount(), reason: "bank-declined".to_owned(), ..TopUpFailed::default() };
    let refused = [
        event(1, time, &payment),
        event(2, time, &bill("water")),
        event(3, time, &bill("fee")),
        event(4, time, &top_up),
    ];
    let mut batch = Batch::default();
    for event in &refused {
        batch.add("wallet", &hue(), event).expect("counted");
    }
    let sums: BTreeMap<_, _> =
        batch.days.iter().map(|((_, label), sum)| (label.clone(), (sum.count, sum.amount))).collect();
    assert_eq!(sums[&label("refusal", "insufficient-funds")], (3, 15));
    assert_eq!(sums[&label("refusal", "other")], (1, 5));
    let tried: i64 = sums.iter().filter(|(label, _)| label.kind != "refusal").map(|(_, (count, _))| count).sum();
    assert_eq!(tried, 4, "each is refused for one reason");
}

#[test]
fn what_is_listed_adds_up_to_what_is_counted() {
    let (money, time) = (Some(Money { minor_units: 700, currency: "VND".to_owned() }), "2025-11-22T17:00:00Z");
    let (payment, message) = (platform::id::new(), platform::id::new());
    let word = str::to_owned;
    let settled = MessageSettled {
        message_id: message.to_string(),
        lane: word("payment"),
        channel: word("push"),
        outcome: word("delivered"),
    };
    let together =
        MessagesSettled { lane: word("payment"), channel: word("push"), outcome: word("delivered"), count: 9 };
    let paid = PaymentCompleted { payment_id: payment.to_string(), amount: money, ..PaymentCompleted::default() };
    let mut batch = Batch::default();
    for event in [event(1, time, &paid), event(2, time, &settled), event(3, time, &together)] {
        batch.add(JOURNAL, &hue(), &event).expect("counted");
    }
    let begun = SessionStarted { session_id: message.to_string(), ..SessionStarted::default() };
    batch.add("identity", &hue(), &event(4, time, &OtpRequested::default())).expect("counted");
    batch.add("identity", &hue(), &event(5, time, &begun)).expect("counted");
    batch.add("identity", &hue(), &event(6, time, &CitizenRegistered::default())).expect("counted");
    let mut listed: BTreeMap<Label, Sum> = BTreeMap::new();
    for one in &batch.happenings {
        let sum = listed.entry(label(&one.kind, &one.outcome)).or_default();
        sum.add_all(one.count, one.amount).expect("fits");
    }
    let counted: BTreeMap<Label, Sum> = batch.days.iter().map(|((_, label), sum)| (label.clone(), *sum)).collect();
    assert_eq!(listed, counted);
    let references: Vec<_> = batch.happenings.iter().map(|one| one.reference).collect();
    let told = [Some(payment), Some(message), Some(message), None, None];
    assert_eq!(references[..5], told, "by channel, and by lane");
    assert_eq!(references[5..], [None; 3], "nothing leads to a person's code, session or account");
}

#[test]
fn each_kind_of_movement_counts_as_the_books_name_it() {
    let amount = || Some(Money { minor_units: 45_000, currency: "VND".to_owned() });
    let time = "2025-11-22T17:00:00Z";
    let moved = [
        event(1, time, &PaymentCompleted { amount: amount(), ..PaymentCompleted::default() }),
        event(2, time, &TopUpCompleted { amount: amount(), ..TopUpCompleted::default() }),
        event(3, time, &RefundCompleted { amount: amount(), ..RefundCompleted::default() }),
        event(4, time, &BillPaid { amount: amount(), ..BillPaid::default() }),
        event(5, time, &BillPaid { booked_as: "fee".to_owned(), amount: amount(), ..BillPaid::default() }),
        event(6, time, &MerchantPaidOut { amount: amount(), ..MerchantPaidOut::default() }),
    ];
    let mut batch = Batch::default();
    for event in &moved {
        batch.add(JOURNAL, &hue(), event).expect("counted");
    }
    let booked: Vec<_> = batch.entries.iter().map(|entry| (entry.kind.as_str(), entry.amount)).collect();
    let kinds = ["payment", "top-up", "refund", "bill", "fee", "payout"];
    assert_eq!(booked, kinds.map(|kind| (kind, 45_000)));
    for kind in kinds {
        let sum = batch.days.iter().find(|((_, counted), _)| *counted == label(kind, "completed")).map(|(_, sum)| *sum);
        assert_eq!(sum, Some(Sum { count: 1, amount: 45_000 }), "{kind}");
    }
}

#[test]
fn amounts_of_another_currency_are_refused() {
    let time = "2025-11-22T17:00:00Z";
    for faulty in [payment(1, "USD"), payment(-1, "VND"), PaymentCompleted::default()] {
        let refused = Batch::default().add(JOURNAL, &hue(), &event(1, time, &faulty));
        assert!(matches!(refused, Err(TallyError::Amount)));
    }
    let mut sums = Batch::default();
    sums.add(JOURNAL, &hue(), &event(1, time, &payment(i64::MAX, "VND"))).expect("fits");
    let refused = sums.add(JOURNAL, &hue(), &event(2, time, &payment(1, "VND")));
    assert!(matches!(refused, Err(TallyError::Overflow)));
}

#[test]
fn unknown_types_count_in_the_books_only() {
    let stranger = Event {
        kind: "trangtien.wallet.v9.Strange".to_owned(),
        ..event(7, "2025-11-22T17:00:00Z", &OtpRequested::default())
    };
    let mut batch = Batch::default();
    batch.add(JOURNAL, &hue(), &stranger).expect("counted");
    assert_eq!(batch.entries, [Entry { position: 7, kind: UNKNOWN.to_owned(), amount: 0 }]);
    assert!(batch.minutes.is_empty());
    let mut batch = Batch::default();
    batch.add("wallet", &hue(), &stranger).expect("counted");
    assert!(batch.entries.is_empty());
}

#[test]
fn words_of_other_services_stay_bounded() {
    let mut batch = Batch::default();
    let message = MessageSettled {
        channel: "pigeon".to_owned(),
        outcome: "eaten".to_owned(),
        lane: "fast".to_owned(),
        ..MessageSettled::default()
    };
    batch.add("notifications", &hue(), &event(1, "2025-11-22T17:00:00Z", &message)).expect("counted");
    let amount = Some(Money { minor_units: 5, currency: "VND".to_owned() });
    let refusal = PaymentRejected { kind: "payment".to_owned(), amount, ..PaymentRejected::default() };
    batch.add("wallet", &hue(), &event(2, "2025-11-22T17:00:00Z", &refusal)).expect("counted");
    let labels: Vec<_> = batch.minutes.keys().map(|(_, label)| label.clone()).collect();
    assert_eq!(
        labels,
        [
            label("lane-other", "other"),
            label("message-other", "other"),
            label("payment", "rejected"),
            label("refusal", "other"),
        ]
    );
}

#[test]
fn messages_that_ended_together_count_as_many() {
    let told = |count| MessagesSettled {
        lane: "payment".to_owned(),
        channel: "in-app".to_owned(),
        outcome: "delivered".to_owned(),
        count,
    };
    let mut batch = Batch::default();
    for (position, count) in [(1, 7), (2, 1)] {
        let told = event(position, "2025-11-22T17:00:00Z", &told(count));
        batch.add("notifications", &hue(), &told).expect("counted");
    }
    let counts: Vec<_> = batch.minutes.into_iter().map(|((_, label), sum)| (label, sum.count)).collect();
    assert_eq!(counts, [(label("lane-payment", "delivered"), 8), (label("message-in-app", "delivered"), 8)]);
    let none = event(3, "2025-11-22T17:00:00Z", &told(0));
    let refused = Batch::default().add("notifications", &hue(), &none);
    assert!(matches!(refused, Err(TallyError::Count)));
}
