//! `GET /wallet/v1/merchants/{id}/stream`: what a merchant is paid, as it happens, by server-sent events.
//!
//! An event's id is the payment's place in the journal; a client that comes back with `Last-Event-ID` misses nothing and sees nothing twice,
//! on whichever replica. A stream ends when the caller's token expires or is revoked, and when the process stops.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Duration;

use axum::extract::State;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures::stream;
use http::{HeaderMap, HeaderValue, header};
use ledger::journal;
use platform::auth::Principal;
use platform::http::Path;
use platform::person::PersonError;
use platform::problem::{INVALID_HEADER, Problem};

use super::App;
use super::merchant::{MerchantPaymentView, own};
use crate::feed::Woken;
use crate::merchant::MerchantId;
use crate::payment::{self, Payment};
use crate::person::word;
use crate::places::Place;

/// Payments read at once.
const PAGE: i64 = 100;
/// Silence after which a comment is sent, so that proxies keep the connection.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// Pause before reading again after the database did not answer.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// One open stream.
struct Live {
    wallet: App,
    principal: Principal,
    merchant: MerchantId,
    after: i64,
    waiting: VecDeque<Payment>,
    woken: Woken,
    _place: Place,
}

/// Payments of a merchant as they are made.
///
/// Events are called `payment`; their data is the payment as in the merchant's list. Without `Last-Event-ID` the stream begins now.
#[utoipa::path(
    get,
    path = "/wallet/v1/merchants/{merchant_id}/stream",
    tag = "wallet",
    operation_id = "streamMerchantPayments",
    params(("merchant_id" = Uuid, Path), ("Last-Event-ID" = Option<i64>, Header, description = "Go on after this event")),
    responses((status = 200, content_type = "text/event-stream", body = MerchantPaymentView), (status = 404, description = "not-found"), (status = 429, description = "too-many-requests: as many streams as one may have")),
    security(("bearer" = []))
)]
pub(super) async fn stream(
    State(wallet): State<App>,
    principal: Principal,
    Path(merchant): Path<MerchantId>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    own(&wallet, &principal, merchant).await?;
    let place = wallet.places.take(principal.subject)?;
    // Subscribed before the place is read, so that nothing falls between.
    let woken = wallet.feed.subscribe(merchant);
    let asked = last_event(&headers)?;
    let newest = journal::last_sequence(&wallet.pool, wallet.shard).await?;
    let after = asked.map_or(newest, |after| after.min(newest));
    let live = Live { wallet, principal, merchant, after, waiting: VecDeque::new(), woken, _place: place };
    let events = stream::unfold(live, |mut live| async move {
        let payment = live.next().await?;
        Some((Ok::<_, Infallible>(event(payment)), live))
    });
    let mut response = Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response();
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response.headers_mut().insert("x-accel-buffering", HeaderValue::from_static("no"));
    Ok(response)
}

impl Live {
    /// The next payment; `None` at the end of the stream.
    async fn next(&mut self) -> Option<Payment> {
        let verifier = self.wallet.verifier.clone();
        let principal = self.principal.clone();
        tokio::select! {
            () = verifier.ended(&principal) => None,
            payment = self.wait() => payment,
        }
    }

    async fn wait(&mut self) -> Option<Payment> {
        loop {
            if let Some(payment) = self.waiting.pop_front() {
                self.after = payment.sequence;
                return Some(payment);
            }
            self.woken.rearm();
            match self.read().await {
                Ok(payments) if payments.is_empty() => self.woken.next().await?,
                Ok(payments) => self.waiting.extend(payments),
                Err(error) => {
                    tracing::warn!(%error, "a merchant's stream could not read");
                    tokio::time::sleep(RETRY_PAUSE).await;
                }
            }
        }
    }

    async fn read(&self) -> Result<Vec<Payment>, PersonError> {
        // A payment wakes all streams of its merchant, a lost connection all streams: they read by turns.
        let _turn = self.wallet.places.read().await;
        let mut connection = self.wallet.pool.acquire().await?;
        let mut payments = payment::sql::of_merchant_after(&mut connection, self.merchant, self.after, PAGE).await?;
        word::open(&self.wallet.persons, &mut connection, &mut payments).await?;
        Ok(payments)
    }
}

fn event(payment: Payment) -> Event {
    let id = payment.sequence.to_string();
    let view = MerchantPaymentView::from(payment);
    let data = serde_json::to_string(&view).expect("a payment is JSON");
    Event::default().event("payment").id(id).data(data)
}

fn last_event(headers: &HeaderMap) -> Result<Option<i64>, Problem> {
    let Some(value) = headers.get("last-event-id") else { return Ok(None) };
    let after = value.to_str().ok().and_then(|text| text.parse::<i64>().ok()).filter(|after| *after >= 0);
    after.map(Some).ok_or_else(|| {
        Problem::new(INVALID_HEADER).detail("Last-Event-ID không hợp lệ.", "Last-Event-ID is not one of ours.")
    })
}
