//! Vectors, pictures, and the properties of mod.rs.

use std::collections::BTreeMap;

use proptest::prelude::*;
use uuid::Uuid;

use super::{Account, Code, Initiation, Language, Tip, VietQr, VietQrService, decode, encode, png, svg};

const VECTORS: &str = include_str!("../../../../tests/data/vietqr-vectors.csv");

#[derive(serde::Deserialize)]
struct Vector {
    id: String,
    payload: String,
    verdict: String,
}

#[test]
fn vectors_get_their_verdict() {
    let mut reader = csv::ReaderBuilder::new().comment(Some(b'#')).from_reader(VECTORS.as_bytes());
    let vectors: Vec<Vector> = reader.deserialize().collect::<Result<_, _>>().expect("vectors are readable");
    assert!(vectors.len() > 30, "the vectors are there");
    for vector in vectors {
        let verdict = decode(&vector.payload).map_or_else(|fault| fault.code(), |_| "accept");
        assert_eq!(verdict, vector.verdict, "{}", vector.id);
    }
}

#[test]
fn fields_of_a_published_code() {
    let payload = "00020101021238600010A00000072701300006970403011697040311012345670208QRIBFTTC530370454061800005802VN62340107NPS68690819thanh toan don hang6304A203";
    let code = decode(payload).expect("a published example");
    assert_eq!((code.initiation, code.amount), (Initiation::Dynamic, Some(180_000)));
    let vietqr = code.vietqr().expect("it is a VietQR");
    assert_eq!((&*vietqr.bin, &*vietqr.number, vietqr.service), ("970403", "9704031101234567", VietQrService::Card));
    assert_eq!(code.additional, BTreeMap::from([(1, "NPS6869".to_owned()), (8, "thanh toan don hang".to_owned())]));
    assert_eq!(encode(&code).expect("what was read can be written"), payload);
}

#[test]
fn a_till_code_pays_the_till_and_the_account() {
    let till = Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0001);
    let code = till_code(till);
    let payload = encode(&code).expect("our own code is right");
    let read = decode(&payload).expect("our own code is readable");
    assert_eq!(read.till(), Some(till));
    assert_eq!(read.vietqr().map(|vietqr| &*vietqr.number), Some("TT00000000017"));
    assert!(svg(&payload).expect("it fits").starts_with("<?xml"));
    let file = png(&payload).expect("it fits");
    let mut picture = png_reader(&file);
    let mut pixels = vec![0; picture.output_buffer_size().expect("a small picture")];
    let info = picture.next_frame(&mut pixels).expect("a whole picture");
    assert_eq!((info.width, info.width % 10), (info.height, 0));
    assert!(pixels.contains(&0xFF) && pixels.iter().any(|byte| *byte != 0xFF));
}

fn png_reader(file: &[u8]) -> png::Reader<std::io::Cursor<&[u8]>> {
    png::Decoder::new(std::io::Cursor::new(file)).read_info().expect("a PNG file")
}

fn till_code(till: Uuid) -> Code {
    Code {
        initiation: Initiation::Static,
        accounts: vec![
            Account::VietQr(VietQr {
                bin: "970436".to_owned(),
                number: "TT00000000017".to_owned(),
                service: VietQrService::Account,
            }),
            Account::Till(till),
        ],
        category: Some("5814".to_owned()),
        amount: None,
        tip: None,
        country: "VN".to_owned(),
        name: Some("Bun bo Me Keo".to_owned()),
        city: Some("Hue".to_owned()),
        postal_code: None,
        additional: BTreeMap::new(),
        language: None,
        unread: BTreeMap::new(),
    }
}

fn text(max: usize) -> impl Strategy<Value = String> {
    proptest::string::string_regex(&format!("[ -~]{{1,{max}}}")).expect("a valid pattern")
}

fn fields(tags: std::ops::RangeInclusive<u8>, most: usize) -> impl Strategy<Value = BTreeMap<u8, String>> {
    proptest::collection::btree_map(tags, text(12), 0..=most)
}

fn account(tag: u8) -> BoxedStrategy<Account> {
    match tag {
        2..=25 => text(20).prop_map(move |value| Account::Network { tag, value }).boxed(),
        38 => ("[0-9]{6}", "[0-9A-Za-z]{1,19}", prop_oneof![Just(VietQrService::Account), Just(VietQrService::Card)])
            .prop_map(|(bin, number, service)| Account::VietQr(VietQr { bin, number, service }))
            .boxed(),
        50 => any::<u128>().prop_map(|till| Account::Till(Uuid::from_u128(till))).boxed(),
        _ => ("[a-z.]{3,12}", fields(1..=99, 3))
            .prop_map(move |(aid, fields)| Account::Other { tag, aid, fields })
            .boxed(),
    }
}

fn accounts() -> impl Strategy<Value = Vec<Account>> {
    proptest::collection::btree_set(prop_oneof![2_u8..=51, Just(38), Just(50)], 1..=3)
        .prop_flat_map(|tags| tags.into_iter().map(account).collect::<Vec<_>>())
}

fn tip() -> impl Strategy<Value = Option<Tip>> {
    prop_oneof![
        Just(None),
        Just(Some(Tip::Asked)),
        "[0-9]{1,5}".prop_map(|fee| Some(Tip::Fixed(fee))),
        "[0-9]{1,2}\\.[0-9]{1,2}".prop_map(|share| Some(Tip::Percentage(share))),
    ]
}

fn code() -> impl Strategy<Value = Code> {
    let start = (
        accounts(),
        proptest::option::of(1_i64..10_000_000_000_000),
        any::<bool>(),
        tip(),
        proptest::option::of("[0-9]{4}"),
    );
    let names = (proptest::option::of(text(25)), proptest::option::of(text(15)), proptest::option::of(text(10)));
    let rest = (
        fields(1..=49, 2),
        fields(65..=99, 2),
        proptest::option::of(("[a-z]{2}", text(10), proptest::option::of(text(10)))),
    );
    (start, names, rest).prop_map(
        |((accounts, amount, dynamic, tip, category), (name, city, postal_code), (additional, unread, language))| {
            Code {
                initiation: if dynamic && amount.is_some() { Initiation::Dynamic } else { Initiation::Static },
                accounts,
                category,
                amount,
                tip,
                country: "VN".to_owned(),
                name,
                city,
                postal_code,
                additional,
                language: language.map(|(code, name, city)| Language { code, name, city }),
                unread,
            }
        },
    )
}

proptest! {
    #[test]
    fn what_is_written_reads_back(code in code()) {
        let payload = encode(&code).expect("every ASCII code of right form can be written");
        prop_assert_eq!(decode(&payload).expect("what was written is right"), code);
    }

    #[test]
    fn one_changed_character_is_refused(code in code(), at in any::<prop::sample::Index>(), new in b' '..=b'~') {
        let payload = encode(&code).expect("every ASCII code of right form can be written");
        let place = at.index(payload.len());
        let old = payload.as_bytes()[place];
        prop_assume!(old != new);
        // A checksum with one single letter may change its case and still be all lower-case.
        prop_assume!(!(place >= payload.len() - 4 && old.eq_ignore_ascii_case(&new)));
        let mut bytes = payload.into_bytes();
        bytes[place] = new;
        let broken = String::from_utf8(bytes).expect("still ASCII");
        prop_assert!(decode(&broken).is_err(), "{}", broken);
    }

    #[test]
    fn no_text_makes_it_panic(text in "\\PC*") {
        let _ = decode(&text);
    }

    #[test]
    fn no_nearly_right_text_makes_it_panic(body in "[0-9]{0,8}[0-9A-Zàđ\u{1F600}]{0,60}") {
        let covered = format!("000201{body}6304");
        let payload = format!("{covered}{:04X}", super::crc::checksum(covered.as_bytes()));
        let _ = decode(&payload);
    }

    #[test]
    fn text_beyond_ascii_is_read_in_one_way_or_refused(name in "[a-zà-ỹ]{1,25}", memo in "[ -~à-ỹ]{1,20}") {
        let mut code = till_code(Uuid::from_u128(7));
        code.name = Some(name);
        code.additional.insert(8, memo);
        if let Ok(payload) = encode(&code) {
            prop_assert_eq!(decode(&payload), Ok(code));
        }
    }
}
