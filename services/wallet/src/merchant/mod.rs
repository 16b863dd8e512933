//! Merchants, their stores and tills, and the code of a till.
//!
//! `sql.rs` holds the statements, `create.rs` the use cases that make something, `close.rs` the one that ends a shop.
//!
//! Invariant: what a till's code is made of never changes, so that a printed code stays right for ever.

mod close;
mod create;
pub(crate) mod sql;

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use uuid::Uuid;

pub(crate) use close::close;
pub(crate) use create::{NewMerchant, NewStore, NewTill, create_merchant, create_store, create_till};

use crate::place::Place;
use crate::qr::{self, Account, Code, Initiation, VietQr, VietQrService};

platform::typed_id! {
    /// One merchant.
    pub struct MerchantId;
    /// One store of a merchant.
    pub struct StoreId;
    /// One till of a store.
    pub struct TillId;
}

/// Merchants that one citizen may own.
pub(crate) const MAX_MERCHANTS: i64 = 50;
/// Stores that one merchant may have.
pub(crate) const MAX_STORES: i64 = 500;
/// Tills that one store may have.
pub(crate) const MAX_TILLS: i64 = 200;
/// Digits of a merchant's number inside its virtual account.
const NUMBER_DIGITS: usize = 10;

/// A merchant.
#[derive(Clone, Debug)]
pub(crate) struct Merchant {
    pub(crate) id: MerchantId,
    pub(crate) number: i64,
    pub(crate) owner_user_id: Uuid,
    pub(crate) name: String,
    pub(crate) qr_name: String,
    pub(crate) city: String,
    pub(crate) qr_city: String,
    pub(crate) category: Option<String>,
    pub(crate) created_at: DateTime<Utc>,
    /// When its owner closed it.
    pub(crate) closed_at: Option<DateTime<Utc>>,
}

/// A store.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    pub(crate) id: StoreId,
    pub(crate) merchant_id: MerchantId,
    pub(crate) name: String,
    pub(crate) address: Option<String>,
    pub(crate) created_at: DateTime<Utc>,
}

/// A till.
#[derive(Clone, Debug)]
pub(crate) struct Till {
    pub(crate) id: TillId,
    pub(crate) store_id: StoreId,
    pub(crate) merchant_id: MerchantId,
    pub(crate) name: String,
    pub(crate) created_at: DateTime<Utc>,
}

/// Whom a till pays, as far as a payment needs to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Payee {
    pub(crate) till: TillId,
    pub(crate) merchant: MerchantId,
    pub(crate) merchant_name: String,
    pub(crate) merchant_owner: Uuid,
}

/// The bank that holds the merchants' virtual accounts, into which other bank apps pay.
#[derive(Clone, Debug)]
pub(crate) struct VirtualAccounts {
    pub(crate) bank_code: String,
    pub(crate) bin: String,
    pub(crate) prefix: String,
}

impl VirtualAccounts {
    /// The merchant's account number: prefix, its number, and a Luhn check digit over the number.
    pub(crate) fn number(&self, merchant: &Merchant) -> String {
        let number = format!("{:0NUMBER_DIGITS$}", merchant.number);
        format!("{}{number}{}", self.prefix, luhn(&number))
    }
}

/// The check digit that ISO/IEC 7812-1 puts after these digits.
fn luhn(digits: &str) -> u32 {
    let sum: u32 = digits
        .bytes()
        .rev()
        .enumerate()
        .map(|(place, byte)| {
            let digit = u32::from(byte - b'0') * if place % 2 == 0 { 2 } else { 1 };
            digit / 10 + digit % 10
        })
        .sum();
    (10 - sum % 10) % 10
}

/// The payload of a till's static code: the bank account for other apps, the till for ours.
///
/// # Errors
/// When a name does not fit a code; the database's constraints leave no such name.
pub(crate) fn till_payload(
    merchant: &Merchant,
    till: TillId,
    place: &Place,
    accounts: Option<&VirtualAccounts>,
) -> Result<String, qr::Fault> {
    let vietqr = accounts.map(|accounts| {
        Account::VietQr(VietQr {
            bin: accounts.bin.clone(),
            number: accounts.number(merchant),
            service: VietQrService::Account,
        })
    });
    qr::encode(&Code {
        initiation: Initiation::Static,
        accounts: vietqr.into_iter().chain([Account::Till(till.uuid())]).collect(),
        category: merchant.category.clone(),
        amount: None,
        tip: None,
        country: place.country.clone(),
        name: Some(merchant.qr_name.clone()),
        city: Some(merchant.qr_city.clone()),
        postal_code: None,
        additional: BTreeMap::new(),
        language: None,
        unread: BTreeMap::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::luhn;

    #[test]
    fn check_digits_are_those_of_the_standard() {
        assert_eq!(luhn("7992739871"), 3);
        assert_eq!(luhn("0000000000"), 0);
        assert_eq!(luhn("0000000001"), 8);
    }
}
