//! `trangtien admin dead-letters` and `redrive`: what was given up on, and another try for it.

use anyhow::{Context as _, ensure};
use chrono::Utc;
use identity::audit::Action;
use platform::{db, events, job};
use sqlx::PgPool;
use uuid::Uuid;

use super::{By, record};
use crate::database::Place;
use crate::role::Role;

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

impl std::fmt::Display for Which {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (&self.id, &self.kind) {
            (Some(id), _) => write!(formatter, "id {id}"),
            (None, kind) => write!(formatter, "kind {}", kind.as_deref().unwrap_or_default()),
        }
    }
}

/// Lists them.
pub(super) async fn list(place: &Place, only: Option<Role>) -> anyhow::Result<()> {
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

/// Has them tried again. The act is on record before it takes effect; what was not found is not recorded.
pub(super) async fn redrive(place: &Place, role: Role, which: &Which, by: &By) -> anyhow::Result<()> {
    let mut tx = db::begin(&place.pool(role)?).await.context("the database does not answer")?;
    let (schema, now) = (role.schema(), Utc::now());
    let (jobs, events) = match (which.id, which.kind.as_deref()) {
        (Some(id), _) => {
            let job = job::redrive(&mut tx, schema, id, now).await.context("jobs can't be changed")?;
            let event = events::redrive(&mut tx, schema, id).await.context("events can't be changed")?;
            (u64::from(job), u64::from(event))
        }
        (None, Some(kind)) => {
            let jobs = job::redrive_all(&mut tx, schema, kind, now).await.context("jobs can't be changed")?;
            let events = events::redrive_all(&mut tx, schema, kind).await.context("events can't be changed")?;
            (jobs, events)
        }
        (None, None) => (0, 0),
    };
    ensure!(jobs + events > 0, "there is no such dead letter");
    let object = format!("{role} {which}: {jobs} jobs, {events} events");
    record(place, by.act(Action::DeadLettersRedrive, object, None)).await?;
    tx.commit().await.context("the database does not answer")?;
    tracing::info!(operator = by.operator, role = role.name(), jobs, events, "dead letters redriven");
    println!("{jobs} jobs and {events} events of {role} are tried again");
    Ok(())
}
