//! Two processes post to one shard under shared keys; one of them is killed at a random moment, again and again.
//!
//! At the end every key that was answered has that answer and no other, no key took effect twice, and the books hold.
//! `TRANGTIEN_KILLS=5000` runs as many rounds.

use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use faults::{CUSTOMER, NOSTRO, account, key, posting, request, words};
use ledger::{AccountId, MIGRATOR, Outcome, Request, SCHEMA, book, verify};
use platform::db::{PlatformTables, Schema};
use platform::embedded::scratch;
use rand::Rng as _;
use rand::seq::IndexedRandom as _;

use crate::drill::{Drill, Own};

/// Rounds, unless others are asked for.
const ROUNDS: usize = 250;
/// Requests of a round.
const REQUESTS: usize = 24;
/// Requests that may wait for an answer when the next round begins.
const WAITING: usize = 24;
/// Accounts that money moves between.
const CUSTOMERS: usize = 8;
/// The longest random wait before a kill, in microseconds.
const LONGEST_WAIT_US: u64 = 6_000;

impl Drill {
    /// One round: new requests for one poster or both, and a kill in the middle of them.
    async fn round(&mut self, round: usize, customers: &[AccountId]) -> Result<()> {
        for number in 0..REQUESTS {
            let key = format!("{round}/{number}");
            self.lines.insert(key.clone(), random_line(&key, customers)?);
            let first = rand::rng().random_range(0..2);
            self.ask(first, &key).await?;
            if rand::rng().random_bool(0.5) {
                self.ask(1 - first, &key).await?;
            }
        }
        if rand::rng().random_bool(0.5) {
            let answered = rand::rng().random_range(0..REQUESTS);
            self.until_waiting(self.waiting().saturating_sub(answered)).await?;
        } else {
            let moment = Duration::from_micros(rand::rng().random_range(0..LONGEST_WAIT_US));
            tokio::time::sleep(moment).await;
        }
        self.kill(rand::rng().random_range(0..2)).await?;
        self.until_waiting(WAITING).await
    }
}

fn random_line(key: &str, customers: &[AccountId]) -> Result<String> {
    let mut dice = rand::rng();
    let pair: Vec<&AccountId> = customers.choose_multiple(&mut dice, 2).collect();
    let [debit, credit] = pair.as_slice() else { bail!("two accounts at least") };
    let what = if dice.random_bool(0.1) { "hold" } else { "move" };
    // Some are more than anyone has.
    let most = if dice.random_bool(0.2) { 50_000 } else { 1_000 };
    let dong = dice.random_range(1..most);
    Ok(format!("{key} {what} {debit} {credit} {dong}"))
}

/// Accounts with money.
async fn open(own: &Own) -> Result<Vec<AccountId>> {
    let nostro = account(NOSTRO);
    let mut accounts = Vec::new();
    let mut opening = Request::new(key("open")).open(nostro);
    for _ in 0..CUSTOMERS {
        let customer = account(CUSTOMER);
        opening = opening.open(customer);
        accounts.push(customer.id);
    }
    ensure!(own.ledger.post(opening).await? == Outcome::Posted(Vec::new()));
    for customer in &accounts {
        let name = format!("fund/{customer}");
        let request = Request::new(key(&name)).transfer(posting((nostro.id, *customer), 10_000));
        ensure!(matches!(own.ledger.post(request).await?, Outcome::Posted(_)));
    }
    Ok(accounts)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killing_a_poster_at_any_moment_loses_and_doubles_nothing() -> Result<()> {
    let rounds = std::env::var("TRANGTIEN_KILLS").map_or(Ok(ROUNDS), |rounds| rounds.parse())?;
    let database = scratch::database(&[(SCHEMA, &MIGRATOR, PlatformTables::NotWanted)]).await?;
    let own = Own::start(&database);
    let customers = open(&own).await?;
    let mut drill = Drill::start(&database.url(Schema::new("wallet")))?;
    for round in 0..rounds {
        drill.round(round, &customers).await.with_context(|| format!("round {round}"))?;
    }
    drill.until_waiting(0).await?;

    ensure!(drill.answers.len() == rounds * REQUESTS, "{} answers", drill.answers.len());
    ensure!(
        drill.orphaned > rounds && drill.repeated > rounds,
        "kills hit nothing: {}, {}",
        drill.orphaned,
        drill.repeated
    );
    let (mut posted, mut rejected) = (0_i64, 0);
    for (key, answer) in &drill.answers {
        let (_, request) = request(&drill.lines[key])?;
        let again = own.ledger.answer(request).await?;
        ensure!(again.replayed, "{key} was answered and is not known");
        ensure!(words(&again.outcome) == *answer, "{key} was answered `{answer}`, and now {:?}", again.outcome);
        match &again.outcome {
            Outcome::Posted(made) => posted += i64::try_from(made.len())?,
            Outcome::Rejected(_) => rejected += 1,
        }
    }
    ensure!(posted > 0 && rejected > 0, "{posted} posted, {rejected} rejected");
    let pool = database.pool_as("trangtien_wallet");
    let report = verify::verify(&pool, verify::Options::default()).await?;
    ensure!(report.holds(), "{:?}", report.first());
    let transfers = report.shards[0].transfers;
    ensure!(transfers == posted + i64::try_from(CUSTOMERS)?, "{transfers} transfers, {posted} were answered");
    ensure!(book::trial_balance(&pool).await?.is_balanced(), "debits and credits differ");
    ensure!(book::open_holds(&pool, 1).await? == 0, "a hold is left");
    println!(
        "{rounds} kills: {posted} posted, {rejected} rejected, {} asked again, {} answered twice",
        drill.orphaned, drill.repeated
    );
    own.stop().await;
    Ok(())
}
