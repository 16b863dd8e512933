//! `trangtien admin keys …`: the keys that sign tokens.

use anyhow::Context as _;
use chrono::{DateTime, SecondsFormat, Utc};
use identity::Urgency;
use identity::audit::Action;

use super::Why;
use crate::database::Place;
use crate::role::Role;
use crate::run;

/// What to do with the signing keys.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum Command {
    /// Shows the keys of the key set: what signs, what is next, what has retired and until when.
    List {
        /// Which city.
        #[command(flatten)]
        place: Place,
    },
    /// Lets the next signing keys take over at once; the old ones stay published until no token of theirs can be alive. Refused within
    /// ten minutes of the last time, when clients that keep the key set may not know the next keys yet.
    Rotate {
        /// Which city.
        #[command(flatten)]
        place: Place,
        /// Whatever clients know: for a key that is in wrong hands. Clients may refuse new tokens until they read the key set again.
        #[arg(long)]
        force: bool,
        /// Why.
        #[command(flatten)]
        why: Why,
    },
}

/// Does it.
pub(super) async fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::List { place } => list(&place).await,
        Command::Rotate { place, force, why } => {
            rotate(&place, &why, if force { Urgency::Forced } else { Urgency::Now }).await
        }
    }
}

async fn list(place: &Place) -> anyhow::Result<()> {
    let keys = identity::list_keys(&place.pool(Role::Identity)?).await.context("the keys can't be read")?;
    println!("{:<24} {:<6} {:<8} {:<26} {:<26} leaves the key set", "kid", "", "state", "published", "signs since");
    let time = |at: Option<DateTime<Utc>>| {
        at.map_or_else(|| "-".to_owned(), |at| at.to_rfc3339_opts(SecondsFormat::Secs, true))
    };
    for key in keys {
        println!(
            "{:<24} {:<6} {:<8} {:<26} {:<26} {}",
            key.kid,
            key.algorithm,
            key.state,
            time(Some(key.created_at)),
            time(key.activated_at),
            time(key.remove_at)
        );
    }
    Ok(())
}

async fn rotate(place: &Place, why: &Why, urgency: Urgency) -> anyhow::Result<()> {
    let config = place.config()?;
    let (settings, context) = (config.identity.clone(), run::context(config, Role::Identity)?);
    let by = why.by();
    let act = by.act(Action::KeyRotate, String::new(), None);
    identity::rotate_keys(settings, identity::Deps { context }, (&act, urgency))
        .await
        .map_err(|problem| anyhow::anyhow!("{problem}"))
        .context("the keys can't be rotated")?;
    tracing::info!(operator = by.operator, "signing keys rotated");
    println!("the next keys sign now; tokens of the old ones stay valid");
    Ok(())
}
