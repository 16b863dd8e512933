//! Filling the memory with what requests name and it has not.

use sqlx::PgConnection;

use super::failure::Failure;
use crate::fold::Entry;
use crate::kind::Kinds;
use crate::memory::{Memory, Past};
use crate::sql::batch;

/// How memory is filled.
pub(super) struct Reading<'a> {
    pub(super) shard: i16,
    pub(super) kinds: &'a Kinds,
    pub(super) past: Past,
}

impl Reading<'_> {
    /// Reads what is wanted. Without the lock each statement may see newer books than the one before it,
    /// so that the head is read first and once more with the accounts, last: all is well if it is the memory's own both times.
    pub(super) async fn read(
        &self,
        connection: &mut PgConnection,
        memory: &mut Memory,
        entries: &[Entry<'_>],
    ) -> Result<(), Failure> {
        if memory.head.is_none() {
            let head = batch::head(connection, self.shard).await?;
            (memory.state.shard, memory.state.sequence) = (self.shard, head.sequence);
            memory.head = Some(head);
        }
        let mut wanted = memory.wanted(entries, self.past);
        let mut parties = Vec::new();
        if !wanted.holds.is_empty() {
            let holds = batch::holds(connection, &wanted.holds).await?;
            parties.extend(holds.values().flat_map(|hold| [hold.debit, hold.credit]));
            memory.state.holds.extend(holds);
        }
        if !wanted.transfers.is_empty() {
            let paid = batch::paid(connection, &wanted.transfers).await?;
            parties.extend(paid.values().flat_map(|paid| [paid.debit, paid.credit]));
            memory.state.paid.extend(paid);
        }
        if !parties.is_empty() {
            let parties = parties.into_iter().filter(|id| !memory.has_account(*id));
            wanted.accounts.extend(parties.map(|id| id.uuid()));
            wanted.accounts.sort_unstable();
            wanted.accounts.dedup();
        }
        if !wanted.keys.is_empty() {
            memory.state.remembered.extend(batch::past(connection, &wanted.keys).await?);
        }
        if wanted.kinds {
            let (accounts, transfers) = batch::kinds(connection, self.shard).await?;
            self.kinds.learn(&accounts, &transfers)?;
            memory.note_kinds(accounts.into_keys(), transfers.into_keys(), entries);
        }
        let (head, accounts) = batch::accounts(connection, self.shard, &wanted.accounts).await?;
        if memory.head != Some(head) {
            return Err(Failure::Moved);
        }
        memory.state.accounts.extend(accounts);
        memory.note_absent(&wanted.accounts, &wanted.holds);
        Ok(())
    }
}
