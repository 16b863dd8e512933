//! Event streams have no end of their own, so the process would wait for each of them when it stops: they are ended when it does.

use axum::body::Body;
use axum::response::Response;
use futures::StreamExt as _;
use http::header;

use crate::task::Shutdown;

/// Ends the body of every `text/event-stream` when the shutdown begins. Clients connect again by themselves.
pub(super) fn end_with(shutdown: &Shutdown, response: Response) -> Response {
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
    use http_body_util::BodyExt as _;

    use super::*;

    #[tokio::test]
    async fn a_stream_ends_with_the_process() {
        let shutdown = Shutdown::new();
        let endless =
            futures::stream::once(async { Ok::<_, std::io::Error>("data: 1\n\n") }).chain(futures::stream::pending());
        let response = ([(header::CONTENT_TYPE, "text/event-stream")], Body::from_stream(endless)).into_response();
        let response = end_with(&shutdown, response);
        shutdown.begin();
        let body = response.into_body().collect().await.expect("it ends").to_bytes();
        assert!(body.is_empty() || body == "data: 1\n\n");
    }
}
