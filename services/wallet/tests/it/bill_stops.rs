//! A wallet that dies right before and right after each step of a bill or a fee: it is held up at a gate, so that how far it has come
//! is known and not a matter of luck. Afterwards the citizen is charged exactly when the biller recorded the payment.

use chrono::TimeDelta;
use serde_json::{Value, json};

use crate::agency;
use crate::biller::{COST, pay_path};
use crate::gate::{At, Gate, Waiting};
use crate::stage::{Stage, eventually, text};

const MONEY: i64 = 1_000_000;

/// A step that a wallet is held up before.
#[derive(Clone, Copy, Debug)]
struct Stop {
    /// The write that makes the step.
    at: At,
    /// The payment as it stands there; empty while nothing is saved.
    state: &'static str,
    /// Whether money is set aside and can't go back by itself.
    confirmed: bool,
    /// Payments that the biller has recorded.
    recorded: usize,
    /// What the biller does wrong meanwhile.
    fault: Fault,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    None,
    /// It acts and never says so.
    Silent,
    /// The bill was paid elsewhere, so that it refuses.
    Refuses,
}

const fn payment(event: &'static str, when: &'static str) -> At {
    At { table: "wallet.bill_payment", event, when }
}

const SAVE: At = payment("INSERT", "NEW.state = 'requested'");
const HOLD: At = payment("UPDATE", "NEW.state = 'held'");
const CONFIRM: At = At {
    table: "ledger.hold",
    event: "UPDATE",
    when: "NEW.confirming_block IS NOT NULL AND OLD.confirming_block IS NULL",
};
const MARK: At = payment("UPDATE", "NEW.state = 'confirming'");
const UNKNOWN: At = payment("UPDATE", "NEW.state = 'unknown'");
const PAY: At = payment("UPDATE", "NEW.state = 'paid'");
const FAIL: At = payment("UPDATE", "NEW.state = 'failed'");
const END: At = At { table: "wallet.job", event: "UPDATE", when: "NEW.kind = 'bill-payment' AND NEW.state = 'done'" };
const TELL: At = At { table: "wallet.job", event: "INSERT", when: "NEW.kind = 'fee-paid'" };
const TOLD: At = At { table: "wallet.job", event: "UPDATE", when: "NEW.kind = 'fee-paid' AND NEW.state = 'done'" };

const fn stop(at: At, state: &'static str, confirmed: bool, recorded: usize, fault: Fault) -> Stop {
    Stop { at, state, confirmed, recorded, fault }
}

/// Each stop is after the step before it and before its own.
const BILL_STOPS: [Stop; 10] = [
    stop(SAVE, "", false, 0, Fault::None),
    stop(HOLD, "requested", false, 0, Fault::None),
    stop(CONFIRM, "held", false, 0, Fault::None),
    stop(MARK, "held", true, 0, Fault::None),
    stop(PAY, "confirming", true, 1, Fault::None),
    stop(UNKNOWN, "confirming", true, 1, Fault::Silent),
    stop(END, "paid", true, 1, Fault::None),
    stop(CONFIRM, "held", false, 1, Fault::Refuses),
    stop(FAIL, "confirming", true, 2, Fault::Refuses),
    stop(END, "failed", true, 2, Fault::Refuses),
];

/// A fee is recorded with us when it is sent, so that no biller is asked.
const FEE_STOPS: [Stop; 8] = [
    stop(SAVE, "", false, 0, Fault::None),
    stop(HOLD, "requested", false, 0, Fault::None),
    stop(CONFIRM, "held", false, 0, Fault::None),
    stop(MARK, "held", true, 0, Fault::None),
    stop(PAY, "confirming", true, 0, Fault::None),
    stop(TELL, "paid", true, 0, Fault::None),
    stop(END, "paid", true, 0, Fault::None),
    stop(TOLD, "paid", true, 0, Fault::None),
];

/// The payment of a bill stands where the stop says.
async fn stands_at(stage: &Stage, stop: Stop, bill: &Value) {
    let of_bill = format!("wallet.bill_payment AS p WHERE p.bill_id = '{}'", text(bill, "id"));
    let payments = i64::from(!stop.state.is_empty());
    assert_eq!(stage.count(&of_bill).await, payments, "{stop:?}");
    assert_eq!(stage.count(&format!("{of_bill} AND p.state = '{}'", stop.state)).await, payments, "{stop:?}");
    let kept = format!(
        "{of_bill} AND EXISTS (SELECT 1 FROM ledger.hold AS h WHERE h.id = p.id AND h.confirming_block IS NOT NULL)"
    );
    assert_eq!(stage.count(&kept).await, i64::from(stop.confirmed), "{stop:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wallet_that_dies_before_or_after_any_step_of_a_bill_charges_as_the_biller_recorded() {
    let stage = Stage::new().await;
    for waiting in [Waiting::Lost, Waiting::LetThrough] {
        for stop in BILL_STOPS {
            let before = stage.biller.decided().await.len();
            let wallet = stage.start().await;
            let citizen = wallet.funded(&stage, MONEY).await;
            let bill = wallet.bill(&stage, &citizen).await;
            let gate = Gate::shut(&stage, stop.at).await;
            match stop.fault {
                Fault::None => {}
                Fault::Silent => {
                    let silent = json!({"timeout": true, "error_after_effect": true, "drop_callback": true});
                    stage.biller.fault(silent).await;
                }
                Fault::Refuses => stage.biller.pay_elsewhere(&stage.clock, &bill).await,
            }
            let (body, path) = (json!({"amount": bill["amount"]}), pay_path(&bill));
            let ask = wallet.post_with_key(&citizen, &path, &body, "pay");
            tokio::select! {
                () = async { ask.await; std::future::pending::<()>().await } => {}
                () = gate.is_reached(&stage) => {}
            }
            stands_at(&stage, stop, &bill).await;
            assert_eq!(stage.biller.decided().await.len() - before, stop.recorded, "{stop:?}");
            gate.dies_here(wallet, waiting).await;
            stage.biller.heal().await;
            stage.leases_pass().await;

            let wallet = stage.start().await;
            let id = text(&wallet.post_with_key(&citizen, &path, &body, "pay").await.expect(202), "id");
            let (state, left, said) = match stop.fault {
                Fault::Refuses => ("failed", MONEY, "failed"),
                Fault::None | Fault::Silent => ("paid", MONEY - COST, "succeeded"),
            };
            wallet.bill_reaches(&citizen, &id, state).await;
            assert_eq!(wallet.funds(&citizen).await, (left, left), "{stop:?} {waiting:?}");
            assert_eq!(stage.biller.decided().await.get(&id), Some(&(said.to_owned(), COST)), "{stop:?} {waiting:?}");
            let of_bill = format!("wallet.bill_payment WHERE bill_id = '{}'", text(&bill, "id"));
            assert_eq!(stage.count(&of_bill).await, 1, "one payment: {stop:?} {waiting:?}");
            wallet.kill().await;
        }
    }
    stage.audit().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wallet_that_dies_before_or_after_any_step_of_a_fee_takes_it_once_and_tells_once() {
    let scene = agency::Scene::new().await;
    let stage = &scene.stage;
    let money = agency::FEE * 50;
    let mut wallet = scene.start().await;
    scene.fund(&wallet, money).await;
    let mut paid = 0;
    for waiting in [Waiting::Lost, Waiting::LetThrough] {
        for (number, stop) in FEE_STOPS.into_iter().enumerate() {
            let reference = format!("H57-{waiting:?}-{number}");
            let bill = scene.bill(&wallet, &reference).await;
            let gate = Gate::shut(stage, stop.at).await;
            let (body, path, citizen) = (json!({"amount": bill["amount"]}), pay_path(&bill), scene.citizen());
            let ask = wallet.post_with_key(&citizen, &path, &body, &path);
            tokio::select! {
                () = async { ask.await; std::future::pending::<()>().await } => {}
                () = gate.is_reached(stage) => {}
            }
            stands_at(stage, stop, &bill).await;
            gate.dies_here(wallet, waiting).await;
            stage.leases_pass().await;

            wallet = scene.start().await;
            let id = text(&wallet.post_with_key(&scene.citizen(), &path, &body, &path).await.expect(202), "id");
            wallet.bill_reaches(&scene.citizen(), &id, "paid").await;
            paid += 1;
            let left = money - agency::FEE * paid;
            assert_eq!(wallet.funds(&scene.citizen()).await, (left, left), "{stop:?} {waiting:?}");
            eventually("the agency has heard of it", async || {
                stage.clock.advance(TimeDelta::minutes(1));
                scene.agency.took(&reference)
            })
            .await;
        }
    }
    let mut told = std::collections::BTreeMap::new();
    for heard in scene.agency.heard() {
        told.insert(heard.proved_id(), heard.said()["data"]["reference"].to_string());
    }
    let notices: std::collections::BTreeSet<&String> = told.values().collect();
    assert_eq!((told.len(), notices.len()), (16, 16), "one message for each fee: {told:?}");
    stage.audit().await;
}
