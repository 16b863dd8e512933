//! The header in which a citizen's proof comes along.

use axum::extract::FromRequestParts;
use http::request::Parts;
use platform::problem::{INVALID_HEADER, Problem};

/// Its name; a header and not a field of the body, so that a request that is repeated with a proof is the same request.
const HEADER: &str = "step-up-token";

/// A proof, unchecked, if one came.
pub(super) struct StepUpToken(pub(super) Option<String>);

impl<S: Send + Sync> FromRequestParts<S> for StepUpToken {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let mut values = parts.headers.get_all(HEADER).iter();
        let Some(value) = values.next() else { return Ok(Self(None)) };
        match (value.to_str(), values.next()) {
            (Ok(token), None) => Ok(Self(Some(token.to_owned()))),
            _ => Err(Problem::new(INVALID_HEADER).detail(
                "Step-Up-Token chỉ được gửi một lần, bằng ký tự ASCII.",
                "Step-Up-Token is sent once, in ASCII.",
            )),
        }
    }
}
