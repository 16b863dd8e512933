//! Refunds on the real engine: never more than was paid, whoever asks at once.

use futures::future::join_all;
use ledger::verify::{Fault, Options, verify};
use ledger::{
    AccountId, Action, HoldId, HoldPosting, HoldSpec, Money, Outcome, RefundSpec, Reject, Request, TransferId,
    TransferKind, UsedLimits,
};
use uuid::Uuid;

use crate::support::*;

const REFUND: TransferKind = TransferKind::new(3, "refund");

fn refund(of: TransferId, dong: i64, limits: UsedLimits) -> Request<()> {
    let spec = RefundSpec { of, amount: Money::vnd(dong), kind: REFUND, reference: Uuid::now_v7(), limits };
    Request::new(fresh_key()).action(Action::Refund(spec))
}

async fn paid(ledger: &ledger::Ledger<()>, debit: AccountId, credit: AccountId, dong: i64) -> TransferId {
    posted(ledger.post(Request::new(fresh_key()).transfer(posting(debit, credit, dong))).await)[0].transfer
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_refunds_of_one_payment_at_once_never_exceed_it() {
    let world = World::new().await;
    let replicas = [world.engine(), world.engine()];
    let (_, people) = open(&replicas[0].ledger, &[10_000, 10_000]).await;
    let (buyer, shop) = (people[0], people[1]);
    for _ in 0..10 {
        let payment = paid(&replicas[0].ledger, buyer, shop, 1_000).await;
        let asks = (0..8).map(|turn| replicas[turn % 2].ledger.post(refund(payment, 300, UsedLimits::GivenBack)));
        let answers = join_all(asks).await;
        let granted = answers.iter().filter(|answer| matches!(answer, Ok(Outcome::Posted(_)))).count();
        let too_much = Outcome::Rejected(Reject::RefundExceedsPayment(payment));
        let refused = answers.iter().filter(|answer| matches!(answer, Ok(outcome) if *outcome == too_much)).count();
        assert_eq!((granted, refused), (3, 5));
        posted(replicas[1].ledger.post(refund(payment, 100, UsedLimits::GivenBack)).await);
        assert_eq!(
            rejected(replicas[0].ledger.post(refund(payment, 1, UsedLimits::Kept)).await),
            Reject::RefundExceedsPayment(payment)
        );
    }
    assert_eq!(balance(&replicas[0].ledger, buyer).await, 10_000);
    assert_eq!(spent(&replicas[0].ledger, buyer, world.clock.now()).await, (0, 0));
    assert_sound(&world.pool()).await;
    for replica in replicas {
        replica.stop().await;
    }
}

#[tokio::test]
async fn a_refund_gives_back_used_limits_where_it_is_told_to() {
    let world = World::new().await;
    let replica = world.engine();
    let ledger = &replica.ledger;
    let (_, people) = open(ledger, &[10_000, 0]).await;
    let (buyer, shop) = (people[0], people[1]);
    // The payment that a hold became counts on the hold's day.
    let hold = HoldSpec {
        id: HoldId::generate(),
        debit: buyer,
        credit: shop,
        amount: Money::vnd(1_000),
        kind: PAYMENT,
        reference: Uuid::now_v7(),
        expires_at: None,
    };
    posted(ledger.post(Request::new(fresh_key()).action(Action::Hold(hold))).await);
    world.clock.advance(chrono::TimeDelta::days(1));
    let direct = paid(ledger, buyer, shop, 50).await;
    let whole = Action::Post(HoldPosting { hold: hold.id, amount: None });
    let held = posted(ledger.post(Request::new(fresh_key()).action(whole)).await)[0].transfer;
    let (day, month) = spent(ledger, buyer, world.clock.now()).await;
    assert_eq!(day, 50);
    posted(ledger.post(refund(held, 400, UsedLimits::GivenBack)).await);
    posted(ledger.post(refund(direct, 20, UsedLimits::GivenBack)).await);
    posted(ledger.post(refund(direct, 30, UsedLimits::Kept)).await);
    let (day_after, month_after) = spent(ledger, buyer, world.clock.now()).await;
    // The test's clock may have passed into another month in between: then only the new one counts.
    let held_back = if month == 1_050 { 400 } else { 0 };
    assert_eq!((day_after, month - month_after), (30, held_back + 20));
    assert_sound_at_rest(&world.pool()).await;
    replica.stop().await;
}

#[tokio::test]
async fn what_can_not_be_refunded_is_refused() {
    let world = World::new().await;
    let replica = world.engine();
    let ledger = &replica.ledger;
    let (nostro, people) = open(ledger, &[1_000, 0]).await;
    let payment = paid(ledger, people[0], people[1], 100).await;
    let refunded = posted(ledger.post(refund(payment, 60, UsedLimits::Kept)).await)[0].transfer;
    let answer = async |request| rejected(ledger.post(request).await);
    assert_eq!(answer(refund(refunded, 10, UsedLimits::Kept)).await, Reject::NotRefundable(refunded));
    let nowhere = TransferId::generate();
    assert_eq!(answer(refund(nowhere, 10, UsedLimits::Kept)).await, Reject::TransferUnknown(nowhere));
    paid(ledger, people[1], nostro, 40).await;
    assert_eq!(answer(refund(payment, 40, UsedLimits::Kept)).await, Reject::InsufficientFunds(people[1]));
    // A payment and its refund in one request: linked, and refused together.
    let key = fresh_key();
    let spec = |dong| RefundSpec {
        of: key.transfer(0),
        amount: Money::vnd(dong),
        kind: REFUND,
        reference: Uuid::now_v7(),
        limits: UsedLimits::GivenBack,
    };
    let both =
        |key, dong| Request::new(key).transfer(posting(people[0], people[1], 70)).action(Action::Refund(spec(dong)));
    assert_eq!(answer(both(key.clone(), 71)).await, Reject::RefundExceedsPayment(key.transfer(0)));
    assert_sound(&world.pool()).await;
    replica.stop().await;
}

/// Behind the fold stands the database: a bug of the engine, or whoever writes as its role, gives back no more than was paid.
#[tokio::test]
async fn the_database_bounds_refunds_by_itself() {
    let world = World::new().await;
    let replica = world.engine();
    let (_, people) = open(&replica.ledger, &[1_000, 0]).await;
    let payment = paid(&replica.ledger, people[0], people[1], 100).await;
    let other = paid(&replica.ledger, people[0], people[1], 500).await;
    posted(replica.ledger.post(refund(payment, 60, UsedLimits::Kept)).await);
    let pool = world.pool();
    let insert = async |rows: &[(i64, TransferId, i64)]| {
        let mut tx = platform::db::begin(&pool).await.expect("begun");
        let mut done = Ok(());
        for (sequence, of, dong) in rows {
            let row = "INSERT INTO ledger.refund (sequence, block, amount, shard, payment) VALUES ($1, 9, $2, 1, $3)";
            let row = sqlx::query(row).bind(sequence).bind(dong).bind(of.uuid());
            done = done.and(row.execute(&mut *tx).await.map(|_| ()));
        }
        tx.rollback().await.expect("rolled back");
        done.map_err(|error| platform::db::violated(&error).map(str::to_owned))
    };
    let refused = Err(Some("refund_within_payment".to_owned()));
    assert_eq!(insert(&[(900, payment, 40), (901, other, 500)]).await, Ok(()));
    assert_eq!(insert(&[(900, payment, 41)]).await, refused);
    assert_eq!(insert(&[(900, other, 500), (901, payment, 40), (902, payment, 1)]).await, refused);
    assert_eq!(insert(&[(900, TransferId::generate(), 1)]).await, refused, "there is no such payment");
    replica.stop().await;
}

#[tokio::test]
async fn a_forged_refund_is_found() {
    for (forge, fault) in [
        ("UPDATE ledger.refund SET amount = amount + 1", Fault::Records),
        (
            "UPDATE ledger.refund SET payment = (SELECT id FROM ledger.transfer ORDER BY sequence LIMIT 1)",
            Fault::Refund,
        ),
        ("DELETE FROM ledger.refund", Fault::Records),
    ] {
        let world = World::new().await;
        let replica = world.engine();
        let (_, people) = open(&replica.ledger, &[1_000, 0]).await;
        let payment = paid(&replica.ledger, people[0], people[1], 100).await;
        posted(replica.ledger.post(refund(payment, 60, UsedLimits::GivenBack)).await);
        replica.stop().await;
        assert_sound(&world.pool()).await;
        let mut tx = world.database.admin_pool().begin().await.expect("begun");
        sqlx::raw_sql("SET LOCAL session_replication_role = replica").execute(&mut *tx).await.expect("triggers off");
        sqlx::raw_sql(forge).execute(&mut *tx).await.expect("forged");
        tx.commit().await.expect("committed");
        let report = verify(&world.pool(), Options::default()).await.expect("verified");
        let faults: Vec<Fault> = report.shards[0].findings.iter().map(|finding| finding.fault).collect();
        assert!(faults.contains(&fault), "{forge}: {faults:?}");
    }
}
