//! The wall's stream: server-sent events.
//!
//! Each wall has a task that writes into a short queue. A wall that takes nothing for [`SLOWEST`] or falls behind the board's own queue
//! is dropped; it comes back with its last event id and gets what it missed.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::State;
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use http::header::CACHE_CONTROL;
use http::{HeaderMap, HeaderName, HeaderValue};
use platform::problem::Problem;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::Desk;
use crate::board::{Frame, Wall};
use crate::overview::WallEvent;

/// How many messages wait for the connection.
const QUEUE: usize = 4;
/// The longest that a connection may take nothing.
const SLOWEST: Duration = Duration::from_secs(10);
/// How long a client waits before it comes back.
const RETRY: Duration = Duration::from_secs(1);

/// The wall, live: server-sent events `snapshot` (everything), then `delta` (rows that changed, at most four a second) and `pulse` (every two seconds).
///
/// Rows in a delta replace the rows before them. With `Last-Event-ID` the stream begins with a delta since then where that can be told, at any
/// replica. A stream that falls behind is closed; come back with the last id. Answers inside the city's network only, unless the wall is public.
#[utoipa::path(
    get,
    operation_id = "streamWall",
    path = "/ioc/v1/stream",
    tag = "ioc",
    params(("Last-Event-ID" = Option<String>, Header, description = "The id of the last event that was received")),
    responses(
        (status = 200, description = "Events; the bodies of `snapshot`, `delta` and `pulse`", body = WallEvent, content_type = "text/event-stream"),
        (status = 403, description = "`internal-only`: the caller is outside", content_type = "application/problem+json"),
        (status = 503, description = "`too-many-walls`", content_type = "application/problem+json"),
    )
)]
pub(super) async fn stream(State(desk): State<Desk>, headers: HeaderMap) -> Result<Response, Problem> {
    let last_id = headers.get("last-event-id").and_then(|value| value.to_str().ok()).filter(|id| !id.is_empty());
    let wall = desk.board.open(last_id).await?;
    let (queue, events) = mpsc::channel(QUEUE);
    tokio::spawn(write(wall, queue));
    let mut response = Sse::new(ReceiverStream::new(events)).into_response();
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // Proxies that would gather the stream are asked not to.
    response.headers_mut().insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    Ok(response)
}

type Message = Result<Event, Infallible>;

async fn write(wall: Wall, queue: mpsc::Sender<Message>) {
    let Wall { first, mut next, place: _place } = wall;
    let mut revision = first.revision;
    if queue.send_timeout(Ok(event(&first).retry(RETRY)), SLOWEST).await.is_err() {
        return;
    }
    loop {
        let frame = tokio::select! {
            frame = next.recv() => frame,
            () = queue.closed() => return,
        };
        let frame = match frame {
            Ok(frame) => frame,
            // Fell behind, or the process is stopping: the wall comes back with its last id.
            Err(RecvError::Lagged(_) | RecvError::Closed) => return,
        };
        if frame.id.is_some() {
            if frame.revision <= revision {
                continue;
            }
            revision = frame.revision;
        }
        if queue.send_timeout(Ok(event(&frame)), SLOWEST).await.is_err() {
            return;
        }
    }
}

fn event(frame: &Frame) -> Event {
    let event = Event::default().event(frame.event).data(&frame.data);
    match &frame.id {
        Some(id) => event.id(id),
        None => event,
    }
}
