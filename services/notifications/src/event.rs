//! What events call for which messages, and the consumer that makes them.
//!
//! | event | lane | to whom, over which channel |
//! | --- | --- | --- |
//! | `OtpRequested` | security | the number that asked: SMS |
//! | `PaymentCompleted` | payment | the payer and the merchant's owner: in-app and push |
//! | `RefundCompleted` | payment | the payer: in-app and push |
//! | `BillFound`, `BillDue`, `FeeNoticeIssued` | payment | the citizen: in-app and push |
//! | `BillPaid`, `BillPaymentUnclear`, `BillPaymentFailed` | payment | the citizen: in-app and push |
//! | `TopUpCompleted`, `TopUpUnclear`, `TopUpFailed` | payment | the citizen: in-app and push |
//! | `TierChanged`, `PinChanged`, `VneidLinked`, `DeviceAdded` (but the account's first) | security | the citizen: in-app and push |
//! | `ExportReady` | security | the citizen: in-app and push |
//! | `ClosingRequested`, `ClosingAgreed`, `ClosingEnded`, `ErasureNear` | security | the citizen: in-app and push |
//! | `DelegationBegan`, `DelegationEnded`, `DelegationExpired`, `PhoneAttached` | security | guardian and dependent: in-app and push |
//! | `DependentRegistered` | security | who is asked to be the guardian: in-app and push |
//! | `PaymentCompleted`, `BillPaid` by a guardian | payment | dependent and guardian: in-app and push |
//! | `ReporterNotice`, of the steps that a reporter waits for | service | the reporter: in-app and push |
//! | `ReporterNotice`, of steps in between and of what the reporter did | service | the reporter: in-app |
//!
//! `CitizenRegistered` and `SessionStarted` tell who there is, for news. `SessionRevoked` removes the devices that the session registered.
//! `DependentBound` and `PhoneAttached` say who has no telephone, and so whose messages go to their guardian (`dependent`).
//! Everything else is of no concern here.
//! [`drafts`] and [`ended`] are pure; the handler only writes rows.

mod account;
mod bill;
mod delegation;
mod leaving;
#[cfg(test)]
pub(crate) mod tests;

use std::collections::BTreeSet;

use async_trait::async_trait;
use chrono::DateTime;
use platform::clock::Clock;
use platform::events::{Event, HandleError, Handler};
use proto::identity::v1::{
    ClosingAgreed, ClosingEnded, ClosingRequested, DelegationBegan, DelegationEnded, DelegationExpired,
    DependentRegistered, DeviceAdded, ErasureNear, ExportReady, OtpRequested, PhoneAttached, PinChanged,
    SessionRevoked, TierChanged, VneidLinked,
};
use proto::money::v1::Money;
use proto::reports::v1::ReporterNotice;
use proto::wallet::v1::{
    BillDue, BillFound, BillPaid, BillPaymentFailed, BillPaymentUnclear, FeeNoticeIssued, PaymentCompleted,
    RefundCompleted, TopUpCompleted, TopUpFailed, TopUpUnclear,
};
use serde_json::{Value, json};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::SCHEMA;
use crate::dependent;
use crate::device::{self, EndedSession};
use crate::ladder;
use crate::lane::{Channel, Lane};
use crate::message::{self, Draft};
use crate::meter::Meter;
use crate::news;
use crate::template::{self, Template};

/// The streams that call for messages, beside identity's, which asks for more than that.
pub(crate) const STREAMS: [&str; 3] = ["journal", "reports-private", "wallet"];

/// Turns events into messages, in the consumer's transaction.
#[derive(Clone, Debug)]
pub(crate) struct Writer {
    pub(crate) clock: Clock,
    /// The zone of the city's hours.
    pub(crate) zone: chrono_tz::Tz,
    pub(crate) meter: Meter,
}

#[async_trait]
impl Handler for Writer {
    async fn handle(&self, transaction: &mut PgConnection, events: &[Event]) -> Result<(), HandleError> {
        let (mut all, mut sessions, mut citizens, mut bonds) = (Vec::new(), Vec::new(), BTreeSet::new(), Vec::new());
        for event in events {
            all.extend(drafts(event)?);
            sessions.extend(ended(event)?);
            citizens.extend(account::seen(event)?);
            bonds.extend(dependent::change(event)?);
        }
        news::keep_citizens(transaction, &citizens).await?;
        // First, so that a message of the same batch does not wait for a device that is gone.
        device::end_sessions(transaction, &sessions).await?;
        dependent::keep(transaction, &bonds).await?;
        let all = dependent::to_guardians(transaction, all).await?;
        let now = self.clock.now();
        let made = message::enqueue(transaction, &all, (now, self.zone)).await?;
        platform::job::schedule_all(transaction, SCHEMA, now, &ladder::jobs(&made, now)).await?;
        made.iter().for_each(|made| self.meter.made(made));
        Ok(())
    }
}

/// The messages that an event calls for; none for kinds of no concern.
///
/// # Errors
/// Poison when a payload of a known kind can't be read.
pub(crate) fn drafts(event: &Event) -> Result<Vec<Draft>, HandleError> {
    if let Some(requested) = event.decode::<OtpRequested>() {
        otp(event, &requested?)
    } else if let Some(completed) = event.decode::<PaymentCompleted>() {
        payment(event, &completed?)
    } else if let Some(completed) = event.decode::<RefundCompleted>() {
        refund(event, &completed?)
    } else if let Some(paid) = event.decode::<BillPaid>() {
        match paid? {
            paid if paid.acted_by.is_empty() => bill::paid(event, &paid),
            paid => delegation::paid_bill(event, &paid),
        }
    } else if let Some(failed) = event.decode::<BillPaymentFailed>() {
        bill::payment_failed(event, &failed?)
    } else if let Some(unclear) = event.decode::<BillPaymentUnclear>() {
        bill::payment_unclear(event, &unclear?)
    } else if let Some(found) = event.decode::<BillFound>() {
        bill::found(event, &found?)
    } else if let Some(due) = event.decode::<BillDue>() {
        bill::due(event, &due?)
    } else if let Some(issued) = event.decode::<FeeNoticeIssued>() {
        bill::fee_notice(event, &issued?)
    } else if let Some(completed) = event.decode::<TopUpCompleted>() {
        top_up_completed(event, &completed?)
    } else if let Some(failed) = event.decode::<TopUpFailed>() {
        top_up_failed(event, &failed?)
    } else if let Some(unclear) = event.decode::<TopUpUnclear>() {
        top_up_unclear(event, &unclear?)
    } else if let Some(ready) = event.decode::<ExportReady>() {
        account::export_ready(event, &ready?)
    } else if let Some(changed) = event.decode::<TierChanged>() {
        account::tier_changed(event, &changed?)
    } else if let Some(changed) = event.decode::<PinChanged>() {
        account::pin_changed(event, &changed?)
    } else if let Some(added) = event.decode::<DeviceAdded>() {
        account::device_added(event, &added?)
    } else if let Some(linked) = event.decode::<VneidLinked>() {
        account::vneid_linked(event, &linked?)
    } else if let Some(asked) = event.decode::<ClosingRequested>() {
        leaving::asked(event, &asked?)
    } else if let Some(agreed) = event.decode::<ClosingAgreed>() {
        leaving::agreed(event, &agreed?)
    } else if let Some(ended) = event.decode::<ClosingEnded>() {
        leaving::ended(event, &ended?)
    } else if let Some(near) = event.decode::<ErasureNear>() {
        leaving::near(event, &near?)
    } else if let Some(began) = event.decode::<DelegationBegan>() {
        delegation::began(event, &began?)
    } else if let Some(ended) = event.decode::<DelegationEnded>() {
        delegation::ended(event, &ended?)
    } else if let Some(expired) = event.decode::<DelegationExpired>() {
        delegation::expired(event, &expired?)
    } else if let Some(registered) = event.decode::<DependentRegistered>() {
        delegation::registered(event, &registered?)
    } else if let Some(attached) = event.decode::<PhoneAttached>() {
        delegation::attached(event, &attached?)
    } else if let Some(notice) = event.decode::<ReporterNotice>() {
        report(event, &notice?)
    } else {
        Ok(Vec::new())
    }
}

/// The session that an event ends, if it ends one.
///
/// # Errors
/// Poison when the payload can't be read.
pub(crate) fn ended(event: &Event) -> Result<Option<EndedSession>, HandleError> {
    let Some(revoked) = event.decode::<SessionRevoked>() else { return Ok(None) };
    let revoked = revoked?;
    let forget_at = DateTime::from_timestamp(revoked.forget_at, 0);
    Ok(Some(EndedSession {
        user: id(&revoked.user_id)?,
        session: id(&revoked.session_id)?,
        forget_at: forget_at.ok_or_else(|| HandleError::poison("a time is out of bounds"))?,
    }))
}

fn otp(event: &Event, requested: &OtpRequested) -> Result<Vec<Draft>, HandleError> {
    Ok(vec![Draft {
        event_id: event.id,
        recipient: id(&requested.challenge_id)?,
        lane: Lane::Security,
        channel: Channel::Sms,
        template: template::OTP,
        parameters: json!({}),
    }])
}

fn payment(event: &Event, completed: &PaymentCompleted) -> Result<Vec<Draft>, HandleError> {
    let payer = id(&completed.payer_user_id)?;
    let owner = id(&completed.merchant_owner_user_id)?;
    let sent = json!({
        "payment_id": completed.payment_id,
        "amount": money(completed.amount.as_ref())?,
        "balance": money(completed.payer_balance.as_ref())?,
        "merchant": completed.merchant_name,
    });
    let received = json!({
        "payment_id": completed.payment_id,
        "amount": money(completed.amount.as_ref())?,
        "merchant": completed.merchant_name,
        "merchant_id": completed.merchant_id,
        "till_id": completed.till_id,
    });
    let mut drafts = match completed.acted_by.as_str() {
        "" => in_app_and_push(event, Lane::Payment, payer, template::PAYMENT_SENT, &sent),
        _ => delegation::paid_merchant(event, completed)?,
    };
    drafts.extend(in_app_and_push(event, Lane::Payment, owner, template::PAYMENT_RECEIVED, &received));
    Ok(drafts)
}

fn refund(event: &Event, completed: &RefundCompleted) -> Result<Vec<Draft>, HandleError> {
    let parameters = json!({
        "refund_id": completed.refund_id,
        "payment_id": completed.payment_id,
        "amount": money(completed.amount.as_ref())?,
        "balance": money(completed.payer_balance.as_ref())?,
        "merchant": completed.merchant_name,
    });
    Ok(in_app_and_push(event, Lane::Payment, id(&completed.payer_user_id)?, template::PAYMENT_REFUNDED, &parameters))
}

fn top_up_completed(event: &Event, completed: &TopUpCompleted) -> Result<Vec<Draft>, HandleError> {
    let parameters = json!({
        "top_up_id": completed.top_up_id,
        "transfer_id": completed.transfer_id,
        "amount": money(completed.amount.as_ref())?,
        "balance": money(completed.balance.as_ref())?,
        "bank": completed.bank_code.to_uppercase(),
    });
    Ok(in_app_and_push(event, Lane::Payment, id(&completed.user_id)?, template::TOP_UP_COMPLETED, &parameters))
}

fn top_up_unclear(event: &Event, unclear: &TopUpUnclear) -> Result<Vec<Draft>, HandleError> {
    let parameters = json!({
        "top_up_id": unclear.top_up_id,
        "amount": money(unclear.amount.as_ref())?,
        "bank": unclear.bank_code.to_uppercase(),
    });
    Ok(in_app_and_push(event, Lane::Payment, id(&unclear.user_id)?, template::TOP_UP_UNCLEAR, &parameters))
}

fn top_up_failed(event: &Event, failed: &TopUpFailed) -> Result<Vec<Draft>, HandleError> {
    let parameters = json!({
        "top_up_id": failed.top_up_id,
        "amount": money(failed.amount.as_ref())?,
        "reason": failed.reason,
    });
    Ok(in_app_and_push(event, Lane::Payment, id(&failed.user_id)?, template::TOP_UP_FAILED, &parameters))
}

/// By push what a reporter waits for; in the app alone what lies between, and what the reporter did. The centre's own steps, and what the
/// agency has handed in until the centre approves it, are nobody's message.
fn report(event: &Event, notice: &ReporterNotice) -> Result<Vec<Draft>, HandleError> {
    let (template, loudest) = match (notice.action.as_str(), notice.to_state.as_str()) {
        ("submit", _) => (template::REPORT_RECEIVED, Channel::Push),
        ("ask", _) => (template::REPORT_ASKED, Channel::Push),
        ("distribute", _) => (template::REPORT_DISTRIBUTED, Channel::Push),
        ("reject", _) => (template::REPORT_REJECTED, Channel::Push),
        ("merge", _) => (template::REPORT_MERGED, Channel::Push),
        ("grant-extension", _) => (template::REPORT_EXTENDED, Channel::Push),
        ("approve", _) => (template::REPORT_PUBLISHED, Channel::Push),
        ("reopen", _) => (template::REPORT_REOPENED, Channel::Push),
        ("expire", "rejected") => (template::REPORT_LAPSED, Channel::Push),
        ("accept", _) => (template::REPORT_ACCEPTED, Channel::InApp),
        ("return", _) => (template::REPORT_RETURNED, Channel::InApp),
        ("rate", _) => (template::REPORT_RATED, Channel::InApp),
        ("expire", "closed") => (template::REPORT_CLOSED, Channel::InApp),
        _ => return Ok(Vec::new()),
    };
    let parameters = json!({
        "report_id": notice.report_id,
        "category": { "vi": notice.category_vi, "en": notice.category_en },
    });
    let mut drafts = in_app_and_push(event, Lane::Service, id(&notice.user_id)?, template, &parameters);
    drafts.retain(|draft| draft.channel <= loudest);
    Ok(drafts)
}

fn in_app_and_push(event: &Event, lane: Lane, recipient: Uuid, template: Template, parameters: &Value) -> Vec<Draft> {
    let draft =
        |channel| Draft { event_id: event.id, recipient, lane, channel, template, parameters: parameters.clone() };
    vec![draft(Channel::InApp), draft(Channel::Push)]
}

fn id(text: &str) -> Result<Uuid, HandleError> {
    text.parse().map_err(|_| HandleError::poison("an id is not a UUID"))
}

fn money(money: Option<&Money>) -> Result<Value, HandleError> {
    let money = money.ok_or_else(|| HandleError::poison("an amount is missing"))?;
    Ok(json!({ "amount": money.minor_units.to_string(), "currency": money.currency }))
}
