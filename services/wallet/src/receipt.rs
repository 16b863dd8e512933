//! Receipts for those whose transaction it was: the citizen, or the owner of the merchant, on either side of it.
//!
//! A receipt names both balances after the transfer, because its proof is made of them; nobody else gets it.

use ledger::receipt::{self, Receipt};
use ledger::{AccountId, TransferId, book};
use uuid::Uuid;

use crate::Wallet;
use crate::account;
use crate::delegate;
use crate::error::Error;
use crate::merchant::{self, MerchantId};

/// The receipt of a transaction of the caller's, and the guardian who paid for them.
pub(crate) async fn of(wallet: &Wallet, user: Uuid, id: Uuid) -> Result<(Receipt, Option<Uuid>), Error> {
    let id = TransferId::from(id);
    let transfer = book::transfer(&wallet.pool, id).await?.ok_or(Error::NotFound)?;
    let mut theirs = false;
    for side in [transfer.debit, transfer.credit] {
        theirs = theirs || belongs(wallet, user, side).await?;
    }
    if !theirs {
        return Err(Error::NotFound);
    }
    let receipt = receipt::issue(&wallet.pool, id).await?.ok_or(Error::NotFound)?;
    if account::citizen(user).id != transfer.debit {
        return Ok((receipt, None));
    }
    let acting = delegate::sql::acting_in(&mut *wallet.pool.acquire().await?, transfer.reference).await?;
    Ok((receipt, acting.map(|acting| acting.actor)))
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
