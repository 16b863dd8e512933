//! Extractors whose rejections are problems. Request bodies refuse unknown fields through their own serde attributes.

use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, FailedToBufferBody, PathRejection, QueryRejection};
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::response::{IntoResponse, Response};
use http::request::Parts;
use http::{HeaderMap, header};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::problem::{
    BODY_TOO_LARGE, INVALID_BODY, INVALID_QUERY, MALFORMED_JSON, NOT_FOUND, Problem, UNSUPPORTED_MEDIA_TYPE,
};

/// A JSON body, in or out; in, an object.
#[derive(Clone, Copy, Debug)]
pub struct Json<T>(pub T);

/// Any JSON body, for protocols whose bodies are not always objects.
#[derive(Clone, Debug)]
pub struct JsonValue(pub serde_json::Value);

impl<S: Send + Sync> FromRequest<S> for JsonValue {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        require_json(request.headers())?;
        let bytes = read_body(request, state).await?;
        serde_json::from_slice(&bytes).map(Self).map_err(|_| Problem::new(MALFORMED_JSON))
    }
}

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        require_json(request.headers())?;
        let bytes = read_body(request, state).await?;
        parse_json(&bytes).map(Self)
    }
}

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        axum::Json(self.0).into_response()
    }
}

pub(super) fn require_json(headers: &HeaderMap) -> Result<(), Problem> {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    Err(Problem::new(UNSUPPORTED_MEDIA_TYPE).detail(
        "Hãy gửi nội dung với Content-Type: application/json.",
        "Send the body with Content-Type: application/json.",
    ))
}

pub(super) async fn read_body<S: Send + Sync>(request: Request, state: &S) -> Result<Bytes, Problem> {
    Bytes::from_request(request, state).await.map_err(|rejection| match rejection {
        BytesRejection::FailedToBufferBody(FailedToBufferBody::LengthLimitError(_)) => Problem::new(BODY_TOO_LARGE),
        other => Problem::new(MALFORMED_JSON).source(other),
    })
}

/// Reads an object. Types that are read by the names of their fields would also take a list of them, in their order.
pub(super) fn parse_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    if bytes.trim_ascii_start().first() == Some(&b'[') {
        return Err(Problem::new(INVALID_BODY)
            .detail("Nội dung phải là một đối tượng JSON.", "The body must be a JSON object.")
            .with("field", "."));
    }
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| refuse_json(&error))?;
    deserializer.end().map_err(|_| Problem::new(MALFORMED_JSON))?;
    Ok(value)
}

fn refuse_json(error: &serde_path_to_error::Error<serde_json::Error>) -> Problem {
    if !error.inner().is_data() {
        return Problem::new(MALFORMED_JSON);
    }
    let path = error.path().to_string();
    let reason = error.inner().to_string();
    let reason = reason.split(" at line ").next().unwrap_or_default();
    let (vi, en) = match path.as_str() {
        "." => (format!("Nội dung không hợp lệ: {reason}."), format!("The body is not valid: {reason}.")),
        path => (format!("Trường `{path}` không hợp lệ: {reason}."), format!("Field `{path}` is not valid: {reason}.")),
    };
    Problem::new(INVALID_BODY).detail(vi, en).with("field", path)
}

/// The parameters of the path; one that does not parse is an unknown thing, hence 404.
#[derive(Clone, Copy, Debug)]
pub struct Path<T>(pub T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match axum::extract::Path::from_request_parts(parts, state).await {
            Ok(axum::extract::Path(value)) => Ok(Self(value)),
            Err(PathRejection::FailedToDeserializePathParams(_)) => Err(Problem::new(NOT_FOUND)),
            Err(other) => Err(Problem::new(NOT_FOUND).source(other)),
        }
    }
}

/// The parameters of the query; unknown ones are refused by the type's own serde attributes.
#[derive(Clone, Copy, Debug)]
pub struct Query<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match axum::extract::Query::from_request_parts(parts, state).await {
            Ok(axum::extract::Query(value)) => Ok(Self(value)),
            Err(QueryRejection::FailedToDeserializeQueryString(error)) => {
                let reason = error.body_text();
                Err(Problem::new(INVALID_QUERY)
                    .detail(format!("Tham số không hợp lệ: {reason}."), format!("Not valid: {reason}.")))
            }
            Err(other) => Err(Problem::new(INVALID_QUERY).source(other)),
        }
    }
}
