//! Values of the wallet as protobuf messages carry them.

use ledger::money::Money;

/// An amount in an event or an answer.
pub(crate) fn money(amount: Money) -> proto::money::v1::Money {
    proto::money::v1::Money { minor_units: amount.minor(), currency: amount.currency().code().to_owned() }
}
