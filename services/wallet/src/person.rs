//! What the wallet keeps of a citizen beside their money, sealed under a key of that citizen (`platform::person`).
//!
//! | column | what |
//! | --- | --- |
//! | `top_up.account_sealed` | the account number at the bank |

mod closing;
mod erase;
mod sections;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use platform::person::{CopyError, Holder, PersonError, PersonKeys, Section, Unsealed};
use sqlx::PgConnection;
use uuid::Uuid;

pub(crate) use self::closing::refuse as refuse_closing;
use crate::Wallet;
use crate::error::Error;

/// Where account numbers at banks are sealed.
pub(crate) const TOP_UP_ACCOUNT: &str = "top_up.account_sealed";
/// Rows that one transaction seals.
const BATCH: i64 = 200;

impl From<PersonError> for Error {
    fn from(error: PersonError) -> Self {
        match error {
            PersonError::Database(error) => error.into(),
            PersonError::Erased | PersonError::Unsealable(_) => Self::Broken(error.to_string()),
        }
    }
}

/// The wallet, where a citizen asks all services for something.
pub(crate) struct WalletHolder(pub(crate) Arc<Wallet>);

#[async_trait]
impl Holder for WalletHolder {
    fn sections(&self) -> &'static [Section] {
        sections::SECTIONS
    }

    async fn close(&self, person: Uuid, closing: Uuid) -> Result<Vec<&'static str>, CopyError> {
        closing::close(&self.0, person, closing).await
    }

    async fn reopen(&self, person: Uuid, closing: Uuid) -> Result<(), CopyError> {
        closing::reopen(&self.0, person, closing).await
    }

    async fn end(&self, person: Uuid, closing: Uuid) -> Result<(), CopyError> {
        closing::end(&self.0, person, closing).await?;
        erase::words(&self.0, person).await
    }

    async fn erase(&self, tx: &mut PgConnection, person: Uuid, now: DateTime<Utc>) -> Result<(), sqlx::Error> {
        erase::rows(tx, person, now).await
    }
}

/// Rows from before there were keys.
pub(crate) struct Plain(pub(crate) Arc<PersonKeys>);

#[async_trait]
impl Unsealed for Plain {
    async fn seal_some(&self, tx: &mut PgConnection, now: DateTime<Utc>) -> Result<usize, PersonError> {
        let rows = sqlx::query!(
            r#"SELECT id, user_id, account AS "account!" FROM wallet.top_up WHERE account IS NOT NULL
               ORDER BY user_id, id LIMIT $1 FOR NO KEY UPDATE SKIP LOCKED"#,
            BATCH,
        )
        .fetch_all(&mut *tx)
        .await?;
        for row in &rows {
            let sealed = self.sealed(tx, row.user_id, (row.id, &row.account), now).await?;
            sqlx::query!(
                "UPDATE wallet.top_up SET account = NULL, account_sealed = $2 WHERE id = $1",
                row.id,
                sealed as Option<Vec<u8>>,
            )
            .execute(&mut *tx)
            .await?;
        }
        Ok(rows.len())
    }
}

impl Plain {
    /// The sealed form; none for somebody who was erased: then the value goes.
    async fn sealed(
        &self,
        tx: &mut PgConnection,
        user: Uuid,
        (row, account): (Uuid, &str),
        now: DateTime<Utc>,
    ) -> Result<Option<Vec<u8>>, PersonError> {
        match self.0.for_sealing(tx, user, now).await {
            Ok(key) => Ok(Some(key.seal(TOP_UP_ACCOUNT, row, account))),
            Err(PersonError::Erased) => Ok(None),
            Err(error) => Err(error),
        }
    }
}
