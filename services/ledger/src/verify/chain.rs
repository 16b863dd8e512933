//! The walk along the chain: how each block follows from the one before, and each transfer from those before it.

use sqlx::PgPool;

use super::balance::Balances;
use super::window::{Checked, Window, Windows, is_possible};
use super::{End, Fault, Findings};
use crate::block::{Block, Hash};
use crate::transfer::{Origin, Transfer};

/// Walks all blocks up to `end`; gives how many transfers were seen.
pub(super) async fn walk(
    pool: &PgPool,
    shard: i16,
    end: &End,
    balances: &mut Balances<'_>,
    findings: &mut Findings,
) -> Result<i64, sqlx::Error> {
    let tip = Tip { number: 0, hash: Hash::ZERO, last_sequence: 0, posted_at: i64::MIN };
    let mut walk = Walk { tip, seen: 0, further: 0, balances, findings };
    let mut windows = Windows::new(pool, shard, end);
    while !walk.findings.full()
        && let Some(window) = windows.next().await?
    {
        walk.window(window);
    }
    if walk.tip.number < end.block && !walk.findings.full() {
        walk.findings.add(Some(walk.tip.number + 1), Fault::BlockMissing);
    }
    let tip = &walk.tip;
    let at = if end.block == 0 { tip.posted_at } else { end.posted_at.timestamp_micros() };
    if (tip.number, tip.hash, tip.last_sequence, tip.posted_at) != (end.block, end.hash, end.sequence, at) {
        walk.findings.add(Some(end.block), Fault::Head);
    }
    Ok(walk.seen)
}

/// The last block that was walked.
struct Tip {
    number: i64,
    hash: Hash,
    last_sequence: i64,
    posted_at: i64,
}

struct Walk<'a, 'b> {
    tip: Tip,
    seen: i64,
    /// How many further transfers the current request still has.
    further: i16,
    balances: &'a mut Balances<'b>,
    findings: &'a mut Findings,
}

impl Walk<'_, '_> {
    fn window(&mut self, window: Window) {
        if window.key_twice.is_some() {
            self.findings.add(window.key_twice, Fault::KeyTwice);
        }
        if window.wrong_refund.is_some() {
            self.findings.add(window.wrong_refund, Fault::Refund);
        }
        for block in window.blocks {
            self.block(&block);
        }
    }

    fn block(&mut self, checked: &Checked) {
        let number = checked.number;
        while self.tip.number + 1 < number && !self.findings.full() {
            self.tip.number += 1;
            self.findings.add(Some(self.tip.number), Fault::BlockMissing);
        }
        checked.faults.iter().for_each(|fault| self.findings.add(Some(number), *fault));
        match &checked.block {
            Some((block, hash)) => self.follow(block, *hash, checked),
            None => self.tip.number = number,
        }
    }

    fn follow(&mut self, block: &Block, hash: Hash, checked: &Checked) {
        let number = Some(block.number);
        if block.previous_hash != self.tip.hash {
            self.findings.add(number, Fault::Chain);
        }
        let time = block.posted_at.timestamp_micros();
        if time < self.tip.posted_at {
            self.findings.add(number, Fault::Time);
        }
        let possible = is_possible(block.transfers) && is_possible(block.records);
        if possible && block.first_sequence == self.tip.last_sequence + 1 {
            self.transfers(block, checked);
        } else {
            self.findings.add(number, Fault::Range);
        }
        let last_sequence = if possible { block.last_sequence() } else { block.first_sequence };
        self.tip = Tip { number: block.number, hash, last_sequence, posted_at: time };
    }

    fn transfers(&mut self, block: &Block, checked: &Checked) {
        self.seen += checked.rows;
        for transfer in &checked.transfers {
            self.request(transfer);
        }
        if self.further != 0 {
            self.findings.add(Some(block.number), Fault::Request);
            self.further = 0;
        }
        if !self.balances.take(block.posted_at, &checked.transfers, &checked.spendings) {
            self.findings.add(Some(block.number), Fault::RunningBalance);
        }
    }

    /// The transfers of a request follow one another.
    fn request(&mut self, transfer: &Transfer) {
        let broken = match transfer.request {
            Origin::First { transfers, .. } => std::mem::replace(&mut self.further, transfers - 1) != 0,
            Origin::Further => {
                self.further -= 1;
                self.further < 0
            }
        };
        if broken {
            self.findings.add(Some(transfer.block), Fault::Request);
            self.further = self.further.max(0);
        }
    }
}
