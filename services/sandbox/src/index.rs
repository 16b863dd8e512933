//! What the sandbox says about itself: the index page, health, and the answer to unknown paths.

use axum::Router;
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use http::{HeaderMap, Uri, header};
use serde_json::json;

use crate::bank::{CLOSED_ACCOUNT, OPENING_BALANCE, POOR_ACCOUNT, RICH_ACCOUNTS};
use crate::refusal::Refusal;
use crate::world::World;

/// Every route with one sentence; the index page is made of it.
const OFFERS: &[(&str, &str)] = &[
    ("POST /bank/v1/collections", "signed: pull money from a bank account; 202, then a signed callback"),
    ("GET /bank/v1/collections/{request_id}", "signed: what became of a collection"),
    ("POST /bank/v1/accounts", "{account, balance, standing?}: open or replace a bank account"),
    ("GET /bank/v1/accounts/{number}", "a bank account's balance"),
    ("GET /bank/statement?cursor=&limit=", "all collections, oldest first, for reconciliation"),
    ("GET /billers/{code}/v1/customers/{customer_code}/bills", "signed: a customer's unpaid bills"),
    ("POST /billers/{code}/v1/payments", "signed: record a payment of a bill; answered, then a signed callback"),
    ("GET /billers/{code}/v1/payments/{request_id}", "signed: what became of a payment"),
    (
        "POST /billers/{code}/customers",
        "{customer_code?, readings: [{usage, read_on?}]}: make a customer, or add to one; each reading is a bill",
    ),
    ("GET /billers/{code}/customers/{customer_code}", "a customer's bills, paid ones too"),
    ("GET /billers/{code}/statement?cursor=&limit=", "all payments, oldest first, for reconciliation"),
    ("POST /agencies/{code}/v1/events", "signed (Standard Webhooks): an agency hears of a paid fee"),
    ("GET /agencies/{code}/events", "what an agency heard, newest first"),
    ("POST /gateways/sms/v1/messages", "bearer: {to, text, reference, receipt_url?}; 202 {message_id}"),
    ("GET /sms?to=&limit=", "text messages received, newest first"),
    ("POST /gateways/fcm/v1/projects/{project}/messages:send", "bearer: a push message in FCM's HTTP v1 form"),
    (
        "POST /gateways/fcm/token",
        "form: grant_type, assertion (RFC 7523); a token of the push gateway that lives an hour",
    ),
    ("GET, DELETE /push/tokens", "how many of these were given; take all back"),
    ("GET /push?token=&limit=", "push messages received, newest first"),
    (
        "POST /gateways/ekyc/v1/verifications",
        "bearer: {request_id, citizen_number, full_name, date_of_birth}; {result}",
    ),
    (
        "POST /ekyc/people",
        "{citizen_number, full_name?, date_of_birth?}: whose a number is; nobody's without a name, else the first one's who claims it",
    ),
    (
        "GET /vneid/.well-known/openid-configuration",
        "VNeID as an OpenID provider: code flow, PKCE; `login_hint` says who visits",
    ),
    ("POST /vneid/people", "{citizen_number, full_name, subject?}: somebody with an account at VNeID"),
    (
        "GET, POST, DELETE /bank/faults, /billers/{code}/faults, /sms/faults, /push/faults, /ekyc/faults, /vneid/faults",
        "read, set or clear what goes wrong: \
        {delay_ms, error_rate, timeout, error_after_effect, duplicate, drop_callback, callback_delay_ms, times}",
    ),
    ("GET /healthz", "200 while the sandbox runs"),
];

/// The routes about the sandbox itself.
pub(crate) fn routes() -> Router<World> {
    Router::new().route("/", get(index)).route("/healthz", get(async || "ok"))
}

async fn index(headers: HeaderMap) -> Response {
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if accept.contains("text/html") { Html(page()).into_response() } else { axum::Json(document()).into_response() }
}

fn document() -> serde_json::Value {
    let offers: Vec<_> = OFFERS.iter().map(|(route, what)| json!({ "route": route, "what": what })).collect();
    json!({
        "what": "The sandbox: the outside world of the city, in memory.",
        "offers": offers,
        "bank_accounts": {
            "with_money": RICH_ACCOUNTS,
            "opening_balance": { "amount": OPENING_BALANCE.to_string(), "currency": "VND" },
            "without_money": POOR_ACCOUNT,
            "closed": CLOSED_ACCOUNT,
        },
    })
}

fn page() -> String {
    let rows: String =
        OFFERS.iter().map(|(route, what)| format!("<tr><td><code>{route}</code></td><td>{what}</td></tr>")).collect();
    let rich = RICH_ACCOUNTS.join(", ");
    format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Sandbox</title>\
         <style>body{{font:16px/1.5 system-ui;margin:2rem;max-width:70rem}}td{{padding:.2rem 1rem .2rem 0;\
         vertical-align:top}}</style><h1>Sandbox</h1><p>The outside world of the city, in memory.</p>\
         <table>{rows}</table><h2>Bank accounts</h2><p>With money: {rich}. Without: {POOR_ACCOUNT}. \
         Closed: {CLOSED_ACCOUNT}.</p></html>"
    )
}

/// The answer to a path that is not here.
pub(crate) async fn unknown_route(uri: Uri) -> Refusal {
    Refusal::not_found(format!("the sandbox has nothing at {}; GET / lists what it has", uri.path()))
}
