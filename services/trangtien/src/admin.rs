//! `trangtien admin …`: what an operator does by hand. Every act is logged with who did it.

use anyhow::{Context as _, ensure};
use chrono::Utc;
use identity::Urgency;
use platform::{events, job};
use reports::officer::Appointment;
use sqlx::PgPool;
use uuid::Uuid;

use crate::database::Place;
use crate::role::Role;
use crate::run;

/// Works on a running city.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum Command {
    /// Lists what was given up on: jobs, and events that a consumer could not take.
    DeadLetters {
        /// Which city.
        #[command(flatten)]
        place: Place,
        /// Only this role's.
        #[arg(long, value_enum)]
        role: Option<Role>,
    },
    /// Has dead letters tried again.
    Redrive {
        /// Which city.
        #[command(flatten)]
        place: Place,
        /// Whose.
        #[arg(value_enum)]
        role: Role,
        /// What exactly.
        #[command(flatten)]
        which: Which,
    },
    /// Makes a person a supervisor of the operations centre for field reports, who then appoints others over HTTP.
    AppointSupervisor {
        /// Which city.
        #[command(flatten)]
        place: Place,
        /// The person, by the id that `GET /identity/v1/me` tells them.
        user_id: Uuid,
    },
    /// Lets the next signing key take over at once; the old one stays valid for tokens that are out.
    RotateKeys {
        /// Which city.
        #[command(flatten)]
        place: Place,
    },
}

/// Which dead letters.
#[derive(Clone, Debug, clap::Args)]
#[group(required = true, multiple = false)]
pub struct Which {
    /// One job or event.
    #[arg(long)]
    id: Option<Uuid>,
    /// All jobs or events of a kind.
    #[arg(long)]
    kind: Option<String>,
}

/// Does it.
///
/// # Errors
/// When the database does not answer, or nothing was found to do.
pub async fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::DeadLetters { place, role } => list(&place, role).await,
        Command::Redrive { place, role, which } => redrive(&place, role, which).await,
        Command::AppointSupervisor { place, user_id } => appoint(&place, user_id).await,
        Command::RotateKeys { place } => rotate(&place).await,
    }
}

async fn list(place: &Place, only: Option<Role>) -> anyhow::Result<()> {
    let mut found = 0;
    for role in Role::ALL.into_iter().filter(|role| only.is_none_or(|only| only == *role)) {
        let pool = place.pool(role)?;
        found += list_jobs(&pool, role).await? + list_events(&pool, role).await?;
    }
    println!("{found} dead letters");
    Ok(())
}

async fn list_jobs(pool: &PgPool, role: Role) -> anyhow::Result<usize> {
    let (mut found, mut last) = (0, None);
    loop {
        let page = job::dead_jobs(pool, role.schema(), last.as_ref()).await.context("jobs can't be read")?;
        for dead in &page {
            println!(
                "{role} job {} {} {:?}: {} (begun {} times, given up {})",
                dead.id,
                dead.kind,
                dead.key,
                dead.reason,
                dead.attempts,
                dead.finished_at.to_rfc3339()
            );
        }
        found += page.len();
        last = page.into_iter().next_back();
        if last.is_none() {
            return Ok(found);
        }
    }
}

async fn list_events(pool: &PgPool, role: Role) -> anyhow::Result<usize> {
    let (mut found, mut last) = (0, None);
    loop {
        let page = events::dead_events(pool, role.schema(), last.as_ref()).await.context("events can't be read")?;
        for dead in &page {
            println!(
                "{role} event {} {} at {} {}: {} (tried {} times, given up {}{})",
                dead.event_id,
                dead.kind,
                dead.stream,
                dead.position,
                dead.reason,
                dead.attempts,
                dead.died_at.to_rfc3339(),
                if dead.redrive_at.is_some() { ", waits to be tried again" } else { "" }
            );
        }
        found += page.len();
        last = page.into_iter().next_back();
        if last.is_none() {
            return Ok(found);
        }
    }
}

async fn redrive(place: &Place, role: Role, which: Which) -> anyhow::Result<()> {
    let pool = place.pool(role)?;
    let mut connection = pool.acquire().await.context("the database does not answer")?;
    let (schema, now) = (role.schema(), Utc::now());
    let (jobs, events) = match (which.id, which.kind.as_deref()) {
        (Some(id), _) => {
            let job = job::redrive(&mut connection, schema, id, now).await.context("jobs can't be changed")?;
            let event = events::redrive(&mut connection, schema, id).await.context("events can't be changed")?;
            (u64::from(job), u64::from(event))
        }
        (None, Some(kind)) => {
            let jobs = job::redrive_all(&mut connection, schema, kind, now).await.context("jobs can't be changed")?;
            let events = events::redrive_all(&mut connection, schema, kind).await.context("events can't be changed")?;
            (jobs, events)
        }
        (None, None) => (0, 0),
    };
    tracing::info!(operator = operator(), role = role.name(), jobs, events, "dead letters redriven");
    println!("{jobs} jobs and {events} events of {role} are tried again");
    ensure!(jobs + events > 0, "there is no such dead letter");
    Ok(())
}

async fn appoint(place: &Place, user_id: Uuid) -> anyhow::Result<()> {
    let pool = place.pool(Role::Reports)?;
    let appointment = Appointment { user_id, role: reports::officer::Role::Supervisor, agency: None };
    reports::officer::appoint(&pool, &appointment, None, Utc::now())
        .await
        .context("the officer can't be written down")?;
    tracing::info!(operator = operator(), user.id = %user_id, "supervisor appointed");
    println!("{user_id} is a supervisor of field reports");
    Ok(())
}

async fn rotate(place: &Place) -> anyhow::Result<()> {
    let config = place.config()?;
    let (settings, context) = (config.identity.clone(), run::context(config, Role::Identity)?);
    let rotated = identity::rotate_keys(settings, identity::Deps { context }, Urgency::Now)
        .await
        .map_err(|problem| anyhow::anyhow!("the keys can't be rotated: {problem:?}"))?;
    tracing::info!(operator = operator(), rotated, "signing keys rotated");
    println!("{}", if rotated { "the next key signs now" } else { "nothing to do" });
    Ok(())
}

/// Who runs this command.
fn operator() -> String {
    let user = nix::unistd::User::from_uid(nix::unistd::getuid()).ok().flatten();
    user.map_or_else(|| nix::unistd::getuid().to_string(), |user| user.name)
}
