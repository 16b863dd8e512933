//! Event streams have no end of their own, so the process would wait for each of them when it stops: they are ended when it does.

use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use futures::StreamExt as _;
use http::header;
use platform::task::Shutdown;

/// Ends the body of every `text/event-stream` when the shutdown begins. Clients connect again by themselves.
pub(crate) async fn end_streams(State(shutdown): State<Shutdown>, request: Request, next: Next) -> Response {
    let response = next.run(request).await;
    let content_type = response.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    if !content_type.is_some_and(|text| text.starts_with("text/event-stream")) {
        return response;
    }
    response.map(|body| {
        let stopping = shutdown.token().clone().cancelled_owned();
        Body::from_stream(body.into_data_stream().take_until(stopping))
    })
}

#[cfg(test)]
mod tests {
    use axum::response::IntoResponse;
    use axum::{Router, middleware, routing::get};
    use http_body_util::BodyExt as _;
    use tower::ServiceExt as _;

    use super::*;

    async fn endless() -> Response {
        let never_ending =
            futures::stream::once(async { Ok::<_, std::io::Error>("data: 1\n\n") }).chain(futures::stream::pending());
        ([(header::CONTENT_TYPE, "text/event-stream")], Body::from_stream(never_ending)).into_response()
    }

    #[tokio::test]
    async fn a_stream_ends_with_the_process() {
        let shutdown = Shutdown::new();
        let router =
            Router::new().route("/", get(endless)).layer(middleware::from_fn_with_state(shutdown.clone(), end_streams));
        let request = Request::builder().uri("/").body(Body::empty()).expect("a request");
        let response = router.oneshot(request).await.expect("infallible");
        shutdown.begin();
        let body = response.into_body().collect().await.expect("it ends").to_bytes();
        assert!(body.is_empty() || body == "data: 1\n\n");
    }
}
