//! The ledger's journal as the wallet's outbox of all that moved money: stream `journal`, position = sequence.
//!
//! Invariant: every transfer yields exactly one entry, the same each time it is read: nothing of it ever changes.
//! The rows that say what a transfer was for were written in its own batch, so they are there whenever it is.

use std::collections::HashMap;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use ledger::AccountId;
use ledger::journal::{self, JournalRow, Party, Side};
use platform::outbox::{Backlog, Entry, Source, SourceError};
use prost::{Message, Name};
use proto::wallet::v1::{BillPaid, MerchantPaidOut, PaymentCompleted, RefundCompleted, TopUpCompleted};
use sqlx::PgPool;
use uuid::Uuid;

use crate::account::{BILL, FEE, PAYMENT, PAYOUT, REFUND, TOP_UP, event_of_transfer, kind_name};
use crate::bill_payment;
use crate::delegate;
use crate::event::money;
use crate::payment::{self, Payment};
use crate::refund::{self, Refund};
use crate::top_up;

/// The stream.
pub const STREAM: &str = "journal";

/// Reads the journal of one shard.
#[derive(Clone, Debug)]
pub(crate) struct Journal {
    pub(crate) pool: PgPool,
    pub(crate) shard: i16,
}

/// A transfer that the wallet can't explain.
#[derive(Debug, thiserror::Error)]
#[error("transfer {sequence} of kind {kind} has no row that says what it was for")]
struct Unexplained {
    sequence: i64,
    kind: i16,
}

#[async_trait]
impl Source for Journal {
    fn channel(&self) -> String {
        journal::CHANNEL.to_owned()
    }

    async fn read(&self, after: i64, limit: i64) -> Result<Vec<Entry>, SourceError> {
        let limit = u32::try_from(limit).unwrap_or(journal::MAX_ROWS);
        let rows = journal::read(&self.pool, self.shard, after, limit).await?;
        let parties = journal::parties(&self.pool, &owned(&rows)).await?;
        let mut connection = self.pool.acquire().await?;
        let payments = payment::sql::find_all(&mut connection, &ids(&rows, PAYMENT.code)).await?;
        let mut payments: HashMap<Uuid, Payment> =
            payments.into_iter().map(|payment| (payment.id.uuid(), payment)).collect();
        let banks = top_up::banks_of(&mut connection, &ids(&rows, TOP_UP.code)).await?;
        let refunds = refund::sql::find_all(&mut connection, &ids(&rows, REFUND.code)).await?;
        let refunded: Vec<Uuid> = refunds.iter().map(|refund| refund.payment_id.uuid()).collect();
        let refunded = payment::sql::find_all(&mut connection, &refunded).await?;
        payments.extend(refunded.into_iter().map(|payment| (payment.id.uuid(), payment)));
        let refunds: HashMap<Uuid, Refund> = refunds.into_iter().map(|refund| (refund.id.uuid(), refund)).collect();
        let bills =
            bill_payment::sql::told_of(&mut connection, &[ids(&rows, BILL.code), ids(&rows, FEE.code)].concat())
                .await?;
        let spent = |row: &JournalRow| [PAYMENT.code, BILL.code, FEE.code].contains(&row.kind).then_some(row.reference);
        let acting =
            delegate::sql::actors_in(&mut connection, &rows.iter().filter_map(spent).collect::<Vec<_>>()).await?;
        let told = Told { payments, refunds, banks, bills, acting, parties };
        rows.iter().map(|row| entry(row, &told).map_err(SourceError::from)).collect()
    }

    async fn backlog(&self, after: i64) -> Result<Backlog, SourceError> {
        let last = journal::last_sequence(&self.pool, self.shard).await?;
        let oldest = self.posted_at(after.saturating_add(1)).await?;
        Ok(Backlog { rows: last.saturating_sub(after).max(0), oldest })
    }

    /// Halves its way to the place, because times grow with sequences: some 60 reads by primary key at most.
    async fn position_before(&self, time: DateTime<Utc>) -> Result<i64, SourceError> {
        let (mut before, mut not_before) = (0, journal::last_sequence(&self.pool, self.shard).await? + 1);
        while not_before - before > 1 {
            let middle = before + (not_before - before) / 2;
            if self.posted_at(middle).await?.is_some_and(|posted_at| posted_at < time) {
                before = middle;
            } else {
                not_before = middle;
            }
        }
        Ok(before)
    }
}

impl Journal {
    async fn posted_at(&self, sequence: i64) -> Result<Option<DateTime<Utc>>, SourceError> {
        let row = journal::read(&self.pool, self.shard, sequence.saturating_sub(1), 1).await?.into_iter().next();
        Ok(row.filter(|row| row.sequence == sequence).map(|row| row.posted_at))
    }
}

/// Transfers of one kind.
fn ids(rows: &[JournalRow], kind: i16) -> Vec<Uuid> {
    rows.iter().filter(|row| row.kind == kind).map(|row| row.transfer.uuid()).collect()
}

/// Accounts whose owners only the ledger knows; a payment and a refund have rows that say who they are of.
fn owned(rows: &[JournalRow]) -> Vec<AccountId> {
    let owned = |row: &JournalRow| match row.kind {
        kind if kind == PAYMENT.code || kind == REFUND.code => [None, None],
        kind if kind == TOP_UP.code => [None, Some(row.credit.account)],
        _ => [Some(row.debit.account), Some(row.credit.account)],
    };
    rows.iter().flat_map(owned).flatten().collect()
}

/// What transfers were for, by id.
struct Told {
    payments: HashMap<Uuid, Payment>,
    refunds: HashMap<Uuid, Refund>,
    banks: HashMap<Uuid, String>,
    bills: HashMap<Uuid, bill_payment::sql::Told>,
    /// Who paid for somebody, by the payment.
    acting: HashMap<Uuid, Uuid>,
    /// Whose accounts they are, of transfers whose own rows don't say it.
    parties: HashMap<AccountId, Party>,
}

impl Told {
    /// The guardian who made a payment, as events say it.
    fn acted_by(&self, row: &JournalRow) -> String {
        self.acting.get(&row.reference).map(Uuid::to_string).unwrap_or_default()
    }

    fn owner(&self, side: Side) -> Option<Uuid> {
        self.parties.get(&side.account).map(|party| party.owner)
    }
}

fn entry(row: &JournalRow, told: &Told) -> Result<Entry, Unexplained> {
    let id = row.transfer.uuid();
    let unexplained = || Unexplained { sequence: row.sequence, kind: row.kind };
    if row.kind == PAYMENT.code {
        let payment = told.payments.get(&id).ok_or_else(unexplained)?;
        let completed = PaymentCompleted { acted_by: told.acted_by(row), ..payment_completed(row, payment) };
        Ok(of(row, payment.payer_user_id, &completed))
    } else if row.kind == TOP_UP.code {
        let bank_code = told.banks.get(&id).ok_or_else(unexplained)?;
        let user = told.owner(row.credit).ok_or_else(unexplained)?;
        Ok(of(row, user, &top_up_completed(row, user, bank_code)))
    } else if row.kind == REFUND.code {
        let refund = told.refunds.get(&id).ok_or_else(unexplained)?;
        let payment = told.payments.get(&refund.payment_id.uuid()).ok_or_else(unexplained)?;
        Ok(of(row, payment.payer_user_id, &refund_completed(row, payment)))
    } else if row.kind == BILL.code || row.kind == FEE.code {
        let bill = told.bills.get(&id).ok_or_else(unexplained)?;
        let user = told.owner(row.debit).ok_or_else(unexplained)?;
        let paid = BillPaid { acted_by: told.acted_by(row), ..bill_paid(row, user, bill) };
        Ok(of(row, user, &paid))
    } else if row.kind == PAYOUT.code {
        let merchant = told.owner(row.debit).ok_or_else(unexplained)?;
        let user = told.owner(row.credit).ok_or_else(unexplained)?;
        Ok(of(row, user, &merchant_paid_out(row, merchant, user)))
    } else {
        Err(unexplained())
    }
}

fn bill_paid(row: &JournalRow, user: Uuid, bill: &bill_payment::sql::Told) -> BillPaid {
    BillPaid {
        bill_payment_id: row.reference.to_string(),
        transfer_id: row.transfer.to_string(),
        user_id: user.to_string(),
        bill_id: bill.bill_id.to_string(),
        biller_code: bill.biller_code.clone(),
        kind: bill.kind.name().to_owned(),
        period: bill.period.clone(),
        amount: Some(money(row.amount)),
        balance: Some(money(row.debit.balance)),
        biller_reference: bill.biller_reference.clone().unwrap_or_default(),
        booked_as: kind_name(row.kind).unwrap_or_default().to_owned(),
        acted_by: String::new(),
    }
}

fn merchant_paid_out(row: &JournalRow, merchant: Uuid, user: Uuid) -> MerchantPaidOut {
    MerchantPaidOut {
        transfer_id: row.transfer.to_string(),
        merchant_id: merchant.to_string(),
        user_id: user.to_string(),
        amount: Some(money(row.amount)),
        balance: Some(money(row.credit.balance)),
    }
}

fn refund_completed(row: &JournalRow, payment: &Payment) -> RefundCompleted {
    RefundCompleted {
        refund_id: row.transfer.to_string(),
        payment_id: payment.id.to_string(),
        payer_user_id: payment.payer_user_id.to_string(),
        merchant_id: payment.merchant_id.to_string(),
        merchant_name: payment.merchant_name.clone(),
        merchant_owner_user_id: payment.merchant_owner_user_id.to_string(),
        amount: Some(money(row.amount)),
        payer_balance: Some(money(row.credit.balance)),
        // Words stay in the wallet, sealed.
        reason: String::new(),
    }
}

fn payment_completed(row: &JournalRow, payment: &Payment) -> PaymentCompleted {
    PaymentCompleted {
        payment_id: row.transfer.to_string(),
        payer_user_id: payment.payer_user_id.to_string(),
        merchant_id: payment.merchant_id.to_string(),
        merchant_name: payment.merchant_name.clone(),
        merchant_owner_user_id: payment.merchant_owner_user_id.to_string(),
        till_id: payment.till_id.to_string(),
        amount: Some(money(row.amount)),
        payer_balance: Some(money(row.debit.balance)),
        acted_by: String::new(),
    }
}

fn top_up_completed(row: &JournalRow, user: Uuid, bank_code: &str) -> TopUpCompleted {
    TopUpCompleted {
        top_up_id: row.reference.to_string(),
        transfer_id: row.transfer.to_string(),
        user_id: user.to_string(),
        amount: Some(money(row.amount)),
        balance: Some(money(row.credit.balance)),
        bank_code: bank_code.to_owned(),
    }
}

fn of<M: Message + Name>(row: &JournalRow, subject: Uuid, message: &M) -> Entry {
    Entry {
        position: row.sequence,
        id: event_of_transfer(row.transfer),
        kind: M::full_name(),
        subject,
        time: row.posted_at,
        traceparent: None,
        data: message.encode_to_vec().into(),
    }
}

#[cfg(test)]
mod tests {
    use chrono::Utc;
    use ledger::journal::{JournalRow, Side};
    use ledger::money::Money;
    use ledger::{AccountId, TransferId, TransferKind};
    use uuid::Uuid;

    use super::bill_paid;
    use crate::account::{BILL, CURRENCY, FEE};
    use crate::bill::BillId;
    use crate::bill_payment::sql::Told;
    use crate::city::BillerKind;

    fn booked_as(kind: TransferKind) -> JournalRow {
        let side = || Side { account: AccountId::generate(), balance: Money::zero(CURRENCY) };
        JournalRow {
            shard: 1,
            sequence: 1,
            block: 1,
            posted_at: Utc::now(),
            transfer: TransferId::from(Uuid::now_v7()),
            debit: side(),
            credit: side(),
            amount: Money::from_minor(120_000, CURRENCY),
            kind: kind.code,
            reference: Uuid::now_v7(),
        }
    }

    #[test]
    fn a_paid_fee_says_as_what_it_is_booked() {
        let fee = Told {
            bill_id: BillId::from(Uuid::now_v7()),
            biller_code: "agency:PVHCC".to_owned(),
            kind: BillerKind::Fee,
            period: "1.000005".to_owned(),
            biller_reference: None,
        };
        let said = [FEE, BILL].map(|kind| {
            let event = bill_paid(&booked_as(kind), Uuid::now_v7(), &fee);
            (event.kind, event.booked_as)
        });
        let pair = |booked_as: &str| ("fee".to_owned(), booked_as.to_owned());
        assert_eq!(said, [pair("fee"), pair("bill")], "also that of a fee from before they had a kind");
    }
}
