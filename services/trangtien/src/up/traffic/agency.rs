//! An agency that asks citizens for the fees of procedures which they filed online.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use chrono::{DateTime, Days, Utc};
use platform::dataset::read_csv;
use rand::seq::IndexedRandom as _;
use reqwest::Method;
use serde::Deserialize;
use serde_json::json;
use tokio::sync::Mutex;
use uuid::Uuid;

use super::household::pay;
use super::reporter::Desk;
use crate::up::settings::SANDBOX_AGENCY;
use crate::walkthrough::{Person, World, money, send};

/// How long citizens have to pay.
const DUE_DAYS: u64 = 10;
/// The dearest procedure that citizens of the crowd file, in đồng.
const MOST: u64 = 500_000;
/// A token is used for this long; it is good for ten minutes.
const TOKEN_LIFE: Duration = Duration::from_secs(480);

/// The agency's program.
pub(super) struct Agency {
    world: World,
    client: String,
    secret: String,
    token: Mutex<Option<(String, Instant)>>,
    fees: Vec<Fee>,
}

/// What a procedure costs when it is filed online.
#[derive(Clone, Debug)]
struct Fee {
    procedure: String,
    amount: u64,
}

#[derive(Deserialize)]
struct Row {
    procedure: String,
    channel: String,
    fee_kind: String,
    fee: Option<u64>,
}

impl Agency {
    /// Registers the program, as an admin of the city does.
    ///
    /// # Errors
    /// When the city refuses, or its procedures can't be read.
    pub(super) async fn open(world: &World, city: &Path, desk: &Desk) -> anyhow::Result<Self> {
        let fees = fees(city)?;
        let program = json!({
            "name": { "vi": "Một cửa điện tử", "en": "One-stop desk" }, "access": "confidential",
            "grant_types": ["client_credentials"], "scopes": ["fees:write"], "agency": SANDBOX_AGENCY,
        });
        let program = desk.admin().await?.post("/identity/v1/clients", &program).await?.expect(201)?;
        let text = |name: &str| program[name].as_str().map(str::to_owned).with_context(|| name.to_owned());
        let (client, secret) = (text("client_id")?, text("client_secret")?);
        Ok(Self { world: world.clone(), client, secret, token: Mutex::default(), fees })
    }

    /// Asks a citizen for a fee, who pays it.
    pub(super) async fn charge(&self, person: &Person, now: DateTime<Utc>) -> anyhow::Result<()> {
        let fee = self.fees.choose(&mut rand::rng()).context("procedures cost something")?;
        let notice = json!({
            "reference": format!("H57-{}", Uuid::new_v4().simple()), "procedure": fee.procedure, "channel": "online",
            "amount": money(fee.amount), "due_on": now.date_naive() + Days::new(DUE_DAYS),
            "payer": { "phone": person.phone },
        });
        let request = self.world.request(Method::POST, "/wallet/v1/fee-notices")?.bearer_auth(self.token().await?);
        let request = request.header("idempotency-key", Uuid::new_v4().to_string()).json(&notice);
        pay(person, &send(request).await?.expect(201)?).await
    }

    async fn token(&self) -> anyhow::Result<String> {
        let mut token = self.token.lock().await;
        if let Some((token, since)) = token.as_ref()
            && since.elapsed() < TOKEN_LIFE
        {
            return Ok(token.clone());
        }
        let form = [("grant_type", "client_credentials"), ("scope", "fees:write")];
        let request = self.world.request(Method::POST, "/oauth2/token")?;
        let answer = send(request.basic_auth(&self.client, Some(&self.secret)).form(&form)).await?.expect(200)?;
        let fresh = answer["access_token"].as_str().context("access_token")?.to_owned();
        *token = Some((fresh.clone(), Instant::now()));
        Ok(fresh)
    }
}

/// The fees of the city's procedures that citizens can file online and that cost one amount.
fn fees(city: &Path) -> anyhow::Result<Vec<Fee>> {
    let rows = read_csv::<Row>(&city.join("procedure-channels.csv")).map_err(|fault| anyhow::anyhow!("{fault}"))?;
    let fee = |row: Row| match row.fee {
        Some(amount @ 1..=MOST) if row.channel == "online" && row.fee_kind == "amount" => {
            Some(Fee { procedure: row.procedure, amount })
        }
        _ => None,
    };
    Ok(rows.into_iter().filter_map(|(_, row)| fee(row)).collect())
}
