//! A process that posts what it reads from standard input to the ledger of a database, all at once, and writes each answer as it comes.
//!
//! It is made to be killed: it keeps nothing, and what it said is all that anyone knows of it.

use anyhow::{Context as _, Result};
use faults::{READY, request, words};
use ledger::{Config, Engine, Ledger, NoRiders};
use platform::clock::Clock;
use platform::metrics::Metrics;
use platform::task::{Shutdown, Tasks};
use sqlx::postgres::PgPoolOptions;
use tokio::sync::mpsc;

/// Connections of this process.
const CONNECTIONS: u32 = 4;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let url = std::env::args().nth(1).context("usage: poster DATABASE_URL")?;
    let pool = PgPoolOptions::new().max_connections(CONNECTIONS).connect_lazy(&url)?;
    let metrics = Metrics::new("wallet", "poster");
    let (ledger, tasks) = Engine::start::<()>(pool, Clock::system(), &metrics, Config::default(), NoRiders);
    let _tasks = Tasks::start(tasks, &Shutdown::new());
    println!("{READY}");
    let (heard, mut lines) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lines().map_while(Result::ok) {
            heard.send(line).ok();
        }
    });
    while let Some(line) = lines.recv().await {
        tokio::spawn(answer(ledger.clone(), line));
    }
    Ok(())
}

async fn answer(ledger: Ledger<()>, line: String) {
    match request(&line) {
        Err(error) => println!("{line} malformed {error}"),
        Ok((key, request)) => match ledger.post(request).await {
            Ok(outcome) => println!("{key} {}", words(&outcome)),
            Err(error) => println!("{key} again {}", error.code()),
        },
    }
}
