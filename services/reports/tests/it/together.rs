//! Many at once: what is written in one statement is what would have been written one after the other, and nobody waits long for another's report.

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
    for (index, (report, citizen)) in reports.iter().zip(&citizens).enumerate() {
        let read = stage.get(Some(*citizen), &format!("/reports/v1/reports/{report}")).await.expect(200);
        assert_eq!(read["text"], format!("Ổ gà số {index}"), "each reads their own words");
    }
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
    // It was written by fewer statements than there are rows, and each row got what is its own.
    for table in ["report", "attachment", "history WHERE action = 'claim'", "history WHERE action = 'rate'"] {
        let transactions = format!("(SELECT DISTINCT xmin::text FROM reports.{table}) AS one");
        let (written, rows) = (together.count(&transactions).await, together.count(&format!("reports.{table}")).await);
        assert!(written < rows, "{table}: {rows} rows in {written} transactions");
    }
    let not_its_own = [
        "idempotency_key AS answered JOIN reports.reporter ON reporter.report_id = (body ->> 'id')::uuid
         WHERE operation = 'report.create' AND user_id <> caller",
        "idempotency_key AS answered WHERE operation = 'report.transition' AND NOT EXISTS (SELECT FROM reports.history
             WHERE report_id = (body ->> 'id')::uuid AND version = (body ->> 'version')::bigint AND to_state = body ->> 'state'
                 AND officer_id = caller)",
        "job WHERE kind = 'report-limit' AND key <> (payload ->> 'report_id') || ':' || (payload ->> 'version')",
    ];
    for rows in not_its_own {
        assert_eq!(together.count(&format!("reports.{rows}")).await, 0, "{rows}");
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
async fn nobody_waits_long_for_a_report_that_somebody_else_holds() {
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

#[tokio::test]
async fn a_photo_that_is_sent_many_times_at_once_is_one_photo() {
    let stage = Stage::new().await;
    let citizen = Uuid::now_v7();
    let report = stage.report(citizen).await;
    let (one, other) = (jpeg(40, 30), jpeg(30, 40));
    let same = join_all((0..4).map(|_| stage.photo_with_key(citizen, &report, one.clone(), "k1")));
    let others = join_all((0..4).map(|_| stage.photo_with_key(citizen, &report, other.clone(), "k2")));
    let (same, others) = tokio::join!(same, others);
    for answers in [same, others] {
        let first = answers[0].expect(201);
        assert!(
            answers.iter().all(|answer| answer.expect(201) == first),
            "each gets the answer of the one that was done"
        );
    }
    assert_eq!(stage.count("reports.attachment").await, 2);
    let more = join_all((0..8).map(|index| {
        let photo = jpeg(50, 20 + index);
        async { stage.photo(citizen, &report, photo).await }
    }));
    let stored = more.await.iter().filter(|answer| answer.status.as_u16() == 201).count();
    assert_eq!((stored, stage.count("reports.attachment").await), (3, 5), "no more than there may be");
}

#[tokio::test]
async fn a_citizen_sends_fifty_reports_a_day_also_at_once() {
    let stage = Stage::new().await;
    let (often, once) = (Uuid::now_v7(), Uuid::now_v7());
    let body = road("Ổ gà");
    let many = join_all((0..70).map(|_| stage.post(often, "/reports/v1/reports", &body)));
    let (many, other) = tokio::join!(many, stage.post(once, "/reports/v1/reports", &body));
    let filed = many.iter().filter(|answer| answer.status.as_u16() == 201).count();
    assert_eq!(filed, 50);
    many.iter().filter(|answer| answer.status.as_u16() != 201).for_each(|answer| {
        assert_eq!(answer.refused(429), "too-many-reports");
    });
    other.expect(201);
}
