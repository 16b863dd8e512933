//! Bills: customer codes that citizens have linked, and what billers ask them for.
//!
//! `biller.rs` is the biller's API, `link.rs` links a customer code, `refresh.rs` fetches the bills of linked customers again and again,
//! `unite.rs` makes one of a customer that is known under two secrets, `told.rs` says what citizens hear of them, `open.rs` puts in what only they can read. Statements are in `customer.rs`,
//! `subscription.rs` and `sql.rs`. Paying is [`bill_payment`](crate::bill_payment).
//!
//! A bill belongs to a customer of a biller, not to a citizen: whoever has linked the customer sees it, and it is paid once.
//! The customer is known by a keyed digest; its code stands in links and payments only, each sealed under the key of its citizen.
//!
//! Invariant: what a biller said is kept as it said it, within bounds; an answer that can't be read changes nothing.

mod biller;
pub(crate) mod customer;
mod link;
pub(crate) mod mask;
mod open;
mod refresh;
pub(crate) mod sql;
pub(crate) mod subscription;
mod told;
mod unite;

pub(crate) use biller::HttpBiller;
pub use biller::{BillerConnector, Charge, Fetched, FetchedBill};
pub(crate) use link::{Lookups, MAX_SUBSCRIPTIONS, NewSubscription, link, look};
pub(crate) use open::opened;
pub(crate) use refresh::{JOB, RefreshJob};
pub(crate) use sql::ListedBill;
pub(crate) use subscription::Subscription;
pub(crate) use told::{REMINDER, ReminderJob, reminder};

platform::typed_id! {
    /// One bill.
    pub struct BillId;
    /// A customer code that a citizen has linked.
    pub struct SubscriptionId;
    /// A customer at a biller.
    pub struct CustomerId;
}
