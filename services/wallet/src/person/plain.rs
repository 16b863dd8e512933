//! Brings over rows from before their values were sealed, and of processes of an earlier version that still run.
//!
//! One kind of rows at a time, so that no transaction holds the locks of two kinds: first customers at billers, with the bills and links
//! that name them by their plain code; then, person by person, what is sealed under the person's key. What is left of somebody who was
//! erased goes.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use platform::person::{PersonError, PersonKey, PersonKeys, Unsealed};
use sqlx::{AssertSqlSafe, PgConnection};
use uuid::Uuid;

use super::word::{PAYMENT_NOTE, REFUND_REASON};
use super::{BILL_PAYMENT_CODE, BILL_PAYMENT_REFERENCE, SUBSCRIPTION_CODE, SUBSCRIPTION_LABEL, TOP_UP_ACCOUNT};
use crate::bill::customer;

/// Rows, or customers at billers, that one transaction brings over.
const BATCH: i64 = 200;

/// A value that stands alone in its row: whose, in which column it stood plain, and where `{plain}_sealed` of that table is.
struct Word {
    table: &'static str,
    person: &'static str,
    plain: &'static str,
    place: &'static str,
}

const WORDS: [Word; 3] = [
    Word { table: "payment", person: "payer_user_id", plain: "note", place: PAYMENT_NOTE },
    Word { table: "refund", person: "refunder_user_id", plain: "reason", place: REFUND_REASON },
    Word { table: "top_up", person: "user_id", plain: "account", place: TOP_UP_ACCOUNT },
];

/// Rows from before there were keys.
pub(crate) struct Plain(pub(crate) Arc<PersonKeys>);

#[async_trait]
impl Unsealed for Plain {
    async fn seal_some(
        &self,
        tx: &mut PgConnection,
        now: DateTime<Utc>,
        passed_over: &[Uuid],
    ) -> Result<usize, PersonError> {
        let mut sealed = self.customers(tx, now).await?;
        if sealed == 0 {
            sealed = self.links(tx, (now, passed_over)).await?;
        }
        if sealed == 0 {
            sealed = self.bill_payments(tx, (now, passed_over)).await?;
        }
        for word in &WORDS {
            if sealed == 0 {
                sealed = self.words(tx, word, (now, passed_over)).await?;
            }
        }
        Ok(sealed)
    }
}

impl Plain {
    async fn customers(&self, tx: &mut PgConnection, now: DateTime<Utc>) -> Result<usize, PersonError> {
        // What an erasure of an earlier version has left: without its code, but not without the name that has the code in it.
        let blanked = sqlx::query!(
            "UPDATE wallet.bill SET customer_code = NULL, reference = id::text, details = '{}', status = 'closed'
             WHERE id IN (SELECT id FROM wallet.bill WHERE customer_code = '' AND kind <> 'fee' ORDER BY id LIMIT $1)",
            BATCH,
        )
        .execute(&mut *tx)
        .await?
        .rows_affected();
        let mut named = sqlx::query!(
            r#"SELECT biller_code AS "biller_code!", customer_code AS "customer_code!" FROM (
                   (SELECT biller_code, customer_code FROM wallet.bill
                    WHERE customer_code IS NOT NULL AND customer_code <> '' AND kind <> 'fee' LIMIT $1)
                   UNION
                   (SELECT biller_code, customer_code FROM wallet.bill_subscription
                    WHERE customer_code IS NOT NULL AND customer_id IS NULL LIMIT $1)
               ) AS named"#,
            BATCH,
        )
        .fetch_all(&mut *tx)
        .await?;
        // As an erasure locks them.
        named.sort_by_cached_key(|name| {
            let lookups = customer::lookups(&self.0, (&name.biller_code, &name.customer_code));
            (name.biller_code.clone(), lookups.into_iter().next())
        });
        let mut customers = Vec::with_capacity(named.len());
        for name in &named {
            customers.push(customer::locked(&self.0, tx, (&name.biller_code, &name.customer_code), now).await?);
        }
        // Only then what refers to them: whoever waits for one of these customers must not need a row that is locked here.
        customer::adopt(tx, &customers).await?;
        let ids: Vec<Uuid> = customers.iter().map(|customer| customer.id.uuid()).collect();
        customer::forget_unused(tx, &ids).await?;
        Ok(named.len() + usize::try_from(blanked).unwrap_or(usize::MAX))
    }

    async fn links(
        &self,
        tx: &mut PgConnection,
        (now, passed_over): (DateTime<Utc>, &[Uuid]),
    ) -> Result<usize, PersonError> {
        let rows = sqlx::query!(
            r#"SELECT id, user_id, customer_code AS "customer_code!", label FROM wallet.bill_subscription
               WHERE customer_code IS NOT NULL AND customer_id IS NOT NULL AND user_id <> ALL ($2)
               ORDER BY user_id, id LIMIT $1 FOR NO KEY UPDATE SKIP LOCKED"#,
            BATCH,
            passed_over,
        )
        .fetch_all(&mut *tx)
        .await?;
        let keys = self.keys(tx, rows.iter().map(|row| row.user_id), now).await?;
        for row in &rows {
            let Some(key) = keys.get(&row.user_id) else {
                sqlx::query!("DELETE FROM wallet.bill_subscription WHERE id = $1", row.id).execute(&mut *tx).await?;
                continue;
            };
            sqlx::query!(
                "UPDATE wallet.bill_subscription SET customer_code = NULL, customer_code_sealed = $2, label = NULL, label_sealed = $3
                 WHERE id = $1",
                row.id,
                key.seal(SUBSCRIPTION_CODE, row.id, &row.customer_code),
                row.label.as_ref().map(|label| key.seal(SUBSCRIPTION_LABEL, row.id, label)) as Option<Vec<u8>>,
            )
            .execute(&mut *tx)
            .await?;
        }
        Ok(rows.len())
    }

    async fn bill_payments(
        &self,
        tx: &mut PgConnection,
        (now, passed_over): (DateTime<Utc>, &[Uuid]),
    ) -> Result<usize, PersonError> {
        let rows = sqlx::query!(
            r#"SELECT id, user_id, customer_code, reference AS "reference!" FROM wallet.bill_payment
               WHERE reference IS NOT NULL AND kind <> 'fee' AND state IN ('paid', 'failed') AND user_id <> ALL ($2)
               ORDER BY user_id, id LIMIT $1 FOR NO KEY UPDATE SKIP LOCKED"#,
            BATCH,
            passed_over,
        )
        .fetch_all(&mut *tx)
        .await?;
        let keys = self.keys(tx, rows.iter().map(|row| row.user_id), now).await?;
        for row in &rows {
            let key = keys.get(&row.user_id);
            // An erasure of an earlier version has left an empty code.
            let code = row.customer_code.as_deref().filter(|code| !code.is_empty());
            let code = key.zip(code).map(|(key, code)| key.seal(BILL_PAYMENT_CODE, row.id, code));
            sqlx::query!(
                "UPDATE wallet.bill_payment SET customer_code = NULL, customer_code_sealed = $2, reference = NULL, reference_sealed = $3
                 WHERE id = $1",
                row.id,
                code as Option<Vec<u8>>,
                key.map(|key| key.seal(BILL_PAYMENT_REFERENCE, row.id, &row.reference)) as Option<Vec<u8>>,
            )
            .execute(&mut *tx)
            .await?;
        }
        Ok(rows.len())
    }

    /// Words that stand alone in their row.
    async fn words(
        &self,
        tx: &mut PgConnection,
        word: &Word,
        (now, passed_over): (DateTime<Utc>, &[Uuid]),
    ) -> Result<usize, PersonError> {
        let Word { table, person, plain, place } = *word;
        let select = format!(
            "SELECT id, {person}, {plain} FROM wallet.{table} WHERE {plain} IS NOT NULL AND {person} <> ALL ($2)
             ORDER BY id LIMIT $1 FOR NO KEY UPDATE SKIP LOCKED"
        );
        let rows: Vec<(Uuid, Uuid, String)> =
            sqlx::query_as(AssertSqlSafe(select)).bind(BATCH).bind(passed_over).fetch_all(&mut *tx).await?;
        let keys = self.keys(tx, rows.iter().map(|(_, person, _)| *person), now).await?;
        let update = format!("UPDATE wallet.{table} SET {plain} = NULL, {plain}_sealed = $2 WHERE id = $1");
        for (id, person, value) in &rows {
            let value = keys.get(person).map(|key| key.seal(place, *id, value));
            sqlx::query(AssertSqlSafe(update.as_str())).bind(id).bind(value).execute(&mut *tx).await?;
        }
        Ok(rows.len())
    }

    /// The keys of persons in their order, held until the transaction ends; none of somebody who was erased.
    async fn keys(
        &self,
        tx: &mut PgConnection,
        persons: impl Iterator<Item = Uuid> + Send,
        now: DateTime<Utc>,
    ) -> Result<HashMap<Uuid, PersonKey>, PersonError> {
        let mut persons: Vec<Uuid> = persons.collect();
        persons.sort_unstable();
        persons.dedup();
        let mut keys = HashMap::new();
        for person in persons {
            match self.0.for_sealing(tx, person, now).await {
                Ok(key) => drop(keys.insert(person, key)),
                Err(PersonError::Erased) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(keys)
    }
}
