//! Whether the books are right at the end, and what of them the relay still has to move. Only reads, as the administrator.

use anyhow::ensure;
use sqlx::PgPool;

use crate::relay::number;

/// Transfers and other events of the wallet that are not known to be in Redis. The cursor is saved at most once a second.
pub(super) const LAG: &str = "
    SELECT greatest(coalesce((SELECT max(sequence) FROM ledger.shard), 0)
                    - coalesce((SELECT position FROM wallet.outbox_cursor WHERE stream = 'journal'), 0), 0)
         + (SELECT count(*) FROM wallet.outbox o LEFT JOIN wallet.outbox_cursor c ON c.stream = o.stream
            WHERE o.position IS NULL OR o.position > coalesce(c.position, 0))";

const WRONG_BALANCES: &str = "
    WITH moved AS (
        SELECT account, sum(amount) AS posted
        FROM (SELECT credit AS account, amount FROM ledger.transfer UNION ALL SELECT debit, -amount FROM ledger.transfer) AS side
        GROUP BY account
    )
    SELECT count(*) FROM ledger.account a LEFT JOIN moved m ON m.account = a.id WHERE a.posted <> coalesce(m.posted, 0)";

/// Checks the books; gives how many payments they hold: those that were answered, and at most those without an answer beside.
pub(super) async fn check(admin: &PgPool, answered: u64, unanswered: u64) -> anyhow::Result<u64> {
    let sum = number(admin, "SELECT coalesce(sum(posted), 0)::bigint FROM ledger.account").await?;
    ensure!(sum == 0, "debits are not credits: {sum} too much");
    let wrong = number(admin, WRONG_BALANCES).await?;
    ensure!(wrong == 0, "{wrong} balances are not the sum of their transfers");
    let payments = u64::try_from(number(admin, "SELECT count(*) FROM wallet.payment").await?)?;
    ensure!(
        (answered..=answered + unanswered).contains(&payments),
        "{answered} payments were answered and {unanswered} not, but {payments} are in the books"
    );
    Ok(payments)
}
