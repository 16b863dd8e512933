//! What a batch writes beside transfers: new accounts, holds and their steps, refunds, requests, changes, kinds.

use std::sync::Arc;

use sqlx::PgConnection;
use uuid::Uuid;

use super::{AccountColumns, Changed};
use crate::account::{Account, AccountChange};
use crate::fold::StoredRequest;
use crate::hold::{Ending, Hold};
use crate::kind::Name;
use crate::limit::Class;
use crate::refund::Refund;
use crate::sql::row::ending_name;

/// What an account is opened with that its first change gives up, so that there is room on its page.
pub(crate) const ROOM: [u8; 96] = [0; 96];

/// Adds new accounts with their balances after the batch.
pub(crate) async fn open_accounts(tx: &mut PgConnection, shard: i16, accounts: &[Account]) -> Result<(), sqlx::Error> {
    let a = AccountColumns::of(accounts.iter(), Changed::Everything);
    let usage: Vec<Vec<u8>> = accounts.iter().map(|account| account.usage.encode()).collect();
    let owner: Vec<Uuid> = accounts.iter().map(|account| account.owner).collect();
    let kind: Vec<i16> = accounts.iter().map(|account| account.kind).collect();
    let currency: Vec<i16> = accounts.iter().map(|account| account.currency.numeric()).collect();
    let floor: Vec<Option<i64>> = accounts.iter().map(|account| account.floor).collect();
    let block: Vec<i64> = accounts.iter().map(|account| account.opened_block).collect();
    let at: Vec<_> = accounts.iter().map(|account| account.opened_at).collect();
    sqlx::query!(
        "INSERT INTO ledger.account (shard, id, posted, held, promised, sequence, transfers, frozen, closed, usage, owner, kind, currency, floor, opened_block, opened_at, room)
         SELECT $1, n.id, n.posted, n.held, n.promised, n.sequence, n.transfers, n.frozen, n.closed, n.usage, n.owner, n.kind, n.currency, n.floor, n.opened_block, n.opened_at, $17
         FROM UNNEST($2::uuid[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[], $8::smallint[], $9::boolean[],
                     $10::uuid[], $11::smallint[], $12::smallint[], $13::bigint[], $14::bigint[], $15::timestamptz[], $16::bytea[])
           AS n (id, posted, held, promised, sequence, transfers, frozen, closed, owner, kind, currency, floor, opened_block, opened_at, usage)",
        shard,
        &a.id,
        &a.posted,
        &a.held,
        &a.promised,
        &a.sequence,
        &a.transfers,
        &a.frozen,
        &a.closed,
        &owner,
        &kind,
        &currency,
        &floor as &[Option<i64>],
        &block,
        &at,
        &usage,
        &ROOM[..],
    )
    .execute(tx)
    .await
    .map(|_| ())
}

/// Adds new holds as they are after the batch.
pub(crate) async fn open_holds(tx: &mut PgConnection, shard: i16, holds: &[Hold]) -> Result<(), sqlx::Error> {
    let id: Vec<Uuid> = holds.iter().map(|hold| hold.id.uuid()).collect();
    let debit: Vec<Uuid> = holds.iter().map(|hold| hold.debit.uuid()).collect();
    let credit: Vec<Uuid> = holds.iter().map(|hold| hold.credit.uuid()).collect();
    let amount: Vec<i64> = holds.iter().map(|hold| hold.amount).collect();
    let currency: Vec<i16> = holds.iter().map(|hold| hold.currency.numeric()).collect();
    let kind: Vec<i16> = holds.iter().map(|hold| hold.kind).collect();
    let class: Vec<_> = holds.iter().map(|hold| hold.class.map(Class::code)).collect();
    let reference: Vec<Uuid> = holds.iter().map(|hold| hold.reference).collect();
    let expires_at: Vec<_> = holds.iter().map(|hold| hold.expires_at).collect();
    let opened_block: Vec<i64> = holds.iter().map(|hold| hold.opened.block).collect();
    let opened_at: Vec<_> = holds.iter().map(|hold| hold.opened.at).collect();
    sqlx::query!(
        "INSERT INTO ledger.hold (shard, id, debit, credit, amount, currency, kind, class, reference, expires_at, opened_block, opened_at)
         SELECT $1, n.id, n.debit, n.credit, n.amount, n.currency, n.kind, n.class, n.reference, n.expires_at, n.opened_block, n.opened_at
         FROM UNNEST($2::uuid[], $3::uuid[], $4::uuid[], $5::bigint[], $6::smallint[], $7::smallint[], $8::uuid[],
                     $9::timestamptz[], $10::bigint[], $11::timestamptz[], $12::smallint[])
           AS n (id, debit, credit, amount, currency, kind, reference, expires_at, opened_block, opened_at, class)",
        shard,
        &id,
        &debit,
        &credit,
        &amount,
        &currency,
        &kind,
        &reference,
        &expires_at as &[Option<chrono::DateTime<chrono::Utc>>],
        &opened_block,
        &opened_at,
        &class as &[Option<i16>],
    )
    .execute(tx)
    .await
    .map(|_| ())
}

/// Writes the steps that holds took. Gives how many holds were changed.
pub(crate) async fn move_holds(tx: &mut PgConnection, holds: &[Hold]) -> Result<usize, sqlx::Error> {
    let id: Vec<Uuid> = holds.iter().map(|hold| hold.id.uuid()).collect();
    let confirming_block: Vec<_> = holds.iter().map(|hold| hold.confirming.map(|stamp| stamp.block)).collect();
    let confirming_at: Vec<_> = holds.iter().map(|hold| hold.confirming.map(|stamp| stamp.at)).collect();
    let ended_block: Vec<_> = holds.iter().map(|hold| hold.ended.map(|(_, stamp)| stamp.block)).collect();
    let ended_at: Vec<_> = holds.iter().map(|hold| hold.ended.map(|(_, stamp)| stamp.at)).collect();
    let ending: Vec<_> =
        holds.iter().map(|hold| hold.ended.map(|(ending, _)| ending_name(&ending).to_owned())).collect();
    let posted = holds.iter().map(|hold| match hold.ended {
        Some((Ending::Posted { transfer, amount }, _)) => (Some(transfer.uuid()), Some(amount)),
        _ => (None, None),
    });
    let (transfer, posted_amount): (Vec<_>, Vec<_>) = posted.unzip();
    let done = sqlx::query!(
        "UPDATE ledger.hold AS h
         SET confirming_block = n.confirming_block, confirming_at = n.confirming_at, ended_block = n.ended_block,
             ended_at = n.ended_at, ending = n.ending, transfer = n.transfer, posted_amount = n.posted_amount
         FROM UNNEST($1::uuid[], $2::bigint[], $3::timestamptz[], $4::bigint[], $5::timestamptz[], $6::text[], $7::uuid[], $8::bigint[])
           AS n (id, confirming_block, confirming_at, ended_block, ended_at, ending, transfer, posted_amount)
         WHERE h.id = n.id",
        &id,
        &confirming_block as &[Option<i64>],
        &confirming_at as &[Option<chrono::DateTime<chrono::Utc>>],
        &ended_block as &[Option<i64>],
        &ended_at as &[Option<chrono::DateTime<chrono::Utc>>],
        &ending as &[Option<String>],
        &transfer as &[Option<Uuid>],
        &posted_amount as &[Option<i64>],
    )
    .execute(tx)
    .await?;
    Ok(usize::try_from(done.rows_affected()).expect("a count fits"))
}

/// Says which transfers gave money back, and of which payments.
pub(crate) async fn refunds(
    tx: &mut PgConnection,
    shard: i16,
    block: i64,
    refunds: &[Refund],
) -> Result<(), sqlx::Error> {
    let sequence: Vec<i64> = refunds.iter().map(|refund| refund.sequence).collect();
    let payment: Vec<Uuid> = refunds.iter().map(|refund| refund.of.uuid()).collect();
    let amount: Vec<i64> = refunds.iter().map(|refund| refund.amount).collect();
    let class: Vec<_> = refunds.iter().map(|refund| refund.class.map(Class::code)).collect();
    sqlx::query!(
        "INSERT INTO ledger.refund (shard, block, sequence, payment, amount, class)
         SELECT $1, $2, n.sequence, n.payment, n.amount, n.class
         FROM UNNEST($3::bigint[], $4::uuid[], $5::bigint[], $6::smallint[]) AS n (sequence, payment, amount, class)",
        shard,
        block,
        &sequence,
        &payment,
        &amount,
        &class as &[Option<i16>],
    )
    .execute(tx)
    .await
    .map(|_| ())
}

/// Remembers requests that made no transfer.
pub(crate) async fn requests(
    tx: &mut PgConnection,
    shard: i16,
    block: i64,
    requests: &[StoredRequest],
) -> Result<(), sqlx::Error> {
    let key: Vec<Uuid> = requests.iter().map(|request| request.key.0).collect();
    let fingerprint: Vec<i64> = requests.iter().map(|request| request.fingerprint.0).collect();
    let reject: Vec<_> = requests.iter().map(|request| request.reject.map(|reject| reject.code().to_owned())).collect();
    let subject: Vec<_> = requests.iter().map(|request| request.reject.map(|reject| reject.subject())).collect();
    sqlx::query!(
        "INSERT INTO ledger.request (shard, block, request_key, fingerprint, reject, subject)
         SELECT $1, $2, n.request_key, n.fingerprint, n.reject, n.subject
         FROM UNNEST($3::uuid[], $4::bigint[], $5::text[], $6::uuid[]) AS n (request_key, fingerprint, reject, subject)",
        shard,
        block,
        &key,
        &fingerprint,
        &reject as &[Option<String>],
        &subject as &[Option<Uuid>],
    )
    .execute(tx)
    .await
    .map(|_| ())
}

/// Adds freezes and closings to the history.
pub(crate) async fn changes(
    tx: &mut PgConnection,
    shard: i16,
    block: i64,
    changes: &[AccountChange],
) -> Result<(), sqlx::Error> {
    let account: Vec<Uuid> = changes.iter().map(|change| change.account.uuid()).collect();
    let frozen: Vec<i16> = changes.iter().map(|change| change.freeze.number()).collect();
    let closed: Vec<bool> = changes.iter().map(|change| change.closed).collect();
    sqlx::query!(
        "INSERT INTO ledger.account_change (shard, block, ordinal, account, frozen, closed)
         SELECT $1, $2, n.ordinal, n.account, n.frozen, n.closed
         FROM UNNEST($3::uuid[], $4::smallint[], $5::boolean[]) WITH ORDINALITY AS n (account, frozen, closed, ordinal)",
        shard,
        block,
        &account,
        &frozen,
        &closed,
    )
    .execute(tx)
    .await
    .map(|_| ())
}

/// Names kinds of accounts on their first use.
pub(crate) async fn account_kinds(
    tx: &mut PgConnection,
    shard: i16,
    block: i64,
    kinds: &[(i16, Arc<str>)],
) -> Result<(), sqlx::Error> {
    let (code, name): (Vec<i16>, Vec<String>) = kinds.iter().map(|(code, name)| (*code, name.to_string())).unzip();
    sqlx::query!(
        "INSERT INTO ledger.account_kind (shard, block, code, name)
         SELECT $1, $2, n.code, n.name FROM UNNEST($3::smallint[], $4::text[]) AS n (code, name)",
        shard,
        block,
        &code,
        &name,
    )
    .execute(tx)
    .await
    .map(|_| ())
}

/// Names kinds of transfers on their first use.
pub(crate) async fn transfer_kinds(
    tx: &mut PgConnection,
    shard: i16,
    block: i64,
    kinds: &[(i16, Name)],
) -> Result<(), sqlx::Error> {
    let code: Vec<i16> = kinds.iter().map(|(code, _)| *code).collect();
    let name: Vec<String> = kinds.iter().map(|(_, kind)| kind.name.to_string()).collect();
    let class: Vec<_> = kinds.iter().map(|(_, kind)| kind.class.map(Class::code)).collect();
    sqlx::query!(
        "INSERT INTO ledger.transfer_kind (shard, block, code, name, class)
         SELECT $1, $2, n.code, n.name, n.class FROM UNNEST($3::smallint[], $4::text[], $5::smallint[]) AS n (code, name, class)",
        shard,
        block,
        &code,
        &name,
        &class as &[Option<i16>],
    )
    .execute(tx)
    .await
    .map(|_| ())
}
