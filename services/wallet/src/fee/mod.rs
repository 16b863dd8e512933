//! Fees of public services: an agency's client issues a notice for a procedure, it stands beside the citizen's bills, and is paid as one.
//!
//! `notice.rs` issues and takes back, `agency.rs` is the agency as a biller whose books are our own, `told.rs` tells the agency that
//! it was paid, `sql.rs` holds the statements. What a procedure costs is [`city::Procedures`](crate::city::Procedures).
//!
//! A notice is a row of `wallet.bill` with its citizen: the list, the payment, its saga, its limits and its receipt are those of
//! [`bill`](crate::bill) and [`bill_payment`](crate::bill_payment). The agency's account is a biller's, under the code that
//! [`biller_code`] makes of the agency's.
//!
//! Invariant: an agency asks for what the portal lists for the procedure, never for another amount.
//! Invariant: a reference names one notice of an agency; issued again with the same content, it is the same notice.
//! Invariant: the agency is told after the money is booked, once it answered never again, and nothing of who paid.

mod agency;
mod notice;
pub(crate) mod sql;
mod told;

pub(crate) use agency::AgencyBooks;
pub(crate) use notice::{Issuer, NewNotice, addressee, cancel, issue};
pub(crate) use sql::Notice;
pub(crate) use told::{AgencyEndpoint, FeePaidJob, JOB, tell_later};

/// What codes of agencies begin with where billers' codes stand. No biller's code has a colon.
const PREFIX: &str = "agency:";

/// An agency's code among the billers'.
pub(crate) fn biller_code(agency: &str) -> String {
    format!("{PREFIX}{agency}")
}

/// The agency of such a code.
pub(crate) fn agency_of(biller_code: &str) -> Option<&str> {
    biller_code.strip_prefix(PREFIX)
}
