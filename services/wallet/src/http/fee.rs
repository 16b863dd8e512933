//! Notices of fees: for clients of agencies, by a token of their own with the scope `fees:write`. An agency sees its own only.

use axum::extract::State;
use axum::response::Response;
use chrono::{DateTime, NaiveDate, Utc};
use http::StatusCode;
use ledger::money::Money;
use platform::auth::ClientPrincipal;
use platform::http::{IdempotentJson, Json, Path, Query};
use platform::idempotency::Key;
use platform::page::{Page, PageQuery};
use platform::problem::Problem;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::{App, once};
use crate::Wallet;
use crate::account::CURRENCY;
use crate::bill::BillId;
use crate::bill_payment::State as PaymentState;
use crate::error::{Error, FeeFault};
use crate::fee::{self, Issuer, NewNotice, Notice};

/// What a client needs to be granted.
const SCOPE: &str = "fees:write";
/// The operation of a notice's idempotency key.
const ISSUE: &str = "fee-notice";

/// Where a notice stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
enum NoticeState {
    /// To be paid.
    Open,
    /// The citizen is paying it.
    BeingPaid,
    /// The money stands in the agency's account.
    Paid,
    /// The agency took it back.
    Cancelled,
}

/// A notice of a fee, as its agency sees it: not who it is addressed to.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct NoticeView {
    /// The notice; for the citizen, the bill.
    id: BillId,
    /// The agency's own name for it.
    reference: String,
    state: NoticeState,
    /// Code of the agency.
    agency: String,
    /// Code of the procedure.
    procedure: String,
    /// How it was filed.
    channel: String,
    amount: Money,
    /// The last day to pay.
    due_on: NaiveDate,
    issued_at: DateTime<Utc>,
    cancelled_at: Option<DateTime<Utc>>,
    /// The transaction that paid it.
    transaction_id: Option<Uuid>,
}

impl From<Notice> for NoticeView {
    fn from(notice: Notice) -> Self {
        let state = match notice.payment_state {
            Some(PaymentState::Paid) => NoticeState::Paid,
            Some(_) => NoticeState::BeingPaid,
            None if notice.cancelled_at.is_some() => NoticeState::Cancelled,
            None => NoticeState::Open,
        };
        Self {
            id: notice.id,
            reference: notice.reference,
            state,
            agency: notice.agency,
            procedure: notice.procedure,
            channel: notice.channel,
            amount: Money::from_minor(notice.amount, CURRENCY),
            due_on: notice.due_on,
            issued_at: notice.issued_at,
            cancelled_at: notice.cancelled_at,
            transaction_id: notice.transfer_id,
        }
    }
}

/// The agency's client that calls.
fn issuer(wallet: &Wallet, client: ClientPrincipal) -> Result<Issuer, Problem> {
    client.require_scope(SCOPE)?;
    let agency = client.agency.filter(|code| wallet.directory.agencies.get(code).is_some());
    let agency = agency.ok_or(Error::from(FeeFault::AgencyUnknown))?;
    Ok(Issuer { client: client.client, agency })
}

/// Issues a notice of a fee.
///
/// It stands among the citizen's bills at once, and they are told. A reference names one notice of the agency: issued again with
/// the same content it is the same notice.
#[utoipa::path(
    post,
    path = "/wallet/v1/fee-notices",
    tag = "wallet",
    operation_id = "createFeeNotice",
    params(("Idempotency-Key" = String, Header, description = "One per notice")),
    request_body = NewNotice,
    responses(
        (status = 201, body = NoticeView),
        (status = 403, description = "forbidden: not a client of an agency, or without `fees:write`; agency-unknown"),
        (status = 409, description = "fee-reference-used"),
        (status = 422, description = "procedure-unknown, fee-not-listed (with `listed`), fee-due-day, payer-unknown, phone-invalid, phone-not-mobile, \
            phone-not-served, too-many, invalid-body, idempotency-key-reused"),
        (status = 503, description = "unavailable: send it again with the same key"),
    ),
    security(("bearer" = []))
)]
pub(super) async fn issue(
    State(wallet): State<App>,
    client: ClientPrincipal,
    request: IdempotentJson<NewNotice>,
) -> Result<Response, Problem> {
    let issuer = issuer(&wallet, client)?;
    let user = fee::addressee(&wallet, &request.body.payer).await?;
    let (caller, key, fingerprint) = (issuer.client, request.key, request.fingerprint);
    let key = Key { caller, operation: ISSUE, key, fingerprint };
    let answer = once(&wallet, key, StatusCode::CREATED, async |tx| {
        Ok(NoticeView::from(fee::issue(&wallet, tx, (&issuer, user), &request.body).await?))
    });
    let answer = answer.await?;
    wallet.metrics.fee_notice("issued");
    Ok(answer)
}

/// Which page of which notices.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct NoticeQuery {
    /// Only the notice with this reference.
    #[param(max_length = 64)]
    reference: Option<String>,
    /// Items wanted, 1 to 200; 50 when absent.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u16>,
    /// `next_cursor` of the page before; absent for the first page.
    cursor: Option<String>,
}

/// The agency's notices, the newest first.
#[utoipa::path(
    get,
    path = "/wallet/v1/fee-notices",
    tag = "wallet",
    operation_id = "listFeeNotices",
    params(NoticeQuery),
    responses((status = 200, body = Page<NoticeView>), (status = 400, description = "invalid-query"), (status = 403, description = "forbidden, agency-unknown")),
    security(("bearer" = []))
)]
pub(super) async fn list(
    State(wallet): State<App>,
    client: ClientPrincipal,
    Query(query): Query<NoticeQuery>,
) -> Result<Json<Page<NoticeView>>, Problem> {
    let issuer = issuer(&wallet, client)?;
    let page = PageQuery { limit: query.limit, cursor: query.cursor };
    let (limit, before) = (page.limit()?, page.after::<Uuid>()?);
    let rows = fee::sql::list(&wallet.pool, &issuer.agency, query.reference.as_deref(), (before, limit + 1)).await?;
    Ok(Json(Page::from_rows(rows, limit, |notice| notice.id.uuid()).map(NoticeView::from)))
}

/// One of the agency's notices.
#[utoipa::path(
    get,
    path = "/wallet/v1/fee-notices/{notice_id}",
    tag = "wallet",
    operation_id = "getFeeNotice",
    params(("notice_id" = Uuid, Path)),
    responses((status = 200, body = NoticeView), (status = 403, description = "forbidden, agency-unknown"), (status = 404, description = "not-found")),
    security(("bearer" = []))
)]
pub(super) async fn show(
    State(wallet): State<App>,
    client: ClientPrincipal,
    Path(id): Path<BillId>,
) -> Result<Json<NoticeView>, Problem> {
    let issuer = issuer(&wallet, client)?;
    let notice = fee::sql::find(&mut *wallet.pool.acquire().await?, &issuer.agency, id).await?;
    Ok(Json(notice.ok_or(Error::NotFound)?.into()))
}

/// Takes a notice back that is not paid.
#[utoipa::path(
    delete,
    path = "/wallet/v1/fee-notices/{notice_id}",
    tag = "wallet",
    operation_id = "deleteFeeNotice",
    params(("notice_id" = Uuid, Path)),
    responses(
        (status = 204, description = "It stands in no list of bills to be paid any more"),
        (status = 403, description = "forbidden, agency-unknown"),
        (status = 404, description = "not-found"),
        (status = 409, description = "bill-paid, bill-being-paid"),
    ),
    security(("bearer" = []))
)]
pub(super) async fn cancel(
    State(wallet): State<App>,
    client: ClientPrincipal,
    Path(id): Path<BillId>,
) -> Result<StatusCode, Problem> {
    let issuer = issuer(&wallet, client)?;
    fee::cancel(&wallet, &issuer, id).await?;
    wallet.metrics.fee_notice("cancelled");
    Ok(StatusCode::NO_CONTENT)
}
