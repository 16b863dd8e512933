//! Behind each tally is a list that adds up to it, for operators only.

use chrono::{DateTime, TimeDelta, Utc};
use ioc::overview::{Overview, Tally};
use proto::identity::v1::{CitizenRegistered, OtpRequested, SessionRevoked, SessionStarted, TierChanged};
use proto::money::v1::Money;
use proto::notifications::v1::{MessageSettled, MessagesSettled};
use proto::reports::v1::{ReportEscalated, ReportSubmitted};
use proto::wallet::v1::{BillPaymentFailed, PaymentRejected};
use reqwest::StatusCode;
use serde_json::Value;
use uuid::Uuid;

use crate::stage::{Centre, Stage, minute, open, until};

const PAGE: usize = 7;

/// One page of a list, asked for by somebody of these roles.
async fn page(stage: &Stage, centre: &Centre, query: &str, roles: &[&str]) -> (StatusCode, Value) {
    let token = stage.issuer.officer_token(Uuid::now_v7(), Uuid::now_v7(), 600, roles);
    let request = reqwest::Client::new().get(format!("{}/ioc/v1/happenings?{query}", centre.url)).bearer_auth(token);
    let answer = request.send().await.expect("answered");
    (answer.status(), answer.json().await.expect("JSON"))
}

/// Everything of a list: how many it tells of and for how much, and its items.
async fn all(stage: &Stage, centre: &Centre, query: &str) -> (i64, i64, Vec<Value>) {
    let (mut items, mut cursor) = (Vec::new(), String::new());
    loop {
        let query = format!("{query}&limit={PAGE}{cursor}");
        let (status, page) = page(stage, centre, &query, &["ioc.operator"]).await;
        assert_eq!(status, 200, "{query}: {page}");
        items.extend(page["items"].as_array().expect("items").iter().cloned());
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    let amount = |item: &Value| item["amount"]["amount"].as_str().expect("an amount").parse::<i64>().expect("a number");
    let count = items.iter().map(|item| item["count"].as_i64().expect("a count")).sum();
    (count, items.iter().map(amount).sum(), items)
}

/// Somebody comes in by a code, a session ends; and a report comes in and waits too long, twice.
async fn lively(stage: &Stage) {
    let someone = || (platform::id::new(), Uuid::now_v7().to_string());
    for round in 0..3 {
        let (subject, user_id) = someone();
        let (session_id, position) = (Uuid::now_v7().to_string(), 10 * round);
        let started = SessionStarted { user_id: user_id.clone(), session_id: session_id.clone(), ..Default::default() };
        stage.publish("identity", position + 1, subject, &OtpRequested { challenge_id: session_id.clone() }).await;
        stage.publish("identity", position + 2, subject, &started).await;
        let registered = CitizenRegistered { user_id: user_id.clone(), ..CitizenRegistered::default() };
        stage.publish("identity", position + 3, subject, &registered).await;
        let ended = SessionRevoked { user_id: user_id.clone(), session_id, ..SessionRevoked::default() };
        stage.publish("identity", position + 4, subject, &ended).await;
        stage.publish("identity", position + 5, subject, &TierChanged { user_id, tier: 1 }).await;
    }
    let report = platform::id::new();
    stage.publish("reports", 1, report, &ReportSubmitted::default()).await;
    for (position, state) in [(2, "received"), (3, "verifying")] {
        let late = ReportEscalated { level: 100, state: state.to_owned(), ..ReportEscalated::default() };
        stage.publish("reports", position, report, &late).await;
    }
}

async fn busy(stage: &Stage) {
    for step in 1..=30 {
        match step % 3 {
            0 => stage.top_up(platform::id::new(), step * 1_000).await,
            _ => stage.pay(platform::id::new(), step * 1_000).await,
        };
    }
    let amount = || Some(Money { minor_units: 9, currency: "VND".to_owned() });
    let reason = || "insufficient-funds".to_owned();
    let payment =
        PaymentRejected { kind: "payment".to_owned(), amount: amount(), code: reason(), ..Default::default() };
    let bill = BillPaymentFailed { kind: "water".to_owned(), amount: amount(), reason: reason(), ..Default::default() };
    stage.publish("wallet", 1, platform::id::new(), &payment).await;
    stage.publish("wallet", 2, platform::id::new(), &bill).await;
    let settled = |number: i64| MessageSettled {
        message_id: Uuid::now_v7().to_string(),
        lane: "payment".to_owned(),
        channel: "push".to_owned(),
        outcome: if number % 4 == 0 { "failed" } else { "delivered" }.to_owned(),
    };
    for position in 1..=20 {
        stage.publish("notifications", position, platform::id::new(), &settled(position)).await;
    }
    let together = MessagesSettled {
        lane: "news".to_owned(),
        channel: "in-app".to_owned(),
        outcome: "delivered".to_owned(),
        count: 41,
    };
    stage.publish("notifications", 21, platform::id::new(), &together).await;
}

#[tokio::test]
async fn a_list_adds_up_to_its_number() {
    let stage = Stage::new().await;
    let centre = stage.centre("a", open()).await;
    busy(&stage).await;
    lively(&stage).await;
    let sum = |overview: &Overview, kind: &str| -> i64 {
        overview.today.iter().filter(|tally| tally.kind.starts_with(kind)).map(|tally| tally.count).sum()
    };
    let whole = |seen: &Overview| {
        let reports: i64 = seen.reports.today.iter().map(|row| row.count).sum();
        let moved = sum(seen, "payment") == 21 && sum(seen, "top-up") == 10 && sum(seen, "bill") == 1;
        let people = sum(seen, "session") == 6 && sum(seen, "otp") == 3 && sum(seen, "citizen") == 6;
        moved && people && sum(seen, "lane-") == 61 && reports == 3
    };
    let overview = centre.overview_when("everything is counted", whole).await;

    for Tally { kind, outcome, count, amount } in &overview.today {
        let query = format!("kind={kind}&outcome={outcome}&day={}", overview.day);
        let (listed, moved, items) = all(&stage, &centre, &query).await;
        assert_eq!((listed, moved.to_string()), (*count, amount.amount.clone()), "{query}");
        // As times: of two that differ below a millisecond the text of one may be shorter.
        let times: Vec<DateTime<Utc>> = items.iter().filter_map(|item| item["at"].as_str()?.parse().ok()).collect();
        assert_eq!(times.len(), items.len());
        assert!(times.is_sorted_by(|newer, older| newer >= older), "the newest first: {times:?}");
    }
    assert!(overview.minutes.iter().any(|row| row.tally.kind == "report"), "also what is tallied by minute only");
    for row in &overview.minutes {
        let (kind, outcome) = (&row.tally.kind, &row.tally.outcome);
        let query = format!("kind={kind}&outcome={outcome}&minute={}", minute(row.minute));
        let (listed, ..) = all(&stage, &centre, &query).await;
        assert_eq!(listed, row.tally.count, "{query}");
    }
    let (refused, ..) = all(&stage, &centre, "kind=payment,bill,fee,top-up&outcome=rejected,failed").await;
    let (why, ..) = all(&stage, &centre, "kind=refusal").await;
    assert_eq!((refused, why), (2, 2), "whatever was refused has a reason");
    let (_, _, pushes) = all(&stage, &centre, "kind=message-push&outcome=failed").await;
    assert!(pushes.iter().all(|item| item["reference"].is_string()), "a message is told by its id: {pushes:?}");
    let (_, _, people) = all(&stage, &centre, "kind=session,otp,citizen").await;
    assert_eq!(people.len(), 15);
    assert!(people.iter().all(|item| item["reference"].is_null()), "nothing leads to a person: {people:?}");
    stage.clock.advance(TimeDelta::days(1));
    assert_eq!(all(&stage, &centre, "kind=payment").await.0, 0, "a new day begins empty");
    centre.stop().await;
}

#[tokio::test]
async fn a_number_from_before_its_list_says_how_much_is_missing() {
    let stage = Stage::new().await;
    let centre = stage.centre("a", open()).await;
    // As a version counts that does not list: beside this one, or before it.
    let day = centre.overview().await.day;
    let before = "INSERT INTO ioc.day_tally (day, kind, outcome, count, amount, revision) \
                  VALUES ($1, 'session', 'started', 7, 0, 1)";
    sqlx::query(before).bind(day).execute(&stage.database.admin_pool()).await.expect("counted");
    stage.publish("identity", 1, platform::id::new(), &SessionStarted::default()).await;
    stage.publish("identity", 2, platform::id::new(), &OtpRequested::default()).await;
    centre.overview_when("both are counted", |seen| seen.today.iter().map(|tally| tally.count).sum::<i64>() == 9).await;
    let seen = async |query: &str| {
        let (status, page) = page(&stage, &centre, query, &["ioc.operator"]).await;
        assert_eq!(status, 200, "{page}");
        (page["items"].as_array().expect("items").len(), page["unlisted"].as_i64(), page["since"].as_str().is_some())
    };
    assert_eq!(seen("kind=session,otp").await, (2, Some(7), true));
    assert_eq!(seen("kind=otp").await, (1, Some(0), false), "nothing is missing");
    assert_eq!(seen("kind=payment").await, (0, Some(0), false), "nothing was counted");
    centre.stop().await;
}

#[tokio::test]
async fn what_happened_is_listed_for_eight_days_and_counted_for_ever() {
    let stage = Stage::new().await;
    let centre = stage.centre("a", open()).await;
    let listed = async || -> i64 {
        let admin = stage.database.admin_pool();
        sqlx::query_scalar("SELECT COUNT(*) FROM ioc.happening").fetch_one(&admin).await.expect("counted")
    };
    let sessions = |seen: &Overview| -> i64 {
        seen.totals.iter().filter(|tally| tally.kind == "session").map(|tally| tally.count).sum()
    };
    stage.publish("identity", 1, platform::id::new(), &SessionStarted::default()).await;
    centre.overview_when("it is counted", |seen| sessions(seen) == 1).await;
    // More than are removed at once.
    let crowd = "INSERT INTO ioc.happening (kind, outcome, happened_at, event_id, count, amount) \
                 SELECT 'otp', 'requested', $1, gen_random_uuid(), 1, 0 FROM generate_series(1, 12000)";
    let now = stage.clock.now();
    sqlx::query(crowd).bind(now).execute(&stage.database.admin_pool()).await.expect("added");
    stage.clock.advance(TimeDelta::days(8) - TimeDelta::minutes(1));
    stage.publish("identity", 2, platform::id::new(), &SessionStarted::default()).await;
    let compared = stage.clock.now();
    let again = |seen: &Overview| sessions(seen) == 2 && seen.books.checked_at >= Some(compared);
    centre.overview_when("the task has run on the eighth day", again).await;
    assert_eq!(listed().await, 12_002, "the last minute of eight days is listed");
    stage.clock.advance(TimeDelta::minutes(2));
    until("what is older is removed", async || listed().await == 1).await;
    let seen = centre.overview().await;
    assert_eq!(sessions(&seen), 2, "numbers stay");
    assert_eq!(all(&stage, &centre, &format!("kind=session&day={}", seen.day)).await.0, 1);
    centre.stop().await;
}

#[tokio::test]
async fn operators_alone_see_lists_also_where_the_wall_is_public() {
    let stage = Stage::new().await;
    let centre = stage.centre("a", open()).await;
    for role in ["ioc.operator", "ioc.lead", "admin"] {
        assert_eq!(page(&stage, &centre, "kind=payment", &[role]).await.0, 200, "{role}");
    }
    for roles in [&[][..], &["agency.head:HEPCO"], &["finance.approver"]] {
        for query in ["kind=payment", ""] {
            assert_eq!(page(&stage, &centre, query, roles).await.0, 403, "{roles:?}");
        }
    }
    let stranger = reqwest::get(format!("{}/ioc/v1/happenings?kind=payment", centre.url)).await.expect("answered");
    assert_eq!(stranger.status(), 401);
    let wrong = [
        "",
        "kind=",
        "kind=Payment",
        "kind=a,,b",
        "kind=payment&day=tomorrow",
        "kind=payment&day=%2B262142-12-31",
        "kind=payment&day=2025-11-22&minute=2025-11-22T17:00:00Z",
        "kind=payment&limit=0",
        "kind=payment&cursor=x",
        // A cursor of ours in form, with a name that no text of the database can hold.
        "kind=payment&cursor=WyIyMDI1LTAxLTAxVDAwOjAwOjAwWiIsIjAwMDAwMDAwLTAwMDAtMDAwMC0wMDAwLTAwMDAwMDAwMDAwMCIsIlx1MDAwMCJd",
        "kind=payment&day=-0044-03-15",
        "kind=payment&minute=-0044-03-15T00:00:00Z",
        "kind=payment&user=1",
    ];
    for query in wrong {
        let (status, problem) = page(&stage, &centre, query, &["admin"]).await;
        assert_eq!((status, problem["code"].as_str()), (StatusCode::BAD_REQUEST, Some("invalid-query")), "{query}");
    }
    centre.stop().await;
}
