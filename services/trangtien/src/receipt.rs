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
    let unreadable = || format!("cannot read the receipt {}", path.display());
    let file = tokio::fs::File::open(path).await.with_context(unreadable)?;
    let mut bytes = Vec::new();
    // One byte more than any receipt has tells that it is none.
    file.take(MAX_RECEIPT_BYTES as u64 + 1).read_to_end(&mut bytes).await.with_context(unreadable)?;
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
