//! A citizen's account is closed, opened again or ended by a wallet that dies before and after each step, by two of them at once, and
//! while money comes in: it ends closed without money and without anything open, or open with a reason.

use std::sync::atomic::Ordering;

use chrono::TimeDelta;
use serde_json::json;
use sqlx::{AssertSqlSafe, PgPool};
use uuid::Uuid;

use crate::office::{Office, id};
use crate::stage::{Answer, BANK, Replica, Shop, Stage, dong, eventually, text};

const PAY: &str = "/wallet/v1/payments";
const TOP_UPS: &str = "/wallet/v1/top-ups";
pub(crate) const CLOSE: &str = "person-close";
const REOPEN: &str = "person-reopen";
pub(crate) const ERASE: &str = "person-erase";
const SHARD: &str = "SELECT 1 FROM ledger.shard FOR UPDATE";
const RUNNING: &str = "wallet.job WHERE key = '{closing}' AND kind = '{kind}' AND state = 'running'";
const DONE: &str = "wallet.job WHERE key = '{closing}' AND kind = '{kind}' AND state = 'done'";
const STANDS: &str = "wallet.closing WHERE user_id = '{user}' AND closing_id = '{closing}' AND reopened_at IS NULL";
const FROZEN: &str = "ledger.account WHERE owner = '{user}' AND frozen = 3 AND NOT closed";
const THAWED: &str = "ledger.account WHERE owner = '{user}' AND frozen = 0";
const CLOSED: &str = "ledger.account WHERE owner = '{user}' AND closed AND posted = 0";

/// A city with a shop, and wallets that answer an identity.
pub(crate) struct Scene {
    pub(crate) stage: Stage,
    pub(crate) office: Office,
    pub(crate) shop: Shop,
    pool: PgPool,
}

/// A citizen who leaves.
#[derive(Clone, Copy)]
pub(crate) struct Leaver {
    pub(crate) user: Uuid,
    pub(crate) closing: Uuid,
}

impl Leaver {
    pub(crate) fn new(user: Uuid) -> Self {
        Self { user, closing: Uuid::now_v7() }
    }

    /// The rows that a condition is about.
    fn rows(self, kind: &str, condition: &str) -> String {
        let named = condition.replace("{user}", &self.user.to_string()).replace("{kind}", kind);
        named.replace("{closing}", &self.closing.to_string())
    }
}

/// Where a wallet is held up, and how one sees that it has come there.
#[derive(Clone, Copy, Debug)]
struct Stop {
    kind: &'static str,
    lock: &'static str,
    reached: &'static str,
    /// A place after that one: held up there, it is let go from the first.
    then: Option<(&'static str, &'static str)>,
}

const fn stop(kind: &'static str, lock: &'static str, reached: &'static str) -> Stop {
    Stop { kind, lock, reached, then: None }
}

/// Before and after each step of a closing; where nothing holds it up, identity's answer is lost.
const CLOSE_STOPS: [Stop; 4] = [
    stop(CLOSE, "LOCK TABLE wallet.closing IN ACCESS EXCLUSIVE MODE", RUNNING),
    stop(CLOSE, SHARD, STANDS),
    Stop { then: Some(("LOCK TABLE wallet.merchant IN ACCESS EXCLUSIVE MODE", FROZEN)), ..stop(CLOSE, SHARD, STANDS) },
    stop(CLOSE, "SELECT 1", FROZEN),
];
const REOPEN_STOPS: [Stop; 3] = [
    stop(REOPEN, SHARD, RUNNING),
    stop(REOPEN, "LOCK TABLE wallet.closing IN SHARE MODE", THAWED),
    stop(REOPEN, "SELECT 1", DONE),
];
const ERASE_STOPS: [Stop; 3] = [
    stop(ERASE, SHARD, RUNNING),
    stop(ERASE, "LOCK TABLE wallet.top_up IN SHARE MODE", CLOSED),
    stop(ERASE, "SELECT 1", "wallet.person_key WHERE person = '{user}' AND key IS NULL"),
];

impl Scene {
    pub(crate) async fn new() -> Self {
        let stage = Stage::new().await;
        let before = stage.start().await;
        let shop = before.shop(&stage).await;
        before.funded(&stage, 10_000).await;
        before.kill().await;
        let pool = stage.admin();
        Self { stage, office: Office::default(), shop, pool }
    }

    pub(crate) async fn replica(&self, instance: &str) -> Replica {
        self.stage.replica_asking(instance, self.stage.config(), self.office.channel(instance)).await
    }

    /// What identity's event makes of it.
    pub(crate) async fn ask(&self, kind: &str, leaver: Leaver) {
        sqlx::query(
            "INSERT INTO wallet.job (id, kind, key, state, due_at, payload, created_at)
             VALUES (gen_random_uuid(), $1, $2, 'due', $3, jsonb_build_object('person', $4::text), $3)",
        )
        .bind(kind)
        .bind(leaver.closing.to_string())
        .bind(self.stage.clock.now())
        .bind(leaver.user.to_string())
        .execute(&self.pool)
        .await
        .expect("a row");
    }

    async fn reaches(&self, leaver: Leaver, kind: &str, condition: &str) {
        let rows = leaver.rows(kind, condition);
        eventually(&rows, async || {
            // A job that failed waits for a while.
            self.stage.clock.advance(TimeDelta::seconds(1));
            self.stage.count(&rows).await == 1
        })
        .await;
    }

    pub(crate) async fn done(&self, leaver: Leaver, kind: &str) {
        self.reaches(leaver, kind, DONE).await;
    }

    /// Asks for a step, and lets the wallet that is at it die in a place.
    async fn dies(&self, leaver: Leaver, stop: Stop) {
        let wallet = self.replica("one").await;
        let mut held = platform::db::begin(&self.pool).await.expect("a transaction");
        sqlx::query(AssertSqlSafe(stop.lock)).execute(&mut *held).await.expect("a lock");
        self.office.silent.store(stop.lock == "SELECT 1", Ordering::SeqCst);
        self.ask(stop.kind, leaver).await;
        self.reaches(leaver, stop.kind, stop.reached).await;
        if let Some((lock, reached)) = stop.then {
            let mut later = platform::db::begin(&self.pool).await.expect("a transaction");
            sqlx::query(AssertSqlSafe(lock)).execute(&mut *later).await.expect("a lock");
            held.rollback().await.expect("a rollback");
            self.reaches(leaver, stop.kind, reached).await;
            held = later;
        }
        tokio::join!(wallet.kill(), async { held.rollback().await.expect("a rollback") });
        self.office.silent.store(false, Ordering::SeqCst);
        self.stage.leases_pass().await;
    }

    async fn pay(&self, wallet: &Replica, leaver: Leaver) -> String {
        let order = json!({"till_id": self.shop.till, "amount": dong(1_000)});
        wallet.post(&self.stage.token(leaver.user), PAY, &order).await.code()
    }

    async fn top_up(&self, wallet: &Replica, leaver: Leaver) -> Answer {
        let body = json!({"bank_code": BANK, "account": sandbox::RICH_ACCOUNTS[0], "amount": dong(20_000)});
        wallet.post(&self.stage.token(leaver.user), TOP_UPS, &body).await
    }

    /// Nothing begins and nothing moves.
    async fn is_shut(&self, wallet: &Replica, leaver: Leaver, when: &str) {
        assert_eq!(self.pay(wallet, leaver).await, "account-frozen", "{when}");
        assert_eq!(self.top_up(wallet, leaver).await.code(), "account-frozen", "{when}");
        assert_eq!(self.stage.count(&leaver.rows("", FROZEN)).await, 1, "{when}");
    }

    /// Everything is as before.
    async fn is_open(&self, wallet: &Replica, leaver: Leaver, when: &str) {
        assert_eq!(self.pay(wallet, leaver).await, "insufficient-funds", "{when}");
        assert_eq!(self.stage.count(&leaver.rows("", STANDS)).await, 0, "{when}");
        assert_eq!(self.stage.count(&leaver.rows("", FROZEN)).await, 0, "{when}");
    }

    async fn leaver(&self) -> Leaver {
        Leaver::new(self.stage.citizen(1).await)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wallet_that_dies_at_any_step_closes_and_then_opens_again_or_ends() {
    let scene = Scene::new().await;
    for (turn, stop) in CLOSE_STOPS.into_iter().enumerate() {
        let leaver = scene.leaver().await;
        scene.dies(leaver, stop).await;
        let wallet = scene.replica("two").await;
        scene.done(leaver, CLOSE).await;
        assert_eq!(scene.office.last(leaver.closing), Vec::<String>::new(), "{stop:?}");
        scene.is_shut(&wallet, leaver, &format!("{stop:?}")).await;
        wallet.kill().await;
        let (reopening, ending) = (REOPEN_STOPS[turn % 3], ERASE_STOPS[turn % 3]);
        scene.dies(leaver, reopening).await;
        let wallet = scene.replica("three").await;
        scene.done(leaver, REOPEN).await;
        scene.is_open(&wallet, leaver, &format!("{reopening:?}")).await;

        let again = Leaver::new(leaver.user);
        scene.ask(CLOSE, again).await;
        scene.done(again, CLOSE).await;
        scene.is_shut(&wallet, again, "asked for again").await;
        wallet.kill().await;
        scene.dies(again, ending).await;
        let wallet = scene.replica("four").await;
        scene.done(again, ERASE).await;
        assert!(scene.office.erased(again.closing), "{ending:?}");
        assert_eq!(scene.stage.count(&again.rows("", CLOSED)).await, 1, "{ending:?}");
        assert_eq!(
            scene.stage.count(&format!("wallet.device WHERE user_id = '{}'", again.user)).await,
            0,
            "{ending:?}"
        );
        assert_eq!(scene.pay(&wallet, again).await, "account-closed", "{ending:?}");
        wallet.kill().await;
    }
    scene.stage.audit().await;
}

/// The citizen takes it back while the wallet that was closing is dead; what it left to do comes afterwards, and too late.
#[tokio::test(flavor = "multi_thread")]
async fn a_step_that_comes_after_everything_was_opened_again_closes_nothing() {
    let scene = Scene::new().await;
    for stop in CLOSE_STOPS {
        let leaver = scene.leaver().await;
        scene.dies(leaver, stop).await;
        let hour = "UPDATE wallet.job SET lease_until = clock_timestamp() + interval '1 hour' WHERE state = 'running'";
        sqlx::query(hour).execute(&scene.pool).await.expect("an update");
        scene.office.over.store(true, Ordering::SeqCst);
        let wallet = scene.replica("two").await;
        scene.ask(REOPEN, leaver).await;
        scene.done(leaver, REOPEN).await;
        scene.is_open(&wallet, leaver, &format!("{stop:?}")).await;
        scene.stage.leases_pass().await;
        scene.done(leaver, CLOSE).await;
        scene.is_open(&wallet, leaver, &format!("late after {stop:?}")).await;
        scene.office.over.store(false, Ordering::SeqCst);
        let again = Leaver::new(leaver.user);
        scene.ask(CLOSE, again).await;
        scene.done(again, CLOSE).await;
        assert_eq!(scene.office.last(again.closing), Vec::<String>::new(), "{stop:?}");
        scene.is_shut(&wallet, again, "the next one counts").await;
        wallet.kill().await;
    }
    scene.stage.audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_wallets_at_the_same_closing_do_it_once() {
    let scene = Scene::new().await;
    let wallets = [scene.replica("one").await, scene.replica("two").await];
    for kind in [CLOSE, REOPEN, CLOSE, ERASE] {
        let leaver = scene.leaver().await;
        if kind != CLOSE {
            scene.ask(CLOSE, leaver).await;
            scene.done(leaver, CLOSE).await;
        }
        let mut held = platform::db::begin(&scene.pool).await.expect("a transaction");
        sqlx::query(SHARD).execute(&mut *held).await.expect("a lock");
        scene.ask(kind, leaver).await;
        scene.reaches(leaver, kind, RUNNING).await;
        scene.stage.leases_pass().await;
        scene.reaches(leaver, kind, &format!("{RUNNING} AND attempts >= 2")).await;
        held.rollback().await.expect("a rollback");
        scene.done(leaver, kind).await;
        match kind {
            CLOSE => scene.is_shut(&wallets[0], leaver, kind).await,
            REOPEN => scene.is_open(&wallets[0], leaver, kind).await,
            _ => assert_eq!(scene.stage.count(&leaver.rows("", CLOSED)).await, 1),
        }
    }
    scene.stage.audit().await;
}

/// Whichever comes first, the money is either refused or stands against the closing.
#[tokio::test(flavor = "multi_thread")]
async fn money_that_comes_in_meanwhile_is_refused_or_stands_against_it() {
    let scene = Scene::new().await;
    let wallets = [scene.replica("one").await, scene.replica("two").await];
    for turn in 0..8 {
        let user = wallets[0].rich(&scene.stage, 50_000).await;
        let (leaver, token) = (Leaver::new(user), scene.stage.token(user));
        let order = json!({"till_id": scene.shop.till, "amount": dong(50_000)});
        let paid = wallets[0].post(&token, PAY, &order).await.expect(201);
        let refunds = format!("{PAY}/{}/refunds", text(&paid, "id"));
        let (shop, nothing) = (scene.stage.token(owner(&scene).await), json!({}));
        let mut held = platform::db::begin(&scene.pool).await.expect("a transaction");
        sqlx::query(SHARD).execute(&mut *held).await.expect("a lock");
        // In the odd turns the account is as good as frozen when the shop gives the money back, else the other way round.
        let (refund, ()) = if turn % 2 == 0 {
            let refund = wallets[0].post(&shop, &refunds, &nothing);
            tokio::join!(refund, async {
                scene.ask(CLOSE, leaver).await;
                scene.reaches(leaver, CLOSE, STANDS).await;
                held.rollback().await.expect("a rollback");
            })
        } else {
            scene.ask(CLOSE, leaver).await;
            scene.reaches(leaver, CLOSE, STANDS).await;
            tokio::join!(wallets[0].post(&shop, &refunds, &nothing), async {
                held.rollback().await.expect("a rollback");
            })
        };
        scene.done(leaver, CLOSE).await;
        let (said, token) = (scene.office.last(leaver.closing), scene.stage.token(user));
        if refund.status == 201 {
            assert_eq!(said, ["balance-not-zero"]);
            assert_eq!(wallets[1].balance(&token).await, 50_000, "it is there to be spent");
            assert_eq!(wallets[1].post(&token, PAY, &order).await.status, 201, "the account is open");
        } else {
            assert_eq!((refund.code().as_str(), said), ("account-frozen", Vec::new()));
            scene.is_shut(&wallets[1], leaver, "the shop keeps the money").await;
        }
    }
    // A top-up that begins at the same moment: its money is never on its way to an account that is shut.
    for _ in 0..8 {
        let leaver = scene.leaver().await;
        let (begun, ()) = tokio::join!(scene.top_up(&wallets[0], leaver), scene.ask(CLOSE, leaver));
        scene.done(leaver, CLOSE).await;
        let said = scene.office.last(leaver.closing);
        if begun.status == 202 {
            assert!(!said.is_empty(), "it is open, or its money is there");
            wallets[0].reaches(&scene.stage.token(leaver.user), &text(&begun.json(), "id"), "completed").await;
        } else {
            assert_eq!((begun.code().as_str(), said), ("account-frozen", Vec::new()));
        }
    }
    scene.stage.audit().await;
}

pub(crate) async fn owner(scene: &Scene) -> Uuid {
    let sql = "SELECT owner_user_id FROM wallet.merchant WHERE id = $1";
    sqlx::query_scalar(sql).bind(id(&scene.shop.merchant)).fetch_one(&scene.pool).await.expect("a row")
}
