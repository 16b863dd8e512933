//! Words that go with payments and refunds, sealed under the key of who wrote them. Both sides read them, until that key is destroyed.

use ledger::{AccountId, TransferKind};
use platform::person::{CopyError, PersonCopy, PersonError, PersonKeys};
use serde_json::{Value, json};
use sqlx::PgConnection;
use uuid::Uuid;

use super::opened;
use crate::Wallet;
use crate::account::{self, REFUND};
use crate::error::Error;
use crate::history::{self, Line};
use crate::merchant::MerchantId;
use crate::payment::Payment;

/// Where payers' words are sealed.
pub(crate) const PAYMENT_NOTE: &str = "payment.note_sealed";
/// Where the words of who gave money back are sealed.
pub(crate) const REFUND_REASON: &str = "refund.reason_sealed";
/// Lines of a journal that are read together for a copy.
const PAGE: i64 = 200;

/// A word before it goes with its transfer; none when there is none, or whoever writes it was erased. Without a word nothing is asked.
///
/// The key may be destroyed before the transfer is posted: then nobody ever opens what is stored.
///
/// # Errors
/// What the database answered.
pub(crate) async fn sealed(
    wallet: &Wallet,
    author: Uuid,
    (column, row): (&'static str, Uuid),
    word: Option<&str>,
) -> Result<Option<Vec<u8>>, Error> {
    let Some(word) = word else { return Ok(None) };
    let mut connection = wallet.pool.acquire().await?;
    match wallet.persons.for_holding(&mut connection, author, wallet.clock.now()).await {
        Ok(key) => Ok(Some(key.seal(column, row, word))),
        Err(PersonError::Erased) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// A word as it is stored.
pub(crate) struct Sealed<'a> {
    author: Uuid,
    column: &'static str,
    row: Uuid,
    value: &'a [u8],
}

/// Something with a word of somebody's.
pub(crate) trait Worded {
    /// The sealed word, where there is one.
    fn sealed(&self) -> Option<Sealed<'_>>;
    /// The place of the plain word.
    fn plain(&mut self) -> &mut Option<String>;
}

impl Worded for Payment {
    fn sealed(&self) -> Option<Sealed<'_>> {
        let value = self.note_sealed.as_deref()?;
        Some(Sealed { author: self.payer_user_id, column: PAYMENT_NOTE, row: self.id.uuid(), value })
    }

    fn plain(&mut self) -> &mut Option<String> {
        &mut self.note
    }
}

impl Worded for Line {
    fn sealed(&self) -> Option<Sealed<'_>> {
        let column = if is(self, REFUND) { REFUND_REASON } else { PAYMENT_NOTE };
        Some(Sealed { author: self.note_by?, column, row: self.id, value: self.note_sealed.as_deref()? })
    }

    fn plain(&mut self) -> &mut Option<String> {
        &mut self.note
    }
}

fn is(line: &Line, kind: TransferKind) -> bool {
    line.kind == kind.code
}

/// Puts the plain words in, with one look-up of keys for all; none where nothing is sealed.
///
/// # Errors
/// What the database answered, or that a word was sealed under another key.
pub(crate) async fn open<W: Worded>(
    persons: &PersonKeys,
    connection: &mut PgConnection,
    items: &mut [W],
) -> Result<(), PersonError> {
    let mut authors: Vec<Uuid> = items.iter().filter_map(|item| item.sealed().map(|word| word.author)).collect();
    if authors.is_empty() {
        return Ok(());
    }
    authors.sort_unstable();
    authors.dedup();
    let keys = persons.find(connection, &authors).await?;
    for item in items {
        let Some(Sealed { author, column, row, value }) = item.sealed() else { continue };
        *item.plain() = opened(keys.get(&author), (column, row, Some(value)), None)?;
    }
    Ok(())
}

/// Hands over what shops wrote to a citizen when they gave money back, and what the citizen's own shops gave back and wrote.
pub(super) async fn copy_reasons(wallet: &Wallet, person: Uuid, copy: &mut PersonCopy) -> Result<(), CopyError> {
    copy.list("refund_reasons");
    copy_refunds(wallet, account::citizen(person).id, copy, |line| {
        line.note.as_ref().map(|reason| json!({ "id": line.id, "reason": reason }))
    })
    .await?;
    let shops = sqlx::query_scalar!("SELECT id FROM wallet.merchant WHERE owner_user_id = $1 ORDER BY id", person)
        .fetch_all(&wallet.pool)
        .await?;
    copy.list("refunds_made");
    for shop in shops {
        copy_refunds(wallet, account::merchant(MerchantId::from(shop)).id, copy, |line| {
            let own = line.note_by == Some(person);
            own.then(|| {
                json!({ "id": line.id, "merchant_id": shop, "amount": line.amount.to_string(),
                        "posted_at": line.posted_at, "reason": line.note })
            })
        })
        .await?;
    }
    Ok(())
}

/// What `item` makes of the refunds in an account's journal, the newest first.
async fn copy_refunds(
    wallet: &Wallet,
    account: AccountId,
    copy: &mut PersonCopy,
    item: impl Fn(&Line) -> Option<Value> + Send + Sync,
) -> Result<(), CopyError> {
    let mut before = None;
    while !copy.is_over() {
        // No connection is held while a piece is handed over.
        let mut connection = wallet.pool.acquire().await?;
        let mut page = history::before(&mut connection, account, before, PAGE).await?;
        let Some(oldest) = page.last() else { return Ok(()) };
        before = Some(oldest.sequence);
        page.retain(|line| is(line, REFUND));
        open(&wallet.persons, &mut connection, &mut page).await?;
        drop(connection);
        for line in &page {
            if let Some(item) = item(line) {
                copy.item(&item).await?;
            }
        }
    }
    Ok(())
}
