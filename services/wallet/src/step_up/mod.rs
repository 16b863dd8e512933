//! Proofs that citizens bring along: checked here against the very transaction they are used for, and remembered in the batch that moves the money.
//!
//! A proof is a statement of identity ([`platform::auth::STEP_UP`]) about kind, payee, amount, currency and nonce. The nonce is the
//! transaction's own idempotency key (`<delegation>:<key>` of who acts for somebody), and a key is one transaction for ever: so a proof moves money once,
//! with any number of replicas and after any crash. Its id is recorded all the same, and the database refuses it a second time.
//! How strong a proof must be is said by the city's dated rules ([`crate::city::Ladder`]).

pub(crate) mod sql;

use ledger::money::Money;
use platform::auth::{AuthError, STEP_UP};
use platform::problem::Problem;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::Wallet;
use crate::allowance::Asked;
use crate::city::Proof;
use crate::error::{AmountFault, Error, ProofFault};

/// What stands before the kind of a transaction with somebody else's money.
const DELEGATED: &str = "delegated-";

/// A proof that was checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Proven {
    /// Its own id.
    pub(crate) id: Uuid,
    /// How strong it is.
    pub(crate) level: Proof,
}

/// What a proof is about: what a citizen sends to identity as `transaction`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Transaction {
    kind: String,
    payee: String,
    amount: Amount,
    nonce: String,
}

/// Money as identity took it: text, compared byte by byte.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Amount {
    amount: String,
    currency: String,
}

/// What a proof of identity says.
#[derive(Deserialize)]
struct Says {
    level: Proof,
    transaction: Transaction,
}

/// A transaction that asks for a proof which it did not bring.
#[derive(Debug)]
pub(crate) struct Needed {
    pub(crate) threshold: Money,
    pub(crate) proof: Proof,
    pub(crate) transaction: Transaction,
}

impl Transaction {
    /// What a citizen asks for: `kind` and `payee` are names that they know, too.
    ///
    /// Whoever acts for somebody proves that they do, and for whom: the kind says the first, the delegation in the nonce the second.
    /// So no proof for one's own money moves another's, nor the other way round.
    pub(crate) fn new(kind: &str, payee: impl ToString, amount: Money, asked: Asked<'_>) -> Self {
        let (digits, currency) = (amount.minor().to_string(), amount.currency().code().to_owned());
        let amount = Amount { amount: digits, currency };
        let kind = if asked.asker.acting.is_some() { format!("{DELEGATED}{kind}") } else { kind.to_owned() };
        Self { kind, payee: payee.to_string(), amount, nonce: asked.key.to_owned() }
    }

    /// The proof that came with the request, if one did.
    ///
    /// # Errors
    /// A proof that is none, or is for something else: also where none is needed, so that no client sends one by mistake and never notices.
    pub(crate) async fn proven(&self, wallet: &Wallet, asked: Asked<'_>) -> Result<Option<Proven>, Error> {
        let Some(token) = asked.proof else { return Ok(None) };
        let statement =
            wallet.verifier.statement::<Says>(STEP_UP, token, asked.asker.proves()).await.map_err(refused)?;
        if statement.says.transaction != *self {
            return Err(ProofFault::OtherTransaction.into());
        }
        Ok(Some(Proven { id: statement.jti, level: statement.says.level }))
    }

    /// Says, when it is a proof that a refusal asks for, of what.
    pub(crate) fn tell(self, error: Error) -> Error {
        match error {
            Error::Amount(AmountFault::StepUp { threshold, proof }) => {
                Error::StepUp(Box::new(Needed { threshold, proof, transaction: self }))
            }
            other => other,
        }
    }
}

fn refused(error: AuthError) -> Error {
    match error {
        AuthError::NoKeys => Error::Problem(Problem::from(error)),
        AuthError::Expired => ProofFault::Expired.into(),
        AuthError::Invalid | AuthError::Revoked | AuthError::Stale => ProofFault::Invalid.into(),
    }
}
