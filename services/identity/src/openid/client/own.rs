//! A page of the city's own as a client, set up by an operator on the machine from the city's settings.
//!
//! Lock order: client, then audit head.

use chrono::SubsecRound as _;
use platform::clock::Clock;
use platform::config::Secret;
use platform::problem::Problem;
use sqlx::PgPool;
use uuid::Uuid;

use super::{Access, Client, ClientId, Grant, NewClient, rule, sha256, sql};
use crate::audit::{self, OperatorAct};
use crate::error::Error;
use crate::key::Algorithm;
use crate::openid::scope::{Scope, Scopes};
use crate::vault::MIN_SECRET_BYTES;

/// A page of the city's own.
#[derive(Clone, Debug)]
pub struct OwnPage {
    /// Its id as a client.
    pub client_id: Uuid,
    /// Its secret, at least 32 bytes.
    pub secret: Secret,
    /// What it is called in Vietnamese.
    pub name_vi: String,
    /// The same in English.
    pub name_en: String,
    /// Where people come back to with a code.
    pub redirect_uri: String,
    /// Where they go when they have signed out.
    pub post_logout_redirect_uri: String,
}

/// Registers a page as a client of `issuer`, or gives the one that is registered what the settings say now; tells whether anything
/// was to be done. Then it stands in the audit.
///
/// # Errors
/// When the page can't be a client, another kind of client has its id, or what the database answered.
pub async fn set_up_page_as_operator(
    pool: &PgPool,
    (clock, issuer): (&Clock, &str),
    page: &OwnPage,
    act: &OperatorAct,
) -> Result<bool, Problem> {
    Ok(set_up(pool, (clock, issuer), page, act).await?)
}

async fn set_up(
    pool: &PgPool,
    (clock, issuer): (&Clock, &str),
    page: &OwnPage,
    act: &OperatorAct,
) -> Result<bool, Error> {
    let now = clock.now().trunc_subsecs(6);
    let wanted = rule::check(new_client(page), issuer)?;
    if page.secret.expose().len() < MIN_SECRET_BYTES {
        return Err(Error::Field {
            field: "client_secret",
            vi: "Bí mật của trang phải có ít nhất 32 byte.",
            en: "The page's secret needs at least 32 bytes.",
        });
    }
    let digest = Some(sha256(page.secret.expose().as_bytes()).to_vec());
    let mut tx = platform::db::begin(pool).await?;
    let id = ClientId::from(page.client_id);
    match sql::lock(&mut tx, id).await? {
        None => {
            let client = Client { secret_digest: digest, ..super::registry::client_of(id, wanted, now) };
            sql::insert(&mut tx, &client).await?;
        }
        Some(known) => {
            if known.disabled_at.is_some() {
                return Err(Error::ClientDisabled);
            }
            if !known.is_first_party() || known.access != Access::Confidential {
                return Err(Error::Field {
                    field: "client_id",
                    vi: "Mã này là của một ứng dụng khác.",
                    en: "This id is another client's.",
                });
            }
            let mut client = known.clone();
            client.name_vi = wanted.name_vi;
            client.name_en = wanted.name_en;
            client.redirect_uris = wanted.redirect_uris;
            client.post_logout_redirect_uris = wanted.post_logout_redirect_uris;
            client.secret_digest = digest;
            if is_same(&client, &known) {
                return Ok(false);
            }
            sql::update(&mut tx, &client).await?;
        }
    }
    audit::append_operator_act(&mut tx, act, now).await?;
    tx.commit().await?;
    Ok(true)
}

fn new_client(page: &OwnPage) -> NewClient {
    NewClient {
        name_vi: page.name_vi.clone(),
        name_en: page.name_en.clone(),
        access: Access::Confidential,
        grants: vec![Grant::AuthorizationCode, Grant::RefreshToken],
        scopes: [Scope::OpenId].into_iter().collect::<Scopes>(),
        redirect_uris: vec![page.redirect_uri.clone()],
        post_logout_redirect_uris: vec![page.post_logout_redirect_uri.clone()],
        is_first_party: true,
        id_token_algorithm: Algorithm::Rs256,
        agency: None,
    }
}

/// Whether what the settings say of a page is what is stored.
fn is_same(one: &Client, other: &Client) -> bool {
    let said = |client: &Client| {
        let names = (client.name_vi.clone(), client.name_en.clone(), client.secret_digest.clone());
        (names, client.redirect_uris.clone(), client.post_logout_redirect_uris.clone())
    };
    said(one) == said(other)
}
