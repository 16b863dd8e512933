//! Billers: customers with meter readings, a bill for each reading, and payments that a partner records.
//!
//! `http` holds the routes, `tariff` the prices, `list` who the billers are; the books live here and are pure
//! but for time and references that are passed in.
//!
//! Invariant: a bill is paid at most once. A request id has one verdict for ever, recorded or refused.
//! Invariant: at most [`MAX_CUSTOMERS`] customers with [`MAX_BILLS`] bills each, and [`MAX_PAYMENTS`] payments; the oldest payment is forgotten
//! first, and its id with it.

mod http;
mod list;
mod tariff;

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, Datelike as _, Days, NaiveDate, Utc};
use serde::Serialize;
use uuid::Uuid;

use crate::journal::Journal;
use crate::money::Dong;

pub(crate) use self::http::routes;
pub(crate) use self::list::Profile;
pub use self::list::{Billers, check_city};
use self::tariff::{Cost, Utility};

/// Customers of one biller, at most.
const MAX_CUSTOMERS: usize = 100_000;
/// Bills of one customer, at most.
const MAX_BILLS: usize = 120;
/// Payments that one biller remembers, at most.
const MAX_PAYMENTS: usize = 200_000;
/// Days that a customer has to pay.
const DAYS_TO_PAY: u64 = 10;

/// One bill.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Bill {
    /// Names the bill at its biller.
    pub(crate) reference: String,
    /// The month of the reading.
    pub(crate) period: String,
    /// When the meter was read and the bill made.
    pub(crate) issued_on: NaiveDate,
    /// The last day to pay.
    pub(crate) due_on: NaiveDate,
    /// What is to be paid.
    pub(crate) amount: Dong,
    /// How it comes about.
    pub(crate) details: Details,
    /// The payment that paid it.
    pub(crate) paid_by: Option<Uuid>,
}

/// How a bill's amount comes about.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Details {
    pub(crate) usage: u32,
    pub(crate) unit: &'static str,
    #[serde(flatten)]
    pub(crate) cost: Cost,
}

/// A meter reading that was priced.
#[derive(Clone, Debug)]
pub(crate) struct Reading {
    pub(crate) read_on: NaiveDate,
    pub(crate) usage: u32,
    pub(crate) cost: Cost,
}

/// What a partner asks to record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Order {
    pub(crate) request_id: Uuid,
    pub(crate) customer_code: String,
    pub(crate) reference: String,
    pub(crate) amount: Dong,
}

/// What a biller said to an order, for ever.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The bill is paid; the biller's own reference.
    Recorded(String),
    /// It is not.
    Refused(Reason),
}

/// Why a payment is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Reason {
    BillUnknown,
    BillPaid,
    AmountMismatch,
}

impl Reason {
    pub(crate) fn code(self) -> &'static str {
        match self {
            Self::BillUnknown => "bill-unknown",
            Self::BillPaid => "bill-paid",
            Self::AmountMismatch => "amount-mismatch",
        }
    }
}

/// One payment as a biller remembers it.
#[derive(Clone, Debug)]
pub(crate) struct Payment {
    pub(crate) order: Order,
    pub(crate) verdict: Verdict,
    pub(crate) decided_at: DateTime<Utc>,
}

/// What became of an order.
#[derive(Debug)]
pub(crate) enum Recording {
    /// Decided now.
    New(Payment),
    /// The same order came before.
    Known(Payment),
    /// Another order came before with this request id.
    Conflict,
}

/// Why readings are not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotTaken {
    /// There is a bill for the month already.
    MonthKnown,
    /// No room for another customer or bill.
    Full,
}

/// The books of one biller.
#[derive(Debug)]
pub(crate) struct Book {
    code: String,
    utility: Utility,
    /// Bills by customer and month.
    customers: HashMap<String, BTreeMap<String, Bill>>,
    payments: Journal<Payment>,
}

impl Book {
    /// Empty books.
    pub(crate) fn new(profile: &Profile) -> Self {
        Self {
            code: profile.code.clone(),
            utility: profile.utility,
            customers: HashMap::new(),
            payments: Journal::new(MAX_PAYMENTS),
        }
    }

    /// Makes a customer, or adds to one: a bill for each reading, all of them or none.
    pub(crate) fn add(&mut self, customer: &str, readings: &[Reading]) -> Result<(), NotTaken> {
        let known = self.customers.get(customer);
        let mut months: Vec<_> = readings.iter().map(|reading| month(reading.read_on)).collect();
        let asked = months.len();
        months.sort();
        months.dedup();
        if months.len() < asked || months.iter().any(|month| known.is_some_and(|bills| bills.contains_key(month))) {
            return Err(NotTaken::MonthKnown);
        }
        let bills = known.map_or(0, BTreeMap::len) + asked;
        if bills > MAX_BILLS || (known.is_none() && self.customers.len() == MAX_CUSTOMERS) {
            return Err(NotTaken::Full);
        }
        let made: Vec<_> = readings.iter().map(|reading| self.bill(customer, reading)).collect();
        let bills = self.customers.entry(customer.to_owned()).or_default();
        bills.extend(made.into_iter().map(|bill| (bill.period.clone(), bill)));
        Ok(())
    }

    fn bill(&self, customer: &str, reading: &Reading) -> Bill {
        let period = month(reading.read_on);
        Bill {
            reference: format!("{}-{customer}-{period}", self.code),
            issued_on: reading.read_on,
            due_on: reading.read_on.checked_add_days(Days::new(DAYS_TO_PAY)).unwrap_or(reading.read_on),
            amount: reading.cost.total,
            details: Details { usage: reading.usage, unit: self.utility.unit(), cost: reading.cost.clone() },
            paid_by: None,
            period,
        }
    }

    /// A customer's bills, the oldest first; `None` when there is no such customer.
    pub(crate) fn bills(&self, customer: &str) -> Option<Vec<Bill>> {
        self.customers.get(customer).map(|bills| bills.values().cloned().collect())
    }

    /// Records a payment or refuses it, once per request id.
    pub(crate) fn record(&mut self, order: Order, biller_reference: String, now: DateTime<Utc>) -> Recording {
        if let Some(known) = self.payments.get(order.request_id) {
            return if known.order == order { Recording::Known(known.clone()) } else { Recording::Conflict };
        }
        let verdict = self.decide(&order).map_or_else(Verdict::Refused, |bill| {
            bill.paid_by = Some(order.request_id);
            Verdict::Recorded(biller_reference)
        });
        let payment = Payment { order, verdict, decided_at: now };
        self.payments.add(payment.order.request_id, payment.clone());
        Recording::New(payment)
    }

    fn decide(&mut self, order: &Order) -> Result<&mut Bill, Reason> {
        let bills = self.customers.get_mut(&order.customer_code).ok_or(Reason::BillUnknown)?;
        let bill = bills.values_mut().find(|bill| bill.reference == order.reference).ok_or(Reason::BillUnknown)?;
        if bill.paid_by.is_some() {
            return Err(Reason::BillPaid);
        }
        if bill.amount == order.amount { Ok(bill) } else { Err(Reason::AmountMismatch) }
    }

    /// The payment with that id.
    pub(crate) fn payment(&self, id: Uuid) -> Option<&Payment> {
        self.payments.get(id)
    }
}

fn month(day: NaiveDate) -> String {
    format!("{:04}-{:02}", day.year(), day.month())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn book() -> Book {
        Book::new(&Profile {
            code: "POWER".to_owned(),
            utility: Utility::Electricity,
            customer_code_prefix: "PC".to_owned(),
            customer_code_digits: 4,
        })
    }

    fn reading(read_on: &str, total: i64) -> Reading {
        let cost = Cost {
            steps: Vec::new(),
            before_vat: Dong::new(total),
            vat_percent: "0".to_owned(),
            vat: Dong::new(0),
            total: Dong::new(total),
        };
        Reading { read_on: read_on.parse().expect("a date"), usage: 1, cost }
    }

    fn order(id: u128, reference: &str, amount: i64) -> Order {
        Order {
            request_id: Uuid::from_u128(id),
            customer_code: "PC0001".to_owned(),
            reference: reference.to_owned(),
            amount: Dong::new(amount),
        }
    }

    fn verdict(recording: Recording) -> Verdict {
        match recording {
            Recording::New(payment) | Recording::Known(payment) => payment.verdict,
            Recording::Conflict => Verdict::Recorded("conflict".to_owned()),
        }
    }

    #[test]
    fn a_bill_is_paid_once_and_a_payment_has_one_verdict() {
        let (mut book, now) = (book(), Utc::now());
        assert_eq!(book.add("PC0001", &[reading("2025-10-31", 700), reading("2025-11-30", 900)]), Ok(()));
        let reference = book.bills("PC0001").expect("a customer")[0].reference.clone();
        let mut record =
            |id, reference: &str, amount| verdict(book.record(order(id, reference, amount), format!("R{id}"), now));
        assert_eq!(record(1, &reference, 701), Verdict::Refused(Reason::AmountMismatch));
        assert_eq!(record(2, "another", 700), Verdict::Refused(Reason::BillUnknown));
        assert_eq!(record(3, &reference, 700), Verdict::Recorded("R3".to_owned()));
        assert_eq!(record(4, &reference, 700), Verdict::Refused(Reason::BillPaid));
        // What was said stays said.
        assert_eq!(record(3, &reference, 700), Verdict::Recorded("R3".to_owned()));
        assert_eq!(record(1, &reference, 701), Verdict::Refused(Reason::AmountMismatch));
        assert_eq!(record(1, &reference, 700), Verdict::Recorded("conflict".to_owned()));
        let paid: Vec<_> = book.bills("PC0001").expect("a customer").iter().map(|bill| bill.paid_by).collect();
        assert_eq!(paid, [Some(Uuid::from_u128(3)), None]);
    }

    #[test]
    fn a_month_has_one_bill() {
        let mut book = book();
        assert_eq!(book.add("PC0001", &[reading("2025-10-31", 700)]), Ok(()));
        assert_eq!(
            book.add("PC0001", &[reading("2025-11-30", 1), reading("2025-10-01", 1)]),
            Err(NotTaken::MonthKnown)
        );
        assert_eq!(
            book.add("PC0002", &[reading("2025-11-30", 1), reading("2025-11-01", 1)]),
            Err(NotTaken::MonthKnown)
        );
        assert_eq!(book.bills("PC0001").map(|bills| bills.len()), Some(1), "all readings or none");
        assert!(book.bills("PC0002").is_none());
        let bill = book.bills("PC0001").expect("a customer").remove(0);
        assert_eq!((bill.period.as_str(), bill.due_on.to_string().as_str()), ("2025-10", "2025-11-10"));
    }

    #[test]
    fn room_is_bounded() {
        let mut book = book();
        let many: Vec<_> =
            (0..=120).map(|at| reading(&format!("{}-{:02}-01", 2000 + at / 12, at % 12 + 1), 1)).collect();
        assert_eq!(book.add("PC0001", &many), Err(NotTaken::Full));
        assert_eq!(book.add("PC0001", &many[1..]), Ok(()));
        assert_eq!(book.add("PC0001", &many[..1]), Err(NotTaken::Full));
    }
}
