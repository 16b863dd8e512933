//! Messages about guardians: that one is asked to be one, may pay, may no longer, or has paid; that a number took their place. Pure.
//!
//! The guardian is told what they paid and never what the other's wallet holds.

use platform::events::{Event, HandleError};
use proto::identity::v1::{DelegationBegan, DelegationEnded, DelegationExpired, DependentRegistered, PhoneAttached};
use proto::wallet::v1::{BillPaid, PaymentCompleted};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{id, in_app_and_push, money};
use crate::lane::Lane;
use crate::message::Draft;
use crate::template::{self, Template};

/// To each of them as the one who they are. Security: somebody else's hand in a wallet is noticed.
fn to_both(event: &Event, both: [(&str, Uuid); 2], template: Template, parameters: &Value) -> Vec<Draft> {
    let to = |(side, recipient): (&str, Uuid)| {
        let mut parameters = parameters.clone();
        parameters["side"] = json!(side);
        in_app_and_push(event, Lane::Security, recipient, template, &parameters)
    };
    both.into_iter().flat_map(to).collect()
}

pub(super) fn began(event: &Event, began: &DelegationBegan) -> Result<Vec<Draft>, HandleError> {
    let both = [("guardian", id(&began.guardian_id)?), ("dependent", id(&began.dependent_id)?)];
    let parameters = json!({ "delegation_id": began.delegation_id });
    Ok(to_both(event, both, template::DELEGATION_BEGAN, &parameters))
}

pub(super) fn ended(event: &Event, ended: &DelegationEnded) -> Result<Vec<Draft>, HandleError> {
    let both = [("guardian", id(&ended.guardian_id)?), ("dependent", id(&ended.dependent_id)?)];
    let by = id(&ended.ended_by)?;
    let parameters = json!({ "delegation_id": ended.delegation_id, "left": ended.left });
    let mut drafts = to_both(event, both, template::DELEGATION_ENDED, &parameters);
    // Who has closed their account can't be told, and nothing is kept of them any more.
    drafts.retain(|draft| !ended.left || draft.recipient != by);
    Ok(drafts)
}

pub(super) fn expired(event: &Event, expired: &DelegationExpired) -> Result<Vec<Draft>, HandleError> {
    let both = [("guardian", id(&expired.guardian_id)?), ("dependent", id(&expired.dependent_id)?)];
    let parameters = json!({ "delegation_id": expired.delegation_id });
    Ok(to_both(event, both, template::DELEGATION_EXPIRED, &parameters))
}

/// Security: whoever is made a guardian without having asked for it is noticed.
pub(super) fn registered(event: &Event, registered: &DependentRegistered) -> Result<Vec<Draft>, HandleError> {
    let parameters = json!({ "registration_id": registered.registration_id });
    let guardian = id(&registered.guardian_id)?;
    Ok(in_app_and_push(event, Lane::Security, guardian, template::DEPENDENT_REGISTERED, &parameters))
}

pub(super) fn attached(event: &Event, attached: &PhoneAttached) -> Result<Vec<Draft>, HandleError> {
    let both = [("guardian", id(&attached.guardian_id)?), ("dependent", id(&attached.user_id)?)];
    Ok(to_both(event, both, template::PHONE_ATTACHED, &json!({})))
}

/// What a guardian paid to a merchant, in place of what the payer is told of their own payments.
pub(super) fn paid_merchant(event: &Event, completed: &PaymentCompleted) -> Result<Vec<Draft>, HandleError> {
    let parameters = json!({
        "payment_id": completed.payment_id,
        "what": "merchant",
        "merchant": completed.merchant_name,
        "amount": money(completed.amount.as_ref())?,
    });
    let people = (id(&completed.acted_by)?, id(&completed.payer_user_id)?);
    Ok(paid(event, people, &parameters, &money(completed.payer_balance.as_ref())?))
}

/// What a guardian paid for a bill or a fee.
pub(super) fn paid_bill(event: &Event, bill: &BillPaid) -> Result<Vec<Draft>, HandleError> {
    let parameters = json!({
        "bill_payment_id": bill.bill_payment_id,
        "bill_id": bill.bill_id,
        "what": "bill",
        "kind": bill.kind,
        "period": bill.period,
        "amount": money(bill.amount.as_ref())?,
    });
    let people = (id(&bill.acted_by)?, id(&bill.user_id)?);
    Ok(paid(event, people, &parameters, &money(bill.balance.as_ref())?))
}

fn paid(event: &Event, (guardian, dependent): (Uuid, Uuid), parameters: &Value, balance: &Value) -> Vec<Draft> {
    let (mut to_guardian, mut to_dependent) = (parameters.clone(), parameters.clone());
    to_guardian["side"] = json!("guardian");
    to_dependent["side"] = json!("dependent");
    to_dependent["balance"] = balance.clone();
    let told = |to, parameters| in_app_and_push(event, Lane::Payment, to, template::PAYMENT_ACTED, parameters);
    [told(dependent, &to_dependent), told(guardian, &to_guardian)].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::tests::{dong, payment_of, told};

    #[test]
    fn guardian_and_dependent_are_told_of_what_is_paid_between_them() {
        let (guardian, dependent, owner) = (platform::id::new(), platform::id::new(), platform::id::new());
        let began = DelegationBegan {
            guardian_id: guardian.to_string(),
            dependent_id: dependent.to_string(),
            ..DelegationBegan::default()
        };
        let to = |said: &[(Uuid, Lane, String)]| said.iter().map(|(to, ..)| *to).collect::<Vec<_>>();
        assert_eq!(to(&told(dependent, &began)), [guardian, dependent]);
        let ended = DelegationEnded {
            guardian_id: guardian.to_string(),
            dependent_id: dependent.to_string(),
            ended_by: guardian.to_string(),
            ..DelegationEnded::default()
        };
        assert_eq!(to(&told(dependent, &ended)), [guardian, dependent]);
        let left = told(dependent, &DelegationEnded { left: true, ..ended });
        assert_eq!(to(&left), [dependent], "nothing is kept of who has left");
        assert!(left[0].2.ends_with("The other person has closed their account."), "{left:?}");

        let expired = DelegationExpired {
            guardian_id: guardian.to_string(),
            dependent_id: dependent.to_string(),
            ..DelegationExpired::default()
        };
        let said = told(dependent, &expired);
        assert_eq!(to(&said), [guardian, dependent]);
        assert_eq!(said[0].2, "Its time is over: you can't pay for the other person any more.");
        let registered = DependentRegistered { guardian_id: guardian.to_string(), ..DependentRegistered::default() };
        assert_eq!(to(&told(guardian, &registered)), [guardian]);
        let attached = PhoneAttached { user_id: dependent.to_string(), guardian_id: guardian.to_string() };
        assert_eq!(to(&told(dependent, &attached)), [guardian, dependent]);

        let paid = PaymentCompleted { acted_by: guardian.to_string(), ..payment_of(dependent, owner) };
        let said = told(dependent, &paid);
        assert_eq!(to(&said), [dependent, guardian, owner]);
        assert_eq!(said[0].2, "Your guardian paid for you 25.000 ₫ to Cà phê Muối. Balance: 175.000 ₫.");
        assert_eq!(
            said[1].2, "For somebody else you paid 25.000 ₫ to Cà phê Muối.",
            "the balance is not theirs to know"
        );
        let bill = BillPaid {
            user_id: dependent.to_string(),
            kind: "water".to_owned(),
            period: "2025-11".to_owned(),
            amount: dong(80_000),
            balance: dong(95_000),
            acted_by: guardian.to_string(),
            ..BillPaid::default()
        };
        let said = told(dependent, &bill);
        assert_eq!(to(&said), [dependent, guardian]);
        assert_eq!(said[0].2, "Your guardian paid for you 80.000 ₫ for the water bill of 2025-11. Balance: 95.000 ₫.");
        assert_eq!(said[1].2, "For somebody else you paid 80.000 ₫ for the water bill of 2025-11.");
    }
}
