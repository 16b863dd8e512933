//! A body that is refused as too long is read to its end, within bounds, before the connection closes:
//! a client that is still sending would otherwise lose the connection before it has read why.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::Request;
use http::{StatusCode, Version, header};
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::BodyExt as _;

/// How much of a refused body is read, in bytes.
const MAX_READ: usize = 8 * 1024 * 1024;
/// How long it is read.
const READ_LIMIT: Duration = Duration::from_secs(3);

/// A body that stays here while it is lent to whoever handles the request.
struct Lent(Arc<Mutex<Body>>);

impl http_body::Body for Lent {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let mut body = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Pin::new(&mut *body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).size_hint()
    }
}

/// The body of a request that somebody else handles, kept until its answer is known.
pub(super) struct Kept(Arc<Mutex<Body>>);

/// Lends the body of a request to whoever handles it. Not over HTTP/2, where one stream ends without the others,
/// and not when the client waits to be told to send.
pub(super) fn lend(request: Request) -> (Request, Option<Kept>) {
    let waits = request.headers().contains_key(header::EXPECT);
    if request.body().is_end_stream() || waits || request.version() >= Version::HTTP_2 {
        return (request, None);
    }
    let (parts, body) = request.into_parts();
    let body = Arc::new(Mutex::new(body));
    (Request::from_parts(parts, Body::new(Lent(body.clone()))), Some(Kept(body)))
}

/// Reads what is left of a body that was answered with a status, if it was refused as too long.
pub(super) async fn read_rest(status: StatusCode, kept: Option<Kept>) {
    if let (StatusCode::PAYLOAD_TOO_LARGE, Some(Kept(body))) = (status, kept) {
        tokio::time::timeout(READ_LIMIT, read(Lent(body))).await.ok();
    }
}

async fn read(mut body: Lent) {
    let mut left = MAX_READ;
    while let Some(Ok(frame)) = body.frame().await {
        let size = frame.data_ref().map_or(0, Bytes::len);
        if size >= left {
            return;
        }
        left -= size;
    }
}
