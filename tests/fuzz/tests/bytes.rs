//! Every target that takes bytes, from good examples.

use ledger::note::Signer;

/// Codes of other makers, right and wrong.
const CODES: &str = include_str!("../../data/vietqr-vectors.csv");

fn codes() -> Vec<&'static [u8]> {
    let payload = |line: &'static str| line.split(',').nth(1).map(str::as_bytes);
    CODES.lines().filter(|line| !line.starts_with('#')).skip(1).filter_map(payload).collect()
}

#[test]
fn payment_codes() {
    let runs = fuzz::run(fuzz::qr_code, &codes());
    assert!(runs > 1_000, "{runs}");
}

#[test]
fn payment_codes_behind_their_check_sum() {
    let accepted =
        codes().iter().filter(|code| wallet::qr::decode(std::str::from_utf8(code).unwrap_or("")).is_ok()).count();
    assert!(accepted > 3, "examples are read");
    let runs = fuzz::run(fuzz::qr_code_behind_its_check_sum, &codes());
    assert!(runs > 1_000, "{runs}");
}

#[test]
fn amounts() {
    let json: &[u8] = br#"{"amount":"150000","currency":"VND"}"#;
    let runs =
        fuzz::run(fuzz::money, &[b"0", b"150000", b"-12.34", b"9223372036854775807", b"92233720368547758.07", json]);
    assert!(runs > 1_000, "{runs}");
}

#[test]
fn receipts() {
    let hash = "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e";
    let id = "01938f6e-7c1b-7000-8000-000000000001";
    let block = format!(
        r#"{{"shard":1,"number":7,"first_sequence":12,"transfers":3,"records":1,"posted_at":"2026-11-21T09:00:00.123456Z","transfer_root":"{hash}","record_root":"{hash}","balance_hash":"{hash}","previous_hash":"{hash}"}}"#
    );
    let nonce = "7c1b5f083f0a1a33ca076a9527983258";
    let proof = format!(
        r#"{{"block":{block},"block_hash":"{hash}","nonce":"{nonce}","leaf":"{hash}","index":1,"path":["{hash}"]}}"#
    );
    let money = |dong: &str| format!(r#"{{"amount":"{dong}","currency":"VND"}}"#);
    let transfer = format!(
        r#"{{"shard":1,"sequence":13,"block":7,"posted_at":"2026-11-21T09:00:00.123456Z","id":"{id}","debit":"{id}","credit":"{id}","amount":{},"kind":2,"reference":"{id}","request":null}}"#,
        money("30000")
    );
    let receipt = format!(r#"{{"version":1,"transfer":{transfer},"proof":{proof},"checkpoint":null}}"#);
    let signed = format!(
        r#"{{"version":1,"transfer":{transfer},"proof":{proof},"checkpoint":{{"note":"a\n\n— b AAAAAAA=\n","key":"b+0","path":["{hash}"]}}}}"#
    );
    for example in [&receipt, &signed] {
        assert!(ledger::receipt::Receipt::from_json(example.as_bytes()).is_ok(), "the example is read: {example}");
    }
    let runs = fuzz::run(fuzz::receipt, &[receipt.as_bytes(), signed.as_bytes()]);
    assert!(runs > 1_000, "{runs}");
}

#[test]
fn notes_and_checkpoints() {
    let hash = "00".repeat(32);
    let text = format!(
        "hue.example/ledger/1\n4711\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\nday 2026-11-21\nblock-hash {hash}\n\
         last-sequence 90210\nlast-time 2026-11-21T16:59:58.123456Z\nprevious {hash}\n"
    );
    assert!(text.parse::<ledger::checkpoint::Checkpoint>().is_ok(), "the example is read");
    let signer = Signer::try_new(&"5a".repeat(32)).expect("a seed");
    let note = signer.sign("hue.example/ledger/1", &text).expect("signed").to_string();
    let key = signer.public_key("hue.example/ledger/1").expect("a name").to_string();
    let runs = fuzz::run(fuzz::note, &[text.as_bytes(), note.as_bytes(), key.as_bytes()]);
    assert!(runs > 1_000, "{runs}");
}
