//! Bad input: each gets a 4xx problem with a stable code, in both languages, and has no effect.

use axum::body::Body;
use http::Request;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::biller::BILLER;
use crate::stage::{BANK, Replica, Stage, dong};

const PATHS: [&str; 5] = [
    "/wallet/v1/payments",
    "/wallet/v1/top-ups",
    "/wallet/v1/merchants",
    "/wallet/v1/bill-subscriptions",
    "/wallet/v1/bills/01980000-0000-7000-8000-000000000000/payments",
];

async fn verdict(wallet: &Replica, token: &str, path: &str, body: Vec<u8>) -> (u16, String) {
    let answer = wallet.post_bytes(token, path, body, &Uuid::now_v7().to_string()).await;
    assert_eq!(answer.headers["content-type"], "application/problem+json", "{path}");
    let problem = answer.json();
    for member in ["title", "detail"] {
        assert!(problem[member].as_str().is_some_and(|text| !text.is_empty()), "{problem}");
    }
    (answer.status.as_u16(), answer.code())
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_of_wrong_form_are_refused() {
    let stage = Stage::new().await;
    let wallet = stage.start().await;
    let shop = wallet.shop(&stage).await;
    let token = stage.token(stage.citizen(1).await);
    let invalid = (422, "invalid-body".to_owned());
    let malformed = (400, "malformed-json".to_owned());
    for path in PATHS {
        for body in [&b""[..], b"{", b"nope", b"\xff\xfe"] {
            assert_eq!(
                verdict(&wallet, &token, path, body.to_vec()).await,
                malformed,
                "{path} {}",
                String::from_utf8_lossy(body)
            );
        }
        for body in [json!([]), json!(null), json!("x"), json!(1), json!({})] {
            let (status, code) = verdict(&wallet, &token, path, body.to_string().into_bytes()).await;
            assert!(
                status == 422 && (code == "invalid-body" || code == "payee-required"),
                "{path} {body} {status} {code}"
            );
        }
        assert_eq!(
            verdict(&wallet, &token, path, vec![b' '; 70_000]).await,
            (413, "body-too-large".to_owned()),
            "{path}"
        );
    }
    let payment = |change: fn(&mut Value)| {
        let mut body = json!({"till_id": shop.till, "amount": dong(1_000)});
        change(&mut body);
        body
    };
    for (path, field) in PATHS.into_iter().zip(["note", "bank_code", "name", "label", "amount"]) {
        for broken in [&b"\xff"[..], b"H\xc3", b"\\ud800"] {
            let body = [format!("{{\"{field}\":\"").as_bytes(), broken, b"\"}"].concat();
            assert_eq!(verdict(&wallet, &token, path, body).await, malformed, "{path} {broken:?}");
        }
    }
    let trailing = format!("{}}}", payment(|_| ()));
    assert_eq!(verdict(&wallet, &token, PATHS[0], trailing.into_bytes()).await, malformed);
    let amounts: [fn(&mut Value); 16] = [
        |body| body["amount"] = json!(1000),
        |body| body["amount"] = json!("1000"),
        |body| body["amount"]["amount"] = json!(1000),
        |body| body["amount"]["amount"] = json!("-1000"),
        |body| body["amount"]["amount"] = json!("0"),
        |body| body["amount"]["amount"] = json!("10.5"),
        |body| body["amount"]["amount"] = json!("1000.0"),
        |body| body["amount"]["amount"] = json!("1e3"),
        |body| body["amount"]["amount"] = json!("9223372036854775808"),
        |body| body["amount"]["amount"] = json!("99999999999999999999999999999999999999999999"),
        |body| body["amount"]["amount"] = json!(" 1000"),
        |body| body["amount"]["amount"] = json!("۱۰۰۰"),
        |body| body["amount"]["currency"] = json!("XXX"),
        |body| body["amount"]["currency"] = json!("vnd"),
        |body| body["amount"]["extra"] = json!(1),
        |body| body["amount"] = json!({"amount": "1000"}),
    ];
    let fields: [fn(&mut Value); 7] = [
        |body| body["unknown"] = json!(true),
        |body| body["till_id"] = json!(7),
        |body| body["till_id"] = json!("till"),
        |body| body["note"] = json!(""),
        |body| body["note"] = json!("x".repeat(141)),
        |body| body["note"] = json!("a\u{0}b"),
        |body| body["note"] = json!(["x"]),
    ];
    for change in amounts.into_iter().chain(fields) {
        let body = payment(change);
        assert_eq!(verdict(&wallet, &token, PATHS[0], body.to_string().into_bytes()).await, invalid, "{body}");
    }
    let top_up = |change: fn(&mut Value)| {
        let mut body = json!({"bank_code": BANK, "account": sandbox::RICH_ACCOUNTS[0], "amount": dong(1_000)});
        change(&mut body);
        body
    };
    let fields: [fn(&mut Value); 7] = [
        |body| body["account"] = json!("12345"),
        |body| body["account"] = json!("1".repeat(20)),
        |body| body["account"] = json!("1000000001; DROP TABLE"),
        |body| body["account"] = json!(1_000_000_001),
        |body| body["iban"] = json!("x"),
        |body| body["bank_code"] = json!(null),
        |body| body["account"] = json!("100000\u{0}0001"),
    ];
    for change in amounts.into_iter().chain(fields) {
        let body = top_up(change);
        assert_eq!(verdict(&wallet, &token, PATHS[1], body.to_string().into_bytes()).await, invalid, "{body}");
    }
    for body in [
        json!({"name": ""}),
        json!({"name": "x".repeat(101)}),
        json!({"name": "a\nb"}),
        json!({"name": "a\u{0}b"}),
        json!({"name": "A", "city": "a\u{0}b"}),
        json!({"name": "A", "category": "58\u{0}4"}),
        json!({"name": "A", "category": "58"}),
        json!({"name": "A", "category": 5814}),
        json!({"name": "A", "owner": Uuid::now_v7()}),
    ] {
        assert_eq!(verdict(&wallet, &token, PATHS[2], body.to_string().into_bytes()).await, invalid, "{body}");
    }
    for change in amounts {
        let mut body = json!({"amount": dong(1_000)});
        change(&mut body);
        assert_eq!(verdict(&wallet, &token, PATHS[4], body.to_string().into_bytes()).await, invalid, "{body}");
    }
    let link = |change: fn(&mut Value)| {
        let mut body = json!({"biller_code": BILLER, "customer_code": "PC00000000000"});
        change(&mut body);
        body
    };
    let fields: [fn(&mut Value); 6] = [
        |body| body["customer_code"] = json!(7),
        |body| body["biller_code"] = json!(null),
        |body| body["label"] = json!(""),
        |body| body["label"] = json!("x".repeat(61)),
        |body| body["label"] = json!("a\u{0}b"),
        |body| body["user_id"] = json!(Uuid::now_v7()),
    ];
    for change in fields {
        let body = link(change);
        assert_eq!(verdict(&wallet, &token, PATHS[3], body.to_string().into_bytes()).await, invalid, "{body}");
    }
    let stores = shop.path("/stores");
    for (path, body) in [
        (stores.clone(), json!({"name": "a\u{0}b"})),
        (stores.clone(), json!({"name": "A", "address": "a\u{0}b"})),
        (format!("{stores}/{}/tills", shop.store), json!({"name": "a\u{0}b"})),
    ] {
        assert_eq!(verdict(&wallet, &shop.token, &path, body.to_string().into_bytes()).await, invalid, "{path} {body}");
    }
    assert_eq!(stage.count("ledger.transfer").await + stage.count("wallet.top_up").await, 0);
    assert_eq!(stage.count("wallet.merchant").await, 1);
    assert_eq!(stage.count("wallet.bill_subscription").await + stage.count("wallet.bill_payment").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_well_formed_and_wrong_has_its_own_code() {
    let stage = Stage::new().await;
    let wallet = stage.start().await;
    let shop = wallet.shop(&stage).await;
    let token = wallet.funded(&stage, 50_000).await;
    let broken = "00020101021138570010A00000072701270006970403011200110123456780208QRIBFTTA53037045802VN6304F4E5";
    let foreign = "00020101021126280010A0000007750110010215477853037045802VN5912TUGIACOMPANY62310315TU GIA COMPUTER0708TUGIACO16304DF44";
    for (what, path, body, status, code) in [
        ("inner length", PATHS[0], json!({"qr_payload": broken, "amount": dong(1_000)}), 422, "qr-length"),
        ("no text", PATHS[0], json!({"qr_payload": "a\u{0}b", "amount": dong(1_000)}), 422, "qr-not-payment-code"),
        (
            "no bank",
            PATHS[1],
            json!({"bank_code": "V\u{0}B", "account": "1000000001", "amount": dong(1_000)}),
            422,
            "bank-unknown",
        ),
        ("no code", PATHS[0], json!({"qr_payload": "hello", "amount": dong(1_000)}), 422, "qr-not-payment-code"),
        ("somebody else's code", PATHS[0], json!({"qr_payload": foreign, "amount": dong(1_000)}), 422, "payee-unknown"),
        ("unknown till", PATHS[0], json!({"till_id": Uuid::now_v7(), "amount": dong(1_000)}), 422, "payee-unknown"),
        (
            "both",
            PATHS[0],
            json!({"till_id": shop.till, "qr_payload": shop.payload, "amount": dong(1_000)}),
            422,
            "payee-required",
        ),
        ("neither", PATHS[0], json!({"amount": dong(1_000)}), 422, "payee-required"),
        ("no amount", PATHS[0], json!({"qr_payload": shop.payload}), 422, "amount-required"),
        (
            "dollars",
            PATHS[0],
            json!({"till_id": shop.till, "amount": {"amount": "1.50", "currency": "USD"}}),
            422,
            "currency-unsupported",
        ),
        ("64 bits", PATHS[0], json!({"till_id": shop.till, "amount": dong(i64::MAX)}), 422, "insufficient-funds"),
        (
            "unknown bank",
            PATHS[1],
            json!({"bank_code": "NOBANK", "account": "1000000001", "amount": dong(1_000)}),
            422,
            "bank-unknown",
        ),
        (
            "bank not connected",
            PATHS[1],
            json!({"bank_code": "ACB", "account": "1000000001", "amount": dong(1_000)}),
            422,
            "bank-unknown",
        ),
        (
            "dollars",
            PATHS[1],
            json!({"bank_code": BANK, "account": "1000000001", "amount": {"amount": "1.50", "currency": "USD"}}),
            422,
            "currency-unsupported",
        ),
        (
            "64 bits",
            PATHS[1],
            json!({"bank_code": BANK, "account": "1000000001", "amount": dong(i64::MAX)}),
            422,
            "amount-above-limit",
        ),
    ] {
        assert_eq!(
            verdict(&wallet, &token, path, body.to_string().into_bytes()).await,
            (status, code.to_owned()),
            "{what}"
        );
    }
    assert_eq!(wallet.balance(&token).await, 50_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_without_token_key_or_media_type_are_refused() {
    let stage = Stage::new().await;
    let wallet = stage.start().await;
    let user = stage.citizen(1).await;
    let token = stage.token(user);
    let expired = stage.issuer.token(user, user, -60);
    let body = json!({"till_id": Uuid::now_v7(), "amount": dong(1_000)}).to_string();
    for path in PATHS {
        let request = || Request::post(path).header("content-type", "application/json").header("idempotency-key", "k");
        for (what, request, status, code) in [
            ("no token", request(), 401, "unauthenticated"),
            ("a forged token", request().header("authorization", format!("Bearer {token}x")), 401, "unauthenticated"),
            (
                "an expired token",
                request().header("authorization", format!("Bearer {expired}")),
                401,
                "unauthenticated",
            ),
            ("another scheme", request().header("authorization", "Basic YTpi"), 401, "unauthenticated"),
            (
                "no key",
                Request::post(path)
                    .header("content-type", "application/json")
                    .header("authorization", format!("Bearer {token}")),
                400,
                "idempotency-key-missing",
            ),
            (
                "no media type",
                Request::post(path).header("idempotency-key", "k").header("authorization", format!("Bearer {token}")),
                415,
                "unsupported-media-type",
            ),
            (
                "a key too long",
                Request::post(path)
                    .header("content-type", "application/json")
                    .header("authorization", format!("Bearer {token}"))
                    .header("idempotency-key", "k".repeat(256)),
                400,
                "invalid-header",
            ),
        ] {
            let answer = wallet.call(request.body(Body::from(body.clone())).expect("a request")).await;
            assert_eq!((answer.status.as_u16(), answer.code().as_str()), (status, code), "{path} {what}");
        }
    }
    for path in ["/wallet/v1/wallet", "/wallet/v1/transactions", "/wallet/v1/merchants"] {
        let answer = wallet.call(Request::get(path).body(Body::empty()).expect("a request")).await;
        assert_eq!(answer.code(), "unauthenticated", "{path}");
    }
    for query in ["limit=0", "limit=201", "limit=x", "cursor=!", "cursor=AAAA", "page=2"] {
        let answer = wallet.get(&token, &format!("/wallet/v1/transactions?{query}")).await;
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (400, "invalid-query"), "{query}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn codes_are_read_without_a_token_and_named_when_wrong() {
    let stage = Stage::new().await;
    let wallet = stage.start().await;
    let decode = async |body: Vec<u8>| {
        let request =
            Request::post("/wallet/v1/qr/decode").header("content-type", "application/json").body(Body::from(body));
        wallet.call(request.expect("a request")).await
    };
    #[derive(serde::Deserialize)]
    struct Vector {
        id: String,
        payload: String,
        verdict: String,
    }
    let vectors = include_bytes!("../../../../tests/data/vietqr-vectors.csv");
    let mut reader = csv::ReaderBuilder::new().comment(Some(b'#')).from_reader(&vectors[..]);
    for vector in reader.deserialize::<Vector>() {
        let vector = vector.expect("a row");
        let answer = decode(json!({"payload": vector.payload}).to_string().into_bytes()).await;
        let verdict = if answer.status.as_u16() == 200 { "accept".to_owned() } else { answer.code() };
        assert_eq!(verdict, vector.verdict, "{}", vector.id);
        assert!(matches!(answer.status.as_u16(), 200 | 422), "{}", vector.id);
    }
    let published = decode(json!({"payload": "00020101021238600010A00000072701300006970403011697040311012345670208QRIBFTTC530370454061800005802VN62340107NPS68690819thanh toan don hang6304A203"}).to_string().into_bytes()).await.expect(200);
    assert_eq!(
        (&published["amount"], &published["additional"]["purpose"]),
        (&dong(180_000), &json!("thanh toan don hang"))
    );
    assert_eq!(
        (&published["vietqr"]["number"], &published["vietqr"]["service"]),
        (&json!("9704031101234567"), &json!("card"))
    );
    for (body, status, code) in [
        (json!({"payload": 1}).to_string().into_bytes(), 422, "invalid-body"),
        (json!({"payload": "x", "more": 1}).to_string().into_bytes(), 422, "invalid-body"),
        (json!({"payload": "0".repeat(60_000)}).to_string().into_bytes(), 422, "qr-too-long"),
        (b"{\"payload\":\"\xff\"}".to_vec(), 400, "malformed-json"),
        (vec![b'0'; 100_000], 413, "body-too-large"),
    ] {
        let answer = decode(body).await;
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (status, code));
    }
}
