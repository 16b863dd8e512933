//! Codes are unique and speak both languages, and refusals say what clients need.

use std::collections::HashSet;

use chrono::TimeDelta;
use platform::http::Language;
use platform::problem::Code;

use super::*;

#[test]
fn codes_are_distinct_and_speak_both_languages() {
    let all: Vec<Code> = ALL.iter().copied().chain(dependent::ALL).collect();
    let codes: HashSet<&str> = all.iter().map(Code::code).collect();
    assert_eq!(codes.len(), all.len());
    for code in all {
        assert_ne!(code.title(Language::Vi), code.title(Language::En));
    }
}

#[test]
fn a_wrong_code_says_how_many_tries_are_left() {
    let problem = Problem::from(Error::CodeWrong { left: 3 });
    let body = problem.body(Language::En);
    assert_eq!((problem.status(), &body["code"], &body["tries_left"]), (422, &"otp-wrong".into(), &3.into()));
}

#[test]
fn a_wait_is_rounded_up() {
    let now = DateTime::UNIX_EPOCH;
    assert_eq!(seconds_until(now + TimeDelta::milliseconds(1_001), now), 2);
    assert_eq!(seconds_until(now, now), 1);
}
