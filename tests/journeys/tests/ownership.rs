//! What is one citizen's is nobody else's: every route that names something is asked by a stranger, with the real ids of another's things.
//!
//! What is one agency's is likewise no other agency's.
//! A route of the API's description whose ids nobody here has must stand in [`NOT_OF_CITIZENS`], so that a new one can't be forgotten.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use chrono::{Datelike as _, Months, TimeDelta, Utc};
use harness::{Citizen, City, Shape, Visitor, eventually, money};
use journeys::agency::Agency;
use journeys::office::officer;
use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

/// Routes about things that are the city's, an agency's or an outside party's: `docs/authorisation.csv` says who may ask, and agencies'
/// things are asked for by another agency below.
const NOT_OF_CITIZENS: [&str; 15] = [
    "/cap/v1/alerts/{document}",
    "/identity/v1/clients/",
    "/identity/v1/dependents/",
    "/identity/v1/officers/",
    "/identity/v1/organisations/",
    "/ioc/v1/alarms/",
    "/notifications/v1/alerts/",
    "/sta/v1.1/",
    "/wallet/v1/bank-callbacks/",
    "/wallet/v1/biller-callbacks/",
    "/wallet/v1/fee-notices/",
    "/wallet/v1/proposals/",
    "/{role}/healthz",
    "/{role}/metrics",
    "/{role}/readyz",
];
/// Two places in two wards.
const PLACE: (f64, f64) = (16.479631, 107.574292);
const ELSEWHERE: (f64, f64) = (16.4637, 107.5909);
/// The smallest PNG that is a picture.
const PHOTO: &[u8] = include_bytes!("../../../services/trangtien/src/walkthrough/evidence.png");

/// Somebody's things: by the beginning of a path and the name of a parameter, the id.
type Things = BTreeMap<(&'static str, &'static str), String>;

#[tokio::test]
async fn what_is_one_citizens_is_nobody_elses() -> Result<()> {
    let city = City::start(Shape::AllInOne).await?;
    let visitor = city.visitor()?;
    let (owner, stranger) = (visitor.sign_up().await?, visitor.sign_up().await?);
    let things = things(&city, &visitor, &owner).await?;
    let document = visitor.get("/openapi.json").await?.expect(200)?;
    let (mut walked, mut faults) = (Vec::new(), Vec::new());
    for (path, item) in document["paths"].as_object().context("paths")? {
        if !path.contains('{') || NOT_OF_CITIZENS.iter().any(|known| path.starts_with(known)) {
            continue;
        }
        let Some(filled) = filled(path, &things) else {
            faults.push(format!("{path}: nobody has one, and it is not among those that are no citizen's"));
            continue;
        };
        for method in item.as_object().context("methods")?.keys() {
            let status = ask(&stranger, method, path, &filled).await?;
            if !matches!(status, 403 | 404) {
                faults.push(format!("{method} {path} answers a stranger {status}"));
            }
            walked.push((method.clone(), path.clone(), filled.clone()));
        }
    }
    // The ids were real, and are there as before.
    for (method, path, filled) in walked.iter().filter(|(method, ..)| method == "get") {
        let status = ask(&owner, method, path, filled).await?;
        if status != 200 {
            faults.push(format!("{method} {path} answers the owner {status}"));
        }
    }
    for (path, id) in [
        ("/identity/v1/me/devices", &things[&("/identity/v1/me/devices", "{id}")]),
        ("/identity/v1/me/delegations", &things[&("/identity/v1/me/delegations", "{id}")]),
        ("/identity/v1/me/consents", &things[&("/identity/v1/me/consents", "{client_id}")]),
        ("/identity/v1/me/dependents", &things[&("/identity/v1/me/dependents", "{id}")]),
        ("/identity/v1/me/passkeys", &things[&("/identity/v1/me/passkeys", "{id}")]),
        ("/wallet/v1/bill-subscriptions", &things[&("/wallet/v1/bill-subscriptions", "{subscription_id}")]),
        ("/wallet/v1/merchants", &things[&("/wallet/v1/merchants", "{merchant_id}")]),
    ] {
        let list = owner.get(path).await?.expect(200)?.to_string();
        ensure!(list.contains(id), "{path} has {id} no more: {list:.2000}");
    }
    ensure!(faults.is_empty(), "{}", faults.join("\n"));
    ensure!(walked.len() > 30, "only {} routes were asked", walked.len());
    city.finish().await
}

/// One of everything that a citizen may have.
async fn things(city: &City, visitor: &Visitor, owner: &Citizen) -> Result<Things> {
    let shop = owner.open_shop("Quán của chủ").await?;
    let elsewhere = visitor.sign_up().await?.open_shop("Quán khác").await?;
    let account = owner.bank_account(1_000_000).await?;
    let top_up = owner.request_top_up(city.bank(), &account, 500_000).await?;
    ensure!(owner.top_up_ended(&top_up).await? == "completed", "the bank has the money");
    let payment = id(&owner.pay(&elsewhere.qr, 10_000, "one").await?.expect(201)?)?;
    let readings =
        json!({"readings": [{"usage": 40, "read_on": "2025-10-01"}, {"usage": 40, "read_on": "2025-11-01"}]});
    let customer = visitor.steer("/billers/PCHUE/customers", &readings).await?;
    let link = json!({"biller_code": "PCHUE", "customer_code": customer["customer_code"]});
    let subscription = id(&owner.insist("/wallet/v1/bill-subscriptions", &link).await?.expect(201)?)?;
    let bills = eventually("both bills", || async {
        let bills = owner.get("/wallet/v1/bills?state=open").await?.expect(200)?;
        let bills = bills["items"].as_array().cloned().context("items")?;
        Ok((bills.len() == 2).then_some(bills))
    })
    .await?;
    let path = format!("/wallet/v1/bills/{}/payments", id(&bills[0])?);
    let bill_payment = id(&owner.insist(&path, &json!({"amount": bills[0]["amount"]})).await?.expect(202)?)?;
    let report =
        json!({"category": "TT", "text": "Vỉa hè bị chiếm", "position": {"lat": 16.479631, "lon": 107.574292}});
    let report = id(&owner.insist("/reports/v1/reports", &report).await?.expect(201)?)?;
    let request = owner.visitor.request(Method::POST, &format!("/reports/v1/reports/{report}/photos"))?;
    let request = request.bearer_auth(&owner.token).header("content-type", "image/png").body(PHOTO);
    let photo: Value =
        request.header("idempotency-key", "photo").send().await?.error_for_status()?.json().await.context("a photo")?;
    let phone = json!({"token": "owner", "platform": "fcm", "name": "Máy"});
    let phone = id(&owner.post("/notifications/v1/devices", &phone).await?.expect(201)?)?;
    let export = id(&owner.insist("/identity/v1/me/exports", &json!({})).await?.expect(202)?)?;
    eventually("the copy of everything", || async {
        let shown = owner.get(&format!("/identity/v1/me/exports/{export}")).await?.expect(200)?;
        Ok((shown["state"] == "ready").then_some(()))
    })
    .await?;
    let other = visitor.sign_up().await?;
    let delegation = json!({
        "side": "guardian", "phone": other.phone, "kinds": ["merchant"], "until": Utc::now() + TimeDelta::days(30),
        "limits": {"transaction": 10_000, "day": 10_000, "month": 10_000},
    });
    let delegation = id(&owner.insist("/identity/v1/me/delegations", &delegation).await?.expect(201)?)?;
    let first = async |path: &'static str| {
        eventually(path, || async {
            let list = owner.get(path).await?.expect(200)?;
            Ok(list["items"].as_array().and_then(|items| items.first()).cloned())
        })
        .await
    };
    let device = id(&first("/identity/v1/me/devices").await?)?;
    let message = id(&first("/notifications/v1/inbox").await?)?;
    let transaction = id(&first("/wallet/v1/transactions").await?)?;
    let (registrar, ward) = registrar(city, visitor, PLACE).await?;
    let dependent = registered(owner, &registrar, &ward).await?;
    let confirmed = owner.post(&format!("/identity/v1/me/dependents/{dependent}/confirmation"), &json!({})).await?;
    ensure!(confirmed.expect(200)?["state"] == "confirmed", "the owner stands for somebody");
    Ok(Things::from([
        (("/identity/v1/me/consents", "{client_id}"), consent(city, visitor, owner).await?),
        (("/identity/v1/me/dependents", "{id}"), dependent),
        (("/identity/v1/me/passkeys", "{id}"), passkey(city, owner).await?),
        (("/identity/v1/me/delegations", "{id}"), delegation),
        (("/identity/v1/me/devices", "{id}"), device),
        (("/identity/v1/me/exports", "{export_id}"), export),
        (("/notifications/v1/devices", "{id}"), phone),
        (("/notifications/v1/inbox", "{id}"), message.clone()),
        (("/notifications/v1/messages", "{id}"), message),
        (("/reports/v1/reports", "{report_id}"), report),
        (("/reports/v1/reports", "{photo_id}"), id(&photo)?),
        (("/wallet/v1/bill-payments", "{bill_payment_id}"), bill_payment),
        (("/wallet/v1/bill-subscriptions", "{subscription_id}"), subscription),
        (("/wallet/v1/bills", "{bill_id}"), id(&bills[1])?),
        (("/wallet/v1/merchants", "{merchant_id}"), shop.merchant),
        (("/wallet/v1/merchants", "{store_id}"), shop.store),
        (("/wallet/v1/merchants", "{till_id}"), shop.till),
        (("/wallet/v1/payments", "{payment_id}"), payment),
        (("/wallet/v1/top-ups", "{top_up_id}"), top_up),
        (("/wallet/v1/transactions", "{transaction_id}"), transaction),
    ]))
}

/// A passkey, as an authenticator and the city would make it.
async fn passkey(city: &City, owner: &Citizen) -> Result<String> {
    let id = Uuid::now_v7();
    sqlx::query(
        "INSERT INTO identity.passkey (id, citizen_id, credential_id, credential, name, created_at)
        VALUES ($1, $2, $3, '{}', 'Khóa', now())",
    )
    .bind(id)
    .bind(owner.user)
    .bind(&id.as_bytes()[..])
    .execute(&city.admin())
    .await?;
    Ok(id.to_string())
}

/// What the owner lets a mini-app know: the mini-app's id.
async fn consent(city: &City, visitor: &Visitor, owner: &Citizen) -> Result<String> {
    let admin = officer(city, visitor, ("admin", None)).await?;
    let client = json!({
        "name": {"vi": "Vé tham quan", "en": "Tickets"}, "access": "confidential", "grant_types": ["authorization_code"],
        "scopes": ["openid", "profile"], "redirect_uris": ["https://tickets.example/cb"],
    });
    let client = admin.insist("/identity/v1/clients", &client).await?.expect(201)?;
    let id = client["client_id"].as_str().context("client_id")?;
    sqlx::query(
        "INSERT INTO identity.consent (citizen_id, client_id, scopes, given_at, changed_at)
        VALUES ($1, $2::uuid, '{openid,profile}', now(), now())",
    )
    .bind(owner.user)
    .bind(id)
    .execute(&city.admin())
    .await?;
    Ok(id.to_owned())
}

/// An officer of the register of people of the ward at a place, and the ward.
async fn registrar(city: &City, visitor: &Visitor, (lat, lon): (f64, f64)) -> Result<(Citizen, String)> {
    let place = visitor.get(&format!("/reports/v1/locate?lat={lat}&lon={lon}")).await?.expect(200)?;
    let ward = place["ward"]["code"].as_str().context("a ward")?.to_owned();
    let agency = format!("UBND-{ward}");
    Ok((officer(city, visitor, ("agency.officer", Some(&agency))).await?, ward))
}

/// Proves the guardian's citizen number and registers a child for them: the registration.
async fn registered(guardian: &Citizen, registrar: &Citizen, ward: &str) -> Result<String> {
    // Registered in Huế: a woman born in 1999, and a boy born ten years ago.
    let serial = || Uuid::new_v4().as_u128() % 1_000_000;
    let born = Utc::now().date_naive() - Months::new(120);
    let (number, child) = (format!("046199{:06}", serial()), format!("0462{:02}{:06}", born.year() % 100, serial()));
    let claim = json!({"citizen_number": number, "full_name": "Nguyễn Thị Hương", "date_of_birth": "1999-03-26"});
    guardian.insist("/identity/v1/me/ekyc", &claim).await?.expect(202)?;
    eventually("the guardian's number is proved", || async {
        let shown = guardian.get("/identity/v1/me/ekyc").await?.expect(200)?;
        Ok((shown["proved"]["source"] == "ekyc").then_some(()))
    })
    .await?;
    let form = json!({
        "ward": ward, "guardian_citizen_number": number, "citizen_number": child, "full_name": "Nguyễn Minh An",
        "date_of_birth": born, "kinds": ["merchant"], "until": Utc::now() + TimeDelta::days(30), "reason": "file 118/HT",
        "limits": {"transaction": 10_000, "day": 10_000, "month": 10_000},
    });
    id(&registrar.insist("/identity/v1/dependents", &form).await?.expect(201)?)
}

#[tokio::test]
async fn what_is_one_agencys_is_no_other_agencys() -> Result<()> {
    let city = City::start(Shape::AllInOne).await?;
    let visitor = city.visitor()?;
    let ((registrar, ward), (neighbour, other)) =
        (registrar(&city, &visitor, PLACE).await?, registrar(&city, &visitor, ELSEWHERE).await?);
    ensure!(ward != other, "two wards");
    let registration = registered(&visitor.sign_up().await?, &registrar, &ward).await?;
    let one = format!("/identity/v1/dependents/{registration}");
    let closing = format!("{one}/closing");
    let supervisor = officer(&city, &visitor, ("ioc.lead", None)).await?;
    let (lead, stranger) = (
        officer(&city, &visitor, ("agency.officer", Some("HEPCO"))).await?,
        officer(&city, &visitor, ("agency.officer", Some("HUEWACO"))).await?,
    );
    let head = officer(&city, &visitor, ("agency.head", Some("HUEWACO"))).await?;
    let report = json!({"category": "TT", "text": "Vỉa hè bị chiếm", "position": {"lat": PLACE.0, "lon": PLACE.1}});
    let report = id(&visitor.sign_up().await?.insist("/reports/v1/reports", &report).await?.expect(201)?)?;
    let report = format!("/reports/v1/reports/{report}");
    for action in [json!({"action": "claim"}), json!({"action": "distribute", "lead_agency": "HEPCO"})] {
        let mut action = action;
        action["version"] = supervisor.get(&report).await?.expect(200)?["version"].clone();
        supervisor.insist(&format!("{report}/transitions"), &action).await?.expect(201)?;
    }
    let version = supervisor.get(&report).await?.expect(200)?["version"].clone();
    let accept = json!({"action": "accept", "version": version});
    let role = format!("/identity/v1/officers/{}/roles/agency.officer:HEPCO", lead.user);
    let reason = json!({"reason": "file"});
    let tried = [
        (&neighbour, Method::GET, one.clone(), None),
        (&neighbour, Method::DELETE, format!("{one}?reason=file"), None),
        (&neighbour, Method::POST, closing.clone(), Some(&reason)),
        (&neighbour, Method::DELETE, format!("{closing}?reason=file"), None),
        (&stranger, Method::POST, format!("{report}/transitions"), Some(&accept)),
        (&head, Method::PUT, role.clone(), Some(&reason)),
        (&head, Method::DELETE, format!("{role}?reason=file"), None),
    ];
    for (who, method, path, body) in tried {
        let request = visitor.request(method.clone(), &path)?.bearer_auth(&who.token);
        let request = request.header("idempotency-key", Uuid::new_v4().to_string());
        let request = if let Some(body) = body { request.json(body) } else { request };
        let status = request.send().await?.status().as_u16();
        ensure!(matches!(status, 403 | 404), "{method} {path} answers another agency {status}");
    }
    // They are there as before, for those whose they are.
    ensure!(registrar.get(&one).await?.expect(200)?["state"] == "proposed", "the registration waits");
    lead.insist(&format!("{report}/transitions"), &accept).await?.expect(201)?;
    city.finish().await
}

#[tokio::test]
async fn a_notice_of_one_agency_is_no_other_agencys() -> Result<()> {
    let city = City::start(Shape::AllInOne).await?;
    let visitor = city.visitor()?;
    let own = Agency::open(&city).await?.token().await?;
    let foreign = Agency::of(&city, "HUEWACO").await?.token().await?;
    let ask = async |method: Method, path: &str, token: &str, body: &Value| {
        let request = visitor.request(method, path)?.bearer_auth(token).json(body);
        let answer = request.header("idempotency-key", Uuid::new_v4().to_string()).send().await?;
        let status = answer.status().as_u16();
        Ok::<_, anyhow::Error>((status, answer.json::<Value>().await.unwrap_or_default()))
    };
    let notice = json!({
        "reference": "H57-1", "procedure": "1.000005", "channel": "online", "amount": money(120_000),
        "due_on": Utc::now().date_naive() + TimeDelta::days(40), "payer": {"phone": visitor.sign_up().await?.phone},
    });
    let (status, issued) = ask(Method::POST, "/wallet/v1/fee-notices", &own, &notice).await?;
    ensure!(status == 201, "{issued}");
    let notice = format!("/wallet/v1/fee-notices/{}", id(&issued)?);
    for method in [Method::GET, Method::DELETE] {
        let (status, _) = ask(method.clone(), &notice, &foreign, &Value::Null).await?;
        ensure!(matches!(status, 403 | 404), "{method} of a notice answers another agency {status}");
    }
    let (status, kept) = ask(Method::GET, &notice, &own, &Value::Null).await?;
    ensure!((status, &kept["id"]) == (200, &issued["id"]), "the notice is there for its own: {kept}");
    let (status, list) = ask(Method::GET, "/wallet/v1/fee-notices", &foreign, &Value::Null).await?;
    ensure!((status, list["items"].as_array().map(Vec::len)) == (200, Some(0)), "{list}");
    city.finish().await
}

fn id(thing: &Value) -> Result<String> {
    thing["id"].as_str().map(str::to_owned).with_context(|| format!("no id in {thing}"))
}

/// A path with the ids of somebody's things; nothing when they have none.
fn filled(path: &str, things: &Things) -> Option<String> {
    let fill = |part: &str| {
        if !part.starts_with('{') {
            return Some(part.to_owned());
        }
        let mut found = things.iter().filter(|((begins, name), _)| path.starts_with(begins) && *name == part);
        found.next().map(|(_, id)| id.clone())
    };
    path.split('/').map(fill).collect::<Option<Vec<_>>>().map(|parts| parts.join("/"))
}

/// The status of an answer, of which a stream has no end.
async fn ask(caller: &Citizen, method: &str, path: &str, filled: &str) -> Result<u16> {
    let request = caller.visitor.request(Method::from_bytes(method.to_uppercase().as_bytes())?, filled)?;
    let request = request.bearer_auth(&caller.token).header("idempotency-key", Uuid::new_v4().to_string());
    let request = match (method, path.ends_with("/photos")) {
        ("get" | "delete", _) => request,
        (_, true) => request.header("content-type", "image/png").body(PHOTO),
        _ => request.json(&body(path)),
    };
    Ok(request.send().await?.status().as_u16())
}

/// A body that says nothing wrong: the refusal is of who asks.
fn body(path: &str) -> Value {
    let last = path.rsplit('/').next().unwrap_or_default();
    match last {
        "answers" => json!({"version": 1, "text": "Đầu đường"}),
        "ratings" => json!({"version": 1, "rating": "satisfied"}),
        "reopenings" => json!({"version": 1, "reason": "Chưa xong"}),
        "transitions" => json!({"version": 1, "action": "claim"}),
        "phone" => json!({"challenge_id": Uuid::new_v4(), "code": "123456"}),
        "payments" => json!({"amount": money(10_000)}),
        "refunds" => json!({"amount": money(1_000)}),
        "stores" | "tills" => json!({"name": "Của người khác"}),
        _ => json!({}),
    }
}
