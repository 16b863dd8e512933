//! What the wallet keeps of a citizen beside their money, sealed under a key of that citizen (`platform::person`).
//!
//! | column | what |
//! | --- | --- |
//! | `top_up.account_sealed` | the account number at the bank |
//! | `bill_subscription.customer_code_sealed`, `.label_sealed` | the code at a biller that the citizen has linked, and what they call it |
//! | `bill_payment.customer_code_sealed`, `.reference_sealed` | of the bill that they paid: the customer's code, and the biller's name for it |
//! | `payment.note_sealed`, `refund.reason_sealed` | what payer and shop wrote, each under the key of who wrote it |

mod closing;
mod erase;
mod plain;
mod sections;
#[cfg(test)]
mod tests;
pub(crate) mod word;

use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use platform::person::{CopyError, Holder, PersonCopy, PersonError, PersonKey, Section};
use platform::problem::Problem;
use sqlx::PgConnection;
use uuid::Uuid;

pub(crate) use self::closing::refuse as refuse_closing;
pub(crate) use self::plain::Plain;
use crate::Wallet;
use crate::error::{ACCOUNT_CLOSED, Error};

/// Where account numbers at banks are sealed.
pub(crate) const TOP_UP_ACCOUNT: &str = "top_up.account_sealed";
/// Where codes and labels of linked customers are sealed.
pub(crate) const SUBSCRIPTION_CODE: &str = "bill_subscription.customer_code_sealed";
pub(crate) const SUBSCRIPTION_LABEL: &str = "bill_subscription.label_sealed";
/// Where payments of bills have what names the bill at its biller.
pub(crate) const BILL_PAYMENT_CODE: &str = "bill_payment.customer_code_sealed";
pub(crate) const BILL_PAYMENT_REFERENCE: &str = "bill_payment.reference_sealed";

/// A value of a row (column, row, sealed form) in plain words: opened, or as it stands there from before. None when there is none, or no
/// key any more.
///
/// # Errors
/// When it was sealed under another key or for another place.
pub(crate) fn opened(
    key: Option<&PersonKey>,
    (column, row, sealed): (&'static str, Uuid, Option<&[u8]>),
    plain: Option<String>,
) -> Result<Option<String>, PersonError> {
    match (sealed, key) {
        (Some(sealed), Some(key)) => Ok(Some(key.open(column, row, sealed)?)),
        (Some(_), None) => Ok(None),
        (None, _) => Ok(plain),
    }
}

impl From<PersonError> for Error {
    fn from(error: PersonError) -> Self {
        match error {
            PersonError::Database(error) => error.into(),
            // The account was closed for good; whoever still holds a token of it is told so.
            PersonError::Erased => Self::Problem(Problem::new(ACCOUNT_CLOSED)),
            PersonError::Unsealable(_) | PersonError::KeyUnopened(_) => Self::Broken(error.to_string()),
        }
    }
}

/// The wallet, where a citizen asks all services for something.
pub(crate) struct WalletHolder(pub(crate) Arc<Wallet>);

#[async_trait]
impl Holder for WalletHolder {
    fn sections(&self) -> &'static [Section] {
        sections::SECTIONS
    }

    async fn copy_more(&self, person: Uuid, copy: &mut PersonCopy) -> Result<(), CopyError> {
        word::copy_reasons(&self.0, person, copy).await
    }

    async fn close(&self, person: Uuid, closing: Uuid) -> Result<Vec<&'static str>, CopyError> {
        closing::close(&self.0, person, closing).await
    }

    async fn reopen(&self, person: Uuid, closing: Uuid) -> Result<(), CopyError> {
        closing::reopen(&self.0, person, closing).await
    }

    async fn end(&self, person: Uuid, closing: Uuid) -> Result<(), CopyError> {
        closing::end(&self.0, person, closing).await?;
        erase::words(&self.0, person).await
    }

    async fn erase(&self, tx: &mut PgConnection, person: Uuid, now: DateTime<Utc>) -> Result<(), sqlx::Error> {
        erase::rows(tx, person, now).await
    }
}
