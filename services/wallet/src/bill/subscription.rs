//! Links of citizens to customers at billers: how they are stored, sealed, and opened.
//!
//! A link whose citizen's key was destroyed is as good as none: it is neither shown nor fetched for.

use chrono::{DateTime, Utc};
use platform::person::{PersonError, PersonKey, PersonKeys};
use sqlx::PgConnection;
use uuid::Uuid;

use super::{CustomerId, NewSubscription, SubscriptionId, customer};
use crate::person::{self, SUBSCRIPTION_CODE, SUBSCRIPTION_LABEL};

/// A linked customer code.
#[derive(Clone, Debug)]
pub(crate) struct Subscription {
    pub(crate) id: SubscriptionId,
    pub(crate) biller_code: String,
    pub(crate) customer_code: String,
    pub(crate) label: Option<String>,
    pub(crate) created_at: DateTime<Utc>,
}

/// A link as stored.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    pub(crate) id: SubscriptionId,
    pub(crate) user_id: Uuid,
    pub(crate) biller_code: String,
    /// In rows from before it was sealed.
    pub(crate) customer_code: Option<String>,
    pub(crate) customer_code_sealed: Option<Vec<u8>>,
    /// In rows from before it was sealed.
    pub(crate) label: Option<String>,
    pub(crate) label_sealed: Option<Vec<u8>>,
    pub(crate) created_at: DateTime<Utc>,
}

impl Stored {
    /// The link in plain words; none without the key that opens it.
    ///
    /// # Errors
    /// When it was sealed under another key.
    pub(crate) fn opened(self, key: Option<&PersonKey>) -> Result<Option<Subscription>, PersonError> {
        let sealed = (SUBSCRIPTION_CODE, self.id.uuid(), self.customer_code_sealed.as_deref());
        let Some(customer_code) = person::opened(key, sealed, self.customer_code)? else { return Ok(None) };
        let label =
            person::opened(key, (SUBSCRIPTION_LABEL, self.id.uuid(), self.label_sealed.as_deref()), self.label)?;
        let Self { id, biller_code, created_at, .. } = self;
        Ok(Some(Subscription { id, biller_code, customer_code, label, created_at }))
    }
}

/// Adds a link, sealed, in the citizen's turn.
pub(super) async fn insert(
    connection: &mut PgConnection,
    (user, key): (Uuid, &PersonKey),
    customer: CustomerId,
    new: &Subscription,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "INSERT INTO wallet.bill_subscription (id, user_id, biller_code, customer_id, customer_code_sealed, label_sealed, created_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
        new.id.uuid(),
        user,
        new.biller_code,
        customer.uuid(),
        key.seal(SUBSCRIPTION_CODE, new.id, &new.customer_code),
        new.label.as_ref().map(|label| key.seal(SUBSCRIPTION_LABEL, new.id, label)) as Option<Vec<u8>>,
        new.created_at,
    )
    .execute(connection)
    .await
    .map(|_| ())
}

/// How many customers a citizen has linked.
pub(super) async fn count_of(connection: &mut PgConnection, user: Uuid) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar!(r#"SELECT count(*) AS "count!" FROM wallet.bill_subscription WHERE user_id = $1"#, user)
        .fetch_one(connection)
        .await
}

/// The link, whosever it is.
pub(super) async fn find(connection: &mut PgConnection, id: SubscriptionId) -> Result<Option<Stored>, sqlx::Error> {
    sqlx::query_as!(
        Stored,
        "SELECT id, user_id, biller_code, customer_code, customer_code_sealed, label, label_sealed, created_at
         FROM wallet.bill_subscription WHERE id = $1",
        id.uuid(),
    )
    .fetch_optional(connection)
    .await
}

/// The customer of a link that is still there; then it stays so until the transaction ends. Under the lock of the customer that its code
/// names, which is another one only where that was made under another secret.
pub(super) async fn customer_of(
    connection: &mut PgConnection,
    id: SubscriptionId,
) -> Result<Option<CustomerId>, sqlx::Error> {
    let found = sqlx::query_scalar!(
        r#"SELECT customer_id AS "customer_id: CustomerId" FROM wallet.bill_subscription WHERE id = $1 FOR KEY SHARE"#,
        id.uuid(),
    )
    .fetch_optional(connection)
    .await?;
    Ok(found.flatten())
}

/// Whether the citizen has linked the customer, by its digest or in a row from before.
pub(super) async fn is_linked(
    persons: &PersonKeys,
    connection: &mut PgConnection,
    user: Uuid,
    new: &NewSubscription,
) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(
        r#"SELECT EXISTS (
               SELECT FROM wallet.bill_subscription AS subscription
               LEFT JOIN wallet.bill_customer AS customer ON customer.id = subscription.customer_id
               WHERE subscription.user_id = $1 AND subscription.biller_code = $2
                 AND (customer.lookup = ANY ($3) OR subscription.customer_code = $4)) AS "linked!""#,
        user,
        new.biller_code,
        &customer::lookups(persons, (&new.biller_code, &new.customer_code)),
        new.customer_code,
    )
    .fetch_one(connection)
    .await
}

/// The citizen's links, the oldest first.
///
/// # Errors
/// What the database answered, or that something was sealed under another key.
pub(crate) async fn of_citizen(
    persons: &PersonKeys,
    connection: &mut PgConnection,
    user: Uuid,
    limit: i64,
) -> Result<Vec<Subscription>, PersonError> {
    let stored = sqlx::query_as!(
        Stored,
        "SELECT id, user_id, biller_code, customer_code, customer_code_sealed, label, label_sealed, created_at
         FROM wallet.bill_subscription WHERE user_id = $1 ORDER BY id LIMIT $2",
        user,
        limit,
    )
    .fetch_all(&mut *connection)
    .await?;
    if stored.is_empty() {
        return Ok(Vec::new());
    }
    let key = persons.find(connection, &[user]).await?.remove(&user);
    stored.into_iter().filter_map(|link| link.opened(key.as_ref()).transpose()).collect()
}

/// Takes a link of the citizen's away, and with the last one what only links need of the customer; `false` when there is none.
pub(crate) async fn remove(tx: &mut PgConnection, user: Uuid, id: SubscriptionId) -> Result<bool, sqlx::Error> {
    // The customer first, whom others may link or unlink at this moment.
    sqlx::query!(
        "SELECT id FROM wallet.bill_customer WHERE id IN (
             SELECT customer_id FROM wallet.bill_subscription WHERE id = $1 AND user_id = $2) FOR NO KEY UPDATE",
        id.uuid(),
        user,
    )
    .fetch_optional(&mut *tx)
    .await?;
    let removed = sqlx::query_scalar!(
        "DELETE FROM wallet.bill_subscription WHERE id = $1 AND user_id = $2 RETURNING customer_id",
        id.uuid(),
        user,
    )
    .fetch_optional(&mut *tx)
    .await?;
    let Some(customer) = removed else { return Ok(false) };
    customer::forget_unused(tx, customer.as_slice()).await?;
    Ok(true)
}
