//! Whether the wallet lets a citizen go, and how it holds still from then on.
//!
//! Two locks make "nothing comes in between": the citizen's turn, in which every saga begins, and the ledger, in which money moves.
//! The row of `wallet.closing` is written in the turn; a saga that begins afterwards sees it. The account is frozen both ways before
//! its balance is read for good. Whatever is found then undoes both.
//!
//! Every step is under a key made of the closing's id: a process that dies anywhere does the same again. Closing and opening again may
//! be under way in two processes at once; whoever opens uses up the key of the freeze first, so that a freeze that comes late is none.
//!
//! Invariant: an account is frozen for a closing only while the row of that closing stands and was not opened again, or is about to be.

use ledger::{Action, Freeze, Key, Outcome, Request, book};
use platform::person::CopyError;
use sha2::{Digest as _, Sha256};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::account;
use crate::error::Error;
use crate::rider::Rider;
use crate::turn::turn;
use crate::{Wallet, bill_payment, top_up};

const FREEZE: &str = "closing.freeze";
const THAW: &str = "closing.thaw";
const END: &str = "closing.end";

/// Hindrance: a step of this closing was undone before, so that it can't be done any more.
const CHANGED: &str = "account-changed";

/// Which closing holds a citizen's account, and whether it still does.
struct Held {
    closing: Uuid,
    open_again: bool,
}

/// Refuses whatever would begin for a citizen whose account is being closed. In the citizen's turn.
///
/// # Errors
/// As a frozen account is refused.
pub(crate) async fn refuse(tx: &mut PgConnection, user: Uuid) -> Result<(), Error> {
    let closing = sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT FROM wallet.closing WHERE user_id = $1 AND reopened_at IS NULL) AS "closing!""#,
        user
    )
    .fetch_one(tx)
    .await?;
    if closing { Err(Error::Rejected(ledger::Reject::AccountFrozen(account::citizen(user).id))) } else { Ok(()) }
}

/// Closes, or says what stands against it and leaves everything open.
pub(super) async fn close(wallet: &Wallet, user: Uuid, closing: Uuid) -> Result<Vec<&'static str>, CopyError> {
    let held = held_by(&mut *wallet.pool.acquire().await?, user).await?;
    let ours = held.as_ref().is_some_and(|held| held.closing == closing && !held.open_again);
    if let Some(Held { closing: earlier, open_again: false }) = held
        && earlier < closing
    {
        // It is over, or there would be no later one; whoever should open it again has not come to it yet.
        reopen(wallet, user, earlier).await?;
    }
    let mut hindrances = found(wallet, user, ours).await?;
    if hindrances.is_empty() {
        hindrances = hold(wallet, user, closing).await?;
    }
    if !hindrances.is_empty() {
        reopen(wallet, user, closing).await?;
    }
    Ok(hindrances)
}

/// Lets nothing begin and no money move any more, then looks for the last time.
async fn hold(wallet: &Wallet, user: Uuid, closing: Uuid) -> Result<Vec<&'static str>, CopyError> {
    let mut tx = platform::db::begin(&wallet.pool).await?;
    turn(&mut tx, user).await?;
    if has_open(&mut tx, user).await? {
        return Ok(vec!["payment-open"]);
    }
    // Ids of closings grow with time: one that comes late never takes the place of a later one.
    sqlx::query!(
        "INSERT INTO wallet.closing AS known (user_id, closing_id, closed_at) VALUES ($1, $2, $3)
         ON CONFLICT ON CONSTRAINT closing_pk DO UPDATE
         SET closing_id = excluded.closing_id, closed_at = excluded.closed_at, reopened_at = NULL
         WHERE known.closing_id < excluded.closing_id",
        user,
        closing,
        wallet.clock.now(),
    )
    .execute(&mut *tx)
    .await?;
    let held = held_by(&mut tx, user).await?;
    tx.commit().await?;
    if held.is_none_or(|held| held.closing != closing || held.open_again) {
        return Ok(vec![CHANGED]);
    }
    ask(wallet, (user, closing), FREEZE, Action::Freeze(account::citizen(user).id, Freeze::Both)).await?;
    let mut hindrances = found(wallet, user, true).await?;
    // Somebody has opened it again meanwhile, and the key of the freeze is used up.
    if !is_frozen(wallet, user).await? {
        hindrances.push(CHANGED);
    }
    Ok(hindrances)
}

/// Opens again what this closing closed.
pub(super) async fn reopen(wallet: &Wallet, user: Uuid, closing: Uuid) -> Result<(), CopyError> {
    let held = held_by(&mut *wallet.pool.acquire().await?, user).await?;
    if held.is_none_or(|held| held.closing != closing || held.open_again) {
        return Ok(());
    }
    // One that is on its way in another process finds its key used, and freezes nothing after this.
    ask(wallet, (user, closing), FREEZE, Action::Freeze(account::citizen(user).id, Freeze::Both)).await?;
    // The account first: a saga that begins as soon as the row says so finds it open.
    ask(wallet, (user, closing), THAW, Action::Freeze(account::citizen(user).id, Freeze::Nothing)).await?;
    sqlx::query!(
        "UPDATE wallet.closing SET reopened_at = $3 WHERE user_id = $1 AND closing_id = $2 AND reopened_at IS NULL",
        user,
        closing,
        wallet.clock.now(),
    )
    .execute(&wallet.pool)
    .await?;
    Ok(())
}

/// Closes the account for good; its history stays with the books.
pub(super) async fn end(wallet: &Wallet, user: Uuid, closing: Uuid) -> Result<(), CopyError> {
    ask(wallet, (user, closing), END, Action::Close(account::citizen(user).id)).await
}

async fn ask(
    wallet: &Wallet,
    (user, closing): (Uuid, Uuid),
    operation: &'static str,
    action: Action,
) -> Result<(), CopyError> {
    let fingerprint = Sha256::new().chain_update(operation).chain_update(closing).finalize().into();
    let key = Key { caller: user, operation, key: closing.to_string(), fingerprint };
    let request: Request<Rider> = Request::new(key).open(account::citizen(user)).action(action).forget_refusal();
    match wallet.ledger.post(request).await.map_err(|error| CopyError::Other(error.to_string()))? {
        Outcome::Posted(_) => Ok(()),
        Outcome::Rejected(reject) => Err(CopyError::Other(format!("the ledger refuses: {}", reject.code()))),
    }
}

/// What stands against a closing now.
async fn found(wallet: &Wallet, user: Uuid, ours: bool) -> Result<Vec<&'static str>, CopyError> {
    let mut hindrances = Vec::new();
    if let Some(account) = book::account(&wallet.pool, account::citizen(user).id).await? {
        if account.posted != 0 {
            hindrances.push("balance-not-zero");
        }
        if account.held != 0 || account.promised != 0 {
            hindrances.push("money-on-hold");
        }
        if account.freeze != Freeze::Nothing && !ours {
            hindrances.push("account-frozen");
        }
    }
    let mut connection = wallet.pool.acquire().await?;
    if has_open(&mut connection, user).await? {
        hindrances.push("payment-open");
    }
    let merchants = sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT FROM wallet.merchant WHERE owner_user_id = $1 AND closed_at IS NULL) AS "some!""#,
        user
    )
    .fetch_one(&mut *connection)
    .await?;
    if merchants {
        hindrances.push("has-merchants");
    }
    Ok(hindrances)
}

async fn is_frozen(wallet: &Wallet, user: Uuid) -> Result<bool, CopyError> {
    let account = book::account(&wallet.pool, account::citizen(user).id).await?;
    Ok(account.is_some_and(|account| account.freeze == Freeze::Both))
}

async fn has_open(connection: &mut PgConnection, user: Uuid) -> Result<bool, sqlx::Error> {
    Ok(top_up::count_open_of(connection, user).await? + bill_payment::sql::count_open_of(connection, user).await? > 0)
}

async fn held_by(connection: &mut PgConnection, user: Uuid) -> Result<Option<Held>, sqlx::Error> {
    sqlx::query_as!(
        Held,
        r#"SELECT closing_id AS closing, reopened_at IS NOT NULL AS "open_again!" FROM wallet.closing WHERE user_id = $1"#,
        user
    )
    .fetch_optional(connection)
    .await
}
