//! `trangtien admin` as an operator runs it: what it does, and that it stands in the audit.

use std::path::PathBuf;
use std::process::Output;

use platform::embedded::scratch::{self, TestDatabase, TestFolder};
use serde_json::Value;
use sqlx::PgPool;
use tokio::process::Command;
use uuid::Uuid;

/// A city's databases and its configuration; nothing of it runs.
struct City {
    folder: TestFolder,
    database: TestDatabase,
}

impl City {
    async fn new() -> Self {
        let database = scratch::database(&[
            (identity::SCHEMA, &identity::MIGRATOR),
            (notifications::SCHEMA, &notifications::MIGRATOR),
            (reports::SCHEMA, &reports::MIGRATOR),
        ])
        .await
        .expect("PostgreSQL is installed");
        let folder = TestFolder::new("admin").expect("a folder");
        let key = |name: &str| format!("{name} = \"{name}-0123456789abcdef0123456789abcdef\"\n");
        let keys: String = ["otp_hmac", "phone_hmac", "encryption", "pin_pepper"].map(key).concat();
        let text = format!(
            "city = {:?}\nredis_url = \"redis://127.0.0.1:1\"\n[database]\nidentity.url = {:?}\nnotifications.url = {:?}\nreports.url = {:?}\n[identity.keys]\n{keys}",
            concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/city/hue"),
            database.url(identity::SCHEMA),
            database.url(notifications::SCHEMA),
            database.url(reports::SCHEMA),
        );
        std::fs::write(folder.path().join("city.toml"), text).expect("a file");
        Self { folder, database }
    }

    fn config(&self) -> PathBuf {
        self.folder.path().join("city.toml")
    }

    fn admin(&self) -> PgPool {
        self.database.admin_pool()
    }

    /// Runs `trangtien admin …` on this city.
    async fn run(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_trangtien"));
        command.arg("admin").args(arguments).arg("--config").arg(self.config()).current_dir(self.folder.path());
        command.output().await.expect("it runs")
    }

    async fn works(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments).await;
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("UTF-8")
    }

    async fn fails(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments).await;
        assert!(!output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stdout));
        String::from_utf8(output.stderr).expect("UTF-8")
    }

    /// The records of an export.
    async fn export(&self) -> Vec<Value> {
        let text = self.works(&["audit", "export"]).await;
        text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }

    /// The id of somebody who has an account.
    async fn citizen(&self) -> String {
        let id = Uuid::now_v7();
        sqlx::query(
            "INSERT INTO identity.citizen (id, phone_digest, data_key, phone, language, created_at, updated_at)
             VALUES ($1, sha256('a'), 'k', 'p', 'vi', now(), now())",
        )
        .bind(id)
        .execute(&self.admin())
        .await
        .expect("a citizen");
        id.to_string()
    }

    async fn dead_job(&self, schema: &str) -> Uuid {
        let id = Uuid::now_v7();
        let sql = format!(
            "INSERT INTO {schema}.job (id, kind, key, payload, due_at, state, created_at, finished_at, reason)
            VALUES ($1, 'message', $1::text, '{{}}', now(), 'dead', now(), now(), 'gave up')"
        );
        sqlx::query(sqlx::AssertSqlSafe(sql)).bind(id).execute(&self.admin()).await.expect("a dead job");
        id
    }
}

#[tokio::test]
async fn dead_letters_are_redriven_on_record_or_not_at_all() {
    let city = City::new().await;
    let id = city.dead_job("notifications").await;
    city.dead_job("notifications").await;
    let nothing = city.fails(&["redrive", "notifications", "--kind", "unknown"]).await;
    assert!(nothing.contains("no such dead letter"), "{nothing}");
    city.works(&["redrive", "notifications", "--id", &id.to_string(), "--reason", "ticket 4711"]).await;
    let refused =
        city.fails(&["redrive", "notifications", "--kind", "message", "--reason", "asked by 0912345678"]).await;
    assert!(refused.contains("names nobody"), "{refused}");
    sqlx::query("REVOKE INSERT ON identity.audit FROM trangtien_identity")
        .execute(&city.admin())
        .await
        .expect("revoked");
    let unrecorded = city.fails(&["redrive", "notifications", "--kind", "message"]).await;
    assert!(unrecorded.contains("can't be put on record"), "{unrecorded}");
    let dead: i64 = sqlx::query_scalar("SELECT count(*) FROM notifications.job WHERE state = 'dead'")
        .fetch_one(&city.admin())
        .await
        .expect("a count");
    assert_eq!(dead, 1, "without a record it is not done");
    sqlx::query("GRANT INSERT ON identity.audit TO trangtien_identity").execute(&city.admin()).await.expect("granted");
    city.works(&["redrive", "notifications", "--kind", "message"]).await;
    let records = city.export().await;
    let acts: Vec<_> = records.iter().map(|record| (&record["action"], &record["object"], &record["reason"])).collect();
    let first = format!("notifications id {id}: 1 jobs, 0 events");
    assert_eq!(
        acts,
        [
            (&Value::from("dead-letters.redrive"), &Value::from(first), &Value::from("ticket 4711")),
            (
                &Value::from("dead-letters.redrive"),
                &Value::from("notifications kind message: 1 jobs, 0 events"),
                &Value::from("not stated")
            ),
            (&Value::from("audit.read"), &Value::from("export"), &Value::from("not stated")),
        ]
    );
    assert!(records.iter().all(|record| record["actor_kind"] == "operator" && record["channel"] == "command"));
}

#[tokio::test]
async fn keys_rotate_and_supervisors_are_appointed_on_record() {
    let city = City::new().await;
    let person = city.citizen().await;
    city.works(&["keys", "rotate"]).await;
    let early = city.fails(&["keys", "rotate"]).await;
    assert!(early.contains("wait ten minutes, or use --force (signing-keys-new)"), "{early}");
    city.works(&["keys", "rotate", "--force", "--reason", "yearly"]).await;
    city.works(&["appoint-supervisor", &person, "--reason", "first of the city"]).await;
    let found = city.works(&["audit", "search", "--subject", &person]).await;
    assert!(found.contains("role.grant") && found.ends_with("1 records\n"), "{found}");
    let keys = city.works(&["audit", "search", "--action", "key.", "--limit", "2"]).await;
    assert!(keys.contains("yearly") && keys.contains("2 records"), "{keys}");
    let listed = city.works(&["keys", "list"]).await;
    let states: Vec<&str> = listed.lines().filter_map(|line| line.split_whitespace().nth(2)).skip(1).collect();
    assert_eq!(states, ["retired", "retired", "active", "next"], "{listed}");
    let none = city.works(&["audit", "search", "--address", "203.0.113.9"]).await;
    assert!(none.ends_with("0 records\n"), "{none}");
    let states: Vec<String> =
        sqlx::query_scalar("SELECT state FROM identity.signing_key WHERE algorithm = 'EdDSA' ORDER BY created_at")
            .fetch_all(&city.admin())
            .await
            .expect("keys");
    assert_eq!(states, ["retired", "retired", "active", "next"]);
}

#[tokio::test]
async fn roles_are_given_and_taken_once_and_on_record() {
    let city = City::new().await;
    let nobody = city.fails(&["grant-role", &Uuid::now_v7().to_string(), "admin"]).await;
    assert!(nobody.contains("not-found"), "{nobody}");
    let person = city.citizen().await;
    let first = city.works(&["grant-role", &person, "admin", "--reason", "first of the city"]).await;
    assert_eq!(first, format!("{person} now holds admin\n"));
    let again = city.works(&["grant-role", &person, "admin"]).await;
    assert!(again.contains("held before"), "{again}");
    let unscoped = city.fails(&["grant-role", &person, "agency.head"]).await;
    assert!(unscoped.contains("name an agency"), "{unscoped}");
    city.works(&["grant-role", &person, "agency.head", "--agency", "HEPCO", "--ward", "19753"]).await;
    let listed = city.works(&["roles", "--user", &person]).await;
    assert!(listed.contains("agency.head:HEPCO:19753 since") && listed.ends_with("2 roles\n"), "{listed}");

    let taken = city.works(&["revoke-role", &person, "admin", "--reason", "left"]).await;
    assert_eq!(taken, format!("{person} holds no longer admin\n"));
    let twice = city.works(&["revoke-role", &person, "admin"]).await;
    assert!(twice.contains("had lost before"), "{twice}");
    assert!(city.works(&["roles", "--role", "admin"]).await.ends_with("0 roles\n"));
    let history = city.works(&["roles", "--role", "admin", "--history"]).await;
    assert!(history.contains("until") && history.ends_with("1 roles\n"), "{history}");
    let found = city.works(&["audit", "search", "--subject", &person, "--action", "role."]).await;
    assert!(
        found.contains("role.revoke \"admin\"") && found.contains("left") && found.ends_with("3 records\n"),
        "{found}"
    );
}

#[tokio::test]
async fn the_audit_is_verified_with_and_without_a_city() {
    let city = City::new().await;
    city.works(&["keys", "rotate"]).await;
    let verified = city.works(&["audit", "verify"]).await;
    let tip = verified.split_whitespace().find(|word| word.contains(':') && word.len() > 64).expect("a tip").to_owned();
    assert!(verified.contains("the audit holds"), "{verified}");
    city.works(&["appoint-supervisor", &city.citizen().await]).await;
    city.works(&["audit", "verify", "--kept", &tip]).await;
    let export = city.works(&["audit", "export"]).await;
    let file = city.folder.path().join("audit.jsonl");
    let offline = async |text: &str| {
        std::fs::write(&file, text).expect("a file");
        let mut command = Command::new(env!("CARGO_BIN_EXE_trangtien"));
        command.args(["admin", "audit", "verify", "--kept", &tip, "--file"]).arg(&file);
        command.output().await.expect("it runs")
    };
    assert!(offline(&export).await.status.success());
    let forged = offline(&export.replace("role.grant", "role.revoke")).await;
    let said = String::from_utf8_lossy(&forged.stderr).into_owned();
    assert!(!forged.status.success() && said.contains("was changed"), "{said}");

    for sql in [
        "ALTER TABLE identity.audit DISABLE TRIGGER ALL",
        "UPDATE identity.audit SET actor = 'somebody' WHERE position = 2",
        "ALTER TABLE identity.audit ENABLE TRIGGER ALL",
    ] {
        sqlx::query(sql).execute(&city.admin()).await.expect("a superuser may");
    }
    let broken = city.fails(&["audit", "verify"]).await;
    assert!(broken.contains("record 2 was changed"), "{broken}");
}
