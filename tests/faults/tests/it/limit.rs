//! Two processes pay from one wallet that is near its month's limit; one of them is killed in the middle.
//!
//! What one process grants the other must see: together they grant all that the limit allows and refuse the rest, whoever asks, dies or asks again.

use anyhow::{Context as _, Result, ensure};
use faults::{CUSTOMER, NOSTRO, account, key, posting};
use ledger::limit::{Calendar, Period};
use ledger::{AccountId, MIGRATOR, Outcome, Request, SCHEMA, verify};
use platform::clock::Clock;
use platform::db::{PlatformTables, Schema};
use platform::embedded::scratch;

use crate::drill::{Drill, Own};

/// What may be spent in a month, in đồng.
const LIMIT: i64 = 10_000_000;
/// Payments of each amount that are asked for; together several times the limit.
const PAYMENTS: usize = 60;
/// Amounts of payments: the largest first, so that smaller ones find room that is left.
const AMOUNTS: [i64; 3] = [420_000, 150_000, 9_000];

/// A wallet with more money than it may spend, and a shop.
async fn open(own: &Own) -> Result<(AccountId, AccountId)> {
    let (nostro, citizen, shop) = (account(NOSTRO), account(CUSTOMER), account(CUSTOMER));
    let opening = Request::new(key("open")).open(nostro).open(citizen).open(shop);
    let funded = opening.transfer(posting((nostro.id, citizen.id), LIMIT * 10));
    ensure!(matches!(own.ledger.post(funded).await?, Outcome::Posted(_)));
    Ok((citizen.id, shop.id))
}

/// The amount of a payment, which is the first part of its key.
fn amount(key: &str) -> Result<i64> {
    Ok(key.split('/').next().context("an amount")?.parse()?)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_at_a_months_limit_refuse_exactly_the_right_payments() -> Result<()> {
    let database = scratch::database(&[(SCHEMA, &MIGRATOR, PlatformTables::NotWanted)]).await?;
    let own = Own::start(&database);
    let (citizen, shop) = open(&own).await?;
    let mut drill = Drill::start(&database.url(Schema::new("wallet")))?;
    for dong in AMOUNTS {
        for number in 0..PAYMENTS {
            let key = format!("{dong}/{number}");
            drill.lines.insert(key.clone(), format!("{key} spend {citizen} {shop} {dong} {LIMIT}"));
            drill.ask(number % 2, &key).await?;
        }
        // Whose answer is lost is asked again, here or there.
        drill.until_waiting(PAYMENTS / 2).await?;
        drill.kill(0).await?;
        drill.until_waiting(0).await?;
    }

    let granted = |key: &&String| drill.answers[*key].starts_with("posted ");
    let (mut spent, mut counts) = (0, Vec::new());
    for dong in AMOUNTS {
        let asked: Vec<&String> = drill.lines.keys().filter(|key| amount(key).ok() == Some(dong)).collect();
        let paid = asked.iter().copied().filter(granted).count();
        for key in asked.iter().copied().filter(|key| !granted(key)) {
            ensure!(drill.answers[key] == "rejected limit-month", "{key} was answered {}", drill.answers[key]);
        }
        // One payment after the other is granted as long as there is room for it.
        let room = usize::try_from((LIMIT - spent) / dong)?;
        ensure!(paid == room.min(PAYMENTS), "{paid} payments of {dong}, and there was room for {room}");
        spent += dong * i64::try_from(paid)?;
        counts.push(paid);
    }
    ensure!(counts.iter().all(|paid| (1..PAYMENTS).contains(paid)), "each amount has both: {counts:?}");
    let account = own.ledger.account(citizen).await?.context("an account")?;
    let today = Calendar::default().day(Clock::system().now());
    ensure!(account.usage.spent(faults::SPENDING, Period::Month, today) == spent, "the wallet counts {spent}");
    let report = verify::verify(&database.pool_as("trangtien_wallet"), verify::Options::default()).await?;
    ensure!(report.holds(), "{:?}", report.first());
    println!("{counts:?} of {PAYMENTS} each were granted, {spent} of {LIMIT} spent");
    own.stop().await;
    Ok(())
}
