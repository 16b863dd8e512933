//! Bills as their citizen reads them: with the customer's code, what they call the customer, and the biller's own words.

use platform::person::{PersonError, PersonKey, PersonKeys};
use sqlx::PgConnection;
use uuid::Uuid;

use super::{ListedBill, mask};
use crate::person::{self, SUBSCRIPTION_CODE, SUBSCRIPTION_LABEL};

/// Opens bills with one look-up of the citizen's key. Those that don't open any more are left out.
///
/// # Errors
/// What the database answered, or that something was sealed under another key.
pub(crate) async fn opened(
    persons: &PersonKeys,
    connection: &mut PgConnection,
    user: Uuid,
    bills: Vec<ListedBill>,
) -> Result<Vec<ListedBill>, PersonError> {
    let key = if bills.iter().any(|bill| bill.customer_code_sealed.is_some()) {
        persons.find(connection, &[user]).await?.remove(&user)
    } else {
        None
    };
    bills.into_iter().filter_map(|bill| bill.opened(key.as_ref()).transpose()).collect()
}

impl ListedBill {
    fn opened(mut self, key: Option<&PersonKey>) -> Result<Option<Self>, PersonError> {
        let Some(link) = self.subscription_id else { return Ok(Some(self)) };
        let sealed = (SUBSCRIPTION_CODE, link.uuid(), self.customer_code_sealed.as_deref());
        let Some(code) = person::opened(key, sealed, self.customer_code.take())? else { return Ok(None) };
        let sealed = (SUBSCRIPTION_LABEL, link.uuid(), self.label_sealed.as_deref());
        self.label = person::opened(key, sealed, self.label.take())?;
        if let Some(customer) = self.customer_id {
            self.reference = mask::show(&self.reference, (customer, &code));
            self.details = mask::show_in(self.details, (customer, &code));
        }
        self.customer_code = Some(code);
        Ok(Some(self))
    }
}
