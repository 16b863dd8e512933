//! Tills and their codes, as the merchant's owner sees them.

use axum::extract::State;
use axum::response::Response;
use chrono::{DateTime, Utc};
use http::StatusCode;
use platform::auth::Principal;
use platform::http::{IdempotentJson, Json, Path, Query};
use platform::page::{Page, PageQuery};
use platform::problem::Problem;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::merchant::own;
use super::{App, file, key, once};
use crate::Wallet;
use crate::error::Error;
use crate::merchant::{self, Merchant, MerchantId, NewTill, Store, StoreId, Till, TillId, sql, till_payload};
use crate::qr;

/// A till.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct TillView {
    id: TillId,
    store_id: StoreId,
    merchant_id: MerchantId,
    name: String,
    qr: QrView,
    created_at: DateTime<Utc>,
}

/// A till's static code; it never changes.
#[derive(Debug, Serialize, ToSchema)]
struct QrView {
    /// The text of the code.
    payload: String,
    /// Path of the picture for print.
    svg: String,
    /// Path of the picture for screens.
    png: String,
    /// Path of the text.
    txt: String,
}

fn view(merchant: &Merchant, till: Till, wallet: &Wallet) -> Result<TillView, Error> {
    let base = format!("/wallet/v1/merchants/{}/stores/{}/tills/{}/qr", merchant.id, till.store_id, till.id);
    let qr = QrView {
        payload: payload(merchant, till.id, wallet)?,
        svg: format!("{base}.svg"),
        png: format!("{base}.png"),
        txt: format!("{base}.txt"),
    };
    Ok(TillView {
        id: till.id,
        store_id: till.store_id,
        merchant_id: till.merchant_id,
        name: till.name,
        qr,
        created_at: till.created_at,
    })
}

fn payload(merchant: &Merchant, till: TillId, wallet: &Wallet) -> Result<String, Error> {
    till_payload(merchant, till, &wallet.place, wallet.virtual_accounts.as_ref())
        .map_err(|fault| Error::Broken(format!("a till's code can't be written: {fault}")))
}

type TillPath = Path<(MerchantId, StoreId, TillId)>;

async fn own_store(
    wallet: &Wallet,
    principal: &Principal,
    merchant: MerchantId,
    store: StoreId,
) -> Result<(Merchant, Store), Error> {
    let merchant = own(wallet, principal, merchant).await?;
    let store = sql::own_store(&mut *wallet.pool.acquire().await?, principal.subject, merchant.id, store).await?;
    Ok((merchant, store.ok_or(Error::NotFound)?))
}

async fn own_till(wallet: &Wallet, principal: &Principal, path: TillPath) -> Result<(Merchant, Till), Error> {
    let Path((merchant, store, till)) = path;
    let (merchant, store) = own_store(wallet, principal, merchant, store).await?;
    let till = sql::till(&mut *wallet.pool.acquire().await?, store.id, till).await?;
    Ok((merchant, till.ok_or(Error::NotFound)?))
}

/// Makes a till.
#[utoipa::path(
    post,
    path = "/wallet/v1/merchants/{merchant_id}/stores/{store_id}/tills",
    tag = "wallet",
    operation_id = "createTill",
    params(
        ("merchant_id" = Uuid, Path),
        ("store_id" = Uuid, Path),
        ("Idempotency-Key" = String, Header, description = "One per till to be made"),
    ),
    request_body = NewTill,
    responses((status = 201, body = TillView), (status = 404, description = "not-found")),
    security(("bearer" = []))
)]
pub(super) async fn create(
    State(wallet): State<App>,
    principal: Principal,
    Path((merchant, store)): Path<(MerchantId, StoreId)>,
    request: IdempotentJson<NewTill>,
) -> Result<Response, Problem> {
    let (merchant, store) = own_store(&wallet, &principal, merchant, store).await?;
    let claim = key(&principal, "till.create", request.key, request.fingerprint);
    once(&wallet, claim, StatusCode::CREATED, async |tx| {
        let made = merchant::create_till(tx, principal.subject, &store, &request.body, wallet.clock.now()).await?;
        view(&merchant, made, &wallet)
    })
    .await
}

/// A store's tills, oldest first.
#[utoipa::path(
    get,
    path = "/wallet/v1/merchants/{merchant_id}/stores/{store_id}/tills",
    tag = "wallet",
    operation_id = "listTills",
    params(("merchant_id" = Uuid, Path), ("store_id" = Uuid, Path), PageQuery),
    responses((status = 200, body = Page<TillView>), (status = 404, description = "not-found")),
    security(("bearer" = []))
)]
pub(super) async fn list(
    State(wallet): State<App>,
    principal: Principal,
    Path((merchant, store)): Path<(MerchantId, StoreId)>,
    Query(page): Query<PageQuery>,
) -> Result<Json<Page<TillView>>, Problem> {
    let (limit, after) = (page.limit()?, page.after::<Uuid>()?);
    let (merchant, store) = own_store(&wallet, &principal, merchant, store).await?;
    let rows = sql::tills(&mut *wallet.pool.acquire().await?, store.id, after, limit + 1).await?;
    let Page { items, next_cursor } = Page::from_rows(rows, limit, |till| till.id);
    let items = items.into_iter().map(|till| view(&merchant, till, &wallet)).collect::<Result<_, _>>()?;
    Ok(Json(Page { items, next_cursor }))
}

/// One till.
#[utoipa::path(
    get,
    path = "/wallet/v1/merchants/{merchant_id}/stores/{store_id}/tills/{till_id}",
    tag = "wallet",
    operation_id = "getTill",
    params(("merchant_id" = Uuid, Path), ("store_id" = Uuid, Path), ("till_id" = Uuid, Path)),
    responses((status = 200, body = TillView), (status = 404, description = "not-found")),
    security(("bearer" = []))
)]
pub(super) async fn show(
    State(wallet): State<App>,
    principal: Principal,
    path: TillPath,
) -> Result<Json<TillView>, Problem> {
    let (merchant, till) = own_till(&wallet, &principal, path).await?;
    Ok(Json(view(&merchant, till, &wallet)?))
}

/// A till's code for print.
#[utoipa::path(
    get,
    path = "/wallet/v1/merchants/{merchant_id}/stores/{store_id}/tills/{till_id}/qr.svg",
    tag = "wallet",
    operation_id = "getTillQrSvg",
    params(("merchant_id" = Uuid, Path), ("store_id" = Uuid, Path), ("till_id" = Uuid, Path)),
    responses((status = 200, content_type = "image/svg+xml", body = String), (status = 404, description = "not-found")),
    security(("bearer" = []))
)]
pub(super) async fn qr_svg(
    State(wallet): State<App>,
    principal: Principal,
    path: TillPath,
) -> Result<Response, Problem> {
    let (merchant, till) = own_till(&wallet, &principal, path).await?;
    let picture = qr::svg(&payload(&merchant, till.id, &wallet)?).map_err(Error::from)?;
    Ok(file("image/svg+xml", picture))
}

/// A till's code for screens.
#[utoipa::path(
    get,
    path = "/wallet/v1/merchants/{merchant_id}/stores/{store_id}/tills/{till_id}/qr.png",
    tag = "wallet",
    operation_id = "getTillQrPng",
    params(("merchant_id" = Uuid, Path), ("store_id" = Uuid, Path), ("till_id" = Uuid, Path)),
    responses((status = 200, content_type = "image/png", body = Vec<u8>), (status = 404, description = "not-found")),
    security(("bearer" = []))
)]
pub(super) async fn qr_png(
    State(wallet): State<App>,
    principal: Principal,
    path: TillPath,
) -> Result<Response, Problem> {
    let (merchant, till) = own_till(&wallet, &principal, path).await?;
    let picture = qr::png(&payload(&merchant, till.id, &wallet)?).map_err(Error::from)?;
    Ok(file("image/png", picture))
}

/// A till's code as text.
#[utoipa::path(
    get,
    path = "/wallet/v1/merchants/{merchant_id}/stores/{store_id}/tills/{till_id}/qr.txt",
    tag = "wallet",
    operation_id = "getTillQrText",
    params(("merchant_id" = Uuid, Path), ("store_id" = Uuid, Path), ("till_id" = Uuid, Path)),
    responses((status = 200, content_type = "text/plain", body = String), (status = 404, description = "not-found")),
    security(("bearer" = []))
)]
pub(super) async fn qr_txt(
    State(wallet): State<App>,
    principal: Principal,
    path: TillPath,
) -> Result<Response, Problem> {
    let (merchant, till) = own_till(&wallet, &principal, path).await?;
    Ok(file("text/plain; charset=utf-8", payload(&merchant, till.id, &wallet)?))
}
