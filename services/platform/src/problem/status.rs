//! Problems over gRPC: the code decides the gRPC status; the whole problem travels in the status details.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tonic::{Code as Grpc, Status};

use super::{INTERNAL, Inner, NOT_FOUND, OVERLOADED, Problem, TIMEOUT, UNAUTHENTICATED, UNAVAILABLE};
use crate::problem::{FORBIDDEN, INVALID_BODY};

/// What travels in the details (JSON; both sides are this crate).
#[derive(Serialize, Deserialize)]
struct Wire {
    code: String,
    status: u16,
    title: [String; 2],
    detail: Option<[String; 2]>,
    members: Map<String, Value>,
    retry_after_s: Option<u64>,
}

impl From<Problem> for Status {
    fn from(problem: Problem) -> Self {
        problem.log();
        let inner = *problem.inner;
        let message = inner.title[1].to_string();
        let grpc = match inner.status {
            400 | 413 | 415 | 422 => Grpc::InvalidArgument,
            401 => Grpc::Unauthenticated,
            403 => Grpc::PermissionDenied,
            404 => Grpc::NotFound,
            409 | 412 | 428 => Grpc::FailedPrecondition,
            429 => Grpc::ResourceExhausted,
            503 => Grpc::Unavailable,
            400..500 => Grpc::FailedPrecondition,
            _ => Grpc::Internal,
        };
        let wire = Wire {
            code: inner.code.into_owned(),
            status: inner.status,
            title: inner.title.map(|title| title.into_owned()),
            detail: inner.detail,
            members: inner.members,
            retry_after_s: inner.retry_after_s,
        };
        Status::with_details(grpc, message, serde_json::to_vec(&wire).unwrap_or_default().into())
    }
}

impl Problem {
    /// The problem that a called service answered; a status that is not ours becomes the nearest general code.
    pub fn from_status(status: &Status) -> Self {
        if let Ok(wire) = serde_json::from_slice::<Wire>(status.details()) {
            return Self {
                inner: Box::new(Inner {
                    code: wire.code.into(),
                    status: wire.status,
                    title: wire.title.map(Into::into),
                    detail: wire.detail,
                    members: wire.members,
                    retry_after_s: wire.retry_after_s,
                    source: None,
                }),
            };
        }
        let code = match status.code() {
            Grpc::Unavailable => UNAVAILABLE,
            Grpc::DeadlineExceeded | Grpc::Cancelled => TIMEOUT,
            Grpc::ResourceExhausted => OVERLOADED,
            Grpc::NotFound => NOT_FOUND,
            Grpc::Unauthenticated => UNAUTHENTICATED,
            Grpc::PermissionDenied => FORBIDDEN,
            Grpc::InvalidArgument => INVALID_BODY,
            _ => INTERNAL,
        };
        Self::new(code).source(status.clone())
    }
}
