//! What of a citizen goes from the wallet: words and codes. Money that moved stays, under ids that stand for nobody.
//!
//! Words of payments are looked for in the journal of the citizen's accounts, page by page and each page by itself: doing it again
//! changes nothing, and no index has to be kept for it while people pay.

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use ledger::AccountId;
use platform::person::CopyError;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::account;
use crate::merchant::MerchantId;
use crate::{Wallet, history};

/// Lines of a journal that are looked at together.
const PAGE: i64 = 500;
/// Rounds of locking while rows from before come to belong to customers.
const MAX_ROUNDS: usize = 5;
/// What a shop of theirs is called from then on.
const CLOSED_NAME: &str = "Đã đóng";
/// The same in the letters of codes.
const CLOSED_CODE_NAME: &str = "DA DONG";

/// Removes notes to merchants, and what the citizen's shops wrote to payers.
///
/// # Errors
/// When the database is away; what was removed stays so.
pub(super) async fn words(wallet: &Wallet, person: Uuid) -> Result<(), CopyError> {
    let shops = sqlx::query_scalar!("SELECT id FROM wallet.merchant WHERE owner_user_id = $1", person)
        .fetch_all(&wallet.pool)
        .await?;
    let accounts = shops.into_iter().map(|shop| account::merchant(MerchantId::from(shop)).id);
    for account in std::iter::once(account::citizen(person).id).chain(accounts) {
        words_of(wallet, (person, account)).await?;
    }
    Ok(())
}

async fn words_of(wallet: &Wallet, (person, account): (Uuid, AccountId)) -> Result<(), CopyError> {
    let mut before = None;
    loop {
        let mut connection = wallet.pool.acquire().await?;
        let page = history::before(&mut connection, account, before, PAGE).await?;
        let Some(oldest) = page.last() else { return Ok(()) };
        before = Some(oldest.sequence);
        let ids: Vec<Uuid> = page.iter().map(|line| line.id).collect();
        sqlx::query!(
            "UPDATE wallet.payment SET note = NULL, note_sealed = NULL
             WHERE id = ANY ($1) AND payer_user_id = $2 AND (note IS NOT NULL OR note_sealed IS NOT NULL)",
            &ids,
            person,
        )
        .execute(&mut *connection)
        .await?;
        sqlx::query!(
            "UPDATE wallet.refund SET reason = NULL, reason_sealed = NULL
             WHERE id = ANY ($1) AND refunder_user_id = $2 AND (reason IS NOT NULL OR reason_sealed IS NOT NULL)",
            &ids,
            person,
        )
        .execute(&mut *connection)
        .await?;
    }
}

/// Removes customer codes, links, devices, the tier, and what shops were called. What was paid, when and to whom stays with the books,
/// under ids.
pub(super) async fn rows(tx: &mut PgConnection, person: Uuid, now: DateTime<Utc>) -> Result<(), sqlx::Error> {
    bills(tx, person).await?;
    sqlx::query!("UPDATE wallet.top_up SET account = NULL WHERE user_id = $1 AND account IS NOT NULL", person)
        .execute(&mut *tx)
        .await?;
    // What agencies wrote to this citizen, whom nobody reminds of it any more.
    sqlx::query!(
        "UPDATE wallet.bill SET details = '{}', reminded_at = coalesce(reminded_at, $2) WHERE user_id = $1",
        person,
        now,
    )
    .execute(&mut *tx)
    .await?;
    shops(tx, person).await?;
    sqlx::query!("DELETE FROM wallet.device WHERE user_id = $1", person).execute(&mut *tx).await?;
    sqlx::query!("DELETE FROM wallet.citizen WHERE user_id = $1", person).execute(&mut *tx).await?;
    Ok(())
}

/// Links, what names the bills that were paid, and the digests by which customers are found: a customer whom somebody else has linked,
/// too, stays that person's.
async fn bills(tx: &mut PgConnection, person: Uuid) -> Result<(), sqlx::Error> {
    let customers = locked(tx, person).await?;
    plain_bills(tx, person).await?;
    sqlx::query!("DELETE FROM wallet.bill_subscription WHERE user_id = $1", person).execute(&mut *tx).await?;
    sqlx::query!(
        "WITH nobodys AS (
             UPDATE wallet.bill_customer AS customer SET lookup = NULL
             WHERE id = ANY ($1) AND NOT EXISTS (
                 SELECT FROM wallet.bill_subscription AS other WHERE other.customer_id = customer.id)
             RETURNING id
         )
         UPDATE wallet.bill SET details = '{}', reference = bill.id::text, period = '-' FROM nobodys WHERE bill.customer_id = nobodys.id",
        &customers,
    )
    .execute(&mut *tx)
    .await?;
    // Of a fee all is public but who paid it. Of what a biller said stays why it failed, where that is a code and no sentence.
    sqlx::query!(
        "UPDATE wallet.bill_payment SET customer_code = NULL, customer_code_sealed = NULL, reference_sealed = NULL,
             reference = CASE WHEN kind = 'fee' THEN reference END,
             biller_reference = CASE WHEN kind = 'fee' THEN biller_reference END,
             period = CASE WHEN kind = 'fee' THEN period ELSE '-' END,
             reason = CASE WHEN kind = 'fee' OR reason ~ '^[a-z]+(-[a-z]+)*$' THEN reason WHEN reason IS NOT NULL THEN 'erased' END
         WHERE user_id = $1",
        person,
    )
    .execute(tx)
    .await
    .map(|_| ())
}

/// Locks the citizen's customers, then their links, then the bills that they paid; says the customers.
///
/// A link or a bill that stood under its plain code may have come to belong to a customer after the customers were read. That customer
/// can't be locked any more without waiting for somebody who waits for the links: everything is let go and locked again. Once the links
/// and bills are locked, nobody brings them over.
async fn locked(tx: &mut PgConnection, person: Uuid) -> Result<Vec<Uuid>, sqlx::Error> {
    for _ in 0..MAX_ROUNDS {
        // Going back to it lets go of what was locked since.
        sqlx::query("SAVEPOINT nothing_locked").execute(&mut *tx).await?;
        let customers = sqlx::query_scalar!(
            "SELECT id FROM wallet.bill_customer WHERE id IN (
                 SELECT customer_id FROM wallet.bill_subscription WHERE user_id = $1
                 UNION SELECT bill.customer_id FROM wallet.bill_payment AS payment JOIN wallet.bill ON bill.id = payment.bill_id
                       WHERE payment.user_id = $1)
             ORDER BY biller_code, lookup FOR NO KEY UPDATE",
            person,
        )
        .fetch_all(&mut *tx)
        .await?;
        let mut concerned = sqlx::query_scalar!(
            "SELECT customer_id FROM wallet.bill_subscription WHERE user_id = $1 ORDER BY id FOR UPDATE",
            person,
        )
        .fetch_all(&mut *tx)
        .await?;
        let paid = sqlx::query_scalar!(
            "SELECT bill.customer_id FROM wallet.bill JOIN wallet.bill_payment AS payment ON payment.bill_id = bill.id
             WHERE payment.user_id = $1 ORDER BY bill.id FOR UPDATE OF bill",
            person,
        );
        concerned.extend(paid.fetch_all(&mut *tx).await?);
        let known: HashSet<Uuid> = customers.iter().copied().collect();
        if concerned.into_iter().flatten().all(|customer| known.contains(&customer)) {
            return Ok(customers);
        }
        sqlx::query("ROLLBACK TO SAVEPOINT nothing_locked").execute(&mut *tx).await?;
    }
    Err(sqlx::Error::Protocol("rows from before keep coming to belong to customers".to_owned()))
}

/// Bills from before there were customers.
async fn plain_bills(tx: &mut PgConnection, person: Uuid) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE wallet.bill SET customer_code = NULL, reference = id::text, period = '-', details = '{}' WHERE kind <> 'fee'
             AND (biller_code, customer_code) IN (
                 SELECT biller_code, customer_code FROM wallet.bill_subscription WHERE user_id = $1
                 UNION SELECT biller_code, customer_code FROM wallet.bill_payment WHERE user_id = $1)
             AND NOT EXISTS (
                 SELECT FROM wallet.bill_subscription AS other
                 WHERE other.biller_code = bill.biller_code AND other.customer_code = bill.customer_code AND other.user_id <> $1)",
        person,
    )
    .execute(tx)
    .await
    .map(|_| ())
}

/// Names and addresses of shops, which may be a person's own. Payers keep the name in what they paid.
async fn shops(tx: &mut PgConnection, person: Uuid) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE wallet.till SET name = $2 FROM wallet.merchant
         WHERE merchant.id = till.merchant_id AND merchant.owner_user_id = $1",
        person,
        CLOSED_NAME,
    )
    .execute(&mut *tx)
    .await?;
    sqlx::query!(
        "UPDATE wallet.store SET name = $2, address = NULL FROM wallet.merchant
         WHERE merchant.id = store.merchant_id AND merchant.owner_user_id = $1",
        person,
        CLOSED_NAME,
    )
    .execute(&mut *tx)
    .await?;
    sqlx::query!(
        "UPDATE wallet.merchant SET name = $2, qr_name = $3 WHERE owner_user_id = $1",
        person,
        CLOSED_NAME,
        CLOSED_CODE_NAME,
    )
    .execute(tx)
    .await
    .map(|_| ())
}
