//! Events are counted once, whatever Redis does, and the sums are those of the wallet.

use ioc::overview::{BooksState, Overview, Tally};
use proto::identity::v1::SessionStarted;
use proto::money::v1::Money;
use proto::wallet::v1::{BillPaid, MerchantPaidOut, PaymentCompleted, PaymentRejected, RefundCompleted};

use crate::stage::{LIMIT, Stage, open, partition};

fn tally<'a>(tallies: &'a [Tally], kind: &str, outcome: &str) -> (i64, &'a str) {
    let found = tallies.iter().find(|tally| tally.kind == kind && tally.outcome == outcome);
    found.map_or((0, "0"), |tally| (tally.count, tally.amount.amount.as_str()))
}

fn included(overview: &Overview, stream: &str) -> i64 {
    overview.sources.iter().filter(|source| source.stream == stream).map(|source| source.position).max().unwrap_or(0)
}

#[tokio::test]
async fn a_replay_of_everything_changes_nothing() {
    let stage = Stage::new().await;
    let centre = stage.centre("a", open()).await;
    let mut moved = 0;
    for step in 1..=60 {
        let subject = platform::id::new();
        moved += step * 1_000;
        match step % 3 {
            0 => stage.top_up(subject, step * 1_000).await,
            _ => stage.pay(subject, step * 1_000).await,
        };
    }
    let amount = Some(Money { minor_units: 9, currency: "VND".to_owned() });
    let code = "insufficient-funds".to_owned();
    let refused = PaymentRejected { kind: "payment".to_owned(), amount, code, ..PaymentRejected::default() };
    stage.publish("wallet", 1, platform::id::new(), &refused).await;
    stage.publish("identity", 5, platform::id::new(), &SessionStarted::default()).await;

    let whole = |overview: &Overview| {
        overview.books.position == 60
            && overview.books.state == BooksState::Equal
            && overview.book_position == 60
            && included(overview, "wallet") == 1
            && included(overview, "identity") == 5
    };
    let first = centre.overview_when("everything is counted", whole).await;
    assert_eq!(tally(&first.today, "payment", "completed").0, 40);
    assert_eq!(tally(&first.today, "top-up", "completed").0, 20);
    assert_eq!(tally(&first.today, "payment", "rejected"), (1, "9"));
    assert_eq!(tally(&first.today, "refusal", "insufficient-funds"), (1, "9"), "and by its reason");
    assert_eq!(tally(&first.totals, "session", "started"), (1, "0"));
    let sum: i64 = ["payment", "top-up"]
        .iter()
        .map(|kind| tally(&first.totals, kind, "completed").1.parse::<i64>().expect("a number"))
        .sum();
    assert_eq!(sum, moved);
    let booked: i64 = first.book_totals.iter().map(|total| total.amount.amount.parse::<i64>().expect("a number")).sum();
    assert_eq!(booked, moved);
    assert_eq!(included(&first, "journal"), 60);
    assert_eq!(first.last_payments.len(), 12);
    assert_eq!(first.last_payments[0].position, 59);

    for stream in ["journal", "wallet", "identity"] {
        stage.deliver_again(stream).await;
    }
    // A marker behind the replay of each partition shows when that has been consumed.
    let marker = stage.pay(platform::id::new(), 1).await;
    let pool = stage.database.admin_pool();
    let began = std::time::Instant::now();
    loop {
        let replayed: f64 = parse_consumed(&centre.metrics.encode(), "journal");
        if replayed >= 120.0 {
            break;
        }
        assert!(began.elapsed() < LIMIT, "the replay is not consumed: {replayed}");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let second = centre.overview_when("the marker is counted", |overview| overview.books.position == marker).await;
    assert_eq!(tally(&second.totals, "payment", "completed").0, 41);
    assert_eq!(tally(&second.totals, "top-up", "completed"), tally(&first.totals, "top-up", "completed"));
    assert_eq!(tally(&second.totals, "payment", "rejected"), (1, "9"));
    let waiting: i64 =
        sqlx::query_scalar("SELECT COUNT(*) FROM ioc.book_entry").fetch_one(&pool).await.expect("counted");
    assert_eq!(waiting, 0);
    centre.stop().await;
}

/// Events of a stream that were consumed, anew or again.
fn parse_consumed(text: &str, stream: &str) -> f64 {
    let read = ioc::metrics::parse(text).expect("valid");
    let Some(family) = read.families.get("trangtien_ioc_events_consumed_total") else { return 0.0 };
    family
        .samples
        .iter()
        .filter(|(series, _)| series.labels["stream"] == stream)
        .filter_map(|(_, value)| value.text.parse::<f64>().ok())
        .sum()
}

#[tokio::test]
async fn books_wait_for_a_gap_and_a_forged_entry_shows() {
    let stage = Stage::new().await;
    let centre = stage.centre("a", open()).await;
    for _ in 0..3 {
        stage.pay(platform::id::new(), 10_000).await;
    }
    let equal = |overview: &Overview| overview.books.position == 3 && overview.books.state == BooksState::Equal;
    centre.overview_when("the books are equal", equal).await;
    // The wallet has an entry whose event is late. It may be asked before it has the one after, and is not asked again while it waits.
    let late = stage.wallet.post("payment", 77_000);
    let subject = platform::id::new();
    let after = stage.pay(subject, 10_000).await;
    let behind = centre
        .overview_when("the later entry waits", |overview| {
            included(overview, "journal") == after
                && (late..=after).contains(&overview.books.newest)
                && overview.book_position == late - 1
        })
        .await;
    assert_ne!(behind.books.state, BooksState::Different);
    let booked = &behind.book_totals[0];
    assert_eq!((booked.kind.as_str(), booked.count, booked.amount.amount.as_str()), ("payment", 3, "30000"));

    stage.clock.advance(chrono::TimeDelta::seconds(30));
    centre.overview_when("it says how long", |overview| overview.books.behind_seconds >= 30).await;
    stage.clock.advance(chrono::TimeDelta::seconds(31));
    let stopped = |overview: &Overview| overview.books.state == BooksState::Unknown;
    let stopped = centre.overview_when("the last result stands for nothing", stopped).await;
    assert!(stopped.books.behind_seconds > 60, "{:?}", stopped.books);
    let gauges = || ioc::metrics::parse(&centre.metrics.encode()).expect("valid").families;
    let state = |state: &str| {
        let gauges = gauges();
        let samples = &gauges["trangtien_ioc_books_state"].samples;
        samples.iter().find(|(series, _)| series.labels["state"] == state).map(|(_, value)| value.text.clone())
    };
    assert_eq!((state("unknown").as_deref(), state("equal").as_deref()), (Some("1"), Some("0")));

    let amount = Some(Money { minor_units: 77_000, currency: "VND".to_owned() });
    let message =
        PaymentCompleted { merchant_name: "Chợ Đông Ba".to_owned(), amount, ..PaymentCompleted::default() };
    // A partition is in order: what is late is in another one than what came before it.
    let mut elsewhere = std::iter::repeat_with(platform::id::new);
    let other = elsewhere.find(|other| partition(*other) != partition(subject)).expect("there are sixteen partitions");
    stage.publish("journal", late, other, &message).await;
    let whole = |overview: &Overview| overview.books.position == after && overview.books.behind_seconds == 0;
    let closed = centre.overview_when("the gap is closed", whole).await;
    assert_eq!(closed.books.state, BooksState::Equal);
    assert_eq!((state("unknown").as_deref(), state("equal").as_deref()), (Some("0"), Some("1")));

    stage.wallet.forge(1, 10_001);
    centre.overview_when("the difference shows", |overview| overview.books.state == BooksState::Different).await;
    let read = ioc::metrics::parse(&centre.metrics.encode()).expect("valid");
    let differences = &read.families["trangtien_ioc_books_difference"].samples;
    let of = |what: &str| {
        differences.iter().find(|(series, _)| series.labels["of"] == what).map(|(_, value)| value.text.as_str())
    };
    assert_eq!((of("amount"), of("count")), (Some("1"), Some("0")));
    centre.stop().await;
}

#[tokio::test]
async fn each_kind_of_movement_agrees_with_the_books() {
    let stage = Stage::new().await;
    let centre = stage.centre("a", open()).await;
    let amount = |minor_units| Some(Money { minor_units, currency: "VND".to_owned() });
    let fee = |amount| BillPaid { kind: "fee".to_owned(), booked_as: "fee".to_owned(), amount, ..BillPaid::default() };
    let subject = platform::id::new();
    stage.top_up(subject, 900_000).await;
    stage.pay(subject, 70_000).await;
    let position = stage.wallet.post("bill", 636_768);
    let bill = BillPaid { booked_as: "bill".to_owned(), amount: amount(636_768), ..BillPaid::default() };
    stage.publish("journal", position, subject, &bill).await;
    let position = stage.wallet.post("fee", 120_000);
    stage.publish("journal", position, subject, &fee(amount(120_000))).await;
    let position = stage.wallet.post("refund", 20_000);
    let refund = RefundCompleted { amount: amount(20_000), ..RefundCompleted::default() };
    stage.publish("journal", position, subject, &refund).await;
    let position = stage.wallet.post("payout", 50_000);
    let payout = MerchantPaidOut { amount: amount(50_000), ..MerchantPaidOut::default() };
    stage.publish("journal", position, subject, &payout).await;
    let whole = |overview: &Overview| overview.books.position == position && overview.books.state == BooksState::Equal;
    let overview = centre.overview_when("the books are equal", whole).await;
    let kinds = [
        ("payment", "70000"),
        ("bill", "636768"),
        ("fee", "120000"),
        ("top-up", "900000"),
        ("refund", "20000"),
        ("payout", "50000"),
    ];
    for (kind, sum) in kinds {
        assert_eq!(tally(&overview.today, kind, "completed"), (1, sum));
        let booked = overview.book_totals.iter().find(|total| total.kind == kind);
        assert_eq!(booked.map(|total| (total.count, total.amount.amount.as_str())), Some((1, sum)), "{kind}");
    }
    assert_eq!(overview.book_totals.len(), kinds.len());
    centre.stop().await;
}

#[tokio::test]
async fn two_replicas_count_together() {
    let stage = Stage::new().await;
    let centres = [stage.centre("a", open()).await, stage.centre("b", open()).await];
    for _ in 0..200 {
        stage.pay(platform::id::new(), 5_000).await;
    }
    for centre in &centres {
        let whole = |overview: &Overview| overview.books.position == 200 && overview.books.state == BooksState::Equal;
        let overview = centre.overview_when("everything is counted", whole).await;
        assert_eq!(tally(&overview.totals, "payment", "completed"), (200, "1000000"));
    }
}

#[tokio::test]
async fn a_new_day_begins_empty_and_the_old_one_stays_in_the_totals() {
    let stage = Stage::new().await;
    let centre = stage.centre("a", open()).await;
    stage.pay(platform::id::new(), 5_000).await;
    let today = centre.overview_when("counted", |overview| !overview.today.is_empty()).await;
    stage.clock.advance(chrono::TimeDelta::days(1));
    let tomorrow = centre.overview_when("a new day", |overview| overview.day != today.day).await;
    assert!(tomorrow.today.is_empty() && tomorrow.minutes.is_empty());
    assert_eq!(tally(&tomorrow.totals, "payment", "completed"), (1, "5000"));
}
