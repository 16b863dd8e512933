//! The wall's stream: server-sent events.
//!
//! Each wall has a task that writes into a short queue. A wall that takes nothing for [`SLOWEST`] or falls behind the board's own queue
//! is dropped; it comes back with its last event id and gets what it missed.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::State;
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderName, HeaderValue};
use platform::problem::Problem;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::Desk;
use super::overview::FRESH;
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
/// replica. A stream that falls behind is closed; come back with the last id. For operators, leads and admins, unless the wall is public.
#[utoipa::path(
    get,
    operation_id = "streamWall",
    path = "/ioc/v1/stream",
    tag = "ioc",
    params(("Last-Event-ID" = Option<String>, Header, description = "The id of the last event that was received")),
    responses(
        (status = 200, description = "Events; the bodies of `snapshot`, `delta` and `pulse`", body = WallEvent, content_type = "text/event-stream"),
        (status = 401, description = "`unauthenticated`", content_type = "application/problem+json"),
        (status = 403, description = "`forbidden`: the role is missing", content_type = "application/problem+json"),
        (status = 503, description = "`too-many-walls`", content_type = "application/problem+json"),
    )
)]
pub(super) async fn stream(State(desk): State<Desk>, headers: HeaderMap) -> Result<Response, Problem> {
    let last_id = headers.get("last-event-id").and_then(|value| value.to_str().ok()).filter(|id| !id.is_empty());
    let wall = desk.board.open(last_id).await?;
    let (queue, events) = mpsc::channel(QUEUE);
    tokio::spawn(write(wall, queue, SLOWEST));
    let mut response = Sse::new(ReceiverStream::new(events)).into_response();
    response.headers_mut().extend(FRESH);
    // Proxies that would gather the stream are asked not to.
    response.headers_mut().insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    Ok(response)
}

type Message = Result<Event, Infallible>;

async fn write(wall: Wall, queue: mpsc::Sender<Message>, slowest: Duration) {
    let Wall { first, mut next, place: _place } = wall;
    let mut revision = first.revision;
    if queue.send_timeout(Ok(event(&first).retry(RETRY)), slowest).await.is_err() {
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
        if queue.send_timeout(Ok(event(&frame)), slowest).await.is_err() {
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::sync::{Semaphore, broadcast};

    use super::*;
    use crate::board::Place;

    const PENDING: usize = 8;

    fn frame(revision: i64) -> Frame {
        Frame { event: "delta", id: Some(format!("e.{revision}")), revision, data: "{}".into() }
    }

    fn wall() -> (Wall, broadcast::Sender<Frame>, Arc<Semaphore>) {
        let walls = platform::metrics::Metrics::new("ioc", "i").gauge("walls", "Open walls.", &[]);
        let places = Arc::new(Semaphore::new(1));
        let place = Place::take(&places, &walls).expect("one is left");
        let (frames, next) = broadcast::channel(PENDING);
        (Wall { first: frame(1), next, place }, frames, places)
    }

    #[tokio::test]
    async fn a_wall_that_takes_nothing_is_dropped_and_its_place_is_free_again() {
        let (wall, frames, places) = wall();
        let (queue, _unread) = mpsc::channel(QUEUE);
        let writing = tokio::spawn(write(wall, queue, Duration::from_millis(50)));
        for revision in 2..=6 {
            frames.send(frame(revision)).expect("the wall listens");
        }
        tokio::time::timeout(SLOWEST, writing).await.expect("dropped in time").expect("no panic");
        assert_eq!(places.available_permits(), 1);
    }

    #[tokio::test]
    async fn a_wall_that_falls_behind_the_board_is_closed_to_resume() {
        let (wall, frames, _) = wall();
        for revision in 2..=20 {
            frames.send(frame(revision)).expect("the wall listens");
        }
        let (queue, mut read) = mpsc::channel(QUEUE);
        tokio::spawn(write(wall, queue, SLOWEST));
        assert!(read.recv().await.is_some(), "what it got first");
        assert!(read.recv().await.is_none(), "then the end, because frames were missed");
    }

    #[tokio::test]
    async fn a_change_that_the_first_message_holds_already_is_not_sent_again() {
        let (wall, frames, _) = wall();
        for revision in [0, 1, 2] {
            frames.send(frame(revision)).expect("the wall listens");
        }
        drop(frames);
        let (queue, mut read) = mpsc::channel(QUEUE);
        tokio::spawn(write(wall, queue, SLOWEST));
        let mut count = 0;
        while read.recv().await.is_some() {
            count += 1;
        }
        assert_eq!(count, 2, "the first, and the one change after it");
    }
}
