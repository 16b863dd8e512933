//! Receipts: they hold without the database, and no changed byte of one goes unseen.

use chrono::{FixedOffset, TimeDelta};
use ledger::block::Proof;
use ledger::checkpoint::make::{self, Maker};
use ledger::note::{PublicKey, Signer};
use ledger::receipt::{self, Proven, Receipt, ReceiptError};
use ledger::{Request, TransferId};
use serde_json::Value;
use sqlx::PgPool;

use crate::support::*;

fn maker(seed: &str) -> Maker<FixedOffset> {
    let zone = FixedOffset::east_opt(7 * 3_600).expect("a zone");
    let signer = Signer::try_new(&seed.repeat(32)).expect("a seed");
    Maker { name: "hue.example".to_owned(), shard: 1, zone, signer }
}

fn key(seed: &str) -> PublicKey {
    maker(seed).public_key().expect("a name")
}

/// Two transfers of one request among others, and the books signed or not.
async fn two_receipts(signed: Option<&str>) -> Vec<Receipt> {
    let world = World::new().await;
    let replica = world.engine();
    let (_, customers) = open(&replica.ledger, &[1_000, 0]).await;
    let mut made = Vec::new();
    for _ in 0..3 {
        let request = Request::new(fresh_key()).transfer(posting(customers[0], customers[1], 10)).transfer(posting(
            customers[1],
            customers[0],
            4,
        ));
        made = posted(replica.ledger.post(request).await);
    }
    let pool = world.pool();
    if let Some(seed) = signed {
        make::due(&pool, &maker(seed), world.clock.now() + TimeDelta::days(2)).await.expect("made");
    }
    let mut receipts = Vec::new();
    for posted in made {
        receipts.push(issue(&pool, posted.transfer).await.expect("there"));
    }
    assert_eq!(issue(&pool, TransferId::generate()).await, None);
    replica.stop().await;
    receipts
}

async fn issue(pool: &PgPool, id: TransferId) -> Option<Receipt> {
    receipt::issue(pool, id).await.expect("read")
}

fn prove(bytes: &[u8], trusted: Option<&PublicKey>) -> Result<Proven, ReceiptError> {
    Receipt::from_json(bytes)?.prove(trusted)
}

#[tokio::test]
async fn a_receipt_proves_its_block_at_once_and_the_signature_later() {
    for receipt in two_receipts(None).await {
        let bytes = receipt.to_json();
        assert_eq!(prove(&bytes, None), Ok(Proven::Block));
        assert_eq!(prove(&bytes, Some(&key("5a"))), Err(ReceiptError::Unsigned), "a key was given to check with");
    }
    for receipt in two_receipts(Some("5a")).await {
        let bytes = receipt.to_json();
        for trusted in [None, Some(&key("5a"))] {
            let proven = prove(&bytes, trusted);
            assert!(
                matches!(&proven, Ok(Proven::Signed { blocks: 4, key: signer, .. }) if *signer == key("5a")),
                "{proven:?}"
            );
        }
        assert_eq!(prove(&bytes, Some(&key("5b"))), Err(ReceiptError::OtherKey));
    }
}

#[tokio::test]
async fn every_changed_byte_of_a_receipt_is_found() {
    for (receipt, trusted) in two_receipts(None)
        .await
        .into_iter()
        .map(|receipt| (receipt, None))
        .chain(two_receipts(Some("5a")).await.into_iter().map(|receipt| (receipt, Some(key("5a")))))
    {
        let bytes = receipt.to_json();
        assert!(prove(&bytes, trusted.as_ref()).is_ok());
        for place in 0..bytes.len() {
            for change in [0x01, 0x02, 0x10, 0x20, 0x80] {
                let mut changed = bytes.clone();
                changed[place] ^= change;
                assert!(prove(&changed, trusted.as_ref()).is_err(), "{}", String::from_utf8_lossy(&changed));
            }
            let mut shorter = bytes.clone();
            shorter.remove(place);
            assert!(prove(&shorter, trusted.as_ref()).is_err());
            for byte in [b' ', b'0', b'"'] {
                let mut longer = bytes.clone();
                longer.insert(place, byte);
                assert!(prove(&longer, trusted.as_ref()).is_err());
            }
        }
        assert!(prove(&[bytes, b"\n".to_vec()].concat(), trusted.as_ref()).is_err());
    }
}

/// Every value of a JSON text, by pointer.
fn pointers(value: &Value, at: &str, all: &mut Vec<String>) {
    match value {
        Value::Object(fields) => fields.iter().for_each(|(name, value)| pointers(value, &format!("{at}/{name}"), all)),
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(index, value)| pointers(value, &format!("{at}/{index}"), all));
        }
        _ => all.push(at.to_owned()),
    }
}

/// Another value of the same form: a forger does not stop at syntax.
fn forged(value: &Value) -> Vec<Value> {
    match value {
        Value::Number(number) => {
            number.as_i64().into_iter().flat_map(|n| [n + 1, n - 1, 0, -n]).map(Value::from).collect()
        }
        Value::String(text) => {
            let last = text.chars().last().map(|last| if last == '1' { '2' } else { '1' });
            let digit = text[..text.len().saturating_sub(1)].chars().chain(last).collect::<String>();
            let turned = text.chars().rev().collect::<String>();
            let other = if text == "VND" { "USD".to_owned() } else { turned };
            [digit, other].into_iter().filter(|other| other != text).map(Value::from).collect()
        }
        Value::Null => vec![Value::from(1)],
        other => panic!("a receipt has no {other}"),
    }
}

#[tokio::test]
async fn every_changed_field_of_a_receipt_is_found() {
    for receipt in two_receipts(Some("5a")).await {
        let value = serde_json::to_value(&receipt).expect("JSON");
        let mut all = Vec::new();
        pointers(&value, "", &mut all);
        assert!(all.len() > 30, "{all:?}");
        for pointer in all {
            for other in forged(value.pointer(&pointer).expect("there")) {
                let mut changed = value.clone();
                *changed.pointer_mut(&pointer).expect("there") = other.clone();
                // In its one form, so that form is not what gives it away.
                let Ok(read) = serde_json::from_value::<Receipt>(changed) else { continue };
                let proven = prove(&read.to_json(), Some(&key("5a")));
                let same = read == receipt;
                assert!(same || proven.is_err(), "{pointer} = {other}: {proven:?}");
            }
        }
        let unsigned = Receipt { checkpoint: None, ..receipt.clone() };
        assert_eq!(prove(&unsigned.to_json(), Some(&key("5a"))), Err(ReceiptError::Unsigned));
    }
}

/// Whoever has a receipt sees hashes of what is beside it in the block. Knowing all about a neighbour but its nonce does not help to recognise it.
#[tokio::test]
async fn a_receipt_does_not_let_a_guess_about_its_neighbour_be_confirmed() {
    let receipts = two_receipts(None).await;
    let [mine, neighbour] = receipts.as_slice() else { panic!("two transfers of one request") };
    assert_eq!((mine.proof.path.as_slice(), mine.proof.block.transfers), ([neighbour.proof.leaf].as_slice(), 2));
    // A guess of everything in the neighbour, with what the receipt at hand tells of nonces.
    let guess = Receipt { proof: Proof { nonce: mine.proof.nonce, ..neighbour.proof.clone() }, ..neighbour.clone() };
    assert_eq!(guess.prove(None), Err(ReceiptError::Transfer));
    assert_ne!(mine.proof.nonce, neighbour.proof.nonce);
    assert_eq!(neighbour.prove(None), Ok(Proven::Block));
}

/// Somebody writes a ledger of their own and signs it with a key of their own: the receipt holds together, and the city's key refuses it.
#[tokio::test]
async fn a_forger_needs_the_citys_key() {
    for receipt in two_receipts(Some("66")).await {
        assert!(prove(&receipt.to_json(), None).is_ok());
        assert_eq!(prove(&receipt.to_json(), Some(&key("5a"))), Err(ReceiptError::OtherKey));
        // With the city's name for the key and the forger's signature.
        let mut named = receipt;
        named.checkpoint.as_mut().expect("signed").key = key("5a").to_string();
        assert!(matches!(prove(&named.to_json(), Some(&key("5a"))), Err(ReceiptError::Checkpoint(_))));
    }
}
