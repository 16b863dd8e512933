//! Everything that a reporter writes, from the address to the comment of a rating, is sealed under their key: stored nowhere else, and read by
//! whom it is for. What the key's end does is in `key`.

use platform::person::PersonKeys;
use reports::SCHEMA;
use serde_json::{Value, json};
use sqlx::AssertSqlSafe;
use uuid::Uuid;

use crate::erasure::{Office, ask_for, process, reaches};
use crate::stage::{PLACE, Stage, eventually, persons};

/// What the reporter writes: each is stored in a place of its own.
pub(crate) const BODY: &str = "riêng-lời-thân";
pub(crate) const ADDRESS: &str = "riêng-địa-chỉ";
pub(crate) const POLE: &str = "riêng-số-trụ";
pub(crate) const ANSWER: &str = "riêng-trả-lời";
pub(crate) const COMMENT: &str = "riêng-nhận-xét";
pub(crate) const REASON: &str = "riêng-lý-do";
pub(crate) const ALL: [&str; 6] = [BODY, ADDRESS, POLE, ANSWER, COMMENT, REASON];
/// A number in each of them, which only the operations centre and the reporter see.
const NUMBER: &str = "0905 777 123";
/// Undoes, for the moment, that rows are never changed.
pub(crate) const UNGUARDED: &str = "SET LOCAL session_replication_role = 'replica'";

pub(crate) fn said(word: &str) -> String {
    format!("{word} {NUMBER}")
}

fn lamp() -> Value {
    json!({
        "category": "CS", "text": said(BODY), "attributes": {"pole": said(POLE), "fault": "out"}, "address": said(ADDRESS),
        "position": {"lat": PLACE.0, "lon": PLACE.1},
    })
}

/// A report with words wherever there can be some: answered, published, rated, and opened again.
pub(crate) async fn lived(stage: &Stage, citizen: Uuid) -> String {
    let filed = stage.post(citizen, "/reports/v1/reports", &lamp()).await.expect(201);
    let report = filed["id"].as_str().expect("an id").to_owned();
    stage.act(stage.ioc, &report, json!({"action": "claim"})).await.expect(201);
    stage.act(stage.ioc, &report, json!({"action": "ask", "question": "Số nhà?"})).await.expect(201);
    stage.say(citizen, &report, "answers", json!({"text": said(ANSWER)})).await.expect(201);
    stage.published(&report).await;
    let rating = json!({"rating": "dissatisfied", "comment": said(COMMENT)});
    stage.say(citizen, &report, "ratings", rating).await.expect(201);
    stage.say(citizen, &report, "reopenings", json!({"reason": said(REASON)})).await.expect(201);
    stage.in_progress(&report).await;
    report
}

async fn show(stage: &Stage, user: Option<Uuid>, report: &str) -> Value {
    stage.get(user, &format!("/reports/v1/reports/{report}")).await.expect(200)
}

pub(crate) async fn timeline(stage: &Stage, user: Option<Uuid>, report: &str) -> Value {
    stage.get(user, &format!("/reports/v1/reports/{report}/timeline")).await.expect(200)
}

/// The columns of the schema that hold a word, as text or as bytes.
pub(crate) async fn holding(stage: &Stage, word: &str) -> Vec<String> {
    let admin = stage.admin();
    let columns: Vec<(String, String, bool)> = sqlx::query_as(
        "SELECT c.table_name::text, c.column_name::text, c.data_type = 'bytea' FROM information_schema.columns AS c
         JOIN information_schema.tables AS t USING (table_schema, table_name)
         WHERE c.table_schema = 'reports' AND t.table_type = 'BASE TABLE'
             AND c.data_type IN ('text', 'character varying', 'json', 'jsonb', 'bytea', 'ARRAY')
         ORDER BY 1, 2",
    )
    .fetch_all(&admin)
    .await
    .expect("a query");
    assert!(columns.len() > 30, "the schema has columns");
    let holds = |(table, column, is_bytes): &(String, String, bool)| {
        let condition = match is_bytes {
            true => format!("position(convert_to('{word}', 'UTF8') IN {column}) > 0"),
            false => format!("position('{word}' IN {column}::text) > 0"),
        };
        format!("SELECT '{table}.{column}' WHERE EXISTS (SELECT FROM reports.{table} WHERE {condition})")
    };
    let all = columns.iter().map(holds).collect::<Vec<_>>().join(" UNION ALL ");
    sqlx::query_scalar(AssertSqlSafe(all)).fetch_all(&admin).await.expect("a query")
}

/// No word stands plain, but in the text that everyone reads.
async fn expect_sealed(stage: &Stage) {
    for word in ALL {
        let expected: &[&str] = if word == BODY { &["report.public_body"] } else { &[] };
        assert_eq!(holding(stage, word).await, expected, "{word}");
    }
    assert_eq!(holding(stage, NUMBER).await, Vec::<String>::new());
}

/// Those see all words who may, and the others what is left when numbers are masked.
async fn expect_read(stage: &Stage, citizen: Uuid, report: &str) {
    for user in [citizen, stage.ioc] {
        let seen = show(stage, Some(user), report).await;
        assert_eq!((&seen["text"], &seen["address"]), (&json!(said(BODY)), &json!(said(ADDRESS))));
        assert_eq!(seen["attributes"], json!({"pole": said(POLE), "fault": "out"}));
        let told = timeline(stage, Some(user), report).await;
        assert_eq!(told["chain_holds"], true);
        for word in [ANSWER, COMMENT, REASON] {
            assert!(told.to_string().contains(&said(word)), "{word}: {told}");
        }
    }
    let masked = |word: &str| format!("{word} •••");
    for user in [Some(stage.roads), None] {
        let seen = show(stage, user, report).await;
        assert_eq!((&seen["text"], &seen["address"]), (&json!(masked(BODY)), &json!(masked(ADDRESS))));
        assert_eq!(seen["attributes"], json!({"pole": masked(POLE), "fault": "out"}));
    }
    let told = timeline(stage, Some(stage.roads), report).await.to_string();
    assert!([ANSWER, COMMENT, REASON].iter().all(|word| told.contains(&masked(word))), "{told}");
    assert!(!told.contains(NUMBER), "{told}");
    let told = timeline(stage, None, report).await;
    assert!(told["chain_holds"] == true && !told.to_string().contains("riêng"), "{told}");
}

/// Nobody reads any word, but for the public text; the history is whole.
pub(crate) async fn expect_gone(stage: &Stage, citizen: Uuid, report: &str) {
    for user in [Some(citizen), Some(stage.ioc), Some(stage.roads), None] {
        let seen = show(stage, user, report).await;
        assert_eq!((&seen["address"], &seen["attributes"]), (&Value::Null, &json!({"fault": "out"})), "{user:?}");
        let told = timeline(stage, user, report).await;
        assert_eq!(told["chain_holds"], true, "{told}");
        for word in ALL.iter().filter(|word| **word != BODY).chain([&NUMBER]) {
            assert!(!seen.to_string().contains(word) && !told.to_string().contains(word), "{word}: {seen} {told}");
        }
    }
}

#[tokio::test]
async fn no_word_of_a_reporter_stands_plain_anywhere_and_each_is_read_by_whom_it_is_for() {
    let stage = Stage::new().await;
    let citizen = Uuid::now_v7();
    let report = lived(&stage, citizen).await;
    expect_sealed(&stage).await;
    assert_eq!(stage.count("reports.report WHERE NOT sealed").await, 0, "nothing is left to do");
    expect_read(&stage, citizen, &report).await;
    // What an operator writes down for a caller belongs to no account.
    let mut call = lamp();
    (call["channel"], call["text"]) = (json!("call"), json!("Người gọi báo đèn tắt"));
    (call["address"], call["attributes"]["pole"]) = (json!("Kiệt 5"), json!("Trụ 7"));
    let filed = stage.post(stage.ioc, "/reports/v1/reports", &call).await.expect(201);
    let seen = show(&stage, Some(stage.supervisor), filed["id"].as_str().expect("an id")).await;
    assert_eq!(
        (&seen["text"], &seen["address"], &seen["attributes"]),
        (&call["text"], &call["address"], &call["attributes"])
    );
    assert_eq!(
        stage.count("reports.report WHERE sealed AND address = 'Kiệt 5' AND attributes ->> 'pole' = 'Trụ 7'").await,
        1
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_has_every_word() {
    let mut stage = Stage::new().await;
    stage.rests().await;
    let citizen = Uuid::now_v7();
    let report = lived(&stage, citizen).await;
    lived(&stage, Uuid::now_v7()).await;
    let office = Office::default();
    let mut process = process(&stage, &office).await;
    ask_for(&stage, "person-export", citizen).await;
    reaches(&stage, "reports.job WHERE kind = 'person-export' AND state = 'done'").await;
    process.shutdown().await;
    let copy: Value = serde_json::from_slice(&office.copy.lock().expect("not poisoned")).expect("a document");
    let first = &copy["reports"][0];
    assert_eq!((first["id"].as_str(), copy["reports"].as_array().map(Vec::len)), (Some(report.as_str()), Some(1)));
    assert_eq!((&first["text"], &first["address"]), (&json!(said(BODY)), &json!(said(ADDRESS))));
    assert_eq!(first["attributes"], json!({"pole": said(POLE), "fault": "out"}));
    let details = |action: &str| {
        let rows = copy["history"].as_array().expect("a list");
        rows.iter().find(|row| row["action"] == action).expect(action)["details"].clone()
    };
    assert_eq!(details("answer"), json!({"text": said(ANSWER)}));
    assert_eq!(details("reopen"), json!({"reason": said(REASON)}));
    assert_eq!(details("ask"), Value::Null, "what officers say is theirs");
    assert_eq!(copy["ratings"][0]["comment"], said(COMMENT));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_names_what_can_not_be_read_and_has_the_rest() {
    let mut stage = Stage::new().await;
    stage.rests().await;
    let citizen = Uuid::now_v7();
    lived(&stage, citizen).await;
    let mut tx = platform::db::begin(&stage.admin()).await.expect("a transaction");
    sqlx::query(UNGUARDED).execute(&mut *tx).await.expect("a setting");
    for forged in [
        "UPDATE reports.history AS h SET details_sealed = other.details_sealed FROM reports.history AS other
         WHERE h.action = 'answer' AND other.action = 'reopen'",
        "UPDATE reports.report SET address_sealed = body_sealed",
        "UPDATE reports.rating SET comment_sealed = comment_sealed || '\\x00'",
    ] {
        sqlx::query(forged).execute(&mut *tx).await.expect("an update");
    }
    tx.commit().await.expect("a commit");
    let office = Office::default();
    let mut process = process(&stage, &office).await;
    ask_for(&stage, "person-export", citizen).await;
    reaches(&stage, "reports.job WHERE kind = 'person-export' AND state = 'done'").await;
    process.shutdown().await;
    let copy: Value = serde_json::from_slice(&office.copy.lock().expect("not poisoned")).expect("a document");
    let history = copy["history"].as_array().expect("a list");
    let said_in = |action: &str| history.iter().find(|row| row["action"] == action).expect(action);
    assert_eq!((&said_in("answer")["details"], &said_in("answer")["unreadable"]), (&Value::Null, &json!(["details"])));
    assert_eq!(said_in("reopen")["details"], json!({"reason": said(REASON)}));
    assert_eq!(said_in("reopen")["unreadable"], Value::Null);
    let report = &copy["reports"][0];
    assert_eq!((&report["address"], &report["unreadable"]), (&Value::Null, &json!(["address"])));
    assert_eq!((&report["text"], &report["attributes"]["pole"]), (&json!(said(BODY)), &json!(said(POLE))));
    assert_eq!(copy["ratings"][0]["unreadable"], json!(["comment"]));
}

/// Rows as a process of an earlier version wrote them: with the words as they were hashed.
async fn as_before(stage: &Stage, report: &str) {
    let told = timeline(stage, Some(stage.ioc), report).await;
    let mut tx = platform::db::begin(&stage.admin()).await.expect("a transaction");
    sqlx::query(UNGUARDED).execute(&mut *tx).await.expect("a setting");
    sqlx::query(
        "UPDATE reports.report SET body = $2, body_sealed = NULL, address = $3, address_sealed = NULL, answers_sealed = NULL,
             attributes = $4, sealed = FALSE WHERE id = $1::uuid",
    )
    .bind(report)
    .bind(said(BODY))
    .bind(said(ADDRESS))
    .bind(json!({"pole": said(POLE), "fault": "out"}))
    .execute(&mut *tx)
    .await
    .expect("a row as before");
    for item in told["items"].as_array().expect("a list").iter().filter(|item| item["by"] == "citizen") {
        sqlx::query("UPDATE reports.history SET details = $3, details_sealed = NULL WHERE report_id = $1::uuid AND version = $2")
            .bind(report)
            .bind(item["version"].as_i64())
            .bind(item["details"].as_object().map_or("{}".to_owned(), |_| item["details"].to_string()))
            .execute(&mut *tx)
            .await
            .expect("a row as before");
    }
    sqlx::query("UPDATE reports.rating SET comment = $2, comment_sealed = NULL WHERE report_id = $1::uuid")
        .bind(report)
        .bind(said(COMMENT))
        .execute(&mut *tx)
        .await
        .expect("a row as before");
    tx.commit().await.expect("a commit");
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_from_before_are_read_as_they_are_and_sealed_beside_the_work() {
    let mut stage = Stage::new().await;
    stage.rests().await;
    let (citizen, left) = (Uuid::now_v7(), Uuid::now_v7());
    let (report, restored) = (lived(&stage, citizen).await, lived(&stage, left).await);
    let hashes = "SELECT encode(hash, 'hex') FROM reports.history ORDER BY report_id, version";
    let before: Vec<String> = sqlx::query_scalar(hashes).fetch_all(&stage.admin()).await.expect("a query");
    as_before(&stage, &report).await;
    as_before(&stage, &restored).await;
    assert!(
        holding(&stage, ANSWER).await == ["history.details"] && holding(&stage, POLE).await == ["report.attributes"]
    );
    expect_read(&stage, citizen, &report).await;
    // Of somebody who was erased and comes back from a backup, the words go.
    destroy(&stage, left).await;
    let mut process = process(&stage, &Office::default()).await;
    eventually("all is sealed", async || {
        stage.count("reports.report WHERE NOT sealed").await
            + stage.count("reports.history WHERE actor = 'citizen' AND details <> '{}'").await
            + stage.count("reports.rating WHERE comment IS NOT NULL").await
            == 0
    })
    .await;
    process.shutdown().await;
    expect_sealed(&stage).await;
    expect_read(&stage, citizen, &report).await;
    expect_gone(&stage, left, &restored).await;
    let after: Vec<String> = sqlx::query_scalar(hashes).fetch_all(&stage.admin()).await.expect("a query");
    assert_eq!(after, before, "the chain is the same");
}

#[tokio::test]
async fn rows_of_the_history_and_ratings_are_sealed_once_or_lose_their_words_and_nothing_else() {
    let stage = Stage::new().await;
    let citizen = Uuid::now_v7();
    let report = lived(&stage, citizen).await;
    let refused = async |sql: &str| {
        let error = sqlx::query(AssertSqlSafe(sql.to_owned())).execute(&stage.context.pool).await.expect_err(sql);
        let code = error.as_database_error().and_then(|error| error.code().map(|code| code.into_owned()));
        assert!(matches!(code.as_deref(), Some("23001" | "42501" | "23514")), "{sql}: {error}");
    };
    refused("UPDATE reports.history SET details = '{\"a\":1}', details_sealed = NULL WHERE action = 'answer'").await;
    refused("UPDATE reports.history SET details_sealed = 'x' WHERE action = 'answer'").await;
    refused("UPDATE reports.history SET details_sealed = NULL WHERE action = 'answer'").await;
    refused("UPDATE reports.history SET details_sealed = 'x' WHERE action = 'ask'").await;
    refused("UPDATE reports.history SET details = '{}', details_sealed = 'x' WHERE action = 'ask'").await;
    refused("UPDATE reports.history SET details_sealed = 'x' WHERE action = 'submit'").await;
    refused("UPDATE reports.rating SET comment_sealed = 'x'").await;
    refused("UPDATE reports.rating SET comment = 'x', comment_sealed = NULL").await;
    refused("UPDATE reports.rating SET rating = 'satisfied'").await;
    as_before(&stage, &report).await;
    let admin = stage.admin();
    let refused =
        async |sql: &str| assert!(sqlx::query(AssertSqlSafe(sql.to_owned())).execute(&admin).await.is_err(), "{sql}");
    refused("UPDATE reports.history SET details = '{}', details_sealed = 'x', hash = decode(repeat('00', 32), 'hex') WHERE action = 'answer'").await;
    refused(
        "UPDATE reports.history SET details = '{}', details_sealed = 'x', erased_at = now() WHERE action = 'answer'",
    )
    .await;
    refused("UPDATE reports.history SET details = '{}' WHERE action = 'answer'").await;
    refused("UPDATE reports.rating SET comment = NULL, comment_sealed = 'x', rating = 'satisfied'").await;
    refused("UPDATE reports.rating SET comment = 'y'").await;
    expect_read(&stage, citizen, &report).await;
}

#[tokio::test]
async fn what_was_sealed_for_another_place_shows_as_a_broken_chain_and_nothing_of_it_is_told() {
    let stage = Stage::new().await;
    let citizen = Uuid::now_v7();
    let report = lived(&stage, citizen).await;
    let mut tx = platform::db::begin(&stage.admin()).await.expect("a transaction");
    sqlx::query(UNGUARDED).execute(&mut *tx).await.expect("a setting");
    let swap = "UPDATE reports.history AS h SET details_sealed = other.details_sealed FROM reports.history AS other
                WHERE h.action = 'answer' AND other.action = 'reopen'";
    sqlx::query(swap).execute(&mut *tx).await.expect("an update");
    tx.commit().await.expect("a commit");
    let told = timeline(&stage, Some(stage.ioc), &report).await;
    assert_eq!(told["chain_holds"], false);
    let answer = told["items"].as_array().expect("a list").iter().find(|item| item["action"] == "answer");
    assert_eq!(answer.expect("it is there")["details"], json!({}));
}

/// Destroys somebody's key, and nothing else.
pub(crate) async fn destroy(stage: &Stage, citizen: Uuid) {
    let keys = PersonKeys::try_new(SCHEMA, &persons()).expect("valid secrets");
    let mut connection = stage.context.pool.acquire().await.expect("a connection");
    keys.destroy(&mut connection, citizen, stage.clock.now()).await.expect("destroyed");
}
