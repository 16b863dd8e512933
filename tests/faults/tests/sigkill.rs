//! Two processes post to one shard under shared keys; one of them is killed at a random moment, again and again.
//!
//! At the end every key that was answered has that answer and no other, no key took effect twice, and the books hold.
//! `TRANGTIEN_KILLS=5000` runs as many rounds.

use std::collections::{HashMap, HashSet};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use faults::{CUSTOMER, NOSTRO, READY, account, key, posting, request, words};
use ledger::{AccountId, Config, Engine, Ledger, MIGRATOR, NoRiders, Outcome, Request, SCHEMA, book, verify};
use platform::clock::Clock;
use platform::db::{PlatformTables, Schema};
use platform::embedded::scratch::{self, TestDatabase};
use platform::metrics::Metrics;
use platform::task::{Shutdown, Tasks};
use rand::Rng as _;
use rand::seq::IndexedRandom as _;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::mpsc;

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
/// The longest that any answer is waited for.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a poster said; `None` when it is gone.
type Said = (usize, Option<String>);

/// One posting process.
struct Poster {
    child: Child,
    input: ChildStdin,
    /// Keys it was asked and has not answered.
    asked: HashSet<String>,
}

impl Poster {
    fn start(number: usize, url: &str, said: &mpsc::UnboundedSender<Said>) -> Result<Self> {
        let mut child = Command::new(env!("CARGO_BIN_EXE_poster"))
            .arg(url)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let (input, output) = (child.stdin.take().context("stdin")?, child.stdout.take().context("stdout")?);
        let said = said.clone();
        tokio::spawn(async move {
            let mut lines = BufReader::new(output).lines();
            // What it said before it died counts; a line cut short was not said.
            while let Ok(Some(line)) = lines.next_line().await {
                said.send((number, Some(line))).ok();
            }
            said.send((number, None)).ok();
        });
        Ok(Self { child, input, asked: HashSet::new() })
    }
}

/// Two posters and what they were asked.
struct Drill {
    url: String,
    posters: Vec<Poster>,
    heard: mpsc::UnboundedReceiver<Said>,
    said: mpsc::UnboundedSender<Said>,
    /// The line of each key.
    lines: HashMap<String, String>,
    /// The one answer of each key.
    answers: HashMap<String, String>,
    /// Answers that came after the same key was answered before.
    repeated: usize,
    /// Requests that a killed process had not answered.
    orphaned: usize,
}

impl Drill {
    fn start(url: &str) -> Result<Self> {
        let (said, heard) = mpsc::unbounded_channel();
        let posters = vec![Poster::start(0, url, &said)?, Poster::start(1, url, &said)?];
        let (lines, answers) = (HashMap::new(), HashMap::new());
        Ok(Self { url: url.to_owned(), posters, heard, said, lines, answers, repeated: 0, orphaned: 0 })
    }

    async fn ask(&mut self, number: usize, key: &str) -> Result<()> {
        let line = self.lines.get(key).context("a request that was made")?;
        let poster = &mut self.posters[number];
        poster.asked.insert(key.to_owned());
        // Nobody is killed while this is written; a poster that ended by itself is found when it is heard of.
        poster.input.write_all(format!("{line}\n").as_bytes()).await.context("a poster ended by itself")
    }

    /// Takes what a poster said. Gives the number of one that is gone.
    async fn hear(&mut self) -> Result<Option<usize>> {
        let heard = tokio::time::timeout(PATIENCE, self.heard.recv()).await.context("no answer")?;
        let (number, line) = heard.context("posters speak")?;
        let Some(line) = line else { return Ok(Some(number)) };
        if line == READY {
            return Ok(None);
        }
        let (key, answer) = line.split_once(' ').context("a key and an answer")?;
        if let Some(code) = answer.strip_prefix("again ") {
            ensure!(matches!(code, "unavailable" | "outcome-unknown"), "{line}");
            let key = key.to_owned();
            self.ask(number, &key).await?;
            return Ok(None);
        }
        self.posters[number].asked.remove(key);
        match self.answers.insert(key.to_owned(), answer.to_owned()) {
            Some(before) if before != answer => bail!("{key} was answered `{before}` and then `{answer}`"),
            Some(_) => self.repeated += 1,
            None => {}
        }
        Ok(None)
    }

    fn waiting(&self) -> usize {
        self.posters.iter().map(|poster| poster.asked.len()).sum()
    }

    async fn until_waiting(&mut self, most: usize) -> Result<()> {
        while self.waiting() > most {
            ensure!(self.hear().await?.is_none(), "a poster ended by itself");
        }
        Ok(())
    }

    /// Kills a poster, hears it out, starts it again and asks again what it had not answered.
    async fn kill(&mut self, victim: usize) -> Result<()> {
        self.posters[victim].child.start_kill().context("SIGKILL")?;
        while self.hear_out().await? != Some(victim) {}
        let status = self.posters[victim].child.wait().await?;
        ensure!(!status.success(), "it was killed, not ended");
        let asked = std::mem::take(&mut self.posters[victim].asked);
        self.orphaned += asked.len();
        self.posters[victim] = Poster::start(victim, &self.url, &self.said)?;
        for key in asked {
            // Whether it happened, nobody knows: somebody asks again, here or there.
            let number = if rand::rng().random_bool(0.5) { victim } else { 1 - victim };
            self.ask(number, &key).await?;
        }
        Ok(())
    }

    /// As [`Drill::hear`], where a victim that can't be asked again is no failure.
    async fn hear_out(&mut self) -> Result<Option<usize>> {
        match self.hear().await {
            Err(error) if error.to_string() == "a poster ended by itself" => Ok(None),
            other => other,
        }
    }

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

/// An engine of this process, to open accounts and to ask again at the end.
struct Own {
    ledger: Ledger<()>,
    shutdown: Shutdown,
    tasks: Tasks,
}

impl Own {
    fn start(database: &TestDatabase) -> Self {
        let pool = database.pool_as("trangtien_wallet");
        let metrics = Metrics::new("wallet", "own");
        let (ledger, tasks) = Engine::start(pool, Clock::system(), &metrics, Config::default(), NoRiders);
        let shutdown = Shutdown::new();
        let tasks = Tasks::start(tasks, &shutdown);
        Self { ledger, shutdown, tasks }
    }

    async fn open(&self) -> Result<Vec<AccountId>> {
        let nostro = account(NOSTRO);
        let mut accounts = Vec::new();
        let mut opening = Request::new(key("open")).open(nostro);
        for _ in 0..CUSTOMERS {
            let customer = account(CUSTOMER);
            opening = opening.open(customer);
            accounts.push(customer.id);
        }
        ensure!(self.ledger.post(opening).await? == Outcome::Posted(Vec::new()));
        for customer in &accounts {
            let name = format!("fund/{customer}");
            let request = Request::new(key(&name)).transfer(posting((nostro.id, *customer), 10_000));
            ensure!(matches!(self.ledger.post(request).await?, Outcome::Posted(_)));
        }
        Ok(accounts)
    }

    async fn stop(self) {
        self.shutdown.begin();
        self.tasks.finish(PATIENCE).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killing_a_poster_at_any_moment_loses_and_doubles_nothing() -> Result<()> {
    let rounds = std::env::var("TRANGTIEN_KILLS").map_or(Ok(ROUNDS), |rounds| rounds.parse())?;
    let database = scratch::database(&[(SCHEMA, &MIGRATOR, PlatformTables::NotWanted)]).await?;
    let own = Own::start(&database);
    let customers = own.open().await?;
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
