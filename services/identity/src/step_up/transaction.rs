//! The one transaction that a proof is for, and the digest that stands for it. Pure.
//!
//! The canonical form, which `docs/security.md` gives to those who write apps, is
//!
//! ```text
//! "trangtien step-up v1" 0x00
//! then for each of: issuer, subject, kind, payee, amount, currency, nonce, signed_at
//!     its length in bytes (32 bits, big-endian), its UTF-8 bytes
//! ```
//!
//! and the digest is its SHA-256. `subject` is the citizen's id in lower case with hyphens, `amount` the decimal digits of the wire,
//! `signed_at` Unix seconds in decimal digits. Lengths stand before every field, so that no two transactions have one form;
//! the words before them keep a signature from ever meaning anything else, and the issuer keeps it to this city.

use aws_lc_rs::digest::{self, SHA256};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::error::Error;
use crate::vault::Digest;

/// What every canonical form begins with.
const DOMAIN: &[u8] = b"trangtien step-up v1\0";
/// The longest kind.
const MAX_KIND: usize = 32;
/// The longest payee, in bytes.
const MAX_PAYEE: usize = 200;
/// The longest nonce: that of an `Idempotency-Key`.
const MAX_NONCE: usize = 255;

/// The one transaction that a proof is for; what the service that moves the money says in `transaction` of its `step-up-required`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = StepUpTransaction)]
pub(crate) struct Transaction {
    /// What the money is moved for: `payment`, `bill`, `fee`, `top-up`, …; `delegated-payment` and so on with somebody else's money.
    #[schema(example = "payment", max_length = 32)]
    pub kind: String,
    /// Who gets it: the till of a payment, the bill or the fee, the bank and account of a top-up.
    #[schema(example = "0199d2a4-7c1e-7d3a-9b1f-2f6f0c8f4b11", max_length = 200)]
    pub payee: String,
    /// How much.
    pub amount: Amount,
    /// The `Idempotency-Key` that the transaction will be asked for with; with somebody else's money the delegation's id and a colon stand before it.
    #[schema(min_length = 1, max_length = 255)]
    pub nonce: String,
}

/// An amount of money.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = StepUpAmount)]
pub(crate) struct Amount {
    /// Whole units, as decimal digits.
    #[schema(example = "12000000")]
    pub amount: String,
    /// ISO 4217.
    #[schema(example = "VND")]
    pub currency: String,
}

impl Transaction {
    /// Refuses what no service would ask a proof for.
    pub(crate) fn checked(self) -> Result<Self, Error> {
        let word = |byte: u8| byte.is_ascii_lowercase() || byte == b'-';
        if !(1..=MAX_KIND).contains(&self.kind.len()) || !self.kind.bytes().all(word) {
            return Err(field(
                "transaction.kind",
                "Loại giao dịch gồm 1 đến 32 chữ thường.",
                "A kind has 1 to 32 lower-case letters.",
            ));
        }
        if !(1..=MAX_PAYEE).contains(&self.payee.len()) || self.payee.chars().any(char::is_control) {
            return Err(field("transaction.payee", "Nơi nhận dài từ 1 đến 200 byte.", "A payee has 1 to 200 bytes."));
        }
        let digits = &self.amount.amount;
        let whole = digits.bytes().all(|byte| byte.is_ascii_digit()) && !digits.starts_with('0');
        if !whole || digits.parse::<i64>().is_err() {
            return Err(field(
                "transaction.amount.amount",
                "Số tiền là số nguyên dương dạng chuỗi, ví dụ \"150000\".",
                "An amount is a whole positive number as a string, such as \"150000\".",
            ));
        }
        if self.amount.currency.len() != 3 || !self.amount.currency.bytes().all(|byte| byte.is_ascii_uppercase()) {
            return Err(field(
                "transaction.amount.currency",
                "Loại tiền gồm ba chữ hoa, ví dụ VND.",
                "A currency has three capital letters, such as VND.",
            ));
        }
        if !(1..=MAX_NONCE).contains(&self.nonce.len()) || !self.nonce.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(field(
                "transaction.nonce",
                "nonce là Idempotency-Key của giao dịch: 1 đến 255 ký tự ASCII.",
                "The nonce is the transaction's Idempotency-Key: 1 to 255 visible ASCII characters.",
            ));
        }
        Ok(self)
    }

    /// What a key signs for this transaction of a citizen, at a time.
    pub(crate) fn digest(&self, issuer: &str, subject: Uuid, signed_at: i64) -> Digest {
        let (subject, signed_at) = (subject.to_string(), signed_at.to_string());
        let fields = [
            issuer,
            &subject,
            &self.kind,
            &self.payee,
            &self.amount.amount,
            &self.amount.currency,
            &self.nonce,
            &signed_at,
        ];
        let mut context = digest::Context::new(&SHA256);
        context.update(DOMAIN);
        for field in fields {
            let length = u32::try_from(field.len()).expect("every field is bounded");
            context.update(&length.to_be_bytes());
            context.update(field.as_bytes());
        }
        let mut digest = [0; 32];
        digest.copy_from_slice(context.finish().as_ref());
        digest
    }
}

fn field(field: &'static str, vi: &'static str, en: &'static str) -> Error {
    Error::Field { field, vi, en }
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A transaction that passes every check.
    pub(crate) fn transaction() -> Transaction {
        Transaction {
            kind: "payment".to_owned(),
            payee: "0199d2a4-7c1e-7d3a-9b1f-2f6f0c8f4b11".to_owned(),
            amount: Amount { amount: "12000000".to_owned(), currency: "VND".to_owned() },
            nonce: "8e03978e-40d5-43e8-bc93-6894a57f9324".to_owned(),
        }
    }

    #[test]
    fn the_digest_is_the_documented_one() {
        // Made by another program from the text of docs/security.md.
        let subject = "0199d2a4-0000-7000-8000-000000000001".parse().expect("a UUID");
        let digest = transaction().digest("http://localhost:8080", subject, 1_764_000_000);
        assert_eq!(hex::encode(digest), "726657995aca621fc8f0941a6d54d6e773413d10eb67a77b5fd5d19158b3d1b2");
    }

    #[test]
    fn what_no_service_asks_for_is_refused() {
        assert!(transaction().checked().is_ok());
        let refused: [fn(&mut Transaction); 16] = [
            |it| it.kind.clear(),
            |it| it.kind = "Payment".to_owned(),
            |it| it.kind = "a".repeat(33),
            |it| it.payee.clear(),
            |it| it.payee = "x".repeat(201),
            |it| it.payee = "a\nb".to_owned(),
            |it| it.amount.amount.clear(),
            |it| it.amount.amount = "0".to_owned(),
            |it| it.amount.amount = "-1".to_owned(),
            |it| it.amount.amount = "1.5".to_owned(),
            |it| it.amount.amount = "012".to_owned(),
            |it| it.amount.amount = "9223372036854775808".to_owned(),
            |it| it.amount.currency = "vnd".to_owned(),
            |it| it.amount.currency = "VNDX".to_owned(),
            |it| it.nonce.clear(),
            |it| it.nonce = "a b".to_owned(),
        ];
        for (index, change) in refused.into_iter().enumerate() {
            let mut changed = transaction();
            change(&mut changed);
            assert!(changed.checked().is_err(), "change {index}");
        }
    }

    /// The form written out slowly, field by field, as the documentation says it.
    fn slow(fields: [&str; 8]) -> Vec<u8> {
        let mut bytes = b"trangtien step-up v1".to_vec();
        bytes.push(0);
        for field in fields {
            for shift in [24, 16, 8, 0] {
                bytes.push((field.len() >> shift & 0xff) as u8);
            }
            bytes.extend(field.bytes());
        }
        bytes
    }

    proptest! {
        #[test]
        fn no_two_transactions_share_a_digest(
            one in prop::array::uniform4("[a-z0-9:-]{1,3}"), other in prop::array::uniform4("[a-z0-9:-]{1,3}"),
            times in prop::array::uniform2(0_i64..3),
        ) {
            let of = |texts: &[String; 4]| Transaction {
                kind: texts[0].clone(),
                payee: texts[1].clone(),
                amount: Amount { amount: texts[2].clone(), currency: "VND".to_owned() },
                nonce: texts[3].clone(),
            };
            let (issuer, subject) = ("http://localhost:8080", Uuid::nil());
            let digest = |texts: &[String; 4], time: i64| of(texts).digest(issuer, subject, time);
            let same = one == other && times[0] == times[1];
            prop_assert_eq!(digest(&one, times[0]) == digest(&other, times[1]), same);
            let (id, time) = (subject.to_string(), times[0].to_string());
            let form = slow([issuer, &id, &one[0], &one[1], &one[2], "VND", &one[3], &time]);
            let expected = digest::digest(&SHA256, &form);
            prop_assert_eq!(&digest(&one, times[0])[..], expected.as_ref());
        }
    }
}
