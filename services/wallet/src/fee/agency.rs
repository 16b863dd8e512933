//! An agency as a biller: what it is owed stands in our own books, so that nobody outside is asked to record a payment.

use async_trait::async_trait;

use crate::bill::{BillerConnector, Charge, Fetched};
use crate::bill_payment::BillPaymentId;
use crate::partner::{Answer, Report};

/// Every agency.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AgencyBooks;

#[async_trait]
impl BillerConnector for AgencyBooks {
    /// Notices come from the agency; nobody links a customer of it.
    async fn fetch(&self, _: &str) -> Fetched {
        Fetched::CustomerUnknown
    }

    async fn record(&self, charge: &Charge) -> Report {
        let reference = Some(charge.id.to_string());
        Report { answer: Answer::Succeeded, reference, reason: None, amount: Some(charge.amount) }
    }

    /// Nothing was recorded before it is booked: the money is set aside again as it was, and booked then.
    async fn status(&self, _: BillPaymentId) -> Report {
        Report { answer: Answer::NeverSeen, reference: None, reason: None, amount: None }
    }
}
