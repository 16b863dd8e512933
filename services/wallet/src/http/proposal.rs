//! Proposals of finance officers, and the decisions of others on them.
//!
//! `finance.officer` proposes, `finance.approver` decides, both see all; the roles are those of the token. That the two are not one
//! person is the proposal's own rule.

use axum::extract::State;
use axum::response::Response;
use chrono::{DateTime, Utc};
use http::StatusCode;
use ledger::money::Money;
use platform::auth::Principal;
use platform::http::{IdempotentJson, Json, Path, Query};
use platform::page::{Page, PageQuery};
use platform::problem::Problem;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::{App, key, once};
use crate::allowance::Asker;
use crate::error::{Error, ProposalFault};
use crate::proposal::{self, Act, Content, Digest, NewProposal, Proposal, ProposalId, State as ProposalState};
use crate::text::Label;

const PROPOSES: &str = "finance.officer";
const DECIDES: &str = "finance.approver";

/// A proposal.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ProposalView {
    id: ProposalId,
    state: ProposalState,
    act: Act,
    /// How much money it is about.
    amount: Money,
    #[schema(value_type = String)]
    reason: Label<200>,
    /// SHA-256 of all that is proposed, in hexadecimal: whoever approves sends it back.
    digest: String,
    /// The officer who proposed it.
    proposed_by: Uuid,
    proposed_at: DateTime<Utc>,
    /// Nobody approves it from then on.
    expires_at: DateTime<Utc>,
    /// The officer who approved or refused it.
    decided_by: Option<Uuid>,
    decided_at: Option<DateTime<Utc>>,
    /// Where the payment or the top-up stood once it was done.
    result: Option<String>,
}

impl TryFrom<Proposal> for ProposalView {
    type Error = Error;

    fn try_from(proposal: Proposal) -> Result<Self, Error> {
        let Content { act, amount, reason, .. } = proposal.content()?;
        Ok(Self {
            id: proposal.id,
            state: proposal.state,
            act,
            amount,
            reason,
            digest: hex::encode(&proposal.digest),
            proposed_by: proposal.proposed_by,
            proposed_at: proposal.proposed_at,
            expires_at: proposal.expires_at,
            decided_by: proposal.decided_by,
            decided_at: proposal.decided_at,
            result: proposal.result,
        })
    }
}

/// An approval.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ApprovalBody {
    /// The `digest` of what was looked at.
    #[schema(min_length = 64, max_length = 64)]
    digest: String,
}

/// A refusal.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RefusalBody {
    /// Why, for the audit; names nobody.
    #[schema(value_type = String, min_length = 1, max_length = 200)]
    reason: Label<200>,
}

/// Refuses who has none of these roles.
fn require(principal: &Principal, roles: &[&str]) -> Result<Asker, Error> {
    if roles.iter().any(|role| principal.has_role(role)) {
        Ok(Asker { user: principal.subject, session: principal.session, acting: None })
    } else {
        Err(ProposalFault::NotAllowed.into())
    }
}

/// Proposes how a stuck payment ends.
///
/// A bill payment whose biller, or a top-up whose bank, has given no answer for an hour. Nothing moves before another officer
/// approves. About one payment there is one open proposal; it is open for three days.
#[utoipa::path(
    post,
    path = "/wallet/v1/proposals",
    tag = "wallet",
    operation_id = "createProposal",
    params(("Idempotency-Key" = String, Header, description = "One per proposal")),
    request_body = NewProposal,
    responses(
        (status = 201, body = ProposalView),
        (status = 403, description = "forbidden: needs `finance.officer`"),
        (status = 404, description = "not-found: no such payment"),
        (status = 409, description = "not-stuck, proposal-open"),
        (status = 422, description = "invalid-body: also a reason that names somebody; idempotency-key-reused"),
        (status = 503, description = "unavailable: it can't be put on record now"),
    ),
    security(("bearer" = []))
)]
pub(super) async fn propose(
    State(wallet): State<App>,
    principal: Principal,
    request: IdempotentJson<NewProposal>,
) -> Result<Response, Problem> {
    let by = require(&principal, &[PROPOSES])?;
    let key = key(&principal, "proposal.make", request.key, request.fingerprint);
    let work = async |tx: &mut _| ProposalView::try_from(proposal::propose(&wallet, tx, by, &request.body).await?);
    once(&wallet, key, StatusCode::CREATED, work).await
}

/// Which proposals.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ProposalQuery {
    /// Only those in this state.
    #[param(inline)]
    state: Option<ProposalState>,
    /// Items wanted, 1 to 200; 50 when absent.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u16>,
    /// `next_cursor` of the page before; absent for the first page.
    cursor: Option<String>,
}

/// Proposals, the newest first.
#[utoipa::path(
    get,
    path = "/wallet/v1/proposals",
    tag = "wallet",
    operation_id = "listProposals",
    params(ProposalQuery),
    responses(
        (status = 200, body = Page<ProposalView>),
        (status = 400, description = "invalid-query"),
        (status = 403, description = "forbidden: needs `finance.officer` or `finance.approver`"),
    ),
    security(("bearer" = []))
)]
pub(super) async fn list(
    State(wallet): State<App>,
    principal: Principal,
    Query(query): Query<ProposalQuery>,
) -> Result<Json<Page<ProposalView>>, Problem> {
    require(&principal, &[PROPOSES, DECIDES])?;
    let page = PageQuery { limit: query.limit, cursor: query.cursor };
    let (limit, before) = (page.limit()?, page.after::<Uuid>()?);
    let mut connection = wallet.pool.acquire().await?;
    let rows = proposal::sql::list(&mut connection, query.state, (before, limit + 1)).await?;
    let views = rows.into_iter().map(ProposalView::try_from).collect::<Result<Vec<_>, Error>>()?;
    Ok(Json(Page::from_rows(views, limit, |view| view.id.uuid())))
}

/// One proposal.
#[utoipa::path(
    get,
    path = "/wallet/v1/proposals/{proposal_id}",
    tag = "wallet",
    operation_id = "getProposal",
    params(("proposal_id" = Uuid, Path)),
    responses(
        (status = 200, body = ProposalView),
        (status = 403, description = "forbidden: needs `finance.officer` or `finance.approver`"),
        (status = 404, description = "not-found"),
    ),
    security(("bearer" = []))
)]
pub(super) async fn show(
    State(wallet): State<App>,
    principal: Principal,
    Path(id): Path<ProposalId>,
) -> Result<Json<ProposalView>, Problem> {
    require(&principal, &[PROPOSES, DECIDES])?;
    let found = proposal::sql::find(&mut *wallet.pool.acquire().await?, id).await?.ok_or(Error::NotFound)?;
    Ok(Json(ProposalView::try_from(found)?))
}

/// Approves a proposal of another officer; it is done at once.
#[utoipa::path(
    post,
    path = "/wallet/v1/proposals/{proposal_id}/approval",
    tag = "wallet",
    operation_id = "approveProposal",
    params(("proposal_id" = Uuid, Path), ("Idempotency-Key" = String, Header)),
    request_body = ApprovalBody,
    responses(
        (status = 200, body = ProposalView),
        (status = 403, description = "forbidden: needs `finance.approver`; own-proposal: somebody else must"),
        (status = 404, description = "not-found"),
        (status = 409, description = "proposal-decided, proposal-expired, proposal-differs: another content than was looked at"),
        (status = 503, description = "unavailable: it can't be put on record now"),
    ),
    security(("bearer" = []))
)]
pub(super) async fn approve(
    State(wallet): State<App>,
    principal: Principal,
    Path(id): Path<ProposalId>,
    request: IdempotentJson<ApprovalBody>,
) -> Result<Response, Problem> {
    let by = require(&principal, &[DECIDES])?;
    let mut digest = Digest::default();
    hex::decode_to_slice(&request.body.digest, &mut digest).map_err(|_| Error::from(ProposalFault::OtherContent))?;
    let key = key(&principal, "proposal.approve", request.key, request.fingerprint);
    let work = async |tx: &mut _| ProposalView::try_from(proposal::approve(&wallet, tx, (by, id), &digest).await?);
    once(&wallet, key, StatusCode::OK, work).await
}

/// Refuses a proposal; whoever made it takes it back.
#[utoipa::path(
    post,
    path = "/wallet/v1/proposals/{proposal_id}/refusal",
    tag = "wallet",
    operation_id = "refuseProposal",
    params(("proposal_id" = Uuid, Path), ("Idempotency-Key" = String, Header)),
    request_body = RefusalBody,
    responses(
        (status = 200, body = ProposalView),
        (status = 403, description = "forbidden: needs `finance.approver`, or to have made it"),
        (status = 404, description = "not-found"),
        (status = 409, description = "proposal-decided, proposal-expired"),
        (status = 503, description = "unavailable: it can't be put on record now"),
    ),
    security(("bearer" = []))
)]
pub(super) async fn refuse(
    State(wallet): State<App>,
    principal: Principal,
    Path(id): Path<ProposalId>,
    request: IdempotentJson<RefusalBody>,
) -> Result<Response, Problem> {
    let by = require(&principal, &[PROPOSES, DECIDES])?;
    let approver = principal.has_role(DECIDES);
    let key = key(&principal, "proposal.refuse", request.key, request.fingerprint);
    let work = async |tx: &mut _| {
        ProposalView::try_from(proposal::refuse(&wallet, tx, (by, id, approver), &request.body.reason).await?)
    };
    once(&wallet, key, StatusCode::OK, work).await
}
