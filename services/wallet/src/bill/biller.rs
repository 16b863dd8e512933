//! The biller's API, behind a trait because the biller is an outside party.

use async_trait::async_trait;
use chrono::NaiveDate;
use ledger::money::Money;
use reqwest::StatusCode;
use serde::{Deserialize, Serialize};
use url::Url;

use crate::account::CURRENCY;
use crate::bill_payment::BillPaymentId;
use crate::partner::{Partner, Report};

/// Bills of one customer that are read from one answer, at most.
pub(crate) const MAX_BILLS: usize = 120;
/// Longest reference of a bill, in characters.
const MAX_REFERENCE: usize = 64;
/// Longest name of a period, in characters.
const MAX_PERIOD: usize = 16;

/// What a biller is asked to record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Charge {
    /// Ours; the biller records the same payment once.
    pub id: BillPaymentId,
    /// Whose bill it is, at the biller.
    pub customer_code: String,
    /// Names the bill at the biller.
    pub reference: String,
    /// How much was paid; a biller refuses what is not the bill's amount.
    pub amount: Money,
}

/// A bill as the biller says it.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct FetchedBill {
    /// Names the bill at the biller.
    pub reference: String,
    /// What it is for, such as a month.
    pub period: String,
    /// How much.
    pub amount: Money,
    /// When it was made.
    pub issued_on: NaiveDate,
    /// The last day to pay.
    pub due_on: NaiveDate,
    /// How the amount comes about, in the biller's own form; an object.
    #[serde(default)]
    pub details: serde_json::Map<String, serde_json::Value>,
}

/// What a biller said when it was asked for a customer's bills.
#[derive(Clone, Debug, PartialEq)]
pub enum Fetched {
    /// The bills that are to be paid.
    Bills(Vec<FetchedBill>),
    /// It has no such customer.
    CustomerUnknown,
    /// No answer came, or none that can be read.
    Lost,
}

/// A biller whose bills are paid through us.
#[async_trait]
pub trait BillerConnector: Send + Sync {
    /// Asks for a customer's unpaid bills.
    async fn fetch(&self, customer_code: &str) -> Fetched;

    /// Asks to record a payment. Safe to repeat: the biller records each id once.
    async fn record(&self, charge: &Charge) -> Report;

    /// Asks what became of a payment.
    async fn status(&self, id: BillPaymentId) -> Report;
}

/// A biller reached over HTTP; it calls back at a URL of ours.
#[derive(Clone, Debug)]
pub(crate) struct HttpBiller {
    pub(crate) partner: Partner,
    pub(crate) code: String,
    pub(crate) callback_url: Url,
}

#[derive(Serialize)]
struct Request<'a> {
    request_id: BillPaymentId,
    customer_code: &'a str,
    reference: &'a str,
    amount: Money,
    callback_url: &'a Url,
}

#[derive(Deserialize)]
struct Answer {
    bills: Vec<FetchedBill>,
}

impl HttpBiller {
    /// Below the partner's origin.
    fn path(&self, rest: &str) -> String {
        format!("/billers/{}/v1/{rest}", self.code)
    }
}

#[async_trait]
impl BillerConnector for HttpBiller {
    async fn fetch(&self, customer_code: &str) -> Fetched {
        let Some(reply) = self.partner.get(&self.path(&format!("customers/{customer_code}/bills"))).await else {
            return Fetched::Lost;
        };
        match reply.status {
            StatusCode::NOT_FOUND if reply.code().as_deref() == Some("customer-unknown") => Fetched::CustomerUnknown,
            status if status.is_success() => {
                reply.read::<Answer>().map_or(Fetched::Lost, |answer| bounded(answer.bills))
            }
            status => {
                tracing::warn!(status = status.as_u16(), biller.code = self.code, "biller gave no bills");
                Fetched::Lost
            }
        }
    }

    async fn record(&self, charge: &Charge) -> Report {
        let request = Request {
            request_id: charge.id,
            customer_code: &charge.customer_code,
            reference: &charge.reference,
            amount: charge.amount,
            callback_url: &self.callback_url,
        };
        self.partner.ask(&self.path("payments"), &request).await
    }

    async fn status(&self, id: BillPaymentId) -> Report {
        self.partner.status(&self.path(&format!("payments/{id}"))).await
    }
}

/// The bills, if all of them can be kept: a list of which we keep a part would close the rest.
fn bounded(bills: Vec<FetchedBill>) -> Fetched {
    let mut references: Vec<&str> = bills.iter().map(|bill| bill.reference.as_str()).collect();
    references.sort_unstable();
    references.dedup();
    if bills.len() <= MAX_BILLS && references.len() == bills.len() && bills.iter().all(can_be_kept) {
        return Fetched::Bills(bills);
    }
    tracing::error!(bills = bills.len(), "biller gave bills that can't be kept");
    Fetched::Lost
}

fn can_be_kept(bill: &FetchedBill) -> bool {
    let text = |text: &str, most| (1..=most).contains(&text.chars().count()) && !text.chars().any(char::is_control);
    // PostgreSQL's JSON takes no NUL.
    let plain = !serde_json::Value::Object(bill.details.clone()).to_string().contains("\\u0000");
    text(&bill.reference, MAX_REFERENCE)
        && text(&bill.period, MAX_PERIOD)
        && bill.amount.currency() == CURRENCY
        && bill.amount.is_positive()
        && plain
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bill(reference: &str, amount: Money) -> FetchedBill {
        let day = NaiveDate::from_ymd_opt(2025, 11, 1).expect("a date");
        let period = "2025-10".to_owned();
        FetchedBill {
            reference: reference.to_owned(),
            period,
            amount,
            issued_on: day,
            due_on: day,
            details: serde_json::Map::new(),
        }
    }

    #[test]
    fn bills_that_can_not_be_kept_make_the_answer_no_answer() {
        let good = || bill("A", Money::vnd(1));
        assert_eq!(bounded(vec![good()]), Fetched::Bills(vec![good()]));
        assert_eq!(bounded(Vec::new()), Fetched::Bills(Vec::new()));
        for bad in [
            bill("A", Money::vnd(1)),
            bill("", Money::vnd(1)),
            bill("B\u{0}", Money::vnd(1)),
            bill(&"B".repeat(MAX_REFERENCE + 1), Money::vnd(1)),
            bill("B", Money::vnd(0)),
            bill("B", Money::vnd(-1)),
            bill("B", Money::from_minor(1, ledger::Currency::Usd)),
            FetchedBill { period: "B".repeat(MAX_PERIOD + 1), ..bill("B", Money::vnd(1)) },
            FetchedBill {
                details: [("note".to_owned(), "\u{0}".into())].into_iter().collect(),
                ..bill("B", Money::vnd(1))
            },
        ] {
            assert_eq!(bounded(vec![good(), bad.clone()]), Fetched::Lost, "{bad:?}");
        }
        let many = (0..=MAX_BILLS).map(|number| bill(&number.to_string(), Money::vnd(1))).collect();
        assert_eq!(bounded(many), Fetched::Lost);
    }
}
