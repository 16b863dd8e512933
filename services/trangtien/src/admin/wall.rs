//! `trangtien admin set-up-wall`: the wall as a client of the city's OpenID provider, as the settings say. `trangtien up` does the same.

use anyhow::Context as _;
use identity::OwnPage;
use identity::audit::Action;
use platform::clock::Clock;
use platform::config::Secret;
use sqlx::PgPool;

use super::Why;
use crate::config::Config;
use crate::database::Place;
use crate::role::Role;

/// What the sign-in page calls the wall.
const NAME_VI: &str = "Màn hình điều hành";
const NAME_EN: &str = "Operations wall";

/// Registers the wall of a city, and says what that changed.
pub(super) async fn set_up(place: &Place, why: &Why) -> anyhow::Result<()> {
    let config = place.config()?;
    let Some(sign_in) = &config.ioc.sign_in else {
        let own = |value: &str| {
            format!("`ioc.sign_in` is not set; put this into the configuration and run it again:\n\n{value}")
        };
        anyhow::bail!(own(&suggestion()));
    };
    let id = sign_in.client_id;
    let changed = ensure(&config, &place.pool(Role::Identity)?, why).await?;
    let places = ioc::sign_in_places(&config.public_url);
    let how = if changed { "is now" } else { "was already" };
    println!("The wall {how} client {id} of the OpenID provider, at {}", places.callback);
    Ok(())
}

/// Registers the wall of the settings at the provider, on record, if it is not there as they say; tells whether it was not.
///
/// # Errors
/// When the wall can't be a client, or the database does not answer.
pub(crate) async fn ensure(config: &Config, pool: &PgPool, why: &Why) -> anyhow::Result<bool> {
    let Some(sign_in) = &config.ioc.sign_in else { return Ok(false) };
    let places = ioc::sign_in_places(&config.public_url);
    let page = OwnPage {
        client_id: sign_in.client_id,
        secret: sign_in.client_secret.clone(),
        name_vi: NAME_VI.to_owned(),
        name_en: NAME_EN.to_owned(),
        redirect_uri: places.callback.into(),
        post_logout_redirect_uri: places.wall.into(),
    };
    let act = why.by().act(Action::ClientRegister, sign_in.client_id.to_string(), None);
    let issuer = config.identity.issuer_for(&config.public_url);
    identity::set_up_page_as_operator(pool, (&Clock::system(), &issuer), &page, &act)
        .await
        .map_err(|problem| anyhow::anyhow!("{problem}"))
        .context("the wall can't be registered at the OpenID provider")
}

/// Settings for a city that has none yet.
fn suggestion() -> String {
    let secret =
        Secret::new(format!("{}{}", platform::embedded::generate_secret(), platform::embedded::generate_secret()));
    format!("[ioc.sign_in]\nclient_id = \"{}\"\nclient_secret = \"{}\"", platform::id::new(), secret.expose())
}
