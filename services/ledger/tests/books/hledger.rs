//! hledger, a program that knows nothing of us, reads an export and comes to the same balances.

use std::collections::BTreeMap;
use std::process::Command;

use chrono::{FixedOffset, TimeDelta};
use ledger::book::export::{Export, Format, write};
use ledger::{AccountId, AccountSpec, Currency, Money, Outcome, Posting, Request, book};
use platform::embedded::scratch::TestFolder;
use rust_decimal::Decimal;
use sha2::{Digest as _, Sha256};

use crate::support::*;

/// Requests of the day.
const REQUESTS: u64 = 400;
/// Customers in each currency.
const CUSTOMERS: usize = 20;

/// Numbers that look random and are the same each time.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        self.0 += 1;
        let hash = Sha256::digest(self.0.to_be_bytes());
        let number = u64::from_be_bytes([hash[0], hash[1], hash[2], hash[3], hash[4], hash[5], hash[6], hash[7]]);
        usize::try_from(number % end as u64).expect("below a usize")
    }
}

/// A nostro and customers of one currency.
fn accounts(currency: Currency) -> Vec<AccountSpec> {
    let kinds = std::iter::once(NOSTRO).chain(std::iter::repeat_n(CUSTOMER, CUSTOMERS));
    kinds.map(|kind| AccountSpec { currency, ..account(kind) }).collect()
}

/// A day of random postings across midnight, some of them refused. Gives the accounts.
async fn random_day(world: &World) -> Vec<AccountSpec> {
    let replica = world.engine();
    let all = [accounts(Currency::Vnd), accounts(Currency::Usd)];
    for group in &all {
        let request = group.iter().fold(Request::new(fresh_key()), |request, spec| request.open(*spec));
        posted(replica.ledger.post(request).await);
    }
    let (mut dice, mut refused) = (Dice(7), 0);
    for _ in 0..REQUESTS {
        let group = &all[dice.below(2)];
        let mut request = Request::new(fresh_key());
        for _ in 0..=dice.below(4) {
            // Money comes in from outside more often than it goes out.
            let debit = if dice.below(3) > 0 { 0 } else { dice.below(group.len()) };
            let credit = (debit + 1 + dice.below(group.len() - 1)) % group.len();
            let minor = i64::try_from(1 + dice.below(if debit == 0 { 100_000 } else { 20_000 })).expect("small");
            let amount = Money::from_minor(minor, group[0].currency);
            let kind = if debit == 0 { TOP_UP } else { PAYMENT };
            request = request.transfer(Posting { amount, kind, ..posting(group[debit].id, group[credit].id, 1) });
        }
        refused += u64::from(matches!(replica.ledger.post(request).await, Ok(Outcome::Rejected(_))));
        world.clock.advance(TimeDelta::seconds(i64::try_from(dice.below(430)).expect("small")));
    }
    assert!(refused > 10 && refused < REQUESTS / 2, "{refused} refused");
    replica.stop().await;
    all.concat()
}

/// Runs hledger over a journal and gives what it prints.
fn hledger(journal: &std::path::Path, arguments: &[&str]) -> String {
    let output = Command::new("hledger")
        .arg("--file")
        .arg(journal)
        .args(arguments)
        .env("LANG", "C.UTF-8")
        .output()
        .expect("hledger is installed: apt-get install hledger");
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

/// `"customer:…","400 VND"` → account and amount.
fn balance_line(line: &str) -> (AccountId, Decimal, String) {
    let fields: Vec<&str> = line.trim_matches('"').split("\",\"").collect();
    let [account, balance] = fields.as_slice() else { panic!("{line}") };
    let id = account.rsplit(':').next().and_then(|id| id.parse().ok()).expect("an account");
    let (amount, currency) = balance.split_once(' ').unwrap_or((balance, ""));
    (id, amount.parse().expect("a number"), currency.to_owned())
}

#[tokio::test]
async fn hledger_comes_to_the_same_balances() {
    let world = World::new().await;
    let specs = random_day(&world).await;
    let pool = world.pool();
    let folder = TestFolder::new("hledger").expect("a folder");
    let journal = folder.path().join("books.journal");
    let zone = FixedOffset::east_opt(7 * 3_600).expect("a zone");
    let mut file = tokio::fs::File::create(&journal).await.expect("a file");
    let written = write(&pool, Export { format: Format::Hledger, zone }, &mut file).await.expect("written");
    assert!(written > REQUESTS, "{written} transfers");

    // Balance assertions of every posting, and that every transaction balances.
    hledger(&journal, &["check"]);
    let stats = hledger(&journal, &["stats"]);
    let counted = |line: &str| line.starts_with("Transactions ") && line.contains(&format!(": {written} "));
    assert!(stats.lines().any(counted), "{written} transfers: {stats}");
    let table = hledger(&journal, &["balance", "--flat", "--empty", "--no-total", "--output-format", "csv"]);
    let theirs: BTreeMap<AccountId, (Decimal, String)> =
        table.lines().skip(1).map(balance_line).map(|(id, amount, currency)| (id, (amount, currency))).collect();
    let mut moved = 0;
    for spec in &specs {
        let account = book::account(&pool, spec.id).await.expect("read").expect("there");
        let ours = Money::from_minor(account.posted, spec.currency);
        moved += usize::from(account.sequence > 0);
        match theirs.get(&spec.id) {
            Some((amount, _)) if ours.is_zero() => assert!(amount.is_zero(), "{amount} on an empty account"),
            Some(theirs) => assert_eq!(*theirs, (ours.amount(), ours.currency().to_string()), "{}", spec.id),
            None => assert_eq!(account.sequence, 0, "{} is missing", spec.id),
        }
    }
    assert_eq!((theirs.len(), moved > CUSTOMERS), (moved, true));

    // The other format tells the same.
    let mut csv = Vec::new();
    write(&pool, Export { format: Format::Csv, zone }, &mut csv).await.expect("written");
    let mut sums: BTreeMap<String, Decimal> = BTreeMap::new();
    for line in String::from_utf8(csv).expect("text").lines().skip(1) {
        let fields: Vec<&str> = line.split(',').collect();
        let amount: Decimal = fields[9].parse().expect("a number");
        *sums.entry(fields[6].to_owned()).or_default() -= amount;
        *sums.entry(fields[8].to_owned()).or_default() += amount;
    }
    for (id, (amount, _)) in theirs {
        assert_eq!(sums.get(&id.to_string()), Some(&amount), "{id}");
    }
}

/// A changed amount does not pass: the assertions on every posting are read.
#[tokio::test]
async fn hledger_finds_a_changed_amount() {
    let world = World::new().await;
    random_day(&world).await;
    let zone = FixedOffset::east_opt(7 * 3_600).expect("a zone");
    let mut text = Vec::new();
    write(&world.pool(), Export { format: Format::Hledger, zone }, &mut text).await.expect("written");
    let text = String::from_utf8(text).expect("text");
    let line = text.lines().filter(|line| line.contains("  -")).nth(50).expect("a posting");
    let other = line.replacen("  -", "  -1", 1);
    let folder = TestFolder::new("hledger").expect("a folder");
    let journal = folder.path().join("books.journal");
    std::fs::write(&journal, text.replacen(line, &other, 1)).expect("writable");
    let checked =
        Command::new("hledger").arg("--file").arg(&journal).arg("check").output().expect("hledger is installed");
    assert!(!checked.status.success());
}
