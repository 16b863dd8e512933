//! Citizens who pay in shops, and go to the bank when they have no more.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde_json::{Value, json};
use tokio::sync::Mutex;
use uuid::Uuid;

use crate::up::settings::SANDBOX_BANK;
use crate::walkthrough::{Person, World, eventually, money};

const SHOPS: [&str; 4] = ["Bún bò Mệ Kéo", "Chè Hẻm", "Nón lá Tây Hồ", "Cà phê Muối"];
const CITIZENS: usize = 12;
/// A citizen is replaced by a new one before the access token expires.
const CITIZEN_LIFE: Duration = Duration::from_secs(480);
/// What a citizen brings from the bank, in đồng.
const TOP_UP: u64 = 1_000_000;

/// A few shops and a changing crowd.
pub(super) struct Market {
    tills: Vec<String>,
    citizens: Vec<Mutex<Citizen>>,
}

struct Citizen {
    person: Person,
    since: Instant,
}

impl Market {
    pub(super) async fn open(world: &World) -> anyhow::Result<Arc<Self>> {
        let owner = world.sign_up().await?;
        let mut tills = Vec::new();
        for name in SHOPS {
            tills.push(open_shop(&owner, name).await?);
        }
        let mut citizens = Vec::new();
        for _ in 0..CITIZENS {
            citizens.push(Mutex::new(arrive(world).await?));
        }
        Ok(Arc::new(Self { tills, citizens }))
    }

    /// Somebody of the crowd; an old one makes place for a new one.
    pub(super) async fn anybody(&self) -> anyhow::Result<Person> {
        let mut citizen = self.citizens[rand::random_range(0..self.citizens.len())].lock().await;
        if citizen.since.elapsed() > CITIZEN_LIFE {
            *citizen = arrive(&citizen.person.world).await?;
        }
        Ok(citizen.person.clone())
    }

    /// A citizen pays at a till; a poor one goes to the bank, an old one makes place for a new one.
    pub(super) async fn visit(&self) -> anyhow::Result<()> {
        let citizen = &self.citizens[rand::random_range(0..self.citizens.len())];
        let till = &self.tills[rand::random_range(0..self.tills.len())];
        let person = citizen.lock().await.person.clone();
        let amount = 1_000 * rand::random_range(5..120_u64);
        let body = json!({ "till_id": till, "amount": money(amount) });
        let answer = person.post("/wallet/v1/payments", &body).await?;
        if answer.status.is_success() {
            let mut citizen = citizen.lock().await;
            if citizen.since.elapsed() > CITIZEN_LIFE {
                *citizen = arrive(&citizen.person.world).await?;
            }
            return Ok(());
        }
        // Whoever holds the lock goes to the bank; the others come again later.
        if answer.body["code"] == "insufficient-funds" {
            if let Ok(citizen) = citizen.try_lock() {
                top_up(&citizen.person).await?;
            }
            return Ok(());
        }
        // Limits of the day and the like: a new citizen has none behind.
        let mut citizen = citizen.lock().await;
        *citizen = arrive(&citizen.person.world).await?;
        match answer.body["code"].as_str() {
            Some("limit-day" | "limit-month") => Ok(()),
            _ => answer.expect(201).map(|_| ()),
        }
    }
}

/// A new citizen with money.
async fn arrive(world: &World) -> anyhow::Result<Citizen> {
    let person = world.sign_up().await?;
    top_up(&person).await?;
    Ok(Citizen { person, since: Instant::now() })
}

/// Brings money from the bank.
pub(super) async fn top_up(person: &Person) -> anyhow::Result<()> {
    let account = format!("{:010}", rand::random_range(0..10_000_000_000_u64));
    person.world.steer("/bank/v1/accounts", &json!({ "account": account, "balance": money(2 * TOP_UP) })).await?;
    let body = json!({ "bank_code": SANDBOX_BANK, "account": account, "amount": money(TOP_UP) });
    let asked = person.post("/wallet/v1/top-ups", &body).await?.expect(202)?;
    let id: Uuid = asked["id"].as_str().context("id")?.parse()?;
    eventually("the top-up", || async {
        let seen = person.get(&format!("/wallet/v1/top-ups/{id}")).await?.expect(200)?;
        Ok((seen["state"] == "completed").then_some(()))
    })
    .await
}

/// Waits for the end of a bill's payment: the money moved, or came back.
pub(super) async fn paid(person: &Person, payment: &Value) -> anyhow::Result<()> {
    let path = format!("/wallet/v1/bill-payments/{}", payment["id"].as_str().context("id")?);
    eventually("the payment of a bill", || async {
        let state = person.get(&path).await?.expect(200)?["state"].clone();
        Ok((state == "paid" || state == "failed").then_some(()))
    })
    .await
}

/// Opens a shop; gives its till.
async fn open_shop(owner: &Person, name: &str) -> anyhow::Result<String> {
    let id = |body: Value| body["id"].as_str().map(str::to_owned).context("id");
    let merchant = id(owner.post("/wallet/v1/merchants", &json!({ "name": name })).await?.expect(201)?)?;
    let stores = format!("/wallet/v1/merchants/{merchant}/stores");
    let store = id(owner.post(&stores, &json!({ "name": "Huế" })).await?.expect(201)?)?;
    id(owner.post(&format!("{stores}/{store}/tills"), &json!({ "name": "Quầy 1" })).await?.expect(201)?)
}
