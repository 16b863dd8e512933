//! What events call for which messages, and the consumer that makes them.
//!
//! | event | lane | to whom, over which channel |
//! | --- | --- | --- |
//! | `OtpRequested` | security | the number that asked: SMS |
//! | `PaymentCompleted` | payment | the payer and the merchant's owner: in-app and push |
//! | `RefundCompleted` | payment | the payer: in-app and push |
//! | `BillPaid`, `BillPaymentFailed`, `FeeNoticeIssued` | payment | the citizen: in-app and push |
//! | `TopUpCompleted`, `TopUpFailed` | payment | the citizen: in-app and push |
//! | `TierChanged` | security | the citizen: in-app and push |
//! | `ExportReady` | security | the citizen: in-app and push |
//! | `ReporterNotice`, of the steps that a reporter waits for | service | the reporter: in-app and push |
//!
//! `SessionRevoked` removes the devices that the session registered. Everything else is of no concern here.
//! [`drafts`] and [`ended`] are pure; the handler only writes rows.

#[cfg(test)]
pub(crate) mod tests;

use async_trait::async_trait;
use chrono::DateTime;
use platform::clock::Clock;
use platform::events::{Event, HandleError, Handler};
use proto::identity::v1::{ExportReady, OtpRequested, SessionRevoked, TierChanged};
use proto::money::v1::Money;
use proto::reports::v1::ReporterNotice;
use proto::wallet::v1::{
    BillPaid, BillPaymentFailed, FeeNoticeIssued, PaymentCompleted, RefundCompleted, TopUpCompleted, TopUpFailed,
};
use serde_json::{Value, json};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::SCHEMA;
use crate::device::{self, EndedSession};
use crate::ladder;
use crate::lane::{Channel, Lane};
use crate::message::{self, Draft};
use crate::meter::Meter;
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
        let (mut all, mut sessions) = (Vec::new(), Vec::new());
        for event in events {
            all.extend(drafts(event)?);
            sessions.extend(ended(event)?);
        }
        // First, so that a message of the same batch does not wait for a device that is gone.
        device::end_sessions(transaction, &sessions).await?;
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
        bill_paid(event, &paid?)
    } else if let Some(failed) = event.decode::<BillPaymentFailed>() {
        bill_payment_failed(event, &failed?)
    } else if let Some(issued) = event.decode::<FeeNoticeIssued>() {
        fee_notice(event, &issued?)
    } else if let Some(completed) = event.decode::<TopUpCompleted>() {
        top_up_completed(event, &completed?)
    } else if let Some(failed) = event.decode::<TopUpFailed>() {
        top_up_failed(event, &failed?)
    } else if let Some(ready) = event.decode::<ExportReady>() {
        export_ready(event, &ready?)
    } else if let Some(changed) = event.decode::<TierChanged>() {
        tier_changed(event, &changed?)
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
    let mut drafts = in_app_and_push(event, Lane::Payment, payer, template::PAYMENT_SENT, &sent);
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

fn top_up_failed(event: &Event, failed: &TopUpFailed) -> Result<Vec<Draft>, HandleError> {
    let parameters = json!({
        "top_up_id": failed.top_up_id,
        "amount": money(failed.amount.as_ref())?,
        "reason": failed.reason,
    });
    Ok(in_app_and_push(event, Lane::Payment, id(&failed.user_id)?, template::TOP_UP_FAILED, &parameters))
}

fn bill_paid(event: &Event, paid: &BillPaid) -> Result<Vec<Draft>, HandleError> {
    let parameters = json!({
        "bill_payment_id": paid.bill_payment_id,
        "bill_id": paid.bill_id,
        "transfer_id": paid.transfer_id,
        "kind": paid.kind,
        "period": paid.period,
        "amount": money(paid.amount.as_ref())?,
        "balance": money(paid.balance.as_ref())?,
    });
    Ok(in_app_and_push(event, Lane::Payment, id(&paid.user_id)?, template::BILL_PAID, &parameters))
}

fn fee_notice(event: &Event, issued: &FeeNoticeIssued) -> Result<Vec<Draft>, HandleError> {
    let parameters = json!({
        "bill_id": issued.bill_id,
        "agency": { "vi": issued.agency_name_vi, "en": issued.agency_name_en },
        "procedure": issued.procedure,
        "amount": money(issued.amount.as_ref())?,
        "due_on": issued.due_on,
    });
    Ok(in_app_and_push(event, Lane::Payment, id(&issued.user_id)?, template::FEE_NOTICE, &parameters))
}

fn bill_payment_failed(event: &Event, failed: &BillPaymentFailed) -> Result<Vec<Draft>, HandleError> {
    let parameters = json!({
        "bill_payment_id": failed.bill_payment_id,
        "bill_id": failed.bill_id,
        "kind": failed.kind,
        "period": failed.period,
        "amount": money(failed.amount.as_ref())?,
        "reason": failed.reason,
    });
    Ok(in_app_and_push(event, Lane::Payment, id(&failed.user_id)?, template::BILL_PAYMENT_FAILED, &parameters))
}

/// Security: whoever asked in the citizen's name is noticed, whatever the citizen muted.
fn export_ready(event: &Event, ready: &ExportReady) -> Result<Vec<Draft>, HandleError> {
    let days = (ready.expires_at - event.time.timestamp()).max(0) / 86_400;
    let parameters = json!({ "export_id": ready.export_id, "expires_at": ready.expires_at, "days": days });
    Ok(in_app_and_push(event, Lane::Security, id(&ready.user_id)?, template::EXPORT_READY, &parameters))
}

/// Security: somebody else's number, proved in the citizen's name, is noticed.
fn tier_changed(event: &Event, changed: &TierChanged) -> Result<Vec<Draft>, HandleError> {
    let parameters = json!({ "tier": changed.tier });
    Ok(in_app_and_push(event, Lane::Security, id(&changed.user_id)?, template::TIER_CHANGED, &parameters))
}

/// What a reporter waits for; other steps are in the app's list only.
fn report(event: &Event, notice: &ReporterNotice) -> Result<Vec<Draft>, HandleError> {
    let template = match (notice.action.as_str(), notice.to_state.as_str()) {
        ("submit", _) => template::REPORT_RECEIVED,
        ("ask", _) => template::REPORT_ASKED,
        ("distribute", _) => template::REPORT_DISTRIBUTED,
        ("reject", _) => template::REPORT_REJECTED,
        ("merge", _) => template::REPORT_MERGED,
        ("approve", _) => template::REPORT_PUBLISHED,
        ("expire", "rejected") => template::REPORT_LAPSED,
        _ => return Ok(Vec::new()),
    };
    let parameters = json!({
        "report_id": notice.report_id,
        "category": { "vi": notice.category_vi, "en": notice.category_en },
    });
    Ok(in_app_and_push(event, Lane::Service, id(&notice.user_id)?, template, &parameters))
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
