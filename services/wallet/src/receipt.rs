//! Receipts for those whose transaction it was: the citizen, or the owner of the merchant, on either side of it.
//!
//! A receipt names both balances after the transfer, because its proof is made of them; nobody else gets it.

use ledger::receipt::{self, Receipt};
use ledger::{AccountId, TransferId, book};
use uuid::Uuid;

use crate::Wallet;
use crate::account;
use crate::error::Error;
use crate::merchant::{self, MerchantId};

/// The receipt of a transaction of the caller's.
pub(crate) async fn of(wallet: &Wallet, user: Uuid, id: Uuid) -> Result<Receipt, Error> {
    let id = TransferId::from(id);
    let transfer = book::transfer(&wallet.pool, id).await?.ok_or(Error::NotFound)?;
    let mut theirs = false;
    for side in [transfer.debit, transfer.credit] {
        theirs = theirs || belongs(wallet, user, side).await?;
    }
    if !theirs {
        return Err(Error::NotFound);
    }
    receipt::issue(&wallet.pool, id).await?.ok_or(Error::NotFound)
}

/// Whether an account is the citizen's, or that of a merchant of theirs.
async fn belongs(wallet: &Wallet, user: Uuid, id: AccountId) -> Result<bool, Error> {
    if account::citizen(user).id == id {
        return Ok(true);
    }
    let Some(account) = book::account(&wallet.pool, id).await? else { return Ok(false) };
    let merchant = MerchantId::from(account.owner);
    if account::merchant(merchant).id != id {
        return Ok(false);
    }
    let mut connection = wallet.pool.acquire().await?;
    Ok(merchant::sql::own_merchant(&mut connection, user, merchant).await?.is_some())
}
