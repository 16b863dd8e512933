//! An owner closes a shop: what the city owes it goes to the owner's wallet.
//!
//! One request to the ledger moves all that is there and closes the account, or does neither: when a payment came in between, the
//! account is not empty, and it is looked at again. The row is written in the same batch ([`crate::rider`]), so that a process that dies
//! leaves a shop that is open or one that is closed.

use ledger::money::Money;
use ledger::{Action, Key, Outcome, Posting, Reject, Request, book};
use platform::problem::Problem;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::{MerchantId, sql};
use crate::Wallet;
use crate::account::{self, CURRENCY, PAYOUT};
use crate::error::{Error, MERCHANT_BUSY};
use crate::rider::Rider;

/// The operation under which the ledger knows it.
const OPERATION: &str = "merchant.close";
/// How often it is looked again when payments come in between.
const MAX_LOOKS: usize = 8;

/// Closes a shop of the citizen's; one that is closed stays so.
///
/// # Errors
/// Not found unless it is the owner's; the ledger's refusal, when the owner's wallet takes no money; [`MERCHANT_BUSY`].
pub(crate) async fn close(wallet: &Wallet, owner: Uuid, id: MerchantId) -> Result<(), Error> {
    for _ in 0..MAX_LOOKS {
        let known = sql::own_merchant(&mut *wallet.pool.acquire().await?, owner, id).await?.ok_or(Error::NotFound)?;
        if known.closed_at.is_some() {
            return Ok(());
        }
        let account = book::account(&wallet.pool, account::merchant(id).id).await?;
        let balance = account.map_or(0, |account| account.posted);
        match wallet.ledger.answer(request(owner, id, balance)).await?.outcome {
            Outcome::Posted(_) => return Ok(()),
            // Somebody paid, or was given back, since it was looked at; or another request has closed it.
            Outcome::Rejected(Reject::AccountNotEmpty(_) | Reject::InsufficientFunds(_)) => {}
            Outcome::Rejected(Reject::AccountClosed(closed)) if closed == account::merchant(id).id => {}
            Outcome::Rejected(reject) => return Err(Error::Rejected(reject)),
        }
    }
    Err(Error::Problem(Problem::new(MERCHANT_BUSY).retry_after(1)))
}

/// All that is there to the owner, and the end.
fn request(owner: Uuid, id: MerchantId, balance: i64) -> Request<Rider> {
    let (shop, citizen) = (account::merchant(id), account::citizen(owner));
    let fingerprint = Sha256::new().chain_update(OPERATION).chain_update(id.uuid()).finalize().into();
    // A look is a request of its own: of those that find other balances, one at most is granted.
    let key = Key { caller: owner, operation: OPERATION, key: format!("{id}:{balance}"), fingerprint };
    let mut request = Request::new(key).open(shop).open(citizen);
    if balance > 0 {
        request = request.transfer(Posting {
            debit: shop.id,
            credit: citizen.id,
            amount: Money::from_minor(balance, CURRENCY),
            kind: PAYOUT,
            reference: id.uuid(),
        });
    }
    request.action(Action::Close(shop.id)).rider(Rider::MerchantClosed { merchant: id }).forget_refusal()
}
