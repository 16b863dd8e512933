//! Text of a request that must not come back in an error: numbers, codes, PINs, tokens.
//!
//! Serde's own messages quote what they refuse (`invalid type: integer 502917`); these don't.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

/// A JSON string that no message quotes.
pub(super) struct Hidden(pub String);

impl<'de> Deserialize<'de> for Hidden {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match serde_json::Value::deserialize(deserializer)? {
            serde_json::Value::String(text) => Ok(Self(text)),
            _ => Err(D::Error::custom("a string is expected")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_quoted() {
        for body in ["502917", "[502917]", "{\"502917\":1}", "true"] {
            let error = serde_json::from_str::<Hidden>(body).err().expect("not a string").to_string();
            assert!(error.starts_with("a string is expected") && !error.contains("502917"), "{error}");
        }
        assert_eq!(serde_json::from_str::<Hidden>("\"502917\"").expect("a string").0, "502917");
    }
}
