//! `trangtien admin keys …`: the keys that sign tokens.

use anyhow::Context as _;
use identity::audit::Action;

use super::Why;
use crate::database::Place;
use crate::role::Role;
use crate::run;

/// What to do with the signing keys.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum Command {
    /// Lets the next signing keys take over at once; the old ones stay published until no token of theirs can be alive.
    Rotate {
        /// Which city.
        #[command(flatten)]
        place: Place,
        /// Why.
        #[command(flatten)]
        why: Why,
    },
}

/// Does it.
pub(super) async fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Rotate { place, why } => rotate(&place, &why).await,
    }
}

async fn rotate(place: &Place, why: &Why) -> anyhow::Result<()> {
    let config = place.config()?;
    let (settings, context) = (config.identity.clone(), run::context(config, Role::Identity)?);
    let by = why.by();
    let act = by.act(Action::KeyRotate, String::new(), None);
    identity::rotate_keys(settings, identity::Deps { context }, &act)
        .await
        .map_err(|problem| anyhow::anyhow!("{problem:?}"))
        .context("the keys can't be rotated")?;
    tracing::info!(operator = by.operator, "signing keys rotated");
    println!("the next keys sign now; tokens of the old ones stay valid");
    Ok(())
}
