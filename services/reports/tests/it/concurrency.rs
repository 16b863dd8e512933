//! Two at once, and the same twice.

use serde_json::json;
use uuid::Uuid;

use crate::stage::{ROADS, Stage, road};

#[tokio::test]
async fn of_two_officers_who_decide_at_once_one_has_to_look_again() {
    let stage = Stage::new().await;
    let report = stage.report(Uuid::now_v7()).await;
    stage.act(stage.ioc, &report, json!({"action": "claim"})).await.expect(201);
    let path = format!("/reports/v1/reports/{report}/transitions");
    let reject = json!({"action": "reject", "reason": "Không thuộc thành phố", "version": 2});
    let distribute = json!({"action": "distribute", "lead_agency": ROADS, "version": 2});
    let (one, other) =
        tokio::join!(stage.post(stage.ioc, &path, &reject), stage.post(stage.supervisor, &path, &distribute));
    let mut statuses = [one.status.as_u16(), other.status.as_u16()];
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 409]);
    let loser = if one.status.as_u16() == 409 { one } else { other };
    assert_eq!(loser.refused(409), "report-changed");
    assert_eq!(loser.json()["version"], 3);
    assert_eq!(stage.count("reports.history").await, 3);
    assert_eq!(stage.count("reports.outbox WHERE stream = 'reports'").await, 3);
}

#[tokio::test]
async fn a_step_that_is_sent_many_times_at_once_is_done_once() {
    let stage = Stage::new().await;
    let report = stage.report(Uuid::now_v7()).await;
    let path = format!("/reports/v1/reports/{report}/transitions");
    let claim = json!({"action": "claim", "version": 1});
    let same = || stage.post_with_key(stage.ioc, &path, &claim, "k1");
    let (one, two, three, four) = tokio::join!(same(), same(), same(), same());
    let answers = [one, two, three, four];
    let first = answers[0].expect(201);
    assert_eq!(first["version"], 2);
    assert!(answers.iter().all(|answer| answer.expect(201) == first), "each gets the answer of the one that was done");
    assert_eq!(stage.count("reports.history").await, 2);
    assert_eq!(stage.count("reports.job").await, 1, "what was planned for the version before is taken back");
    let other = json!({"action": "claim", "version": 2});
    assert_eq!(stage.post_with_key(stage.ioc, &path, &other, "k1").await.refused(422), "idempotency-key-reused");
    // With keys of their own, one of them is done and the others have to look again.
    let reject = json!({"action": "reject", "reason": "Không thuộc thành phố", "version": 2});
    let other = || stage.post(stage.ioc, &path, &reject);
    let (one, two, three, four) = tokio::join!(other(), other(), other(), other());
    let answers = [one, two, three, four];
    let done = answers.iter().filter(|answer| answer.status.as_u16() == 201).count();
    let changed = answers.iter().filter(|answer| answer.status.as_u16() == 409).count();
    assert_eq!((done, changed), (1, 3));
    assert_eq!(stage.count("reports.history").await, 3);
    assert_eq!(stage.count("reports.idempotency_key WHERE operation = 'report.transition'").await, 2);
}

#[tokio::test]
async fn a_report_that_is_sent_again_from_an_offline_queue_is_one_report() {
    let stage = Stage::new().await;
    let citizen = Uuid::now_v7();
    let (path, body) = ("/reports/v1/reports", road("Ổ gà"));
    let (one, two) =
        tokio::join!(stage.post_with_key(citizen, path, &body, "k1"), stage.post_with_key(citizen, path, &body, "k1"));
    assert_eq!(one.expect(201), two.expect(201));
    assert_eq!(stage.post_with_key(citizen, path, &body, "k1").await.expect(201), one.json());
    let other = stage.post_with_key(citizen, path, &road("Khác"), "k1").await;
    assert_eq!(other.refused(422), "idempotency-key-reused");
    assert_eq!(stage.count("reports.report").await, 1);
    stage.post_with_key(Uuid::now_v7(), path, &body, "k1").await.expect(201);
    assert_eq!(stage.count("reports.report").await, 2, "another citizen's key is another key");
}

#[tokio::test]
async fn the_history_can_not_be_changed_nor_forged() {
    let stage = Stage::new().await;
    let report = stage.report(Uuid::now_v7()).await;
    let refused = async |pool: &sqlx::PgPool, statement: &'static str| {
        let error = sqlx::query(statement).execute(pool).await.expect_err(statement);
        error.as_database_error().and_then(|error| error.code()).map(|code| code.into_owned()).expect("a code")
    };
    let change = "UPDATE reports.history SET action = 'approve'";
    assert_eq!(refused(&stage.context.pool, change).await, "42501", "the service has no right to");
    assert_eq!(refused(&stage.admin(), change).await, "23001", "nor has the owner");
    assert_eq!(refused(&stage.admin(), "DELETE FROM reports.history").await, "23001");
    assert_eq!(refused(&stage.admin(), "TRUNCATE reports.history").await, "23001");
    let forged = "INSERT INTO reports.history (report_id, version, action, from_state, to_state, round, actor, details, occurred_at,
            previous_hash, hash)
        SELECT report_id, 2, 'approve', 'received', 'published', 1, 'system', '{}', occurred_at, previous_hash, hash FROM reports.history";
    assert_eq!(refused(&stage.context.pool, forged).await, "23000", "it does not chain");
    for table in ["reporter", "attachment", "rating", "outcome", "escalation", "appointment"] {
        let truncate = format!("TRUNCATE reports.{table} CASCADE");
        sqlx::query(sqlx::AssertSqlSafe(truncate)).execute(&stage.admin()).await.expect_err(table);
    }
    // Somebody with every right changes a row behind the triggers: it shows.
    let mut admin = stage.admin().acquire().await.expect("a connection");
    sqlx::query("SET session_replication_role = replica").execute(&mut *admin).await.expect("a superuser may");
    sqlx::query("UPDATE reports.history SET round = 2").execute(&mut *admin).await.expect("a superuser may");
    let timeline = stage.get(Some(stage.ioc), &format!("/reports/v1/reports/{report}/timeline")).await.expect(200);
    assert_eq!(timeline["chain_holds"], false);
}
