//! Many at once: what is written in one statement is what would have been written one after the other, and nobody waits for another's report.

use std::time::Duration;

use futures::future::join_all;
use serde_json::{Value, json};
use sqlx::AssertSqlSafe;
use uuid::Uuid;

use crate::stage::{Answer, ROADS, Stage, jpeg, road};

/// Reports that move at once.
const REPORTS: usize = 35;

/// How reports are taken through their lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pace {
    Together,
    OneByOne,
}

/// The answers to requests, in their order.
async fn answers(pace: Pace, requests: impl Iterator<Item = impl Future<Output = Answer>>) -> Vec<Answer> {
    if pace == Pace::Together {
        return join_all(requests).await;
    }
    let mut answers = Vec::new();
    for request in requests {
        answers.push(request.await);
    }
    answers
}

/// Takes reports to their ratings; every seventh is rejected.
async fn live(stage: &Stage, pace: Pace) {
    let citizens: Vec<Uuid> = (0..REPORTS).map(|_| Uuid::now_v7()).collect();
    let filed = answers(
        pace,
        citizens.iter().enumerate().map(async |(index, citizen)| {
            stage.post(*citizen, "/reports/v1/reports", &road(&format!("Ổ gà số {index}"))).await
        }),
    );
    let reports: Vec<String> =
        filed.await.iter().map(|answer| answer.expect(201)["id"].as_str().expect("an id").to_owned()).collect();
    let (rejected, handled): (Vec<_>, Vec<_>) =
        reports.iter().zip(&citizens).enumerate().partition(|(index, _)| index % 7 == 6);
    let step = async |officer: Uuid, action: Value| {
        let of = |index: usize| match action["version"].as_i64() {
            Some(2) if index % 7 == 6 => json!({"action": "reject", "reason": "Không thuộc thành phố", "version": 2}),
            _ => action.clone(),
        };
        let moving = if action["version"].as_i64() <= Some(2) {
            handled.iter().chain(&rejected)
        } else {
            handled.iter().chain(&[])
        };
        let moved = answers(
            pace,
            moving.map(async |(index, (report, _))| {
                stage.post(officer, &format!("/reports/v1/reports/{report}/transitions"), &of(*index)).await
            }),
        );
        moved.await.iter().for_each(|answer| drop(answer.expect(201)));
    };
    step(stage.ioc, json!({"action": "claim", "version": 1})).await;
    step(stage.ioc, json!({"action": "distribute", "lead_agency": ROADS, "version": 2})).await;
    step(stage.roads, json!({"action": "accept", "version": 3})).await;
    let photos = answers(
        pace,
        handled.iter().map(async |(_, (report, _))| stage.photo(stage.roads, report, jpeg(16, 16)).await),
    );
    photos.await.iter().for_each(|answer| drop(answer.expect(201)));
    step(stage.roads, json!({"action": "submit-result", "text": "Đã vá", "version": 4})).await;
    step(stage.ioc, json!({"action": "approve", "version": 5})).await;
    let rated = answers(
        pace,
        handled.iter().map(async |(index, (report, citizen))| {
            let body = json!({"rating": "satisfied", "comment": format!("Tốt {index}"), "version": 6});
            stage.post(**citizen, &format!("/reports/v1/reports/{report}/ratings"), &body).await
        }),
    );
    rated.await.iter().for_each(|answer| drop(answer.expect(201)));
}

/// What the tables hold, without what differs each time.
async fn written(stage: &Stage) -> Vec<(String, Vec<String>)> {
    let mut tables = Vec::new();
    for (table, columns) in [
        (
            "report",
            "state, version, round, lead_agency, co_agencies, public_body, result, progress ->> 'state', public_since IS NULL",
        ),
        ("history", "version, action, from_state, to_state, round, actor, agency, details_sealed IS NULL"),
        ("outcome", "round, category, agency, kept_first, kept_extended"),
        ("rating", "round, rating, comment_sealed IS NULL"),
        ("idempotency_key", "operation, status, body ->> 'state', body ->> 'version'"),
        ("job", "kind, state, payload ->> 'version'"),
        ("outbox", "stream, kind"),
    ] {
        let sql = format!("SELECT ({columns})::text FROM reports.{table} ORDER BY 1");
        let rows = sqlx::query_scalar(AssertSqlSafe(sql)).fetch_all(&stage.admin()).await.expect("a query");
        tables.push((table.to_owned(), rows));
    }
    tables
}

#[tokio::test]
async fn what_is_written_together_is_what_is_written_one_after_the_other() {
    let (together, one_by_one) = tokio::join!(Stage::new(), Stage::new());
    live(&together, Pace::Together).await;
    live(&one_by_one, Pace::OneByOne).await;
    for (is, should_be) in written(&together).await.into_iter().zip(written(&one_by_one).await) {
        assert_eq!(is, should_be);
    }
    // What came later to a report was told later.
    let out_of_order =
        "(SELECT subject, lag(occurred_at) OVER (PARTITION BY stream, subject ORDER BY arrival) > occurred_at AS wrong
        FROM reports.outbox) AS told WHERE wrong";
    assert_eq!(together.count(out_of_order).await, 0);
    let broken = "reports.history AS later JOIN reports.history AS earlier
        ON earlier.report_id = later.report_id AND earlier.version = later.version - 1 WHERE later.previous_hash <> earlier.hash";
    assert_eq!(together.count(broken).await, 0);
}

#[tokio::test]
async fn nobody_waits_for_a_report_that_somebody_else_holds() {
    let stage = Stage::new().await;
    let reports = join_all((0..10).map(|_| stage.report(Uuid::now_v7()))).await;
    let held: Uuid = reports[3].parse().expect("an id");
    let pool = stage.admin();
    let mut holder = pool.begin().await.expect("a transaction");
    sqlx::query("SELECT FROM reports.report WHERE id = $1 FOR UPDATE")
        .bind(held)
        .execute(&mut *holder)
        .await
        .expect("held");
    let claim = async |report: &String| {
        let body = json!({"action": "claim", "version": 1});
        stage.post(stage.ioc, &format!("/reports/v1/reports/{report}/transitions"), &body).await
    };
    let (waits, go_on): (Vec<&String>, Vec<&String>) = reports.iter().partition(|report| **report == reports[3]);
    let waiting = claim(waits[0]);
    tokio::pin!(waiting);
    tokio::select! {
        answer = &mut waiting => panic!("the report is held: {answer:?}"),
        answers = join_all(go_on.into_iter().map(claim)) => answers.iter().for_each(|answer| drop(answer.expect(201))),
    }
    let early = tokio::time::timeout(Duration::from_millis(100), &mut waiting).await;
    assert!(early.is_err(), "it waits for its own report");
    holder.rollback().await.expect("an end");
    assert_eq!(waiting.await.expect(201)["version"], 2);
}

#[tokio::test]
async fn of_two_reports_that_are_merged_into_each_other_at_once_one_stays() {
    let stage = Stage::new().await;
    let reports = join_all((0..24).map(|_| stage.report(Uuid::now_v7()))).await;
    join_all(reports.iter().map(|report| stage.act(stage.ioc, report, json!({"action": "claim"})))).await;
    let merged = join_all(reports.iter().enumerate().map(async |(index, report)| {
        let body = json!({"action": "merge", "into": reports[index ^ 1], "version": 2});
        stage.post(stage.ioc, &format!("/reports/v1/reports/{report}/transitions"), &body).await
    }));
    for answer in merged.await {
        assert!(matches!(answer.status.as_u16(), 201 | 409 | 422), "{}", answer.json());
    }
    assert_eq!(stage.count("reports.report WHERE state = 'duplicate'").await, 12, "one of each two");
}

#[tokio::test]
async fn a_report_that_is_sent_many_times_at_once_holds_up_nobody_else() {
    let stage = Stage::new().await;
    let citizens: Vec<Uuid> = (0..12).map(|_| Uuid::now_v7()).collect();
    let (path, body) = ("/reports/v1/reports", road("Ổ gà"));
    let often = join_all((0..8).map(|_| stage.post_with_key(citizens[0], path, &body, "k1")));
    let once = join_all(citizens[1..].iter().map(|citizen| stage.post_with_key(*citizen, path, &body, "k1")));
    let (often, once) = tokio::join!(often, once);
    let first = often[0].expect(201);
    assert!(often.iter().all(|answer| answer.expect(201) == first), "each gets the answer of the one that was done");
    once.iter().for_each(|answer| drop(answer.expect(201)));
    assert_eq!(stage.count("reports.report").await, 12);
    assert_eq!(stage.count("reports.person_key").await, 12);
}
