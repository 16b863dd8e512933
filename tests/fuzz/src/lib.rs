//! Targets that take any bytes, and a mutator that makes such bytes from good examples.
//!
//! A target says what must hold whatever the bytes are: no panic, and what is accepted has one form or comes back the same.
//! It takes `&[u8]` and returns nothing, so that a coverage-guided fuzzer can call it as well; [`run`] needs the stable toolchain only.
//! `TRANGTIEN_FUZZ_SECONDS=600 cargo nextest run -p fuzz` looks for as long as one likes.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::{Duration, Instant};

use ledger::checkpoint::Checkpoint;
use ledger::note::{Note, PublicKey};
use ledger::receipt::Receipt;
use ledger::{Currency, Money};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};
use wallet::qr;

/// How long a target is run when nothing else is asked for.
const SECONDS: u64 = 2;
/// The most changes of one example.
const MAX_CHANGES: usize = 8;
/// The most bytes of an input.
const MAX_BYTES: usize = 8_192;

/// How long to look: `TRANGTIEN_FUZZ_SECONDS`.
///
/// # Panics
/// When that is not a number.
#[must_use]
pub fn patience() -> Duration {
    let asked = std::env::var("TRANGTIEN_FUZZ_SECONDS");
    Duration::from_secs(asked.map_or(SECONDS, |seconds| seconds.parse().expect("a number of seconds")))
}

/// Calls a target with mutated examples for [`patience`]. Gives how often.
///
/// # Panics
/// When the target does; the input is printed then.
pub fn run(target: fn(&[u8]), examples: &[&[u8]]) -> u64 {
    let seed: u64 = rand::random();
    let mut dice = StdRng::seed_from_u64(seed);
    let (end, mut runs) = (Instant::now() + patience(), 0);
    for example in examples {
        target(example);
    }
    while Instant::now() < end {
        let input = mutated(&mut dice, examples);
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| target(&input))) {
            eprintln!("seed {seed}, input {input:?}: {}", String::from_utf8_lossy(&input));
            resume_unwind(panic);
        }
        runs += 1;
    }
    runs
}

/// An example with a few random changes.
fn mutated(dice: &mut StdRng, examples: &[&[u8]]) -> Vec<u8> {
    let pick = |dice: &mut StdRng| examples.choose(dice).map(|example| example.to_vec()).unwrap_or_default();
    let mut bytes = pick(dice);
    for _ in 0..dice.random_range(0..=MAX_CHANGES) {
        let place = dice.random_range(0..=bytes.len());
        let end = (place + dice.random_range(0..16)).min(bytes.len());
        match dice.random_range(0..7) {
            0 => bytes.insert(place, dice.random()),
            1 => drop(bytes.drain(place..end)),
            2 if place < bytes.len() => bytes[place] ^= 1 << dice.random_range(0..8),
            // A digit for a digit: lengths, amounts, check sums.
            3 if place < bytes.len() => bytes[place] = b'0' + dice.random_range(0..10),
            4 => {
                let part = bytes[place..end].to_vec();
                bytes.splice(place..place, part);
            }
            5 => {
                let other = pick(dice);
                let from = dice.random_range(0..=other.len());
                bytes.splice(place.., other[from..].iter().copied());
            }
            _ => {
                let word =
                    ["99", "-", ".", "0", "\"", "\n\n", "null", "9223372036854775808", "ế", "\u{0}", "— ", "1e3"];
                bytes.splice(place..end, word.choose(dice).copied().unwrap_or("").bytes());
            }
        }
    }
    bytes.truncate(MAX_BYTES);
    bytes
}

/// A payment code: what is read is written and read again as the same code.
pub fn qr_code(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(code) = qr::decode(text) else { return };
    if let Ok(written) = qr::encode(&code) {
        assert_eq!(qr::decode(&written).as_ref(), Ok(&code), "{written}");
    }
}

/// A payment code with a right check sum, so that what lies behind it is reached: the input is what stands before.
pub fn qr_code_behind_its_check_sum(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let body = text.rfind("6304").map_or(text, |end| &text[..end]);
    let checked = format!("{body}6304");
    qr_code(format!("{checked}{:04X}", crc(checked.as_bytes())).as_bytes());
}

/// CRC-16/CCITT-FALSE, bit by bit.
fn crc(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0xFFFF, |crc, byte| {
        (0..8).fold(
            crc ^ (u16::from(*byte) << 8),
            |crc, _| if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 },
        )
    })
}

/// An amount: what is read has the currency's digits, fits, and is read again from its own words; JSON reads the same.
pub fn money(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    for currency in Currency::ALL {
        let read = Money::parse(text, currency);
        let json = serde_json::json!({"amount": text, "currency": currency});
        let from_json = serde_json::from_value::<Money>(json);
        assert_eq!(read.as_ref().ok(), from_json.as_ref().ok(), "{text}");
        let Ok(money) = read else { continue };
        assert_eq!(Money::from_minor(money.minor(), currency), money, "{text}");
        assert_eq!(money.amount().scale(), currency.digits(), "{text}");
        assert_eq!(Money::parse(&money.amount().to_string(), currency), Ok(money), "{text}");
        let plain = text.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'-' | b'.'));
        assert!(plain && !text.starts_with('+'), "{text}");
    }
    serde_json::from_slice::<Money>(bytes).ok();
}

/// A receipt: what is read has one form; whatever it says, proving it ends.
pub fn receipt(bytes: &[u8]) {
    let Ok(receipt) = Receipt::from_json(bytes) else { return };
    assert_eq!(receipt.to_json(), bytes);
    receipt.prove(None).ok();
}

/// A signed note, a public key, a checkpoint: what is read has one form.
pub fn note(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(note) = text.parse::<Note>() {
        assert_eq!(note.to_string(), text);
    }
    if let Ok(key) = text.parse::<PublicKey>() {
        assert_eq!(key.to_string(), text);
    }
    if let Ok(checkpoint) = text.parse::<Checkpoint>() {
        assert_eq!(checkpoint.to_string(), text);
        assert!(checkpoint.blocks > 0);
        assert!(!checkpoint.covers(checkpoint.blocks + 1, checkpoint.block_hash, &[]));
    }
}
