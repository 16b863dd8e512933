//! `trangtien up` as a newcomer and a clumsy operator meet it: restarts, kills, two at once, ports that are taken.

use std::path::Path;
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use harness::city::program;
use harness::{Visitor, eventually};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use platform::embedded::scratch::TestFolder;
use serde_json::Value;
use tokio::process::{Child, Command};

const LIMIT: Duration = Duration::from_secs(90);

fn up(data: &Path, arguments: &[&str]) -> Result<Command> {
    let mut command = Command::new(program()?);
    command.arg("up").arg("--data-dir").arg(data).args(arguments);
    command.arg("--city").arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/city/hue"));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    Ok(command)
}

/// A city that announced itself, and where it runs.
async fn start(data: &Path) -> Result<(Child, Value)> {
    let mut city = up(data, &["--http", "localhost:0"])?.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    let deadline = Instant::now() + LIMIT;
    loop {
        if let Ok(text) = std::fs::read_to_string(data.join("run.json")) {
            let run: Value = serde_json::from_str(&text)?;
            if run["pid"].as_u64() == city.id().map(u64::from) {
                return Ok((city, run));
            }
        }
        ensure!(city.try_wait()?.is_none() && Instant::now() < deadline, "it did not start");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn signal(city: &mut Child, signal: Signal) -> Result<std::process::ExitStatus> {
    kill(Pid::from_raw(i32::try_from(city.id().context("it runs")?)?), signal)?;
    Ok(tokio::time::timeout(LIMIT, city.wait()).await.context("it did not end")??)
}

fn visitor(run: &Value) -> Result<Visitor> {
    let url = |name: &str| -> Result<url::Url> { Ok(run[name].as_str().context("a URL")?.parse()?) };
    Visitor::new(url("http")?, url("sandbox")?)
}

/// Everything of a city, also what root's servers keep elsewhere.
async fn remove(data: &Path) -> Result<()> {
    let removed = up(data, &["--remove"])?.output().await?;
    ensure!(removed.status.success(), "{}", text(&removed));
    Ok(())
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Whether a server of this folder still runs.
fn server_runs(data: &Path) -> bool {
    let Ok(key) = data.canonicalize() else { return false };
    let key = key.to_string_lossy().into_owned();
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    processes.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok()).any(|command| {
        let command = String::from_utf8_lossy(&command).into_owned();
        command.contains(&key)
            && (command.contains("postgres") || command.contains("redis") || command.contains("valkey"))
    })
}

#[tokio::test]
async fn data_survives_a_stop_and_a_kill() -> Result<()> {
    let folder = TestFolder::new("startup")?;
    let data = folder.path().join("data");
    let (mut city, run) = start(&data).await?;
    let citizen = visitor(&run)?.sign_up().await?;
    citizen.top_up(trangtien::up::settings::SANDBOX_BANK, 70_000).await?;
    let ended = signal(&mut city, Signal::SIGTERM).await?;
    ensure!(ended.success(), "stopped with {ended}");
    ensure!(!data.join("run.json").exists(), "run.json goes with the city");
    ensure!(!server_runs(&data), "no server is left");

    let (mut city, run) = start(&data).await?;
    let again = visitor(&run)?.sign_in(&citizen.phone).await?;
    ensure!(again.user == citizen.user && again.balance().await? == 70_000, "the citizen and the money are there");
    signal(&mut city, Signal::SIGKILL).await?;
    // The kernel tells the servers; a slow one is stopped by the next start.
    let (mut city, run) = start(&data).await?;
    let third = visitor(&run)?.sign_in(&citizen.phone).await?;
    ensure!(third.balance().await? == 70_000, "the money is there after a kill");
    ensure!(signal(&mut city, Signal::SIGINT).await?.success(), "Ctrl-C stops in order");
    eventually("the servers to end", || async { Ok((!server_runs(&data)).then_some(())) }).await?;
    remove(&data).await
}

#[tokio::test]
async fn two_copies_run_at_once_and_one_folder_serves_one() -> Result<()> {
    let folder = TestFolder::new("startup")?;
    let (first, second) = (folder.path().join("first"), folder.path().join("second"));
    let ((mut one, run_one), (mut two, run_two)) = tokio::try_join!(start(&first), start(&second))?;
    ensure!(run_one["http"] != run_two["http"], "each has its port");
    let refused = up(&first, &[])?.output().await?;
    ensure!(!refused.status.success() && text(&refused).contains("in use"), "{}", text(&refused));
    let port = run_one["http"].as_str().and_then(|url| url.rsplit(':').next()).context("a port")?.to_owned();
    let third = folder.path().join("third");
    let taken = up(&third, &["--http", &format!("localhost:{port}")])?.output().await?;
    ensure!(!taken.status.success() && text(&taken).contains(&port), "{}", text(&taken));
    for city in [&mut one, &mut two] {
        ensure!(signal(city, Signal::SIGTERM).await?.success(), "stops in order");
    }
    for data in [first, second] {
        remove(&data).await?;
    }
    Ok(())
}

#[tokio::test]
async fn mistakes_are_named() -> Result<()> {
    let folder = TestFolder::new("startup")?;
    let configuration = folder.path().join("wrong.toml");
    std::fs::write(&configuration, "redis_ulr = \"redis://localhost\"\n")?;
    let check = Command::new(program()?).args(["config", "check", "--config"]).arg(&configuration).output().await?;
    ensure!(!check.status.success() && text(&check).contains("redis_ulr"), "{}", text(&check));
    let unknown = Command::new(program()?).args(["serve", "walet"]).output().await?;
    ensure!(
        !unknown.status.success() && text(&unknown).contains("wallet"),
        "the right name is suggested: {}",
        text(&unknown)
    );
    let city = Command::new(program()?).args(["city", "check"]).arg(folder.path()).output().await?;
    ensure!(!city.status.success() && text(&city).contains("city.toml"), "{}", text(&city));
    Ok(())
}
