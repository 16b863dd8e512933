//! Codes are unique, and refusals say what clients need.

use std::collections::HashSet;
use std::time::Duration;

use ledger::PostError;
use platform::problem::Problem;

use super::code::QR_CODES;
use super::{Error, codes, qr_code};
use crate::qr::Reason;

#[test]
fn codes_are_unique() {
    let all = codes();
    let names: HashSet<_> = all.iter().map(|code| code.code()).collect();
    assert_eq!(names.len(), all.len());
}

#[test]
fn what_the_ledger_can_not_do_now_says_when_to_ask_again() {
    for (error, code, wait) in [
        (PostError::QueueFull { retry_after: Duration::from_secs(3) }, "overloaded", Some("3")),
        (PostError::QueueFull { retry_after: Duration::from_millis(10) }, "overloaded", Some("1")),
        (PostError::Unavailable(None), "unavailable", Some("1")),
        (PostError::OutcomeUnknown, "outcome-unknown", Some("2")),
        (PostError::KeyConflict, "idempotency-key-reused", None),
    ] {
        let problem = Problem::from(Error::from(error));
        assert_eq!(problem.code(), code);
        let response = axum::response::IntoResponse::into_response(problem);
        let header = response.headers().get("retry-after").and_then(|value| value.to_str().ok());
        assert_eq!(header, wait, "{code}");
    }
}

#[test]
fn every_fault_of_a_code_has_its_own_problem() {
    let reasons = [
        Reason::NotPaymentCode,
        Reason::TooLong,
        Reason::Version,
        Reason::Crc,
        Reason::Length,
        Reason::MissingField,
        Reason::DuplicateField,
        Reason::Order,
        Reason::Field,
        Reason::Amount,
        Reason::Currency,
        Reason::Text,
    ];
    assert_eq!(reasons.len(), QR_CODES.len());
    for reason in reasons {
        assert_eq!(qr_code(reason).code(), reason.code());
    }
}
