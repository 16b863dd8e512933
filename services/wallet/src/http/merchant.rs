//! Merchants and their stores, as their owner sees them. Another citizen's merchant does not exist.

use axum::extract::State;
use axum::response::Response;
use chrono::{DateTime, Utc};
use http::StatusCode;
use ledger::money::Money;
use platform::auth::Principal;
use platform::http::{IdempotentJson, Json, Path, Query};
use platform::page::{Page, PageQuery};
use platform::problem::Problem;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::{App, key, once};
use crate::Wallet;
use crate::account::CURRENCY;
use crate::error::Error;
use crate::merchant::{self, Merchant, MerchantId, NewMerchant, NewStore, Store, StoreId, TillId, sql};
use crate::payment::{self, Payment, PaymentId};
use crate::person::word;

/// A merchant.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct MerchantView {
    id: MerchantId,
    name: String,
    city: String,
    /// Merchant category of ISO 18245.
    category: Option<String>,
    /// The account into which bank apps pay.
    virtual_account: Option<VirtualAccountView>,
    created_at: DateTime<Utc>,
    /// When it was closed; absent while it takes money.
    #[serde(skip_serializing_if = "Option::is_none")]
    closed_at: Option<DateTime<Utc>>,
}

/// A merchant's account at the city's bank.
#[derive(Debug, Serialize, ToSchema)]
struct VirtualAccountView {
    bank_code: String,
    account: String,
}

/// A store.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct StoreView {
    id: StoreId,
    merchant_id: MerchantId,
    name: String,
    address: Option<String>,
    created_at: DateTime<Utc>,
}

/// A payment as the merchant sees it. Who paid is not shown.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct MerchantPaymentView {
    id: PaymentId,
    /// Its place in the journal; the id of its event in the stream.
    sequence: i64,
    /// `completed`.
    state: &'static str,
    amount: Money,
    till_id: TillId,
    note: Option<String>,
    paid_at: DateTime<Utc>,
}

impl From<Payment> for MerchantPaymentView {
    fn from(payment: Payment) -> Self {
        Self {
            id: payment.id,
            sequence: payment.sequence,
            state: "completed",
            amount: Money::from_minor(payment.amount, CURRENCY),
            till_id: payment.till_id,
            note: payment.note,
            paid_at: payment.paid_at,
        }
    }
}

impl From<Store> for StoreView {
    fn from(store: Store) -> Self {
        Self {
            id: store.id,
            merchant_id: store.merchant_id,
            name: store.name,
            address: store.address,
            created_at: store.created_at,
        }
    }
}

fn view(merchant: Merchant, wallet: &Wallet) -> MerchantView {
    let account = wallet.virtual_accounts.as_ref().map(|accounts| VirtualAccountView {
        bank_code: accounts.bank_code.clone(),
        account: accounts.number(&merchant),
    });
    MerchantView {
        id: merchant.id,
        name: merchant.name,
        city: merchant.city,
        category: merchant.category,
        virtual_account: account,
        created_at: merchant.created_at,
        closed_at: merchant.closed_at,
    }
}

/// The caller's merchant; `not-found` for any other.
pub(super) async fn own(wallet: &Wallet, principal: &Principal, id: MerchantId) -> Result<Merchant, Error> {
    sql::own_merchant(&mut *wallet.pool.acquire().await?, principal.subject, id).await?.ok_or(Error::NotFound)
}

/// Makes a merchant; the caller becomes its owner.
#[utoipa::path(
    post,
    path = "/wallet/v1/merchants",
    tag = "wallet",
    operation_id = "createMerchant",
    params(("Idempotency-Key" = String, Header, description = "One per merchant to be made")),
    request_body = NewMerchant,
    responses((status = 201, body = MerchantView), (status = 422, description = "name-unprintable, too-many, invalid-body, idempotency-key-reused")),
    security(("bearer" = []))
)]
pub(super) async fn create(
    State(wallet): State<App>,
    principal: Principal,
    request: IdempotentJson<NewMerchant>,
) -> Result<Response, Problem> {
    let claim = key(&principal, "merchant.create", request.key, request.fingerprint);
    once(&wallet, claim, StatusCode::CREATED, async |tx| {
        let made =
            merchant::create_merchant(tx, principal.subject, &request.body, &wallet.place, wallet.clock.now()).await?;
        Ok(view(made, &wallet))
    })
    .await
}

/// The caller's merchants, oldest first.
#[utoipa::path(
    get,
    path = "/wallet/v1/merchants",
    tag = "wallet",
    operation_id = "listMerchants",
    params(PageQuery),
    responses((status = 200, body = Page<MerchantView>)),
    security(("bearer" = []))
)]
pub(super) async fn list(
    State(wallet): State<App>,
    principal: Principal,
    Query(page): Query<PageQuery>,
) -> Result<Json<Page<MerchantView>>, Problem> {
    let (limit, after) = (page.limit()?, page.after::<Uuid>()?);
    let rows = sql::own_merchants(&mut *wallet.pool.acquire().await?, principal.subject, after, limit + 1).await?;
    Ok(Json(Page::from_rows(rows, limit, |merchant| merchant.id).map(|merchant| view(merchant, &wallet))))
}

/// One of the caller's merchants.
#[utoipa::path(
    get,
    path = "/wallet/v1/merchants/{merchant_id}",
    tag = "wallet",
    operation_id = "getMerchant",
    params(("merchant_id" = Uuid, Path)),
    responses((status = 200, body = MerchantView), (status = 404, description = "not-found")),
    security(("bearer" = []))
)]
pub(super) async fn show(
    State(wallet): State<App>,
    principal: Principal,
    Path(id): Path<MerchantId>,
) -> Result<Json<MerchantView>, Problem> {
    let merchant = own(&wallet, &principal, id).await?;
    Ok(Json(view(merchant, &wallet)))
}

/// Closes one of the caller's merchants.
///
/// What the city owes it goes to the caller's wallet; it takes no money any more and can give none back. There is no way back. Asked for
/// again, nothing changes.
#[utoipa::path(
    delete,
    path = "/wallet/v1/merchants/{merchant_id}",
    tag = "wallet",
    operation_id = "closeMerchant",
    params(("merchant_id" = Uuid, Path)),
    responses(
        (status = 204, description = "It is closed"),
        (status = 404, description = "not-found"),
        (status = 409, description = "merchant-busy: payments come in without a pause"),
        (status = 422, description = "account-frozen: the caller's wallet takes no money now"),
    ),
    security(("bearer" = []))
)]
pub(super) async fn close(
    State(wallet): State<App>,
    principal: Principal,
    Path(id): Path<MerchantId>,
) -> Result<StatusCode, Problem> {
    merchant::close(&wallet, principal.subject, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Makes a store.
#[utoipa::path(
    post,
    path = "/wallet/v1/merchants/{merchant_id}/stores",
    tag = "wallet",
    operation_id = "createStore",
    params(("merchant_id" = Uuid, Path), ("Idempotency-Key" = String, Header, description = "One per store to be made")),
    request_body = NewStore,
    responses((status = 201, body = StoreView), (status = 404, description = "not-found")),
    security(("bearer" = []))
)]
pub(super) async fn create_store(
    State(wallet): State<App>,
    principal: Principal,
    Path(merchant): Path<MerchantId>,
    request: IdempotentJson<NewStore>,
) -> Result<Response, Problem> {
    let claim = key(&principal, "store.create", request.key, request.fingerprint);
    once(&wallet, claim, StatusCode::CREATED, async |tx| {
        let made = merchant::create_store(tx, principal.subject, merchant, &request.body, wallet.clock.now()).await?;
        Ok(StoreView::from(made))
    })
    .await
}

/// A merchant's stores, oldest first.
#[utoipa::path(
    get,
    path = "/wallet/v1/merchants/{merchant_id}/stores",
    tag = "wallet",
    operation_id = "listStores",
    params(("merchant_id" = Uuid, Path), PageQuery),
    responses((status = 200, body = Page<StoreView>), (status = 404, description = "not-found")),
    security(("bearer" = []))
)]
pub(super) async fn list_stores(
    State(wallet): State<App>,
    principal: Principal,
    Path(merchant): Path<MerchantId>,
    Query(page): Query<PageQuery>,
) -> Result<Json<Page<StoreView>>, Problem> {
    let (limit, after) = (page.limit()?, page.after::<Uuid>()?);
    own(&wallet, &principal, merchant).await?;
    let rows = sql::stores(&mut *wallet.pool.acquire().await?, merchant, after, limit + 1).await?;
    Ok(Json(Page::from_rows(rows, limit, |store| store.id).map(StoreView::from)))
}

/// What a merchant was paid, newest first.
#[utoipa::path(
    get,
    path = "/wallet/v1/merchants/{merchant_id}/payments",
    tag = "wallet",
    operation_id = "listMerchantPayments",
    params(("merchant_id" = Uuid, Path), PageQuery),
    responses((status = 200, body = Page<MerchantPaymentView>), (status = 404, description = "not-found")),
    security(("bearer" = []))
)]
pub(super) async fn payments(
    State(wallet): State<App>,
    principal: Principal,
    Path(merchant): Path<MerchantId>,
    Query(page): Query<PageQuery>,
) -> Result<Json<Page<MerchantPaymentView>>, Problem> {
    let (limit, before) = (page.limit()?, page.after::<i64>()?);
    own(&wallet, &principal, merchant).await?;
    let mut connection = wallet.pool.acquire().await?;
    let rows = payment::sql::of_merchant_before(&mut connection, merchant, before, limit + 1).await?;
    let mut page = Page::from_rows(rows, limit, |payment| payment.sequence);
    word::open(&wallet.persons, &mut connection, &mut page.items).await.map_err(Error::from)?;
    Ok(Json(page.map(MerchantPaymentView::from)))
}
