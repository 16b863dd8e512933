//! The books: trial balance, statements, balances at a time, proofs, exports.

use chrono::{FixedOffset, TimeDelta};
use futures::TryStreamExt as _;
use ledger::book::export::{Export, Format, write};
use ledger::{AccountId, Currency, Money, Request, book};
use rust_decimal::Decimal;

use crate::support::*;

/// Three payments, an hour apart: 100, 200 and 300 đồng from the first customer to the second.
async fn three_payments() -> (World, Replica<()>, AccountId, Vec<AccountId>) {
    let world = World::new().await;
    let replica = world.engine();
    let (nostro, customers) = open(&replica.ledger, &[1_000, 0]).await;
    for dong in [100, 200, 300] {
        world.clock.advance(TimeDelta::hours(1));
        posted(
            replica.ledger.post(Request::new(fresh_key()).transfer(posting(customers[0], customers[1], dong))).await,
        );
    }
    (world, replica, nostro, customers)
}

#[tokio::test]
async fn the_trial_balance_adds_up_by_kind() {
    let (world, replica, ..) = three_payments().await;
    let totals = book::trial_balance(&world.pool()).await.expect("added up");
    assert!(totals.is_balanced());
    assert_eq!(totals.sums(Currency::Vnd), (Decimal::from(1_000), Decimal::from(1_000)));
    let rows: Vec<_> = totals.rows.iter().map(|row| (row.kind.as_str(), row.accounts, row.debit, row.credit)).collect();
    let (zero, thousand) = (Decimal::ZERO, Decimal::from(1_000));
    assert_eq!(rows, [("customer", 2, zero, thousand), ("nostro", 1, thousand, zero)]);
    replica.stop().await;
}

#[tokio::test]
async fn a_statement_runs_from_the_first_transfer_to_the_last() {
    let (world, replica, nostro, customers) = three_payments().await;
    let pool = world.pool();
    let rows: Vec<_> = book::statement_stream(&pool, customers[0]).try_collect().await.expect("read");
    let lines: Vec<_> = rows.iter().map(|row| (row.amount.minor(), row.balance.minor(), row.kind.as_str())).collect();
    assert_eq!(
        lines,
        [(1_000, 1_000, "top_up"), (-100, 900, "payment"), (-200, 700, "payment"), (-300, 400, "payment")]
    );
    assert_eq!((rows[0].other, rows[1].other), (nostro, customers[1]));
    let page = book::statement(&pool, customers[0], rows[1].sequence, 1).await.expect("read");
    assert_eq!(page, rows[2..3]);
    let none = book::statement_stream(&pool, AccountId::generate()).try_collect::<Vec<_>>().await.expect("read");
    assert!(none.is_empty());
    replica.stop().await;
}

#[tokio::test]
async fn a_balance_at_a_time_is_that_of_the_last_transfer_by_then() {
    let (world, replica, _, customers) = three_payments().await;
    let (pool, now) = (world.pool(), world.clock.now());
    for (minutes_ago, dong) in [(0, 400), (30, 700), (90, 900), (150, 1_000), (600, 0)] {
        let at = now - TimeDelta::minutes(minutes_ago);
        let balance = book::balance_at(&pool, customers[0], at).await.expect("read");
        assert_eq!(balance, Some(Money::vnd(dong)), "{minutes_ago} minutes ago");
    }
    assert_eq!(book::balance_at(&pool, AccountId::generate(), now).await.expect("read"), None);
    let account = book::account(&pool, customers[0]).await.expect("read").expect("there");
    assert_eq!(book::accounts_of(&pool, account.owner).await.expect("read"), [account]);
    replica.stop().await;
}

#[tokio::test]
async fn a_proof_holds_for_its_transfer_and_no_other() {
    let (world, replica, _, customers) = three_payments().await;
    let mut request = Request::new(fresh_key());
    for _ in 0..13 {
        request = request.transfer(posting(customers[1], customers[0], 1));
    }
    let made = posted(replica.ledger.post(request).await);
    let pool = world.pool();
    for posted in &made {
        let (transfer, proof) = book::proof(&pool, posted.transfer).await.expect("read").expect("there");
        assert!(proof.holds(&transfer));
        let json = serde_json::to_string(&proof).expect("encoded");
        let read: ledger::block::Proof = serde_json::from_str(&json).expect("decoded");
        assert!(read.holds(&transfer), "also after a trip through a file");
        let forged = ledger::Transfer { amount: 2, ..transfer.clone() };
        assert!(!read.holds(&forged));
        let mut other = read.clone();
        other.block.posted_at += TimeDelta::microseconds(1);
        assert!(!other.holds(&transfer));
        let mut other = read;
        other.path.pop();
        assert!(!other.holds(&transfer));
    }
    replica.stop().await;
}

#[tokio::test]
async fn the_journal_is_exported_for_other_tools() {
    let (world, replica, nostro, customers) = three_payments().await;
    let zone = FixedOffset::east_opt(7 * 3_600).expect("a zone");
    let mut texts = Vec::new();
    for format in [Format::Hledger, Format::Csv] {
        let mut out = Vec::new();
        let written = write(&world.pool(), Export { format, zone }, &mut out).await.expect("written");
        assert_eq!(written, 4);
        texts.push(String::from_utf8(out).expect("text"));
    }
    let (hledger, csv) = (&texts[0], &texts[1]);
    let first =
        format!("    nostro:{nostro}  -1000 VND = -1000 VND\n    customer:{}  1000 VND = 1000 VND\n", customers[0]);
    assert!(hledger.contains(&first), "{hledger}");
    let last = format!(
        "    customer:{}  -300 VND = 400 VND\n    customer:{}  300 VND = 600 VND\n",
        customers[0], customers[1]
    );
    assert!(hledger.ends_with(&last), "{hledger}");
    let lines: Vec<&str> = csv.lines().collect();
    assert_eq!(lines.len(), 5);
    let columns = lines[0].split(',').count();
    assert!(lines.iter().all(|line| line.split(',').count() == columns));
    assert!(lines[4].contains(&format!(",customer,{},customer,{},300,VND,400,600,", customers[0], customers[1])));
    replica.stop().await;
}
