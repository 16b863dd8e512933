//! The billers' routes: signed ones for the partner, open ones for whoever plays with the sandbox.

use axum::Router;
use axum::body::Bytes;
use axum::extract::{OriginalUri, Path, Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use chrono::{DateTime, FixedOffset, NaiveDate, Utc};
use http::{HeaderMap, Method, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::json;
use uuid::Uuid;

use super::tariff::MAX_USAGE;
use super::{Bill, NotTaken, Order, Payment, Profile, Reading, Recording, Verdict};
use crate::callback::Callback;
use crate::fault;
use crate::journal::PageQuery;
use crate::money::Dong;
use crate::refusal::{Refusal, parse};
use crate::signature::{Message, verify};
use crate::world::{Biller, World};

/// Readings in one request, at most.
const MAX_READINGS: usize = 60;
/// Longest reference of a bill that is read, in bytes.
const MAX_REFERENCE: usize = 64;
/// Seconds by which Vietnamese time is ahead: a reading without a day is of today there.
const ZONE_S: i32 = 7 * 3600;

/// The routes of all billers.
pub(crate) fn routes() -> Router<World> {
    Router::new()
        .route("/billers/{code}/v1/customers/{customer_code}/bills", get(unpaid))
        .route("/billers/{code}/v1/payments", post(pay))
        .route("/billers/{code}/v1/payments/{request_id}", get(status))
        .route("/billers/{code}/customers", post(add_customer))
        .route("/billers/{code}/customers/{customer_code}", get(customer))
        .route("/billers/{code}/statement", get(statement))
        .route("/billers/{code}/faults", fault::routes_by_name(|world, code| Ok(find(world, code)?.faults.clone())))
}

fn find<'a>(world: &'a World, code: &str) -> Result<&'a Biller, Refusal> {
    world.biller(code).ok_or_else(|| Refusal::not_found("the sandbox plays no biller of this code"))
}

/// Checks that the partner speaks, then finds the biller.
fn authentic<'a>(world: &'a World, code: &str, message: &Message<'_>) -> Result<&'a Biller, Refusal> {
    let config = &world.config().biller;
    verify(message, &config.partner, config.partner_secret.expose(), world.clock().now())?;
    find(world, code)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PayRequest {
    request_id: Uuid,
    customer_code: String,
    reference: String,
    amount: Dong,
    callback_url: reqwest::Url,
}

/// What the partner learns about a payment, by answer, status query and callback.
#[derive(Serialize)]
struct Outcome<'a> {
    request_id: Uuid,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    biller_reference: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    amount: Dong,
}

impl<'a> From<&'a Payment> for Outcome<'a> {
    fn from(payment: &'a Payment) -> Self {
        let (status, biller_reference, reason) = match &payment.verdict {
            Verdict::Recorded(reference) => ("succeeded", Some(reference.as_str()), None),
            Verdict::Refused(reason) => ("failed", None, Some(reason.code())),
        };
        Self { request_id: payment.order.request_id, status, biller_reference, reason, amount: payment.order.amount }
    }
}

async fn pay(
    State(world): State<World>,
    Path(code): Path<String>,
    OriginalUri(uri): OriginalUri,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Refusal> {
    let message = Message { method: &Method::POST, path: uri.path(), headers: &headers, body: &body };
    let biller = authentic(&world, &code, &message)?;
    let course = biller.faults.strike();
    course.before_effect().await?;
    let request: PayRequest = parse(&body)?;
    if !matches!(request.callback_url.scheme(), "http" | "https") {
        return Err(Refusal::invalid_field("callback_url must be http or https"));
    }
    if request.reference.len() > MAX_REFERENCE {
        return Err(Refusal::invalid_field(format!("reference has at most {MAX_REFERENCE} bytes")));
    }
    if world.is_busy() {
        return Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "busy", "too many callbacks are pending"));
    }
    let PayRequest { request_id, customer_code, reference, amount, callback_url } = request;
    let order = Order { request_id, customer_code, reference, amount };
    let biller_reference = format!("BR{:032X}", rand::random::<u128>());
    let recording = biller.book().record(order, biller_reference, world.clock().now());
    let payment = match recording {
        Recording::New(payment) => {
            let config = &world.config().biller;
            let callback = Callback {
                url: callback_url,
                sender: code,
                secret: config.secret.expose().to_owned(),
                body: serde_json::to_vec(&Outcome::from(&payment)).expect("outcomes serialise"),
            };
            world.call_back(callback, course.callback);
            payment
        }
        Recording::Known(payment) => payment,
        Recording::Conflict => {
            let detail = "request_id was used before with another body";
            return Err(Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, "request-id-reused", detail));
        }
    };
    course.after_effect().await?;
    match &payment.verdict {
        Verdict::Recorded(_) => Ok(axum::Json(Outcome::from(&payment)).into_response()),
        Verdict::Refused(reason) => {
            Err(Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, reason.code(), "this payment is not taken"))
        }
    }
}

async fn status(
    State(world): State<World>,
    Path((code, request_id)): Path<(String, String)>,
    OriginalUri(uri): OriginalUri,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let message = Message { method: &Method::GET, path: uri.path(), headers: &headers, body: b"" };
    let biller = authentic(&world, &code, &message)?;
    let course = biller.faults.strike();
    course.before_effect().await?;
    let payment = request_id.parse().ok().and_then(|id| biller.book().payment(id).cloned());
    course.after_effect().await?;
    let payment = payment.ok_or_else(|| Refusal::not_found("no payment has this request_id"))?;
    Ok(axum::Json(Outcome::from(&payment)).into_response())
}

async fn unpaid(
    State(world): State<World>,
    Path((code, customer_code)): Path<(String, String)>,
    OriginalUri(uri): OriginalUri,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let message = Message { method: &Method::GET, path: uri.path(), headers: &headers, body: b"" };
    let biller = authentic(&world, &code, &message)?;
    let course = biller.faults.strike();
    course.before_effect().await?;
    let bills = biller.book().bills(&customer_code);
    course.after_effect().await?;
    let mut bills = bills.ok_or_else(customer_unknown)?;
    bills.retain(|bill| bill.paid_by.is_none());
    Ok(axum::Json(json!({ "customer_code": customer_code, "bills": bills })).into_response())
}

fn customer_unknown() -> Refusal {
    Refusal::new(StatusCode::NOT_FOUND, "customer-unknown", "no customer has this code")
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AddRequest {
    customer_code: Option<String>,
    readings: Vec<ReadingBody>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ReadingBody {
    usage: u32,
    read_on: Option<NaiveDate>,
}

async fn add_customer(State(world): State<World>, Path(code): Path<String>, body: Bytes) -> Result<Response, Refusal> {
    let biller = find(&world, &code)?;
    let AddRequest { customer_code, readings } = parse(&body)?;
    if readings.len() > MAX_READINGS {
        return Err(Refusal::invalid_field(format!("at most {MAX_READINGS} readings at once")));
    }
    let customer_code = match customer_code {
        Some(given) if biller.profile.is_code(&given) => given,
        Some(_) => return Err(Refusal::invalid_field("customer_code has not this biller's form")),
        None => biller.profile.new_code(),
    };
    let readings: Vec<_> = readings.iter().map(|reading| priced(&world, biller, reading)).collect::<Result<_, _>>()?;
    biller.book().add(&customer_code, &readings).map_err(|not_taken| match not_taken {
        NotTaken::MonthKnown => Refusal::new(StatusCode::CONFLICT, "month-known", "a month is read once"),
        NotTaken::Full => Refusal::new(StatusCode::INSUFFICIENT_STORAGE, "full", "the biller keeps no more"),
    })?;
    Ok((StatusCode::CREATED, axum::Json(shown(biller, &customer_code)?)).into_response())
}

fn priced(world: &World, biller: &Biller, reading: &ReadingBody) -> Result<Reading, Refusal> {
    if !(1..=MAX_USAGE).contains(&reading.usage) {
        return Err(Refusal::invalid_field(format!("usage must be 1 to {MAX_USAGE}")));
    }
    let zone = FixedOffset::east_opt(ZONE_S).expect("seven hours are an offset");
    let read_on = reading.read_on.unwrap_or_else(|| world.clock().now().with_timezone(&zone).date_naive());
    let cost = world.config().billers.tariffs.price(biller.profile.utility, reading.usage, read_on);
    let cost = cost.ok_or_else(|| Refusal::invalid_field(format!("no tariff was in force on {read_on}")))?;
    Ok(Reading { read_on, usage: reading.usage, cost })
}

async fn customer(
    State(world): State<World>,
    Path((code, customer_code)): Path<(String, String)>,
) -> Result<Response, Refusal> {
    Ok(axum::Json(shown(find(&world, &code)?, &customer_code)?).into_response())
}

#[derive(Serialize)]
struct Customer {
    customer_code: String,
    bills: Vec<Bill>,
}

fn shown(biller: &Biller, customer_code: &str) -> Result<Customer, Refusal> {
    let bills = biller.book().bills(customer_code).ok_or_else(customer_unknown)?;
    Ok(Customer { customer_code: customer_code.to_owned(), bills })
}

#[derive(Serialize)]
struct StatementLine<'a> {
    customer_code: &'a str,
    reference: &'a str,
    #[serde(flatten)]
    outcome: Outcome<'a>,
    decided_at: DateTime<Utc>,
}

async fn statement(
    State(world): State<World>,
    Path(code): Path<String>,
    Query(query): Query<PageQuery>,
) -> Result<Response, Refusal> {
    query.answer(&find(&world, &code)?.book().payments, |payment| StatementLine {
        customer_code: &payment.order.customer_code,
        reference: &payment.order.reference,
        outcome: payment.into(),
        decided_at: payment.decided_at,
    })
}

impl Profile {
    fn is_code(&self, code: &str) -> bool {
        let digits = code.strip_prefix(&self.customer_code_prefix).unwrap_or_default();
        digits.len() == usize::from(self.customer_code_digits) && digits.bytes().all(|byte| byte.is_ascii_digit())
    }

    fn new_code(&self) -> String {
        let digits = (0..self.customer_code_digits).map(|_| char::from(b'0' + rand::random::<u8>() % 10));
        self.customer_code_prefix.chars().chain(digits).collect()
    }
}
