//! The bank's routes: signed ones for the partner, open ones for whoever plays with the sandbox.

use axum::Router;
use axum::body::Bytes;
use axum::extract::{OriginalUri, Path, Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use chrono::{DateTime, Utc};
use http::{HeaderMap, Method, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::json;
use uuid::Uuid;

use super::{Acceptance, Account, Collection, Order, Reason, Standing, Status};
use crate::callback::Callback;
use crate::fault;
use crate::fault::CallbackCourse;
use crate::journal::PageQuery;
use crate::money::Dong;
use crate::refusal::{Refusal, parse};
use crate::signature::{Message, verify};
use crate::world::World;

/// Digits of an account number.
const ACCOUNT_DIGITS: std::ops::RangeInclusive<usize> = 6..=19;

/// The routes of the bank.
pub(crate) fn routes() -> Router<World> {
    Router::new()
        .route("/bank/v1/collections", post(collect))
        .route("/bank/v1/collections/{request_id}", get(status))
        .route("/bank/v1/accounts", post(put_account))
        .route("/bank/v1/accounts/{number}", get(account))
        .route("/bank/statement", get(statement))
        .route("/bank/faults", fault::routes(World::bank_faults))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CollectRequest {
    request_id: Uuid,
    account: String,
    amount: Dong,
    callback_url: reqwest::Url,
}

impl CollectRequest {
    fn into_order(self) -> Result<Order, Refusal> {
        if self.amount.amount() == 0 {
            return Err(Refusal::invalid_field("amount must be more than 0"));
        }
        if !matches!(self.callback_url.scheme(), "http" | "https") {
            return Err(Refusal::invalid_field("callback_url must be http or https"));
        }
        check_number(&self.account)?;
        let Self { request_id, account, amount, callback_url } = self;
        Ok(Order { request_id, account, amount, callback_url })
    }
}

/// What the partner learns about a collection, by status query and by callback.
#[derive(Serialize)]
struct Outcome<'a> {
    request_id: Uuid,
    bank_reference: &'a str,
    status: Status,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<Reason>,
    amount: Dong,
}

impl<'a> From<&'a Collection> for Outcome<'a> {
    fn from(collection: &'a Collection) -> Self {
        Self {
            request_id: collection.order.request_id,
            bank_reference: &collection.bank_reference,
            status: collection.status,
            reason: collection.reason,
            amount: collection.order.amount,
        }
    }
}

async fn collect(
    State(world): State<World>,
    OriginalUri(uri): OriginalUri,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Refusal> {
    authenticate(&world, &Message { method: &Method::POST, path: uri.path(), headers: &headers, body: &body })?;
    let course = world.bank_faults().strike();
    course.before_effect().await?;
    let order = parse::<CollectRequest>(&body)?.into_order()?;
    if world.is_busy() {
        return Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "busy", "too many collections are pending"));
    }
    let bank_reference = format!("FT{:032X}", rand::random::<u128>());
    let accepted = world.bank().accept(order, bank_reference, world.clock().now());
    let collection = match accepted {
        Acceptance::New(collection) => {
            world.tasks().spawn(settle(world.clone(), collection.order.request_id, course.callback));
            collection
        }
        Acceptance::Known(collection) => collection,
        Acceptance::Conflict => {
            let detail = "request_id was used before with another body";
            return Err(Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, "request-id-reused", detail));
        }
    };
    course.after_effect().await?;
    // The first answer, also to a repetition: what became of it is the status query's to tell.
    let answer = json!({ "bank_reference": collection.bank_reference, "status": Status::Processing });
    Ok((StatusCode::ACCEPTED, axum::Json(answer)).into_response())
}

/// Debits the account and calls the partner back.
async fn settle(world: World, request_id: Uuid, course: CallbackCourse) {
    let settled = world.bank().settle(request_id, world.clock().now());
    let Some(collection) = settled else { return };
    let bank = &world.config().bank;
    let callback = Callback {
        url: collection.order.callback_url.clone(),
        sender: bank.name.clone(),
        secret: bank.secret.expose().to_owned(),
        body: serde_json::to_vec(&Outcome::from(&collection)).expect("outcomes serialise"),
    };
    world.callbacks().deliver(&callback, course).await;
}

async fn status(
    State(world): State<World>,
    OriginalUri(uri): OriginalUri,
    Path(request_id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    authenticate(&world, &Message { method: &Method::GET, path: uri.path(), headers: &headers, body: b"" })?;
    let course = world.bank_faults().strike();
    course.before_effect().await?;
    let request_id: Option<Uuid> = request_id.parse().ok();
    let collection = request_id.and_then(|id| world.bank().collection(id).cloned());
    course.after_effect().await?;
    let collection = collection.ok_or_else(|| Refusal::not_found("no collection has this request_id"))?;
    Ok(axum::Json(Outcome::from(&collection)).into_response())
}

fn authenticate(world: &World, message: &Message<'_>) -> Result<(), Refusal> {
    let bank = &world.config().bank;
    verify(message, &bank.partner, bank.partner_secret.expose(), world.clock().now())
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct AccountBody {
    account: String,
    balance: Dong,
    #[serde(default = "open")]
    standing: Standing,
}

fn open() -> Standing {
    Standing::Open
}

async fn put_account(State(world): State<World>, body: Bytes) -> Result<Response, Refusal> {
    let wanted: AccountBody = parse(&body)?;
    check_number(&wanted.account)?;
    let account = Account { balance: wanted.balance, standing: wanted.standing };
    if !world.bank().put_account(wanted.account.clone(), account) {
        return Err(Refusal::new(StatusCode::INSUFFICIENT_STORAGE, "full", "the bank keeps no more accounts"));
    }
    Ok((StatusCode::CREATED, axum::Json(wanted)).into_response())
}

async fn account(State(world): State<World>, Path(number): Path<String>) -> Result<Response, Refusal> {
    let found = world.bank().account(&number);
    let Account { balance, standing } = found.ok_or_else(|| Refusal::not_found("no account has this number"))?;
    Ok(axum::Json(AccountBody { account: number, balance, standing }).into_response())
}

fn check_number(number: &str) -> Result<(), Refusal> {
    let digits = number.bytes().all(|byte| byte.is_ascii_digit());
    if digits && ACCOUNT_DIGITS.contains(&number.len()) {
        Ok(())
    } else {
        Err(Refusal::invalid_field("an account number has 6 to 19 digits"))
    }
}

#[derive(Serialize)]
struct StatementLine<'a> {
    account: &'a str,
    #[serde(flatten)]
    outcome: Outcome<'a>,
    requested_at: DateTime<Utc>,
    settled_at: Option<DateTime<Utc>>,
}

async fn statement(State(world): State<World>, Query(query): Query<PageQuery>) -> Result<Response, Refusal> {
    query.answer(&world.bank().collections, |collection| StatementLine {
        account: &collection.order.account,
        outcome: collection.into(),
        requested_at: collection.requested_at,
        settled_at: collection.settled_at,
    })
}
