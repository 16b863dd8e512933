//! Why somebody acts, in words that name nobody. Pure.

use std::fmt;
use std::str::FromStr;

use chrono::NaiveDate;
use uuid::Uuid;

/// The longest reason, in characters. The database's CHECK says the same.
const MAX_REASON: usize = 200;
/// So many digits in one word are a telephone or identity number.
const NUMBER_DIGITS: usize = 9;

/// Why an operator does something: 1 to 200 characters that name nobody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason(String);

/// Why a text is no [`Reason`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReasonFault {
    /// Empty, too long, or with control characters.
    #[error("a reason has 1 to 200 characters on one line")]
    Form,
    /// It holds a telephone number, an identity number or an address of e-mail.
    #[error("a reason names nobody: give ids in place of telephone numbers, identity numbers and e-mail addresses")]
    Person,
}

impl FromStr for Reason {
    type Err = ReasonFault;

    fn from_str(text: &str) -> Result<Self, ReasonFault> {
        let text = text.trim();
        if text.is_empty() || text.chars().count() > MAX_REASON || text.chars().any(char::is_control) {
            return Err(ReasonFault::Form);
        }
        let words: Vec<&str> = text.split_whitespace().filter(|word| !is_id_or_date(word)).collect();
        let words = words.join(" ");
        if words.contains('@') || longest_number(&words) >= NUMBER_DIGITS {
            return Err(ReasonFault::Person);
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// Ids and dates may stay, whatever digits they have.
fn is_id_or_date(word: &str) -> bool {
    let word = word.trim_matches(|end: char| !end.is_ascii_hexdigit());
    word.parse::<Uuid>().is_ok() || word.parse::<NaiveDate>().is_ok()
}

/// The most digits in a row, as people write numbers: with spaces, dots and hyphens between.
fn longest_number(text: &str) -> usize {
    let (mut longest, mut run) = (0, 0);
    for character in text.chars() {
        if character.is_ascii_digit() {
            run += 1;
            longest = longest.max(run);
        } else if !matches!(character, ' ' | '.' | '-' | '+' | '(' | ')') {
            run = 0;
        }
    }
    longest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_bounded_and_names_nobody() {
        for good in [
            "ticket 4711",
            "leaver, see 018f3a2b-1111-7222-8333-944455556666",
            "hết hạn",
            "2026-11-22 10:30, case 4711",
            " x ",
        ] {
            assert!(good.parse::<Reason>().is_ok(), "{good}");
        }
        for (bad, fault) in [
            ("", ReasonFault::Form),
            ("  ", ReasonFault::Form),
            ("a\nb", ReasonFault::Form),
            (&"x".repeat(201), ReasonFault::Form),
            ("asked by 0912 345 678", ReasonFault::Person),
            ("asked by 091.234.5678", ReasonFault::Person),
            ("for 046099012345", ReasonFault::Person),
            ("from an@example.org", ReasonFault::Person),
        ] {
            assert_eq!(bad.parse::<Reason>(), Err(fault), "{bad}");
        }
    }
}
