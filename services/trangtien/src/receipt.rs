//! Checks a receipt without any city, and says in plain words what it proves and what it does not.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context as _, bail};
use ledger::note::PublicKey;
use ledger::receipt::{MAX_RECEIPT_BYTES, Proven, Receipt};
use tokio::io::AsyncReadExt as _;

/// Checks the receipt in a file, with a public key if one is given, and prints what it proves.
///
/// # Errors
/// When the file can't be read, or proves nothing.
pub async fn check(path: &Path, key: Option<&str>) -> anyhow::Result<()> {
    let key: Option<PublicKey> = key.map(|key| key.trim().parse().context("--key is no public key")).transpose()?;
    let file = tokio::fs::File::open(path).await.with_context(|| format!("cannot read {}", path.display()))?;
    let mut bytes = Vec::new();
    // One byte more than any receipt has tells that it is none.
    file.take(MAX_RECEIPT_BYTES as u64 + 1).read_to_end(&mut bytes).await.context("cannot read the receipt")?;
    let proven = Receipt::from_json(&bytes).and_then(|receipt| Ok((receipt.prove(key.as_ref())?, receipt)));
    match proven {
        Ok((proven, receipt)) => {
            print!("{}", words(&receipt, &proven, key.is_some()).context("the words can't be put together")?);
            Ok(())
        }
        Err(fault) => bail!("this receipt proves nothing: {fault}"),
    }
}

/// What a receipt proves; `given` says whether the key came from the person who asks.
fn words(receipt: &Receipt, proven: &Proven, given: bool) -> Result<String, std::fmt::Error> {
    let (transfer, proof) = (&receipt.transfer, &receipt.proof);
    let mut text = String::from("this receipt holds\n\nIt proves:\n");
    writeln!(
        text,
        "- transfer {} moved {} {} from account {} to account {}",
        transfer.id,
        transfer.amount.amount(),
        transfer.amount.currency(),
        transfer.debit,
        transfer.credit
    )?;
    writeln!(text, "  at {}, for {}", transfer.posted_at.to_rfc3339(), transfer.reference)?;
    writeln!(
        text,
        "- it is number {} of the {} transfers in block {} of shard {},\n  whose hash is {}",
        proof.index + 1,
        proof.block.transfers,
        proof.block.number,
        proof.block.shard,
        proof.block_hash
    )?;
    match proven {
        Proven::Block => text.push_str(
            "\nIt does not prove that the city stands by it: no signed checkpoint is part of this receipt yet.\n\
             Whoever could write the whole ledger anew could make such a receipt too. Fetch it again after the day has been signed.\n",
        ),
        Proven::Signed { day, blocks, key } => {
            writeln!(
                text,
                "- the block is one of the {blocks} blocks that {} signed for at the end of {day}",
                key.name()
            )?;
            text.push_str("\nIt does not prove whose accounts these are.\n");
            if !given {
                writeln!(
                    text,
                    "It does not prove that the key is the city's: it is the one that the receipt itself names,\n  {key}\n\
                     Compare it with the one that the city publishes, or give that one with --key."
                )?;
            }
        }
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use chrono::{FixedOffset, TimeDelta};
    use ledger::checkpoint::make::{self, Maker};
    use ledger::note::Signer;
    use ledger::{
        AccountId, AccountKind, AccountSpec, Config, Currency, Engine, Floor, Key, MIGRATOR, Money, NoRiders, Outcome,
        Posting, Request, SCHEMA, TransferId, TransferKind, receipt,
    };
    use platform::clock::Clock;
    use platform::db::PlatformTables;
    use platform::embedded::scratch::{self, TestFolder};
    use platform::metrics::Metrics;
    use platform::task::{Shutdown, Tasks};
    use sqlx::PgPool;
    use uuid::Uuid;

    use super::*;

    const KIND: AccountKind = AccountKind { code: 1, name: "any", floor: Floor::None };

    fn posting(debit: AccountId, credit: AccountId) -> Posting {
        let kind = TransferKind::new(1, "payment");
        Posting { debit, credit, amount: Money::vnd(150_000), kind, reference: Uuid::nil() }
    }

    /// Posts one transfer.
    async fn one_transfer(pool: &PgPool, clock: &Clock) -> TransferId {
        let metrics = Metrics::new("wallet", "test");
        let (ledger, tasks) = Engine::start::<()>(pool.clone(), clock.clone(), &metrics, Config::default(), NoRiders);
        let _running = Tasks::start(tasks, &Shutdown::new());
        let account =
            || AccountSpec { id: AccountId::generate(), owner: Uuid::nil(), kind: KIND, currency: Currency::Vnd };
        let (debit, credit) = (account(), account());
        let key = Key { caller: Uuid::nil(), operation: "test", key: "one".to_owned(), fingerprint: [1; 32] };
        let request = Request::new(key).open(debit).open(credit).transfer(posting(debit.id, credit.id));
        match ledger.post(request).await {
            Ok(Outcome::Posted(made)) => made[0].transfer,
            other => unreachable!("it can be posted: {other:?}"),
        }
    }

    #[tokio::test]
    async fn a_receipt_is_checked_from_its_file_alone() {
        let database = scratch::database(&[(SCHEMA, &MIGRATOR, PlatformTables::NotWanted)]).await.expect("PostgreSQL");
        let (pool, clock) = (database.pool_as("trangtien_wallet"), Clock::test());
        let id = one_transfer(&pool, &clock).await;
        let folder = TestFolder::new("receipt").expect("a folder");
        let file = folder.path().join("receipt.json");
        let issue = async || receipt::issue(&pool, id).await.expect("read").expect("there");

        let early = issue().await;
        std::fs::write(&file, early.to_json()).expect("writable");
        check(&file, None).await.expect("it holds");
        let text = words(&early, &Proven::Block, false).expect("words");
        assert!(
            text.contains("moved 150000 VND") && text.contains("does not prove that the city stands by it"),
            "{text}"
        );

        let zone = FixedOffset::east_opt(7 * 3_600).expect("a zone");
        let signer = Signer::try_new(&"5a".repeat(32)).expect("a seed");
        let maker = Maker { name: "hue.example".to_owned(), shard: 1, zone, signer };
        make::due(&pool, &maker, clock.now() + TimeDelta::days(2)).await.expect("signed");
        let key = maker.public_key().expect("a name").to_string();
        let refused = check(&file, Some(&key)).await.expect_err("nothing is signed in it").to_string();
        assert!(refused.contains("no signed checkpoint"), "{refused}");

        let signed = issue().await;
        let bytes = signed.to_json();
        std::fs::write(&file, &bytes).expect("writable");
        check(&file, None).await.expect("it holds");
        check(&file, Some(&key)).await.expect("it holds");
        let proven = signed.prove(None).expect("it holds");
        let unsure = words(&signed, &proven, false).expect("words");
        assert!(unsure.contains("hue.example/ledger/1 signed") && unsure.contains(&key), "{unsure}");
        assert!(!words(&signed, &proven, true).expect("words").contains(&key));
        for place in [0, bytes.len() / 3, bytes.len() / 2, bytes.len() - 1] {
            let mut changed = bytes.clone();
            changed[place] ^= 1;
            std::fs::write(&file, changed).expect("writable");
            assert!(check(&file, None).await.is_err(), "byte {place}");
        }
        assert!(check(&folder.path().join("none"), None).await.is_err());
        std::fs::write(&file, &bytes).expect("writable");
        assert!(check(&file, Some("no key")).await.is_err());
    }
}
