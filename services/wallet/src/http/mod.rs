//! Routes of the wallet: thin adapters from HTTP to use cases. Only these files know axum.
//!
//! Who may call is part of each handler's signature: a `Principal` is a citizen's token, a `ClientPrincipal` that of an agency's client; `qr/decode`, checkpoints and callbacks of banks and billers take none,
//! callbacks prove themselves by signature.

mod bill;
mod bill_payment;
mod callback;
mod checkpoint;
mod fee;
mod merchant;
mod payment;
mod proposal;
mod qr;
mod receipt;
mod refund;
mod signed;
mod step_up;
mod stream;
mod till;
mod top_up;
mod wallet;

use std::sync::Arc;

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use platform::auth::Principal;
use platform::http::{ApiRouter, Json};
use platform::idempotency::{self, Claim, Key, Stored};
use platform::problem::Problem;
use serde::Serialize;
use sqlx::PgConnection;
use utoipa_axum::routes;

use crate::error::Error;
use crate::{SCHEMA, Wallet};

/// The shared state of all handlers.
type App = Arc<Wallet>;

/// Every route of the wallet.
pub(crate) fn router(wallet: App) -> ApiRouter {
    ApiRouter::new()
        .routes(routes!(qr::decode))
        .routes(routes!(merchant::create, merchant::list))
        .routes(routes!(merchant::show, merchant::close))
        .routes(routes!(merchant::create_store, merchant::list_stores))
        .routes(routes!(merchant::payments))
        .routes(routes!(stream::stream))
        .routes(routes!(till::create, till::list))
        .routes(routes!(till::show))
        .routes(routes!(till::qr_svg))
        .routes(routes!(till::qr_png))
        .routes(routes!(till::qr_txt))
        .routes(routes!(wallet::show))
        .routes(routes!(wallet::transactions))
        .routes(routes!(wallet::transaction))
        .routes(routes!(receipt::show))
        .routes(routes!(checkpoint::list))
        .routes(routes!(checkpoint::key))
        .routes(routes!(top_up::begin))
        .routes(routes!(top_up::show))
        .routes(routes!(callback::receive))
        .routes(routes!(bill::billers))
        .routes(routes!(bill::link, bill::links))
        .routes(routes!(bill::unlink))
        .routes(routes!(bill::list))
        .routes(routes!(bill::show))
        .routes(routes!(bill_payment::pay))
        .routes(routes!(bill_payment::show))
        .routes(routes!(callback::receive_of_biller))
        .routes(routes!(fee::issue, fee::list))
        .routes(routes!(fee::show, fee::cancel))
        .routes(routes!(payment::pay))
        .routes(routes!(payment::show))
        .routes(routes!(refund::create))
        .routes(routes!(proposal::propose, proposal::list))
        .routes(routes!(proposal::show))
        .routes(routes!(proposal::approve))
        .routes(routes!(proposal::refuse))
        .with_state(wallet)
}

/// A claim on an idempotency key, before the work.
fn key(principal: &Principal, operation: &'static str, key: String, fingerprint: [u8; 32]) -> Key {
    Key { caller: principal.subject, operation, key, fingerprint }
}

/// Does work once per key, in one transaction with the key; a repeated request gets the stored answer.
async fn once<B, F>(wallet: &Wallet, key: Key, status: StatusCode, work: F) -> Result<Response, Problem>
where
    B: Serialize + Sync,
    F: AsyncFnOnce(&mut PgConnection) -> Result<B, Error>,
{
    match done_once(wallet, key, status, work).await? {
        Done::Now(body) => Ok((status, Json(body)).into_response()),
        Done::Before(stored) => {
            Ok((StatusCode::from_u16(stored.status).unwrap_or(status), Json(stored.body)).into_response())
        }
    }
}

/// What came of work that is done once per key.
enum Done<B> {
    Now(B),
    Before(Stored),
}

/// As [`once`]; what is answered is the caller's to say.
async fn done_once<B, F>(wallet: &Wallet, key: Key, status: StatusCode, work: F) -> Result<Done<B>, Problem>
where
    B: Serialize + Sync,
    F: AsyncFnOnce(&mut PgConnection) -> Result<B, Error>,
{
    let mut tx = platform::db::begin(&wallet.pool).await?;
    if let Claim::Replay(stored) = idempotency::claim(&mut tx, SCHEMA, &key, wallet.clock.now()).await? {
        return Ok(Done::Before(stored));
    }
    let body = work(&mut tx).await?;
    idempotency::store(&mut tx, SCHEMA, &key, status.as_u16(), &body).await?;
    tx.commit().await?;
    Ok(Done::Now(body))
}

/// Bytes of a media type, private to the caller.
fn file(media_type: &'static str, bytes: impl Into<axum::body::Body>) -> Response {
    let mut response = Response::new(bytes.into());
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("private, max-age=86400"));
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}
