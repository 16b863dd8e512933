//! What can happen to a city, and a look into its Redis.

use anyhow::{Context as _, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::city::City;
use crate::launch::data_folder;
use crate::patience::eventually;

impl City {
    /// Removes everything that Redis holds.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn wipe_redis(&self) -> Result<()> {
        let client = redis::Client::open(self.redis.url())?;
        let mut connection = client.get_multiplexed_async_connection().await?;
        redis::cmd("FLUSHALL").query_async::<()>(&mut connection).await?;
        Ok(())
    }

    /// Every event that is in Redis now: key of its stream, and its fields one after the other.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn streamed(&self) -> Result<Vec<(String, Vec<u8>)>> {
        let client = redis::Client::open(self.redis.url())?;
        let mut connection = client.get_multiplexed_async_connection().await?;
        let keys: Vec<String> = redis::cmd("KEYS").arg("trangtien:{*}:*").query_async(&mut connection).await?;
        let mut events = Vec::new();
        for key in keys {
            let kind: String = redis::cmd("TYPE").arg(&key).query_async(&mut connection).await?;
            if kind == "stream" {
                let range = redis::cmd("XRANGE").arg(&key).arg("-").arg("+").query_async(&mut connection).await?;
                let entries: Vec<(String, Vec<Vec<u8>>)> = range;
                events.extend(entries.into_iter().map(|(_, fields)| (key.clone(), fields.concat())));
            }
        }
        Ok(events)
    }

    /// Kills Redis; it stays away until [`City::restart_redis`].
    pub async fn kill_redis(&self) {
        self.redis.kill().await;
    }

    /// Starts Redis again, with what it had saved: nothing.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn restart_redis(&self) -> Result<()> {
        Ok(self.redis.restart().await?)
    }

    /// Kills PostgreSQL without warning and starts it again.
    ///
    /// # Errors
    /// When it does not come back.
    pub async fn crash_postgres(&self) -> Result<()> {
        self.postgres.kill().await;
        Ok(self.postgres.restart().await?)
    }

    /// Kills the process of a role of a split city and waits until another one answers.
    ///
    /// # Errors
    /// When the role has no process, or it does not come back.
    pub async fn kill_role(&self, role: &str) -> Result<()> {
        let pid = self.pid_of(role).with_context(|| format!("{role} has no process of its own"))?;
        kill(pid, Signal::SIGKILL)?;
        let visitor = self.visitor()?;
        let path = format!("/{role}/readyz");
        eventually("the role to come back", || async {
            let ready = visitor.get(&path).await?.status.is_success();
            Ok((ready && self.pid_of(role).is_some_and(|now| now != pid)).then_some(()))
        })
        .await
    }

    fn pid_of(&self, role: &str) -> Option<Pid> {
        let configuration = data_folder(self.folder.path()).join("roles").join(format!("{role}.toml"));
        let wanted = configuration.to_str()?.to_owned();
        let processes = std::fs::read_dir("/proc").ok()?.flatten();
        processes.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok()).find_map(|pid| {
            let command = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
            let mut words = command.split(|byte| *byte == 0).map(String::from_utf8_lossy);
            let is_role = words.clone().any(|word| word == wanted) && words.nth(1).is_some_and(|word| word == "serve");
            is_role.then(|| Pid::from_raw(pid))
        })
    }
}
