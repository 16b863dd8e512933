//! `--traffic N`: people who pay, over public HTTP like everybody else, so that walls and books have something to show.
//!
//! A few shops and a changing crowd of citizens. Nothing here knows the services: it uses what the walkthrough's people use.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use platform::task::Shutdown;
use serde_json::json;
use tokio::sync::{Mutex, Semaphore};
use url::Url;
use uuid::Uuid;

use super::settings::SANDBOX_BANK;
use crate::walkthrough::{Person, World, eventually, money};

/// The most journeys a second.
pub const MAX_RATE: u32 = 200;
const SHOPS: [&str; 4] = ["Bún bò Mệ Kéo", "Chè Hẻm", "Nón lá Tây Hồ", "Cà phê Muối"];
const CITIZENS: usize = 12;
/// A citizen is replaced by a new one before the access token expires.
const CITIZEN_LIFE: Duration = Duration::from_secs(480);
/// The most payments under way.
const MAX_UNDER_WAY: usize = 64;
/// What a citizen brings from the bank, in đồng.
const TOP_UP: u64 = 1_000_000;
/// How long the crowd pauses after something went wrong.
const PAUSE: Duration = Duration::from_secs(1);

struct Citizen {
    person: Person,
    since: Instant,
}

/// Makes traffic until the shutdown begins. What goes wrong is logged and tried again.
pub(super) async fn run((city, sandbox): (Url, Url), per_second: u32, shutdown: Shutdown) {
    let work = async {
        loop {
            if let Err(error) = crowd(&city, &sandbox, per_second).await {
                tracing::warn!(error = format!("{error:#}"), "demo traffic was interrupted");
            }
            tokio::time::sleep(PAUSE).await;
        }
    };
    tokio::select! {
        () = work => {}
        () = shutdown.cancelled() => {}
    }
}

async fn crowd(city: &Url, sandbox: &Url, per_second: u32) -> anyhow::Result<()> {
    let world = World::new(city.clone(), sandbox.clone())?;
    let owner = sign_up(&world).await?;
    let mut tills = Vec::new();
    for name in SHOPS {
        tills.push(open_shop(&owner, name).await?);
    }
    let mut citizens = Vec::new();
    for _ in 0..CITIZENS {
        let person = arrive(&world).await?;
        citizens.push(Arc::new(Mutex::new(Citizen { person, since: Instant::now() })));
    }
    let under_way = Arc::new(Semaphore::new(MAX_UNDER_WAY));
    let mut tick = tokio::time::interval(Duration::from_secs(1) / per_second.clamp(1, MAX_RATE));
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    loop {
        tick.tick().await;
        let Ok(place) = under_way.clone().try_acquire_owned() else { continue };
        let citizen = citizens[rand::random_range(0..citizens.len())].clone();
        let till = tills[rand::random_range(0..tills.len())].clone();
        tokio::spawn(async move {
            if let Err(error) = visit(&citizen, &till).await {
                tracing::warn!(error = format!("{error:#}"), "a demo payment went wrong");
            }
            drop(place);
        });
    }
}

/// A citizen pays at a till; a poor one goes to the bank, an old one makes place for a new one.
async fn visit(citizen: &Mutex<Citizen>, till: &str) -> anyhow::Result<()> {
    let person = citizen.lock().await.person.clone();
    let amount = 1_000 * rand::random_range(5..120_u64);
    let body = json!({ "till_id": till, "amount": money(amount) });
    let answer = person.post("/wallet/v1/payments", &body).await?;
    if answer.status.is_success() {
        let mut citizen = citizen.lock().await;
        if citizen.since.elapsed() > CITIZEN_LIFE {
            *citizen = Citizen { person: arrive(&citizen.person.world).await?, since: Instant::now() };
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
    *citizen = Citizen { person: arrive(&citizen.person.world).await?, since: Instant::now() };
    answer.expect(201).map(|_| ())
}

async fn sign_up(world: &World) -> anyhow::Result<Person> {
    let challenge = world.ask_for_code().await?;
    let (_, code) = world.read_sms(&challenge).await?;
    Ok(world.start_session(&challenge, &code).await?.0)
}

/// A new citizen with money.
async fn arrive(world: &World) -> anyhow::Result<Person> {
    let person = sign_up(world).await?;
    top_up(&person).await?;
    Ok(person)
}

async fn top_up(person: &Person) -> anyhow::Result<()> {
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

/// Opens a shop; gives its till.
async fn open_shop(owner: &Person, name: &str) -> anyhow::Result<String> {
    let id = |body: serde_json::Value| body["id"].as_str().map(str::to_owned).context("id");
    let merchant = id(owner.post("/wallet/v1/merchants", &json!({ "name": name })).await?.expect(201)?)?;
    let stores = format!("/wallet/v1/merchants/{merchant}/stores");
    let store = id(owner.post(&stores, &json!({ "name": "Huế" })).await?.expect(201)?)?;
    id(owner.post(&format!("{stores}/{store}/tills"), &json!({ "name": "Quầy 1" })).await?.expect(201)?)
}
