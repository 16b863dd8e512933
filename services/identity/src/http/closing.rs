//! `/identity/v1/me/closing`

use axum::extract::State;
use axum::response::Response;
use chrono::{DateTime, Utc};
use http::StatusCode;
use platform::auth::Principal;
use platform::http::{Json, Language};
use platform::problem::Problem;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::address::ClientAddress;
use super::hidden::Hidden;
use super::{App, origin, private};
use crate::closing::rule::State as ClosingState;
use crate::closing::{Answer, Closing, ClosingId};
use crate::pin::strength::Pin;

/// The caller wants to leave.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ClosingRequest {
    /// The payment PIN; needed when one is set.
    #[serde(default)]
    #[schema(value_type = Option<String>, min_length = 6, max_length = 6)]
    pub(super) pin: Option<Hidden>,
}

/// How far a closing has come.
#[derive(Serialize, ToSchema)]
pub(super) struct ClosingView {
    /// The closing.
    id: ClosingId,
    /// `asked`, `refused`, `cooling`, `taken-back`, `erasing` or `erased`.
    state: ClosingState,
    /// What stands against it.
    hindrances: Vec<HindranceView>,
    /// When it was asked for.
    asked_at: DateTime<Utc>,
    /// When everything is erased, unless it is taken back before.
    erase_at: Option<DateTime<Utc>>,
    /// When it ended.
    ended_at: Option<DateTime<Utc>>,
}

/// What stands against a closing.
#[derive(Serialize, ToSchema)]
pub(super) struct HindranceView {
    /// Which service says so.
    service: String,
    /// A stable code.
    #[schema(example = "balance-not-zero")]
    code: String,
    /// The same, for the citizen to read.
    text: &'static str,
}

impl ClosingView {
    pub(super) fn new((closing, answers): (Closing, Vec<Answer>), language: Language) -> Self {
        let of_service = |answer: Answer| {
            let service = answer.service;
            let view =
                move |code: String| HindranceView { service: service.clone(), text: text(&code, language), code };
            answer.hindrances.into_iter().map(view).collect::<Vec<_>>()
        };
        Self {
            id: closing.id,
            state: closing.state,
            hindrances: answers.into_iter().flat_map(of_service).collect(),
            asked_at: closing.asked_at,
            erase_at: closing.erase_at,
            ended_at: closing.ended_at,
        }
    }
}

/// A hindrance in words.
fn text(code: &str, language: Language) -> &'static str {
    let (vi, en) = match code {
        "balance-not-zero" => ("Ví còn tiền: hãy chi hết trước.", "There is money in the wallet: spend it first."),
        "money-on-hold" => ("Có khoản tiền đang được giữ.", "Some money is set aside."),
        "payment-open" => ("Có giao dịch chưa hoàn tất.", "A top-up or a payment has not ended."),
        "has-merchants" => ("Bạn có điểm bán hàng: hãy đóng điểm bán trước.", "You have a shop: close it first."),
        "account-frozen" => ("Ví đang bị phong tỏa.", "The wallet is frozen."),
        "account-changed" => ("Ví vừa có thay đổi: hãy yêu cầu lại.", "The wallet changed just now: ask again."),
        "dependents-held" => (
            "Bạn đang giám hộ người chưa có số điện thoại: hãy gắn số, đóng tài khoản của họ hoặc nhờ phường, xã đổi người giám hộ.",
            "You are the guardian of somebody without a telephone: attach a number, close their account, or have the ward name another.",
        ),
        "roles-held" => ("Bạn đang giữ vai trò của thành phố.", "You hold a role of the city."),
        _ => ("Một dịch vụ chưa thể kết thúc.", "A service can't let you go yet."),
    };
    if language == Language::Vi { vi } else { en }
}

/// Close my account
///
/// Services say what stands against it; when none does, the caller may take it back until `erase_at`, then everything but the books and
/// the audit, which name an id only, is erased. Soon after signing in only. While one is under way, that one is answered.
#[utoipa::path(
    post, path = "/identity/v1/me/closing", tag = "identity", security(("bearer" = [])), request_body = ClosingRequest,
    responses(
        (status = 202, description = "Services are being asked", body = ClosingView),
        (status = 401, description = "`unauthenticated`", content_type = "application/problem+json"),
        (status = 403, description = "`session-not-fresh`, `pin-wrong`, `pin-cooling` with `cooling_until`", content_type = "application/problem+json"),
        (status = 422, description = "`invalid-body`, `pin-malformed`, `pin-proof-required`", content_type = "application/problem+json"),
        (status = 429, description = "`pin-delayed`", content_type = "application/problem+json"),
    )
)]
pub(super) async fn ask(
    State(identity): App,
    caller: Principal,
    language: Language,
    ClientAddress(address): ClientAddress,
    Json(request): Json<ClosingRequest>,
) -> Result<Response, Problem> {
    let pin = request.pin.map(|pin| Pin::parse(&pin.0)).transpose().map_err(crate::error::Error::from)?;
    let begun = identity
        .on_record(&caller, address, identity.close_account(&caller, pin.as_ref(), origin(&caller, address)))
        .await?;
    Ok(private(StatusCode::ACCEPTED, ClosingView::new(begun, language)))
}

/// Show how far the closing of my account has come
#[utoipa::path(
    get, path = "/identity/v1/me/closing", tag = "identity", security(("bearer" = [])),
    responses(
        (status = 200, description = "The newest one", body = ClosingView),
        (status = 401, description = "`unauthenticated`", content_type = "application/problem+json"),
        (status = 404, description = "`not-found`: none was asked for", content_type = "application/problem+json"),
    )
)]
pub(super) async fn show(State(identity): App, caller: Principal, language: Language) -> Result<Response, Problem> {
    Ok(private(StatusCode::OK, ClosingView::new(identity.closing_of(caller.subject.into()).await?, language)))
}

/// Keep my account
///
/// Takes the closing back; services open again what they closed.
#[utoipa::path(
    delete, path = "/identity/v1/me/closing", tag = "identity", security(("bearer" = [])),
    responses(
        (status = 204, description = "The account stays"),
        (status = 401, description = "`unauthenticated`", content_type = "application/problem+json"),
        (status = 409, description = "`closing-not-open`: none is under way, or it is too late", content_type = "application/problem+json"),
    )
)]
pub(super) async fn take_back(
    State(identity): App,
    caller: Principal,
    ClientAddress(address): ClientAddress,
) -> Result<StatusCode, Problem> {
    identity.take_back_closing(&caller, origin(&caller, address)).await?;
    Ok(StatusCode::NO_CONTENT)
}
