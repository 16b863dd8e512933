//! Takes out of a citizen's text what would say who they are: telephone and identity numbers, and e-mail addresses.
//!
//! Pure. What everyone but the operations centre and the reporter reads has passed here. It finds what can be found by form;
//! a name in a sentence is found by the operator, who may give another text when the report is distributed.

use serde_json::Value;

/// What stands in place of what was taken out.
const MASK: &str = "•••";
/// Digits that make a run a number of a person, if it begins like a telephone number.
const MIN_PHONE_DIGITS: usize = 8;
/// Digits that make any run one.
const MIN_DIGITS: usize = 9;

/// A text without numbers of persons and e-mail addresses.
pub(crate) fn text(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let at_word = out.chars().next_back().is_none_or(|before| !before.is_alphanumeric());
        let length = if first == '+' || first.is_ascii_digit() { number(rest) } else { None };
        let length = length.or_else(|| at_word.then(|| email(rest)).flatten());
        match length {
            Some(length) => {
                out.push_str(MASK);
                rest = &rest[length..];
            }
            None => {
                out.push(first);
                rest = &rest[first.len_utf8()..];
            }
        }
    }
    out
}

/// The same for every text inside a value.
pub(crate) fn value(value: &Value) -> Value {
    match value {
        Value::String(inner) => Value::String(text(inner)),
        Value::Array(items) => items.iter().map(self::value).collect(),
        Value::Object(members) => members.iter().map(|(name, inner)| (name.clone(), self::value(inner))).collect(),
        other => other.clone(),
    }
}

/// The length of the number of a person with which a text begins: digits, with single separators between them.
fn number(text: &str) -> Option<usize> {
    let mut digits = 0;
    let mut end = 0;
    let mut gap = 0;
    for (at, c) in text.char_indices() {
        match c {
            c if c.is_ascii_digit() => {
                digits += 1;
                gap = 0;
                end = at + 1;
            }
            '+' if at == 0 => {}
            ' ' | '.' | '-' | '(' | ')' | '\u{a0}' if digits > 0 && gap == 0 => gap = 1,
            _ => break,
        }
    }
    let phone = text.starts_with(['+', '0']) && digits >= MIN_PHONE_DIGITS;
    (phone || digits >= MIN_DIGITS).then_some(end)
}

/// The length of the e-mail address with which a text begins.
fn email(text: &str) -> Option<usize> {
    let part = |c: char| c.is_alphanumeric() || matches!(c, '.' | '_' | '-' | '+' | '%');
    let local = text.find(|c| !part(c))?;
    let domain = text[local..].strip_prefix('@')?;
    let length = domain.find(|c| !part(c)).unwrap_or(domain.len());
    (local > 0 && domain[..length].contains('.')).then_some(local + 1 + length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_addresses_of_people_are_taken_out() {
        for (before, after) in [
            ("gọi 0905 123 456 nhé", "gọi ••• nhé"),
            ("gọi +84905123456.", "gọi •••."),
            ("CCCD 046123456789", "CCCD •••"),
            ("viết cho be.ba@example.com, cảm ơn", "viết cho •••, cảm ơn"),
            ("0234.3822.365", "•••"),
        ] {
            assert_eq!(text(before), after);
        }
    }

    #[test]
    fn what_tells_of_the_place_stays() {
        for same in [
            "Ổ gà sâu 30 cm trước số 12/4 Lê Lợi",
            "trụ đèn 104-22, 3 ngày nay",
            "từ 20-11",
            "a @ b",
            "mực nước 1.25 m",
        ] {
            assert_eq!(text(same), same);
        }
    }

    #[test]
    fn every_text_of_a_value_is_looked_at() {
        let before = serde_json::json!({"a": ["0905123456", 7], "b": {"c": "x@y.vn"}, "d": true});
        assert_eq!(value(&before), serde_json::json!({"a": [MASK, 7], "b": {"c": MASK}, "d": true}));
    }
}
