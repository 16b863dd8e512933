//! Statements of the issuer from outside: what is accepted, and every way in which one is refused.

use std::time::Duration;

use chrono::TimeDelta;
use platform::auth::{AuthError, LocalIssuer, Principal, STEP_UP, Statement, StatementKind, Verifier};
use platform::clock::Clock;
use platform::task::Shutdown;
use serde_json::{Value, json};
use uuid::Uuid;

const ISSUER: &str = "http://localhost:8080";

struct Stage {
    clock: Clock,
    issuer: LocalIssuer,
    verifier: Verifier,
    caller: Principal,
    shutdown: Shutdown,
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.shutdown.begin();
    }
}

impl Stage {
    async fn new() -> Self {
        let (clock, shutdown) = (Clock::test(), Shutdown::new());
        let issuer = LocalIssuer::new(clock.clone());
        let (verifier, task) = Verifier::new(issuer.clone(), clock.clone());
        tokio::spawn(task.run(shutdown.clone()));
        let ready = async {
            while !verifier.is_ready() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), ready).await.expect("keys are read");
        let token = issuer.token(Uuid::now_v7(), Uuid::now_v7(), 600);
        let caller = verifier.verify(&token).await.expect("a token");
        Self { clock, issuer, verifier, caller, shutdown }
    }

    fn whose(&self) -> (Uuid, Uuid) {
        (self.caller.subject, self.caller.session)
    }

    fn good(&self) -> Statement<Value> {
        Statement::new(STEP_UP, ISSUER, self.whose(), json!({ "word": "yes" }), self.clock.now())
    }

    async fn check(&self, token: &str) -> Result<Statement<Value>, AuthError> {
        self.verifier.statement(STEP_UP, token, self.whose()).await
    }

    /// The answer to a good statement with one thing changed.
    async fn changed(&self, change: impl FnOnce(&mut Statement<Value>)) -> Option<AuthError> {
        let mut claims = self.good();
        change(&mut claims);
        self.check(&self.issuer.sign(STEP_UP.typ, &claims)).await.err()
    }
}

#[tokio::test]
async fn a_statement_holds_for_its_subject_in_its_session_while_it_lives() {
    let stage = Stage::new().await;
    let token = stage.issuer.statement(STEP_UP, stage.whose(), json!({ "word": "yes" }));
    let statement = stage.check(&token).await.expect("it holds");
    assert_eq!((statement.says["word"].as_str(), statement.exp - statement.iat), (Some("yes"), 180));
    stage.clock.advance(TimeDelta::seconds(180 + 4));
    stage.check(&token).await.expect("clocks differ a little");
    stage.clock.advance(TimeDelta::seconds(1));
    assert_eq!(stage.check(&token).await.err(), Some(AuthError::Expired));
}

#[tokio::test]
async fn whatever_is_not_such_a_statement_is_refused() {
    let stage = Stage::new().await;
    let invalid = Some(AuthError::Invalid);
    assert_eq!(stage.changed(|_| {}).await, None);
    assert_eq!(stage.changed(|claims| claims.sub = Uuid::now_v7()).await, invalid, "somebody else's");
    assert_eq!(stage.changed(|claims| claims.sid = Uuid::now_v7()).await, invalid, "of another session");
    assert_eq!(stage.changed(|claims| claims.aud = "trangtien".to_owned()).await, invalid, "for another audience");
    assert_eq!(stage.changed(|claims| claims.iss = "http://localhost:9".to_owned()).await, invalid, "of another city");
    assert_eq!(stage.changed(|claims| claims.exp += 1).await, invalid, "living too long");
    assert_eq!(stage.changed(|claims| claims.exp = claims.iat).await, invalid, "never living");
    assert_eq!(stage.changed(|claims| claims.iat = i64::MIN).await, invalid, "absurd");
    assert_eq!(
        stage
            .changed(|claims| {
                claims.iat += 10;
                claims.exp += 10;
            })
            .await,
        invalid,
        "of the future"
    );
    let other_kind = StatementKind { typ: "other+jwt", ..STEP_UP };
    let token = stage.issuer.statement(other_kind, stage.whose(), json!({}));
    assert_eq!(stage.check(&token).await.err(), invalid, "of another kind");
    let access = stage.issuer.token(stage.caller.subject, stage.caller.session, 100);
    assert_eq!(stage.check(&access).await.err(), invalid, "an access token");
    let forged = LocalIssuer::new(stage.clock.clone()).statement(STEP_UP, stage.whose(), json!({}));
    assert_eq!(stage.check(&forged).await.err(), invalid, "signed by another key");
    for token in ["", "a.b.c", &"x".repeat(5_000)] {
        assert_eq!(stage.check(token).await.err(), invalid);
    }
    let statement = stage.issuer.statement(STEP_UP, stage.whose(), json!({}));
    assert_eq!(stage.verifier.verify(&statement).await.err(), invalid, "a statement is no access token");
}
