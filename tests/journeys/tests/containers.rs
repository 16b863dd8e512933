//! What `deploy/container` gives its containers carries a city: its secrets, its configuration and each service's settings,
//! with addresses of this machine in place of the names of containers. No container engine is needed.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use anyhow::{Context as _, Result, bail, ensure};
use harness::city::program;
use harness::eventually;
use platform::embedded::free_port;
use platform::embedded::scratch::{self, TestFolder, TestPostgres, TestRedis};
use sqlx::{Connection as _, PgConnection};
use tokio::process::{Child, Command};

const ROLES: [&str; 5] = ["identity", "wallet", "reports", "notifications", "ioc"];
/// Where containers find their secrets.
const SECRETS: &str = "/run/secrets";

/// The ports that stand for 8080, 8081 and 9090 of one container.
#[derive(Clone, Copy, Debug)]
struct Ports {
    public: u16,
    internal: u16,
    grpc: u16,
}

/// The kit on this machine.
struct Kit {
    folder: TestFolder,
    ports: BTreeMap<&'static str, Ports>,
    compose: String,
    _postgres: TestPostgres,
    _redis: TestRedis,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Runs `deploy/container/prepare`.
async fn prepare(secrets: &Path) -> Result<()> {
    let mut command = Command::new(root().join("deploy/container/prepare"));
    let ran = command.arg(secrets).env("TRANGTIEN", program()?).output().await?;
    ensure!(ran.status.success(), "prepare: {}", said(&ran));
    Ok(())
}

/// The settings that `compose.yaml` gives a service beside the file.
fn settings<'a>(compose: &'a str, service: &str) -> BTreeMap<&'a str, &'a str> {
    let lines = compose.lines().skip_while(|line| *line != format!("  {service}:")).skip(1);
    let own = lines.take_while(|line| line.is_empty() || line.starts_with("    "));
    own.filter_map(|line| {
        let (name, value) = line.trim().split_once(": ")?;
        name.starts_with("TRANGTIEN_").then(|| (name, value.trim_matches('\'')))
    })
    .collect()
}

impl Kit {
    async fn new() -> Result<Self> {
        let (postgres, redis) = (scratch::postgres().await?, scratch::redis().await?);
        let mut admin = PgConnection::connect(&postgres.superuser_url("postgres")).await?;
        sqlx::query("CREATE DATABASE trangtien").execute(&mut admin).await?;
        let folder = TestFolder::new("containers")?;
        let secrets = folder.path().join("secrets");
        prepare(&secrets).await?;
        for entry in fs::read_dir(&secrets)? {
            let path = entry?.path();
            let text = fs::read_to_string(&path)?;
            let here = text.replace("@postgres/", &format!("@127.0.0.1:{}/", postgres.port()));
            if here != text {
                fs::remove_file(&path)?;
                fs::write(&path, here)?;
            }
        }
        for (name, value) in [("database_admin_url", postgres.superuser_url("trangtien")), ("redis_url", redis.url())] {
            fs::remove_file(secrets.join(name))?;
            fs::write(secrets.join(name), value)?;
        }
        let free = || free_port().context("a port is free");
        let mut ports = BTreeMap::new();
        for role in ROLES {
            ports.insert(role, Ports { public: free()?, internal: free()?, grpc: free()? });
        }
        let compose = fs::read_to_string(root().join("deploy/container/compose.yaml"))?;
        Ok(Self { folder, ports, compose, _postgres: postgres, _redis: redis })
    }

    /// A text of a container with this machine's paths and addresses.
    fn here(&self, text: &str, service: &str) -> String {
        let secrets = self.folder.path().join("secrets").display().to_string();
        let mut text = text
            .replace(&format!("{SECRETS}/role."), &format!("{secrets}/{service}."))
            .replace(SECRETS, &secrets)
            .replace("/usr/share/trangtien/city", &root().join("deploy/city").display().to_string())
            .replace("/var/lib/trangtien/photos", &self.folder.path().join("photos").display().to_string())
            // The address behind the name is asked like any other.
            .replace("discover = \"dns\"", "discover = \"static\"");
        for (role, ports) in &self.ports {
            text = text
                .replace(&format!("\"{role}:9090\""), &format!("\"127.0.0.1:{}\"", ports.grpc))
                .replace(&format!("http://{role}:8081"), &format!("http://127.0.0.1:{}", ports.internal));
        }
        if let Some(own) = self.ports.get(service) {
            for (there, here) in [(8080, own.public), (8081, own.internal), (9090, own.grpc)] {
                text = text.replace(&format!("\"0.0.0.0:{there}\""), &format!("\"127.0.0.1:{here}\""));
            }
        }
        text
    }

    /// The program as a service runs it; `arguments` come before the configuration.
    fn command(&self, service: &str, arguments: &[&str]) -> Result<Command> {
        let file = self.folder.path().join(format!("{service}.toml"));
        let shared = fs::read_to_string(root().join("deploy/container/trangtien.toml"))?;
        fs::write(&file, self.here(&shared, service))?;
        let mut command = Command::new(program()?);
        command.args(arguments).arg("--config").arg(file).stdin(Stdio::null()).kill_on_drop(true);
        let settings = settings(&self.compose, service);
        ensure!(!settings.is_empty(), "compose.yaml gives {service} its settings");
        command.envs(settings.into_iter().map(|(name, value)| (name, self.here(value, service))));
        Ok(command)
    }

    fn serve(&self, role: &str) -> Result<Child> {
        let log = fs::File::create(self.folder.path().join(format!("{role}.log")))?;
        Ok(self.command(role, &["serve", role])?.stdout(log.try_clone()?).stderr(log).spawn()?)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_kit_for_containers_carries_a_city() -> Result<()> {
    let kit = Kit::new().await?;
    for role in ROLES {
        let checked = kit.command(role, &["config", "check", role])?.output().await?;
        ensure!(checked.status.success(), "{role}: {}", said(&checked));
    }
    let migrated = kit.command("migrate", &["migrate"])?.output().await?;
    ensure!(migrated.status.success(), "migrate: {}", said(&migrated));
    let wall = kit.command("wall", &["admin", "set-up-wall"])?.output().await?;
    ensure!(wall.status.success(), "the wall at the provider: {}", said(&wall));

    let mut running = BTreeMap::new();
    for role in ROLES {
        running.insert(role, kit.serve(role)?);
    }
    for role in ROLES {
        let url = format!("http://127.0.0.1:{}/readyz", kit.ports[role].public);
        eventually(&format!("{role} is ready"), || async {
            Ok(reqwest::get(&url).await.ok().filter(|answer| answer.status() == 200).map(|_| ()))
        })
        .await
        .with_context(|| fs::read_to_string(kit.folder.path().join(format!("{role}.log"))).unwrap_or_default())?;
    }
    // The centre finds every role behind its name, on the listener that only the inside reaches.
    let metrics = format!("http://127.0.0.1:{}/ioc/v1/metrics", kit.ports["ioc"].internal);
    eventually("every role is up in the shared metrics", || async {
        let text = reqwest::get(&metrics).await?.text().await?;
        let up = |role: &&str| {
            let label = format!("service=\"{role}\"");
            text.lines().any(|line| line.starts_with("trangtien_up{") && line.contains(&label) && line.ends_with(" 1"))
        };
        Ok(ROLES.iter().all(up).then_some(()))
    })
    .await?;
    let stranger = reqwest::Client::new().get(format!("http://127.0.0.1:{}/metrics", kit.ports["wallet"].public));
    let answer = stranger.header("x-forwarded-for", "203.0.113.7").send().await?;
    ensure!(answer.status() == 404, "metrics stay inside: {}", answer.status());

    for (role, mut child) in running {
        let pid = child.id().context("it runs")?;
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(i32::try_from(pid)?), nix::sys::signal::Signal::SIGTERM)?;
        if !child.wait().await?.success() {
            bail!("{role}: {}", fs::read_to_string(kit.folder.path().join(format!("{role}.log")))?);
        }
    }
    Ok(())
}

#[tokio::test]
async fn preparing_again_changes_no_secret() -> Result<()> {
    let folder = TestFolder::new("secrets")?;
    let secrets = folder.path().join("secrets");
    let read = || -> Result<BTreeMap<String, String>> {
        fs::read_dir(&secrets)?
            .map(|entry| {
                let entry = entry?;
                Ok((entry.file_name().to_string_lossy().into_owned(), fs::read_to_string(entry.path())?))
            })
            .collect()
    };
    prepare(&secrets).await?;
    let first = read()?;
    prepare(&secrets).await?;
    ensure!(read()? == first, "what is there is kept");
    let compose = fs::read_to_string(root().join("deploy/container/compose.yaml"))?;
    for line in compose.lines().filter_map(|line| line.split_once("{ file: secrets/")) {
        let name = line.1.trim_end_matches(" }");
        ensure!(first.contains_key(name), "prepare makes {name}");
    }
    Ok(())
}
