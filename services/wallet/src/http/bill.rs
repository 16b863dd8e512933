//! Billers, linked customer codes and their bills.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, NaiveDate, Utc};
use http::StatusCode;
use ledger::money::Money;
use platform::auth::{Party, Principal};
use platform::http::{IdempotentJson, Json, Language, Path, Query};
use platform::page::{Page, PageQuery};
use platform::problem::Problem;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

use super::{App, Done, done_once, key};
use crate::Wallet;
use crate::account::CURRENCY;
use crate::bill::sql::{self, Wanted};
use crate::bill::{
    self, BillId, ListedBill, MAX_SUBSCRIPTIONS, NewSubscription, Subscription, SubscriptionId, subscription,
};
use crate::bill_payment::{BillPaymentId, State as PaymentState};
use crate::city::BillerKind;
use crate::delegate::{self, Terms};
use crate::error::Error;

/// The operation of a link's idempotency key.
const LINK: &str = "bill-subscription";

/// A biller whose bills can be paid.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct BillerView {
    code: String,
    kind: BillerKind,
    /// In the request's language.
    name: String,
    customer_code: CustomerCodeForm,
}

/// The form of a biller's customer codes.
#[derive(Debug, Serialize, ToSchema)]
struct CustomerCodeForm {
    /// What every code begins with.
    prefix: String,
    /// How many digits follow.
    digits: u8,
}

/// All billers.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct BillerList {
    items: Vec<BillerView>,
}

/// The billers that are connected.
#[utoipa::path(
    get,
    path = "/wallet/v1/billers",
    tag = "wallet",
    operation_id = "listBillers",
    responses((status = 200, body = BillerList)),
    security(("bearer" = []))
)]
pub(super) async fn billers(State(wallet): State<App>, _: Principal, language: Language) -> Json<BillerList> {
    let view = |biller: &crate::Biller| BillerView {
        code: biller.profile.code.clone(),
        kind: biller.profile.kind,
        name: biller.profile.name(language).to_owned(),
        customer_code: CustomerCodeForm {
            prefix: biller.profile.customer_code_prefix.clone(),
            digits: biller.profile.customer_code_digits,
        },
    };
    Json(BillerList { items: wallet.billers.values().map(view).collect() })
}

/// A customer code that the caller has linked.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SubscriptionView {
    id: SubscriptionId,
    biller_code: String,
    customer_code: String,
    label: Option<String>,
    created_at: DateTime<Utc>,
}

impl From<Subscription> for SubscriptionView {
    fn from(subscription: Subscription) -> Self {
        let Subscription { id, biller_code, customer_code, label, created_at } = subscription;
        Self { id, biller_code, customer_code, label, created_at }
    }
}

/// What is kept of the answer to a link, for whoever asks again under its key: the rest stands in their request.
#[derive(Serialize, Deserialize)]
struct Linked {
    id: SubscriptionId,
    created_at: DateTime<Utc>,
}

impl Linked {
    fn view(self, asked: NewSubscription) -> SubscriptionView {
        let NewSubscription { biller_code, customer_code, label } = asked;
        let label = label.map(String::from);
        SubscriptionView { id: self.id, biller_code, customer_code, label, created_at: self.created_at }
    }
}

/// All linked customer codes of the caller, the oldest first.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SubscriptionList {
    items: Vec<SubscriptionView>,
}

/// Links a customer code. The biller is asked at once; its bills stand in the caller's list with the answer.
#[utoipa::path(
    post,
    path = "/wallet/v1/bill-subscriptions",
    tag = "wallet",
    operation_id = "createBillSubscription",
    params(("Idempotency-Key" = String, Header, description = "One per link")),
    request_body = NewSubscription,
    responses(
        (status = 201, body = SubscriptionView),
        (status = 409, description = "already-linked"),
        (status = 422, description = "biller-unknown, customer-code-invalid, customer-unknown, account-closed, too-many, invalid-body, idempotency-key-reused"),
        (status = 429, description = "too-many-requests"),
        (status = 503, description = "biller-unavailable: try again later"),
    ),
    security(("bearer" = []))
)]
pub(super) async fn link(
    State(wallet): State<App>,
    principal: Principal,
    request: IdempotentJson<NewSubscription>,
) -> Result<Response, Problem> {
    let user = principal.subject;
    let look = bill::look(&wallet, user, &request.body).await?;
    let key = key(&principal, LINK, request.key, request.fingerprint);
    let done = done_once(&wallet, key, StatusCode::CREATED, async |tx| {
        let Subscription { id, created_at, .. } = bill::link(&wallet, tx, user, &request.body, &look).await?;
        Ok(Linked { id, created_at })
    });
    let linked = match done.await? {
        Done::Now(linked) => linked,
        Done::Before(stored) => serde_json::from_value(stored.body)
            .map_err(|_| Error::Broken("the answer to a link can't be read".to_owned()))?,
    };
    Ok((StatusCode::CREATED, Json(linked.view(request.body))).into_response())
}

/// The customer codes that the caller has linked.
#[utoipa::path(
    get,
    path = "/wallet/v1/bill-subscriptions",
    tag = "wallet",
    operation_id = "listBillSubscriptions",
    responses((status = 200, body = SubscriptionList)),
    security(("bearer" = []))
)]
pub(super) async fn links(State(wallet): State<App>, principal: Principal) -> Result<Json<SubscriptionList>, Problem> {
    let mut connection = wallet.pool.acquire().await?;
    let links = subscription::of_citizen(&wallet.persons, &mut connection, principal.subject, MAX_SUBSCRIPTIONS);
    let rows = links.await.map_err(Error::from)?;
    Ok(Json(SubscriptionList { items: rows.into_iter().map(SubscriptionView::from).collect() }))
}

/// Takes a link away. Its bills leave the caller's list; a payment that is under way goes on.
#[utoipa::path(
    delete,
    path = "/wallet/v1/bill-subscriptions/{subscription_id}",
    tag = "wallet",
    operation_id = "deleteBillSubscription",
    params(("subscription_id" = uuid::Uuid, Path)),
    responses((status = 204), (status = 404, description = "not-found")),
    security(("bearer" = []))
)]
pub(super) async fn unlink(
    State(wallet): State<App>,
    principal: Principal,
    Path(id): Path<SubscriptionId>,
) -> Result<StatusCode, Problem> {
    let mut tx = platform::db::begin(&wallet.pool).await?;
    let removed = subscription::remove(&mut tx, principal.subject, id).await?;
    tx.commit().await?;
    if removed { Ok(StatusCode::NO_CONTENT) } else { Err(Error::NotFound.into()) }
}

/// Where a bill stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
enum BillState {
    /// To be paid.
    Open,
    /// Somebody is paying it.
    BeingPaid,
    /// Paid here.
    Paid,
    /// The biller asks for it no more: paid elsewhere, or taken back.
    Closed,
}

/// Which bills are listed.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
enum Which {
    /// Those that are to be paid.
    Open,
    /// All others.
    Ended,
}

/// Which page of which bills.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct BillQuery {
    /// `open` for those to be paid, `ended` for all others; without, all.
    #[param(inline)]
    state: Option<Which>,
    /// Items wanted, 1 to 200; 50 when absent.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u16>,
    /// `next_cursor` of the page before; absent for the first page.
    cursor: Option<String>,
}

/// The caller's own payment of a bill.
#[derive(Debug, Serialize, ToSchema)]
struct OwnPayment {
    id: BillPaymentId,
    state: PaymentState,
}

/// A bill of a customer that the caller has linked, or an agency's notice of a fee to the caller (`kind: fee`).
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct BillView {
    id: BillId,
    state: BillState,
    /// Of an agency: `agency:` and its code.
    biller_code: String,
    /// In the request's language.
    biller_name: String,
    kind: BillerKind,
    /// Of a fee: the procedure's code.
    customer_code: String,
    /// What the caller calls the customer.
    label: Option<String>,
    /// The biller's name for the bill.
    reference: String,
    /// What it is for, such as a month.
    period: String,
    amount: Money,
    issued_on: NaiveDate,
    /// The last day to pay.
    due_on: NaiveDate,
    /// Whether it is open and that day is over, in the city's zone.
    overdue: bool,
    /// How the amount comes about, in the biller's own form.
    #[schema(value_type = Object)]
    details: Value,
    /// The caller's own payment of it, unless it has failed.
    payment: Option<OwnPayment>,
}

fn view(wallet: &Wallet, user: Uuid, language: Language, bill: ListedBill) -> BillView {
    let state = match bill.payment_state {
        Some(PaymentState::Paid) => BillState::Paid,
        Some(_) => BillState::BeingPaid,
        None if bill.open => BillState::Open,
        None => BillState::Closed,
    };
    let biller_name = wallet.directory.payee(&bill.biller_code, language);
    let own = bill.payer == Some(user);
    let payment = bill.payment_id.zip(bill.payment_state).filter(|_| own);
    BillView {
        id: bill.id,
        state,
        biller_code: bill.biller_code,
        biller_name,
        kind: bill.kind,
        customer_code: bill.customer_code.unwrap_or_default(),
        label: bill.label,
        reference: bill.reference,
        period: bill.period,
        amount: Money::from_minor(bill.amount, CURRENCY),
        issued_on: bill.issued_on,
        due_on: bill.due_on,
        overdue: state == BillState::Open && bill.due_on < wallet.place.day(wallet.clock.now()),
        details: bill.details,
        payment: payment.map(|(id, state)| OwnPayment { id, state }),
    }
}

/// Every bill of the customers that the caller has linked, and every fee asked of the caller, the latest due day first.
#[utoipa::path(
    get,
    path = "/wallet/v1/bills",
    tag = "wallet",
    operation_id = "listBills",
    params(BillQuery),
    responses((status = 200, body = Page<BillView>), (status = 400, description = "invalid-query")),
    security(("bearer" = []))
)]
pub(super) async fn list(
    State(wallet): State<App>,
    party: Party,
    language: Language,
    Query(query): Query<BillQuery>,
) -> Result<Json<Page<BillView>>, Problem> {
    let page = PageQuery { limit: query.limit, cursor: query.cursor };
    let (limit, after) = (page.limit()?, page.after::<(NaiveDate, BillId)>()?);
    let payable = query.state.map(|which| matches!(which, Which::Open));
    let wanted = Wanted { payable, after, ..Wanted::default() };
    let terms = delegate::terms(&wallet, party.subject, party.acting).await?;
    let mut connection = wallet.pool.acquire().await?;
    let rows = sql::list(&mut connection, party.subject, wanted, limit + 1).await?;
    let mut page = Page::from_rows(rows, limit, |bill| (bill.due_on, bill.id));
    page.items.retain(|bill| may_pay(terms.as_ref(), bill));
    let opened = bill::opened(&wallet.persons, &mut connection, party.subject, page.items).await;
    page.items = opened.map_err(Error::from)?;
    Ok(Json(page.map(|bill| view(&wallet, party.subject, language, bill))))
}

/// One bill of a customer that the caller has linked.
#[utoipa::path(
    get,
    path = "/wallet/v1/bills/{bill_id}",
    tag = "wallet",
    operation_id = "getBill",
    params(("bill_id" = uuid::Uuid, Path)),
    responses((status = 200, body = BillView), (status = 404, description = "not-found")),
    security(("bearer" = []))
)]
pub(super) async fn show(
    State(wallet): State<App>,
    party: Party,
    language: Language,
    Path(id): Path<BillId>,
) -> Result<Json<BillView>, Problem> {
    let terms = delegate::terms(&wallet, party.subject, party.acting).await?;
    let wanted = Wanted { id: Some(id), ..Wanted::default() };
    let mut connection = wallet.pool.acquire().await?;
    let rows = sql::list(&mut connection, party.subject, wanted, 1).await?;
    let rows = bill::opened(&wallet.persons, &mut connection, party.subject, rows).await.map_err(Error::from)?;
    let bill = rows.into_iter().find(|bill| may_pay(terms.as_ref(), bill)).ok_or(Error::NotFound)?;
    Ok(Json(view(&wallet, party.subject, language, bill)))
}

/// Whether the caller may pay such a bill: a guardian sees no other.
fn may_pay(terms: Option<&Terms>, bill: &ListedBill) -> bool {
    terms.is_none_or(|terms| terms.allows(delegate::kind_of(bill.kind)))
}
