//! Messages about bills and fees: those that come, those that fall due, and what became of their payments. Pure.

use platform::events::{Event, HandleError};
use proto::money::v1::Money;
use proto::wallet::v1::{BillDue, BillFound, BillPaid, BillPaymentFailed, BillPaymentUnclear, FeeNoticeIssued};
use serde_json::{Value, json};

use super::{id, in_app_and_push, money};
use crate::lane::Lane;
use crate::message::Draft;
use crate::template;

pub(super) fn found(event: &Event, found: &BillFound) -> Result<Vec<Draft>, HandleError> {
    let parameters = open([&found.bill_id, &found.kind, &found.period, &found.due_on], found.amount.as_ref())?;
    Ok(in_app_and_push(event, Lane::Payment, id(&found.user_id)?, template::BILL_FOUND, &parameters))
}

pub(super) fn due(event: &Event, due: &BillDue) -> Result<Vec<Draft>, HandleError> {
    let parameters = open([&due.bill_id, &due.kind, &due.period, &due.due_on], due.amount.as_ref())?;
    Ok(in_app_and_push(event, Lane::Payment, id(&due.user_id)?, template::BILL_DUE, &parameters))
}

fn open([bill, kind, period, due_on]: [&String; 4], amount: Option<&Money>) -> Result<Value, HandleError> {
    Ok(json!({ "bill_id": bill, "kind": kind, "period": period, "amount": money(amount)?, "due_on": due_on }))
}

pub(super) fn payment_unclear(event: &Event, unclear: &BillPaymentUnclear) -> Result<Vec<Draft>, HandleError> {
    let parameters = json!({
        "bill_payment_id": unclear.bill_payment_id,
        "bill_id": unclear.bill_id,
        "kind": unclear.kind,
        "period": unclear.period,
        "amount": money(unclear.amount.as_ref())?,
    });
    Ok(in_app_and_push(event, Lane::Payment, id(&unclear.user_id)?, template::BILL_PAYMENT_UNCLEAR, &parameters))
}

pub(super) fn paid(event: &Event, paid: &BillPaid) -> Result<Vec<Draft>, HandleError> {
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

pub(super) fn fee_notice(event: &Event, issued: &FeeNoticeIssued) -> Result<Vec<Draft>, HandleError> {
    let parameters = json!({
        "bill_id": issued.bill_id,
        "agency": { "vi": issued.agency_name_vi, "en": issued.agency_name_en },
        "procedure": issued.procedure,
        "amount": money(issued.amount.as_ref())?,
        "due_on": issued.due_on,
    });
    Ok(in_app_and_push(event, Lane::Payment, id(&issued.user_id)?, template::FEE_NOTICE, &parameters))
}

pub(super) fn payment_failed(event: &Event, failed: &BillPaymentFailed) -> Result<Vec<Draft>, HandleError> {
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
