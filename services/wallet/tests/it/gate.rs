//! A gate in the database: whoever writes what it is about waits there, so that a test knows exactly how far a wallet has come
//! when it lets it die.

use sqlx::{AssertSqlSafe, PgPool};

use crate::stage::{Replica, Stage, eventually};

/// The advisory lock that gates are made of.
const LOCK: i64 = 57;
/// Those who wait at the gate of this database.
const WAITING: &str = "pg_locks WHERE locktype = 'advisory' AND NOT granted AND objid = 57
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";

/// Which writes wait: the table, the event and the condition of a trigger.
#[derive(Clone, Copy, Debug)]
pub(crate) struct At {
    pub(crate) table: &'static str,
    pub(crate) event: &'static str,
    pub(crate) when: &'static str,
}

/// What becomes of the statement that waits when its wallet is dead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Waiting {
    /// Its connection is cut: nothing of it happens.
    Lost,
    /// It goes on in the database, though nobody hears the answer.
    LetThrough,
}

/// A gate that is shut.
pub(crate) struct Gate {
    pool: PgPool,
    at: At,
    shut: sqlx::Transaction<'static, sqlx::Postgres>,
}

impl Gate {
    pub(crate) async fn shut(stage: &Stage, at: At) -> Self {
        let pool = stage.admin();
        let mut shut = platform::db::begin(&pool).await.expect("a transaction");
        sqlx::query("SELECT pg_advisory_xact_lock($1)").bind(LOCK).execute(&mut *shut).await.expect("the lock");
        let At { table, event, when } = at;
        for statement in [
            format!(
                "CREATE OR REPLACE FUNCTION public.wait_at_gate() RETURNS trigger LANGUAGE plpgsql AS
                 $$ BEGIN PERFORM pg_advisory_xact_lock_shared({LOCK}); RETURN NEW; END $$"
            ),
            format!(
                "CREATE TRIGGER a_gate BEFORE {event} ON {table} FOR EACH ROW WHEN ({when}) EXECUTE FUNCTION public.wait_at_gate()"
            ),
        ] {
            sqlx::query(AssertSqlSafe(statement)).execute(&pool).await.expect("a trigger");
        }
        Self { pool, at, shut }
    }

    /// Waits until somebody waits.
    pub(crate) async fn is_reached(&self, stage: &Stage) {
        let what = format!("{:?} is reached", self.at);
        eventually(&what, async || stage.count(WAITING).await >= 1).await;
    }

    /// The wallet dies at the gate, which then opens.
    pub(crate) async fn dies_here(self, wallet: Replica, waiting: Waiting) {
        let Self { pool, at, shut } = self;
        let open = async {
            if waiting == Waiting::Lost {
                let cut = format!("SELECT pg_terminate_backend(pid) FROM {WAITING}");
                sqlx::query(AssertSqlSafe(cut)).execute(&pool).await.expect("they are cut off");
                eventually("nobody waits", async || {
                    let left = format!("SELECT count(*) FROM {WAITING}");
                    sqlx::query_scalar::<_, i64>(AssertSqlSafe(left)).fetch_one(&pool).await.expect("a count") == 0
                })
                .await;
            }
            shut.rollback().await.expect("a rollback");
        };
        tokio::join!(wallet.kill(), open);
        let drop = format!("DROP TRIGGER a_gate ON {}", at.table);
        sqlx::query(AssertSqlSafe(drop)).execute(&pool).await.expect("the gate is gone");
    }
}
