//! What names a bill at its biller, as a payment keeps it: sealed under the payer's key. A fee is named by its agency, in public words.

use chrono::{DateTime, Utc};
use platform::person::{PersonError, PersonKeys};
use sqlx::PgConnection;
use uuid::Uuid;

use super::{BillPayment, BillPaymentId};
use crate::bill::mask;
use crate::bill::sql::Payable;
use crate::city::BillerKind;
use crate::error::Error;
use crate::person::{self, BILL_PAYMENT_CODE, BILL_PAYMENT_REFERENCE, SUBSCRIPTION_CODE};

/// What names a bill at its biller, in plain words. What was erased is empty.
#[derive(Debug, Default)]
pub(crate) struct Name {
    pub(crate) customer_code: String,
    pub(crate) reference: String,
}

/// The same as a payment stores it: of a fee plain, else sealed.
#[derive(Debug, Default)]
pub(super) struct StoredName {
    pub(super) customer_code: Option<String>,
    pub(super) customer_code_sealed: Option<Vec<u8>>,
    pub(super) reference: Option<String>,
    pub(super) reference_sealed: Option<Vec<u8>>,
}

/// What a new payment stores; the payer's key stays until the transaction ends.
///
/// # Errors
/// `NotFound` when the payer's link to the bill's customer can't be opened any more.
pub(super) async fn of_payable(
    persons: &PersonKeys,
    tx: &mut PgConnection,
    (payer, payment): (Uuid, BillPaymentId),
    payable: &Payable,
    now: DateTime<Utc>,
) -> Result<StoredName, Error> {
    let reference = payable.reference.clone();
    if payable.kind == BillerKind::Fee {
        let customer_code = payable.customer_code.clone();
        return Ok(StoredName { customer_code, reference: Some(reference), ..StoredName::default() });
    }
    let key = persons.for_sealing(tx, payer, now).await?;
    let link = payable.subscription_id.ok_or(Error::NotFound)?;
    let sealed = (SUBSCRIPTION_CODE, link.uuid(), payable.customer_code_sealed.as_deref());
    let code = person::opened(Some(&key), sealed, payable.customer_code.clone())?.ok_or(Error::NotFound)?;
    let reference = match payable.customer_id {
        Some(customer) => mask::show(&reference, (customer, &code)),
        None => reference,
    };
    Ok(StoredName {
        customer_code_sealed: Some(key.seal(BILL_PAYMENT_CODE, payment, &code)),
        reference_sealed: Some(key.seal(BILL_PAYMENT_REFERENCE, payment, &reference)),
        ..StoredName::default()
    })
}

/// What names the bill of a payment; none of it once the payer was erased.
///
/// # Errors
/// What the database answered, or that something was sealed under another key.
pub(crate) async fn of_payment(
    persons: &PersonKeys,
    connection: &mut PgConnection,
    payment: &BillPayment,
) -> Result<Option<Name>, PersonError> {
    let key = match payment.customer_code_sealed {
        Some(_) => persons.find(connection, &[payment.user_id]).await?.remove(&payment.user_id),
        None => None,
    };
    let open = |column, sealed: &Option<Vec<u8>>, plain: &Option<String>| {
        person::opened(key.as_ref(), (column, payment.id.uuid(), sealed.as_deref()), plain.clone())
    };
    let customer_code = open(BILL_PAYMENT_CODE, &payment.customer_code_sealed, &payment.customer_code)?;
    let reference = open(BILL_PAYMENT_REFERENCE, &payment.reference_sealed, &payment.reference)?;
    Ok(customer_code.zip(reference).map(|(customer_code, reference)| Name { customer_code, reference }))
}
