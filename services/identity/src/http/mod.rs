//! Public routes of identity.
//!
//! Anyone may call `otp`, `sessions`, `sessions/refresh`, `vneid`, `vneid/returns` and `/.well-known/jwks.json`; the rest needs
//! an access token and speaks of its subject only, so that no path names another citizen. `officers` and `dependents` name others: officers, to those who
//! give them their roles, and people without a telephone, to officers of their ward. `clients` is for admins, and `openid` says by itself who may call.
//! Answers that carry tokens or personal data are never cached.

mod address;
mod archive;
mod client;
mod closing;
mod consent;
mod delegation;
mod dependent;
mod device;
mod ekyc;
mod export;
mod hidden;
mod me;
mod my_dependent;
mod officer;
mod openid;
mod organisation;
mod otp;
mod passkey;
mod pin;
mod session;
mod step_up;
mod vneid;
mod vneid_sign_in;
mod well_known;

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use platform::auth::Principal;
use platform::http::{ApiRouter, Json, Language};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::routes;

use crate::Identity;
use crate::audit::Origin;

/// What every handler gets.
type App = State<Arc<Identity>>;

/// Identity's routes and their description.
pub(crate) fn router(identity: Arc<Identity>) -> ApiRouter {
    ApiRouter::<Arc<Identity>>::new()
        .routes(routes!(otp::ask))
        .routes(routes!(session::open))
        .routes(routes!(session::refresh))
        .routes(routes!(session::sign_out))
        .routes(routes!(me::show, me::edit))
        .routes(routes!(pin::set))
        .routes(routes!(step_up::prove))
        .routes(routes!(ekyc::show, ekyc::ask))
        .routes(routes!(export::show))
        .routes(routes!(archive::order, archive::list))
        .routes(routes!(archive::show))
        .routes(routes!(archive::document))
        .routes(routes!(closing::show, closing::ask, closing::take_back))
        .routes(routes!(vneid::begin, vneid::unlink))
        .routes(routes!(vneid::come_back))
        .routes(routes!(vneid_sign_in::begin))
        .routes(routes!(vneid_sign_in::come_back))
        .routes(routes!(passkey::challenge))
        .routes(routes!(passkey::begin))
        .routes(routes!(passkey::finish, passkey::list))
        .routes(routes!(passkey::remove))
        .routes(routes!(device::list))
        .routes(routes!(device::remove))
        .routes(routes!(delegation::list, delegation::propose))
        .routes(routes!(delegation::end))
        .routes(routes!(delegation::confirm))
        .routes(routes!(delegation::token))
        .routes(routes!(dependent::list, dependent::register))
        .routes(routes!(dependent::show, dependent::withdraw))
        .routes(routes!(dependent::close, dependent::keep))
        .routes(routes!(my_dependent::list))
        .routes(routes!(my_dependent::refuse))
        .routes(routes!(my_dependent::confirm))
        .routes(routes!(my_dependent::attach_phone))
        .routes(routes!(my_dependent::close, my_dependent::keep))
        .routes(routes!(organisation::list))
        .routes(routes!(organisation::show))
        .routes(routes!(officer::list))
        .routes(routes!(officer::grant, officer::revoke))
        .routes(routes!(client::list, client::register))
        .routes(routes!(client::show, client::edit, client::disable))
        .routes(routes!(client::renew))
        .routes(routes!(consent::list))
        .routes(routes!(consent::withdraw))
        .routes(routes!(well_known::jwks))
        .merge(openid::router())
        .with_state(identity)
}

/// A language that the product speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LanguageTag {
    /// Vietnamese.
    Vi,
    /// English.
    En,
}

impl From<Language> for LanguageTag {
    fn from(language: Language) -> Self {
        match language {
            Language::Vi => Self::Vi,
            Language::En => Self::En,
        }
    }
}

impl From<LanguageTag> for Language {
    fn from(tag: LanguageTag) -> Self {
        match tag {
            LanguageTag::Vi => Self::Vi,
            LanguageTag::En => Self::En,
        }
    }
}

/// Where a request of a signed-in caller came from.
fn origin(caller: &Principal, address: Option<IpAddr>) -> Origin {
    Origin { address, session: Some(caller.session.into()), device: None }
}

/// A JSON answer that nobody may keep.
fn private<T: Serialize>(status: StatusCode, body: T) -> Response {
    let mut response = (status, Json(body)).into_response();
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
