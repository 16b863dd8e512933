//! What a batch writes: set-based, one statement per table, arrays in binary.
//!
//! The statement of the hot path is a [`Call`]: one round trip for a batch that only moves money.

mod record;

use sqlx::error::BoxDynError;
use sqlx::postgres::PgArguments;
use sqlx::{Execute as _, PgConnection, SqlStr};
use uuid::Uuid;

pub(crate) use self::record::{
    ROOM, account_kinds, changes, move_holds, open_accounts, open_holds, refunds, requests, transfer_kinds,
};
use super::row;
use crate::account::Account;
use crate::batch::MachineTime;
use crate::block::{Block, Hash};
use crate::fold::Effects;
use crate::transfer::{Origin, Transfer};

/// What came of a [`Call`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Posting {
    /// Everything was written.
    Posted,
    /// Nothing was written: the books have moved on since the batch was decided.
    Moved,
}

/// Whether a statement was refused because this replica's clock is too far ahead of the database's.
pub(crate) fn is_clock_ahead(error: &sqlx::Error) -> bool {
    platform::db::violated(error) == Some("ledger_clock_ahead")
}

/// Whether a statement failed because a key has been answered before.
pub(crate) fn is_known_key(error: &sqlx::Error) -> bool {
    matches!(platform::db::violated(error), Some("transfer_id_key" | "request_pkey"))
}

/// The call of `ledger.post_batch` with its arguments as they go over the wire. They are put together when a batch is sealed, while the server still works on the one before.
pub(crate) struct Call {
    statement: SqlStr,
    arguments: PgArguments,
}

/// What the call writes, but for columns.
pub(crate) struct Head<'a> {
    pub(crate) on: &'a row::Head,
    pub(crate) machine: MachineTime,
    pub(crate) block: &'a Block,
    pub(crate) hash: Hash,
    pub(crate) salt: Uuid,
}

impl Call {
    /// Writes the new balances of accounts, the transfers, their marks, the block and the shard's head under the shard's lock, and tells listeners of `channel`.
    ///
    /// # Errors
    /// When an argument can't be encoded.
    pub(crate) fn new(
        head: &Head<'_>,
        a: &AccountColumns,
        effects: &Effects,
        channel: &str,
    ) -> Result<Self, BoxDynError> {
        let (block, t) = (head.block, TransferColumns::of(&effects.transfers));
        let request_keys: Vec<Uuid> = effects.requests.iter().map(|request| request.key.0).collect();
        let (mark_accounts, mark_sequences): (Vec<Uuid>, Vec<i64>) =
            effects.marks.iter().map(|(account, sequence)| (account.uuid(), *sequence)).unzip();
        let mut query = sqlx::query_scalar!(
            r#"SELECT ledger.post_batch(
                   $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12,
                   $13, $14, $15, $16, $17, $18, $19, $20,
                   $21, $22, $23, $24, $25, $26, $27, $28, $29, $30, $31, $32, $33,
                   $34, $35, $36, $37, $38, $39, $40, $41, $42
               ) AS "posted!""#,
            block.shard,
            head.machine.at,
            head.machine.ahead_ms,
            head.on.block,
            &head.on.hash.0[..],
            block.posted_at,
            block.first_sequence,
            block.records,
            &block.transfer_root.0[..],
            &block.record_root.0[..],
            &block.balance_hash.0[..],
            head.salt,
            &head.hash.0[..],
            &request_keys,
            &a.id,
            &a.posted,
            &a.held,
            &a.promised,
            &a.sequence,
            &a.transfers,
            &a.frozen,
            &a.closed,
            &a.usage,
            &a.usage_end,
            t.id.iter().min().copied() as Option<Uuid>,
            t.id.iter().max().copied() as Option<Uuid>,
            &t.id,
            &t.debit,
            &t.credit,
            &t.reference,
            &t.amount,
            &t.debit_balance,
            &t.credit_balance,
            &t.debit_previous,
            &t.credit_previous,
            &t.fingerprint,
            one_for_all(&t.currency),
            one_for_all(&t.kind),
            one_for_all(&t.request_size),
            &mark_accounts,
            &mark_sequences,
            channel,
        );
        let arguments = query.take_arguments()?.unwrap_or_default();
        Ok(Self { statement: query.sql(), arguments })
    }

    /// Makes the call.
    pub(crate) async fn make(self, connection: &mut PgConnection) -> Result<Posting, sqlx::Error> {
        let posted: bool = sqlx::query_scalar_with(self.statement, self.arguments).fetch_one(connection).await?;
        Ok(if posted { Posting::Posted } else { Posting::Moved })
    }
}

/// The first element alone when all are equal.
fn one_for_all<T: PartialEq>(column: &[T]) -> &[T] {
    match column {
        [first, others @ ..] if others.iter().all(|other| other == first) => &column[..1],
        _ => column,
    }
}

/// What a batch changes of accounts that were there before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Changed {
    /// What a transfer changes.
    Balances,
    /// Also what is held and promised, or whether they are frozen or closed.
    Everything,
}

/// What changes of accounts, column by column.
#[derive(Default)]
pub(crate) struct AccountColumns {
    id: Vec<Uuid>,
    posted: Vec<i64>,
    sequence: Vec<i64>,
    transfers: Vec<i64>,
    /// These four are empty when nothing of them changes.
    held: Vec<i64>,
    promised: Vec<i64>,
    frozen: Vec<i16>,
    closed: Vec<bool>,
    /// What accounts have spent, one after the other.
    usage: Vec<u8>,
    /// Where each ends; a zero stands first.
    usage_end: Vec<i32>,
}

impl AccountColumns {
    pub(crate) fn of<'a>(accounts: impl Iterator<Item = &'a Account>, changed: Changed) -> Self {
        let mut columns = Self { usage_end: vec![0], ..Self::default() };
        for account in accounts {
            columns.id.push(account.id.uuid());
            columns.posted.push(account.posted);
            columns.sequence.push(account.sequence);
            columns.transfers.push(account.transfers);
            if changed == Changed::Everything {
                columns.held.push(account.held);
                columns.promised.push(account.promised);
                columns.frozen.push(account.freeze.number());
                columns.closed.push(account.closed);
            }
            account.usage.encode_to(&mut columns.usage);
            columns.usage_end.push(i32::try_from(columns.usage.len()).expect("a batch is small"));
        }
        columns
    }
}

/// New transfers, column by column.
#[derive(Default)]
pub(crate) struct TransferColumns {
    id: Vec<Uuid>,
    debit: Vec<Uuid>,
    credit: Vec<Uuid>,
    reference: Vec<Uuid>,
    amount: Vec<i64>,
    debit_balance: Vec<i64>,
    credit_balance: Vec<i64>,
    debit_previous: Vec<i64>,
    credit_previous: Vec<i64>,
    fingerprint: Vec<i64>,
    currency: Vec<i16>,
    kind: Vec<i16>,
    request_size: Vec<i16>,
}

impl TransferColumns {
    pub(crate) fn of(transfers: &[Transfer]) -> Self {
        let mut columns = Self::default();
        for transfer in transfers {
            columns.id.push(transfer.id.uuid());
            columns.debit.push(transfer.debit.uuid());
            columns.credit.push(transfer.credit.uuid());
            columns.reference.push(transfer.reference);
            columns.amount.push(transfer.amount);
            columns.debit_balance.push(transfer.debit_balance);
            columns.credit_balance.push(transfer.credit_balance);
            columns.debit_previous.push(transfer.debit_previous);
            columns.credit_previous.push(transfer.credit_previous);
            columns.currency.push(transfer.currency.numeric());
            columns.kind.push(transfer.kind);
            let (size, fingerprint) = match transfer.request {
                Origin::First { fingerprint, transfers } => (transfers, fingerprint.0),
                Origin::Further => (0, 0),
            };
            columns.request_size.push(size);
            columns.fingerprint.push(fingerprint);
        }
        columns
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_stands_for_all_only_when_all_are_equal() {
        assert_eq!(one_for_all::<i16>(&[]), &[] as &[i16]);
        assert_eq!(one_for_all(&[7]), [7]);
        assert_eq!(one_for_all(&[7, 7, 7]), [7]);
        assert_eq!(one_for_all(&[7, 7, 8]), [7, 7, 8]);
        assert_eq!(one_for_all(&[8, 7, 7]), [8, 7, 7]);
    }
}
