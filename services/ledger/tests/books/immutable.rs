//! History refuses change: by rights for the role that posts, by triggers for everyone.

use ledger::{Action, Freeze, HoldId, HoldSpec, Money, Request};
use sqlx::AssertSqlSafe;
use uuid::Uuid;

use crate::support::*;

const HISTORY: [&str; 7] =
    ["block", "transfer", "account_mark", "request", "account_change", "account_kind", "transfer_kind"];

/// Books with at least one row in every table of history.
async fn written() -> World {
    let world = World::new().await;
    let replica = world.engine();
    let (nostro, customers) = open(&replica.ledger, &[100]).await;
    posted(replica.ledger.post(Request::new(fresh_key()).action(Action::Freeze(nostro, Freeze::Nothing))).await);
    let hold = HoldSpec {
        id: HoldId::generate(),
        debit: customers[0],
        credit: nostro,
        amount: Money::vnd(10),
        kind: PAYMENT,
        reference: Uuid::nil(),
        expires_at: None,
    };
    let request = Request::new(fresh_key()).action(Action::Hold(hold)).action(Action::Void(hold.id));
    posted(replica.ledger.post(request).await);
    // As many as bring a mark.
    let back_and_forth = (0..128).fold(Request::new(fresh_key()), |request, _| {
        request.transfer(posting(customers[0], nostro, 1)).transfer(posting(nostro, customers[0], 1))
    });
    posted(replica.ledger.post(back_and_forth).await);
    replica.stop().await;
    world
}

#[tokio::test]
async fn the_role_that_posts_has_no_right_to_change_history() {
    let world = written().await;
    let pool = world.pool();
    for table in HISTORY.into_iter().chain(["account", "hold"]) {
        for statement in [format!("DELETE FROM ledger.{table}"), format!("TRUNCATE ledger.{table}")] {
            let refused = sqlx::raw_sql(AssertSqlSafe(statement.clone())).execute(&pool).await.expect_err(&statement);
            let code = refused.as_database_error().and_then(|error| error.code()).map(|code| code.into_owned());
            assert_eq!(code.as_deref(), Some("42501"), "{statement}: {refused}");
        }
    }
    for statement in [
        "UPDATE ledger.transfer SET amount = amount + 1",
        "UPDATE ledger.block SET hash = hash",
        "UPDATE ledger.request SET block = block",
        "UPDATE ledger.account_change SET closed = closed",
        "UPDATE ledger.account_kind SET name = name",
        "UPDATE ledger.transfer_kind SET name = name",
        "UPDATE ledger.account SET owner = id",
        "UPDATE ledger.account SET floor = NULL",
        "UPDATE ledger.account SET currency = 840",
        "UPDATE ledger.hold SET amount = amount + 1",
        "ALTER TABLE ledger.transfer DISABLE TRIGGER ALL",
        "ALTER TABLE ledger.account DROP CONSTRAINT account_floor",
        "DROP TRIGGER transfer_immutable ON ledger.transfer",
        "SET session_replication_role = replica",
        "GRANT UPDATE ON ledger.transfer TO trangtien_wallet",
        "CREATE TABLE ledger.mine (id integer)",
    ] {
        let done = sqlx::raw_sql(statement).execute(&pool).await;
        let code = done.as_ref().err().and_then(|error| error.as_database_error()).and_then(|error| error.code());
        // A GRANT by a role without the right to it succeeds with a warning and grants nothing.
        if statement.starts_with("GRANT") {
            let changed = sqlx::query("UPDATE ledger.transfer SET amount = amount + 1").execute(&pool).await;
            assert!(changed.is_err(), "{statement}");
        } else {
            assert_eq!(code.as_deref(), Some("42501"), "{statement}: {done:?}");
        }
    }
    assert_sound(&pool).await;
}

#[tokio::test]
async fn triggers_refuse_a_change_of_history_even_to_the_superuser() {
    let world = written().await;
    let admin = world.database.admin_pool();
    let mut statements = Vec::new();
    for table in HISTORY {
        let column = if table == "account_mark" { "account" } else { "shard" };
        statements.push(format!("UPDATE ledger.{table} SET {column} = {column}"));
        statements.push(format!("DELETE FROM ledger.{table}"));
        statements.push(format!("TRUNCATE ledger.{table}"));
    }
    for table in ["account", "hold"] {
        statements.push(format!("DELETE FROM ledger.{table}"));
        statements.push(format!("TRUNCATE ledger.{table}"));
    }
    statements.push("UPDATE ledger.hold SET ending = 'expired'".to_owned());
    for statement in statements {
        let refused = sqlx::raw_sql(AssertSqlSafe(statement.clone())).execute(&admin).await.expect_err(&statement);
        assert_eq!(platform::db::violated(&refused), Some("ledger_history_immutable"), "{statement}: {refused}");
    }
    assert_sound(&admin).await;
}

#[tokio::test]
async fn functions_have_the_rights_of_whoever_calls_them_and_only_the_role_that_posts_may() {
    let world = World::new().await;
    let admin = world.database.admin_pool();
    let functions: Vec<(String, bool, bool, bool)> = sqlx::query_as(
        "SELECT p.proname::text, p.prosecdef, p.prorettype = 'trigger'::regtype, has_function_privilege('public', p.oid, 'EXECUTE')
         FROM pg_catalog.pg_proc AS p
         WHERE p.pronamespace = 'ledger'::regnamespace",
    )
    .fetch_all(&admin)
    .await
    .expect("read");
    assert!(functions.iter().any(|(name, ..)| name == "post_batch"));
    for (name, as_owner, is_trigger, is_public) in functions {
        assert!(!as_owner, "{name}");
        // Nobody can call a trigger.
        assert!(is_trigger || !is_public, "{name}");
    }
}
