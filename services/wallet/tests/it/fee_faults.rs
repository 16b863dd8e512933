//! Fees against an agency that refuses, hangs or loses its answers, and a wallet that dies before and after each step:
//! the citizen pays once, the agency is credited once, and hears of it in one message, however often that is sent.

use std::collections::BTreeMap;

use chrono::TimeDelta;
use serde_json::{Value, json};

use crate::agency::{FEE, Scene, Trouble};
use crate::biller::pay_path;
use crate::stage::{Replica, eventually, text};

/// What the citizen has before.
const MONEY: i64 = 5_000_000;
/// How far the clock goes at a time while an agency is told again: less than a token lives.
const STEP: TimeDelta = TimeDelta::minutes(5);
/// Every trouble of the agency, and none.
const TROUBLES: [Option<Trouble>; 4] =
    [None, Some(Trouble::Refuses), Some(Trouble::Hangs), Some(Trouble::LosesAnswers)];

/// How far a payment comes before the wallet dies.
#[derive(Clone, Copy, Debug)]
enum Point {
    /// The payment is in this state, or in a later one.
    State(&'static str),
    /// The message to the agency is to be sent.
    ToBeTold,
    /// The agency has heard it; the wallet may not know yet.
    Heard,
    /// The wallet has taken down what came of telling it.
    Told,
}

const POINTS: [Point; 7] = [
    Point::State("requested"),
    Point::State("held"),
    Point::State("confirming"),
    Point::State("paid"),
    Point::ToBeTold,
    Point::Heard,
    Point::Told,
];
/// Each point meets each trouble.
const ROUNDS: usize = POINTS.len() * TROUBLES.len();

impl Point {
    async fn is_reached(self, scene: &Scene, bill: &Value) -> bool {
        let payment = format!("(SELECT id::text FROM wallet.bill_payment WHERE bill_id = '{}')", text(bill, "id"));
        let told = format!("wallet.job WHERE kind = 'fee-paid' AND key = {payment}");
        match self {
            Self::State(state) => {
                let states = ["requested", "held", "confirming", "paid"];
                let from = states.iter().position(|known| *known == state).expect("a state on the way");
                let reached = states[from..].join("', '");
                let at =
                    format!("wallet.bill_payment WHERE bill_id = '{}' AND state IN ('{reached}')", text(bill, "id"));
                scene.stage.count(&at).await == 1
            }
            Self::ToBeTold => scene.stage.count(&told).await == 1,
            Self::Heard => {
                scene.agency.heard().iter().any(|heard| heard.said()["data"]["reference"] == bill["reference"])
            }
            Self::Told => {
                scene.stage.count(&format!("{told} AND attempts > 0 AND state IN ('due', 'done')")).await == 1
            }
        }
    }
}

/// Lets time pass until the agency has taken these.
async fn all_taken(scene: &Scene, references: &[String]) {
    eventually("the agency has heard of every fee", async || {
        scene.stage.clock.advance(STEP);
        references.iter().all(|reference| scene.agency.took(reference))
    })
    .await;
    let left = "wallet.job WHERE kind IN ('bill-payment', 'fee-paid') AND state <> 'done'";
    eventually("nothing is left to do", async || {
        scene.stage.clock.advance(STEP);
        scene.stage.count(left).await == 0
    })
    .await;
}

/// Every message about a notice is the same message, and no other notice's.
fn one_message_each(scene: &Scene, references: &[String]) {
    let mut said = BTreeMap::new();
    for heard in scene.agency.heard() {
        let told = said.entry(heard.proved_id()).or_insert_with(|| heard.said());
        assert_eq!(*told, heard.said(), "one id, one message");
    }
    let mut told: Vec<&Value> = said.values().map(|said| &said["data"]["reference"]).collect();
    told.sort_by_key(|reference| reference.as_str());
    let mut expected: Vec<&String> = references.iter().collect();
    expected.sort();
    assert_eq!(json!(told), json!(expected), "one message for each fee");
}

/// What the agency is owed, and what the citizen has left.
async fn charged_once_each(scene: &Scene, wallet: &Replica, fees: usize) {
    let all = FEE * i64::try_from(fees).expect("a few");
    assert_eq!(wallet.funds(&scene.citizen()).await, (MONEY - all, MONEY - all));
    let credited = format!(
        "ledger.account AS a JOIN ledger.account_kind AS k ON k.shard = a.shard AND k.code = a.kind WHERE k.name = 'biller' AND a.posted = {all}"
    );
    assert_eq!(scene.stage.count(&credited).await, 1, "the agency's account has {all}");
    let booked = "ledger.transfer AS t JOIN ledger.transfer_kind AS k ON k.shard = t.shard AND k.code = t.kind WHERE k.name = 'fee'";
    assert_eq!(scene.stage.count(booked).await, fees as i64, "booked once each");
    assert_eq!(scene.stage.count("wallet.bill_payment WHERE state = 'paid'").await, fees as i64);
    scene.stage.audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agency_in_trouble_hears_the_same_message_until_it_answers() {
    let scene = Scene::new().await;
    let wallet = scene.start().await;
    scene.fund(&wallet, MONEY).await;
    let mut references = Vec::new();
    for (number, trouble) in TROUBLES.into_iter().enumerate() {
        let reference = format!("H57-{number}");
        let bill = scene.bill(&wallet, &reference).await;
        scene.agency.trouble(trouble, 2);
        let id = wallet.pay_bill(&scene.citizen(), &bill).await;
        wallet.bill_reaches(&scene.citizen(), &id, "paid").await;
        references.push(reference);
        all_taken(&scene, &references).await;
        let sent = scene.agency.heard().iter().filter(|heard| heard.said()["data"]["payment_id"] == id).count();
        let least = if trouble.is_some() { 3 } else { 1 };
        assert!(sent >= least, "{trouble:?}: heard {sent} times");
    }
    one_message_each(&scene, &references);
    charged_once_each(&scene, &wallet, references.len()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wallet_that_dies_at_any_point_takes_a_fee_once_and_tells_the_agency() {
    let scene = Scene::new().await;
    let mut wallet = scene.start().await;
    scene.fund(&wallet, MONEY).await;
    let mut asked = Vec::new();
    for round in 0..ROUNDS {
        let (point, trouble) = (POINTS[round % POINTS.len()], TROUBLES[round / POINTS.len()]);
        let bill = scene.bill(&wallet, &format!("H57-{round}")).await;
        scene.agency.trouble(trouble, usize::MAX);
        let (body, path, citizen) = (json!({"amount": bill["amount"]}), pay_path(&bill), scene.citizen());
        // The answer may not come before the wallet dies: what counts is what was saved.
        let ask = wallet.post_with_key(&citizen, &path, &body, &path);
        let what = format!("{point:?} is reached");
        let come = eventually(&what, async || point.is_reached(&scene, &bill).await);
        tokio::select! {
            () = async { ask.await; std::future::pending::<()>().await } => {}
            () = come => {}
        }
        wallet.kill().await;
        wallet = scene.start().await;
        asked.push(bill);
    }
    scene.agency.trouble(None, 0);
    for bill in &asked {
        // The client never heard and asks again with the same key: the answer is that of the one payment there is.
        let (body, path) = (json!({"amount": bill["amount"]}), pay_path(bill));
        let id = text(&wallet.post_with_key(&scene.citizen(), &path, &body, &path).await.expect(202), "id");
        wallet.bill_reaches(&scene.citizen(), &id, "paid").await;
    }
    let references: Vec<String> = asked.iter().map(|bill| text(bill, "reference")).collect();
    all_taken(&scene, &references).await;
    one_message_each(&scene, &references);
    charged_once_each(&scene, &wallet, ROUNDS).await;
}
