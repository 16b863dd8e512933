//! Two posting processes of one shard, what they were asked and what they answered; and an engine of the test's own.

use std::collections::{HashMap, HashSet};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use faults::READY;
use ledger::{Config, Engine, Ledger, NoRiders};
use platform::clock::Clock;
use platform::embedded::scratch::TestDatabase;
use platform::metrics::Metrics;
use platform::task::{Shutdown, Tasks};
use rand::Rng as _;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::mpsc;

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
pub(crate) struct Drill {
    url: String,
    posters: Vec<Poster>,
    heard: mpsc::UnboundedReceiver<Said>,
    said: mpsc::UnboundedSender<Said>,
    /// The line of each key.
    pub(crate) lines: HashMap<String, String>,
    /// The one answer of each key.
    pub(crate) answers: HashMap<String, String>,
    /// Answers that came after the same key was answered before.
    pub(crate) repeated: usize,
    /// Requests that a killed process had not answered.
    pub(crate) orphaned: usize,
}

impl Drill {
    pub(crate) fn start(url: &str) -> Result<Self> {
        let (said, heard) = mpsc::unbounded_channel();
        let posters = vec![Poster::start(0, url, &said)?, Poster::start(1, url, &said)?];
        let (lines, answers) = (HashMap::new(), HashMap::new());
        Ok(Self { url: url.to_owned(), posters, heard, said, lines, answers, repeated: 0, orphaned: 0 })
    }

    pub(crate) async fn ask(&mut self, number: usize, key: &str) -> Result<()> {
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

    pub(crate) fn waiting(&self) -> usize {
        self.posters.iter().map(|poster| poster.asked.len()).sum()
    }

    pub(crate) async fn until_waiting(&mut self, most: usize) -> Result<()> {
        while self.waiting() > most {
            ensure!(self.hear().await?.is_none(), "a poster ended by itself");
        }
        Ok(())
    }

    /// Kills a poster, hears it out, starts it again and asks again what it had not answered.
    pub(crate) async fn kill(&mut self, victim: usize) -> Result<()> {
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
}

/// An engine of this process, to open accounts and to ask again at the end.
pub(crate) struct Own {
    pub(crate) ledger: Ledger<()>,
    shutdown: Shutdown,
    tasks: Tasks,
}

impl Own {
    pub(crate) fn start(database: &TestDatabase) -> Self {
        let pool = database.pool_as("trangtien_wallet");
        let metrics = Metrics::new("wallet", "own");
        let (ledger, tasks) = Engine::start(pool, Clock::system(), &metrics, Config::default(), NoRiders);
        let shutdown = Shutdown::new();
        let tasks = Tasks::start(tasks, &shutdown);
        Self { ledger, shutdown, tasks }
    }

    pub(crate) async fn stop(self) {
        self.shutdown.begin();
        self.tasks.finish(PATIENCE).await;
    }
}
