//! Payment QR codes: EMVCo Merchant-Presented Mode with VietQR and our own till template.
//!
//! Pure: text in, [`Code`] out, and back. No I/O, no clock, no panic on any input.
//!
//! - `crc.rs` the checksum of tag 63, `tlv.rs` the tag-length-value grammar, `decode.rs` and `encode.rs` the two directions,
//!   `ascii.rs` Vietnamese names in the characters that every reader of codes can show, `render.rs` pictures.
//!
//! Public readers of such codes disagree on broken input, and the money goes where the reader says.
//! So decoding is strict: whatever a careful reader could understand in another way is refused with a stable code.
//!
//! Invariant: for every code that [`encode`] accepts, `decode(encode(code)) == code`.
//! Invariant: changing any one ASCII character of an accepted payload makes it refused (CRC-16 sees every burst of up to 16 bits;
//! the checksum's own letters are all upper-case or all lower-case).

mod ascii;
mod crc;
mod decode;
mod encode;
mod render;
mod tlv;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt::Display;

pub use ascii::to_ascii;
pub use decode::decode;
pub use encode::encode;
pub use render::{RenderError, png, svg};
use uuid::Uuid;

/// Most characters that a payload may have (EMVCo MPM, section 3.1: 512 bytes).
pub const MAX_PAYLOAD: usize = 512;
/// Application identifier of VietQR, registered by NAPAS.
pub const VIETQR_AID: &str = "A000000727";
/// Tag of the VietQR template.
pub const VIETQR_TAG: u8 = 38;
/// Globally unique identifier of our own template (EMVCo allows a reverse domain name).
pub const TILL_AID: &str = "vn.trangtien";
/// Tag of our own template, in the range that EMVCo leaves to templates (26–51).
pub const TILL_TAG: u8 = 50;
/// ISO 4217 numeric code of the Vietnamese đồng.
pub const VND_NUMERIC: &str = "704";
/// Most characters of a merchant's name in a code (tag 59).
pub const MAX_NAME: usize = 25;
/// Most characters of a merchant's city in a code (tag 60).
pub const MAX_CITY: usize = 15;
/// Names of the fields of the additional data template (tag 62).
pub const ADDITIONAL_NAMES: [(u8, &str); 9] = [
    (1, "bill_number"),
    (2, "mobile_number"),
    (3, "store_label"),
    (4, "loyalty_number"),
    (5, "reference_label"),
    (6, "customer_label"),
    (7, "terminal_label"),
    (8, "purpose"),
    (9, "consumer_data_request"),
];

/// What a merchant's code says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Code {
    /// Whether one code serves many payments or one.
    pub initiation: Initiation,
    /// Whom it pays, in order of tags; at least one.
    pub accounts: Vec<Account>,
    /// ISO 18245 merchant category, four digits.
    pub category: Option<String>,
    /// Positive whole đồng; a dynamic code always has one.
    pub amount: Option<i64>,
    /// What is asked for on top.
    pub tip: Option<Tip>,
    /// ISO 3166-1 alpha-2.
    pub country: String,
    /// Merchant's name, at most [`MAX_NAME`] characters.
    pub name: Option<String>,
    /// Merchant's city, at most [`MAX_CITY`] characters.
    pub city: Option<String>,
    /// Merchant's postal code.
    pub postal_code: Option<String>,
    /// Fields of tag 62 by their sub-tag; see [`ADDITIONAL_NAMES`].
    pub additional: BTreeMap<u8, String>,
    /// The merchant's name in another language.
    pub language: Option<Language>,
    /// Values of tags 65–99, unread.
    pub unread: BTreeMap<u8, String>,
}

/// Point of initiation (tag 01).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Initiation {
    /// `11`, or no tag 01: one code for many payments.
    Static,
    /// `12`: a code for one payment, which carries its amount.
    Dynamic,
}

/// Whom a code pays: one of its tags 02–51.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Account {
    /// A card network's own number (tags 02–25).
    Network {
        /// 2–25.
        tag: u8,
        /// As the network wrote it.
        value: String,
    },
    /// A bank account or card that any Vietnamese bank app can pay.
    VietQr(VietQr),
    /// One of our own tills.
    Till(Uuid),
    /// Somebody else's template.
    Other {
        /// 26–51.
        tag: u8,
        /// Who defines the template.
        aid: String,
        /// Its other fields by sub-tag.
        fields: BTreeMap<u8, String>,
    },
}

/// An account at a bank, as NAPAS describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VietQr {
    /// Bank identification number, six digits.
    pub bin: String,
    /// Account or card number, 1–19 letters and digits.
    pub number: String,
    /// Whether the number is an account or a card.
    pub service: VietQrService,
}

/// The service by which a VietQR transfer goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VietQrService {
    /// `QRIBFTTA`: to an account.
    Account,
    /// `QRIBFTTC`: to a card.
    Card,
}

/// Tip or convenience fee (tags 55–57).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tip {
    /// The payer is asked.
    Asked,
    /// A fixed fee, as written.
    Fixed(String),
    /// A percentage, as written.
    Percentage(String),
}

/// Merchant's name and city in another language (tag 64).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Language {
    /// ISO 639 alpha-2.
    pub code: String,
    /// The name.
    pub name: String,
    /// The city.
    pub city: Option<String>,
}

impl Code {
    /// The till of ours that the code pays, if it has one.
    #[must_use]
    pub fn till(&self) -> Option<Uuid> {
        self.accounts.iter().find_map(|account| match account {
            Account::Till(till) => Some(*till),
            _ => None,
        })
    }

    /// The bank account or card that the code pays, if it has one.
    #[must_use]
    pub fn vietqr(&self) -> Option<&VietQr> {
        self.accounts.iter().find_map(|account| match account {
            Account::VietQr(vietqr) => Some(vietqr),
            _ => None,
        })
    }
}

/// Why a payload is refused, and at which tag (`38.01.00` is a field inside a template).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason} at tag {tag:?}")]
pub struct Fault {
    /// The kind of fault.
    pub reason: Reason,
    /// Dotted tags from the outside in; empty when the fault has no place.
    pub tag: String,
}

impl Fault {
    fn new(reason: Reason, tag: impl Display) -> Self {
        Self { reason, tag: tag.to_string() }
    }

    /// The stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        self.reason.code()
    }
}

/// Kinds of fault; each has a stable code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// The text does not begin like an EMVCo code.
    #[error("not a payment code")]
    NotPaymentCode,
    /// More than [`MAX_PAYLOAD`] bytes.
    #[error("payload too long")]
    TooLong,
    /// Another payload format than `01`.
    #[error("unknown payload format")]
    Version,
    /// The checksum is not that of the text.
    #[error("wrong checksum")]
    Crc,
    /// A length is not two digits, is zero, or does not fit what follows.
    #[error("wrong length")]
    Length,
    /// A tag that must be there is not.
    #[error("missing field")]
    MissingField,
    /// A tag stands twice.
    #[error("duplicate field")]
    DuplicateField,
    /// Tag 00 is not first or tag 63 is not last.
    #[error("field out of order")]
    Order,
    /// A value has the wrong form.
    #[error("field of wrong form")]
    Field,
    /// The amount is not positive whole đồng without leading zeros.
    #[error("amount of wrong form")]
    Amount,
    /// The code asks for another currency than đồng.
    #[error("another currency")]
    Currency,
    /// Control characters, or text whose lengths can be read in two ways.
    #[error("text that can be read in two ways")]
    Text,
}

impl Reason {
    /// The stable code.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::NotPaymentCode => "qr-not-payment-code",
            Self::TooLong => "qr-too-long",
            Self::Version => "qr-version",
            Self::Crc => "qr-crc",
            Self::Length => "qr-length",
            Self::MissingField => "qr-missing-field",
            Self::DuplicateField => "qr-duplicate-field",
            Self::Order => "qr-order",
            Self::Field => "qr-field",
            Self::Amount => "qr-amount",
            Self::Currency => "qr-currency",
            Self::Text => "qr-text",
        }
    }
}
