//! `GET /notifications/v1/stream`: new in-app messages as server-sent events.
//!
//! Each event has the message's sequence as its id, so that `Last-Event-ID` resumes without gap or repetition on any replica.
//! The stream ends when the session's token expires or is revoked, or when the process stops.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Duration;

use axum::extract::State;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures::Stream;
use http::HeaderMap;
use platform::auth::Principal;
use platform::http::Language;
use platform::problem::{INVALID_HEADER, Problem};
use tracing::warn;

use super::Routes;
use super::inbox::ItemBody;
use crate::inbox::{self, Subscription};

/// Messages read at a time.
const READ_BATCH: i64 = 100;
/// The wait between signs of life.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// How long a client should wait before it connects again.
const RECONNECT: Duration = Duration::from_secs(2);
/// How long an inbox that can't be read is left alone.
const READ_AGAIN: Duration = Duration::from_secs(1);

/// New in-app messages as they arrive: events named `message`, whose data is an item of the inbox and whose id is its sequence.
///
/// With `Last-Event-ID` it goes on after that message; without, it begins with what arrives from now on.
/// It ends when the access token expires; connect again with a fresh one.
#[utoipa::path(
    get,
    path = "/notifications/v1/stream",
    tag = "notifications",
    operation_id = "streamInbox",
    params(("Last-Event-ID" = Option<i64>, Header, description = "The id of the last event that was received.")),
    responses(
        (status = 200, description = "Server-sent events.", content_type = "text/event-stream", body = ItemBody),
        (status = 429, description = "`too-many-streams`: this citizen has too many streams open.")
    ),
    security(("bearer" = []))
)]
pub(super) async fn open(
    State(routes): State<Routes>,
    principal: Principal,
    language: Language,
    headers: HeaderMap,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Problem> {
    let resume = last_event_id(&headers)?;
    // Subscribed before the head is read, so that nothing falls between the two.
    let subscription = routes.hub.subscribe(principal.subject)?;
    let sequence = match resume {
        Some(sequence) => sequence,
        None => inbox::head(&routes.pool, principal.subject).await?,
    };
    let reader = Reader { routes, principal, language, subscription, sequence, ready: VecDeque::new(), greeted: false };
    let events = futures::stream::unfold(reader, Reader::next);
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)))
}

fn last_event_id(headers: &HeaderMap) -> Result<Option<i64>, Problem> {
    let Some(value) = headers.get("last-event-id") else { return Ok(None) };
    let sequence = value.to_str().ok().and_then(|text| text.parse().ok()).filter(|sequence| *sequence >= 0);
    sequence.map(Some).ok_or_else(|| {
        Problem::new(INVALID_HEADER)
            .detail("Last-Event-ID không hợp lệ.", "Last-Event-ID is not the id of an event of this stream.")
    })
}

/// One open stream.
struct Reader {
    routes: Routes,
    principal: Principal,
    language: Language,
    subscription: Subscription,
    /// Everything up to here was sent or is in `ready`.
    sequence: i64,
    /// Read and not sent yet; at most [`READ_BATCH`].
    ready: VecDeque<Event>,
    greeted: bool,
}

impl Reader {
    /// The next event, or the end of the stream.
    async fn next(mut self) -> Option<(Result<Event, Infallible>, Self)> {
        if !self.greeted {
            self.greeted = true;
            return Some((Ok(Event::default().comment("open").retry(RECONNECT)), self));
        }
        let (verifier, principal) = (self.routes.verifier.clone(), self.principal.clone());
        let closing = self.subscription.closing();
        let event = tokio::select! {
            biased;
            () = verifier.ended(&principal) => return None,
            () = closing.cancelled() => return None,
            event = self.arrival() => event,
        };
        Some((Ok(event), self))
    }

    /// Waits for the next message.
    async fn arrival(&mut self) -> Event {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return event;
            }
            match self.read().await {
                Ok(()) if self.ready.is_empty() => self.subscription.woken().await,
                Ok(()) => {}
                Err(error) => {
                    warn!(%error, "inbox can't be read for a stream");
                    tokio::time::sleep(READ_AGAIN).await;
                }
            }
        }
    }

    async fn read(&mut self) -> Result<(), sqlx::Error> {
        let Routes { pool, .. } = &self.routes;
        let (items, last) =
            inbox::after(pool, self.principal.subject, self.sequence, READ_BATCH, self.language).await?;
        self.sequence = last;
        self.ready = items.into_iter().map(|item| event(ItemBody::from(item))).collect();
        Ok(())
    }
}

fn event(body: ItemBody) -> Event {
    let id = body.sequence.to_string();
    Event::default().event("message").id(id).json_data(body).expect("items serialise to one line of JSON")
}
