//! Identity's own steps of a closing, by a process that dies before and within each of them, at every table that it is about to write:
//! what it was doing is not done, and another process does it, once.

use chrono::TimeDelta;
use platform::job::Runner;
use platform::service::Context;
use platform::task::Shutdown;
use proto::identity::v1::{DelegationEnded, ErasureDue, ErasureNear, SessionRevoked};
use sqlx::{AssertSqlSafe, Postgres, Transaction};

use super::closing::{agree, begun, erasure};
use super::dependent::{MOTHER, bound, proved, registrar};
use crate::SCHEMA;
use crate::closing::{self, ErasureJob, LastWordJob};
use crate::testing::{Stage, eventually};
use crate::tests::step_up::Phone;

/// Where the erasure stops, in its order: before its first look, at what it removes first and last, at what it writes down and tells.
const ERASURE: [&str; 7] = ["closing", "challenge", "delegation", "pin", "session", "audit", "outbox"];
/// The same of the last message.
const LAST_WORD: [&str; 2] = ["closing", "outbox"];

/// Everything that the step is about; the job itself and its leases come and go.
const STATE: &str = "SELECT concat_ws(' ',
    (SELECT string_agg(state, ',') FROM identity.closing), (SELECT count(*) FROM identity.closing_answer WHERE erased_at IS NOT NULL),
    (SELECT count(*) FROM identity.citizen WHERE erased_at IS NULL), (SELECT count(*) FROM identity.session WHERE ended_at IS NULL),
    (SELECT count(*) FROM identity.delegation WHERE ended_at IS NULL), (SELECT count(*) FROM identity.pin),
    (SELECT count(*) FROM identity.device), (SELECT count(*) FROM identity.audit), (SELECT count(*) FROM identity.outbox),
    (SELECT count(*) FROM identity.revocation))";

async fn state(stage: &Stage) -> String {
    sqlx::query_scalar(STATE).fetch_one(&stage.admin()).await.expect("a query")
}

/// Holds a table so that nobody reads or writes it.
async fn hold(stage: &Stage, table: &str) -> Transaction<'static, Postgres> {
    let mut held = platform::db::begin(&stage.admin()).await.expect("a transaction");
    let lock = format!("LOCK TABLE identity.{table} IN ACCESS EXCLUSIVE MODE");
    sqlx::query(AssertSqlSafe(lock)).execute(&mut *held).await.expect("a lock");
    held
}

/// Waits until somebody waits for a table.
async fn reached(stage: &Stage, table: &str) {
    let waits = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = ('identity.' || $1)::regclass";
    eventually(table, async || {
        let count: i64 = sqlx::query_scalar(waits).bind(table).fetch_one(&stage.admin()).await.expect("a query");
        count > 0
    })
    .await;
}

/// A process takes up the jobs, comes to a table, and dies there.
async fn dies(stage: &Stage, table: &str) {
    let identity = stage.replica();
    let context = Context { pool: identity.pool.clone(), ..stage.context.clone() };
    let jobs = Runner::new(&context, SCHEMA)
        .on(closing::JOB, ErasureJob { identity: identity.clone() })
        .on(closing::LAST_WORD_JOB, LastWordJob { identity: identity.clone() });
    let held = hold(stage, table).await;
    let running = tokio::spawn(jobs.into_task().run(Shutdown::new()));
    reached(stage, table).await;
    running.abort();
    assert!(running.await.is_err(), "it was still at it");
    // Its connections break; what they had not committed is undone.
    tokio::join!(identity.pool.close(), async { held.rollback().await.expect("a rollback") });
    let passed =
        "UPDATE identity.job SET lease_until = clock_timestamp() - interval '1 second' WHERE state = 'running'";
    sqlx::query(passed).execute(&stage.admin()).await.expect("an update");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_erasure_that_dies_anywhere_is_not_begun_and_then_done_once() {
    let stage = Stage::new().await;
    let officer = registrar(&stage).await;
    let mother = proved(&stage, MOTHER).await;
    bound(&stage, &officer, (&mother, MOTHER.1)).await;
    // Somebody who has something in every table that is emptied: sessions, a PIN, and a guardian who has a say.
    let token = Phone::new().sign_in(&stage, "0912345679").await;
    let elder = stage.principal(&token).await.subject;
    let body = serde_json::json!({
        "side": "dependent", "phone": MOTHER.0, "kinds": ["bill"], "until": stage.clock.now() + TimeDelta::days(30),
        "limits": {"transaction": 200_000, "day": 500_000, "month": 2_000_000}, "pin": "502917",
    });
    let path = "/identity/v1/me/delegations";
    let made = stage.call(http::Method::POST, path).token(&token).key("one").json(body).await;
    let confirmation = format!("{path}/{}/confirmation", made.text("id"));
    let word = stage.call(http::Method::POST, &confirmation).token(&mother.tokens.access);
    let confirmed = word.json(serde_json::json!({})).await;
    assert_eq!(confirmed.text("state"), "active", "{}", confirmed.body);
    let id = begun(&stage, &token).await;
    assert!(!agree(&stage, id).await);
    // The last word is said before, so that one job is left.
    stage.clock.advance(TimeDelta::days(2) - TimeDelta::minutes(30));
    erasure(&stage, "job WHERE kind = 'closing-last-word' AND state = 'done'").await;
    stage.clock.advance(TimeDelta::hours(1));
    let before = state(&stage).await;
    for table in ERASURE {
        dies(&stage, table).await;
        assert_eq!(state(&stage).await, before, "died at {table}");
    }
    erasure(&stage, "closing WHERE state = 'erasing'").await;
    assert_eq!(stage.events::<ErasureDue>().await.len(), 1);
    assert_eq!(stage.events::<SessionRevoked>().await.len(), 1);
    let told = stage.events::<DelegationEnded>().await;
    assert!(told.len() == 1 && told[0].ended_by == elder.to_string(), "{told:?}");
    assert_eq!(stage.count("audit WHERE action = 'closing.erase'").await, 1);
    assert_eq!(stage.count("citizen WHERE erased_at IS NOT NULL AND octet_length(data_key) = 0").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_last_word_that_dies_anywhere_is_said_once() {
    let stage = Stage::new().await;
    let token = Phone::new().sign_in(&stage, "0912345679").await;
    let id = begun(&stage, &token).await;
    assert!(!agree(&stage, id).await);
    stage.clock.advance(TimeDelta::days(2) - TimeDelta::minutes(30));
    let before = state(&stage).await;
    for table in LAST_WORD {
        dies(&stage, table).await;
        assert_eq!(state(&stage).await, before, "died at {table}");
    }
    erasure(&stage, "job WHERE kind = 'closing-last-word' AND state = 'done'").await;
    assert_eq!(stage.events::<ErasureNear>().await.len(), 1);
    assert_eq!(stage.events::<ErasureDue>().await.len(), 0);
}
