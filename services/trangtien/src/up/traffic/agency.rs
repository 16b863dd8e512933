//! An agency that asks citizens for the fees of procedures which they filed online.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use chrono::{DateTime, Days, Utc};
use platform::dataset::read_csv;
use rand::seq::IndexedRandom as _;
use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::Mutex;
use uuid::Uuid;

use super::household::pay;
use super::reporter::Desk;
use crate::folder::{TRAFFIC, write_private};
use crate::up::settings::SANDBOX_AGENCY;
use crate::walkthrough::{Answer, Person, World, money, send};

/// How long citizens have to pay.
const DUE_DAYS: u64 = 10;
/// The dearest procedure that citizens of the crowd file, in đồng.
const MOST: u64 = 500_000;
/// A token is used for this long; it is good for ten minutes.
const TOKEN_LIFE: Duration = Duration::from_secs(480);

/// The agency's program.
pub(super) struct Agency {
    world: World,
    credentials: Credentials,
    token: Mutex<Option<(String, Instant)>>,
    fees: Fees,
}

/// What the program signs in with; kept in the folder of `trangtien up`, so that it is registered once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Credentials {
    client: String,
    secret: String,
}

impl Credentials {
    /// Those of an earlier run; none where there was none, or its file can't be read.
    fn kept(data_dir: &Path) -> Option<Self> {
        serde_json::from_slice(&std::fs::read(data_dir.join(TRAFFIC)).ok()?).ok()
    }

    fn keep(&self, data_dir: &Path) -> anyhow::Result<()> {
        write_private(&data_dir.join(TRAFFIC), &serde_json::to_string(self)?)
    }
}

/// What the city's procedures cost.
pub(super) struct Fees(Vec<Fee>);

impl Fees {
    /// The fees of the city's procedures that citizens can file online and that cost one amount.
    ///
    /// # Errors
    /// When they can't be read, or there is none.
    pub(super) fn read(city: &Path) -> anyhow::Result<Self> {
        let rows = read_csv::<Row>(&city.join("procedure-channels.csv")).map_err(|fault| anyhow::anyhow!("{fault}"))?;
        let fee = |row: Row| match row.fee {
            Some(amount @ 1..=MOST) if row.channel == "online" && row.fee_kind == "amount" => {
                Some(Fee { procedure: row.procedure, amount })
            }
            _ => None,
        };
        let fees: Vec<Fee> = rows.into_iter().filter_map(|(_, row)| fee(row)).collect();
        anyhow::ensure!(!fees.is_empty(), "the city has no procedure with a fee that is paid online");
        Ok(Self(fees))
    }
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
    /// Signs the program of an earlier run in, or registers one, as an admin of the city does.
    ///
    /// # Errors
    /// When the city refuses, or the folder takes no file.
    pub(super) async fn open(world: &World, (fees, data_dir): (Fees, &Path), desk: &Desk) -> anyhow::Result<Self> {
        let agency = |credentials| Self { world: world.clone(), credentials, token: Mutex::default(), fees };
        if let Some(credentials) = Credentials::kept(data_dir) {
            let answer = signs_in(world, &credentials).await?;
            // Whom the city does not know was registered with another database.
            if answer.body["error"] != "invalid_client" {
                return answer.expect(200).map(|_| agency(credentials));
            }
        }
        let program = json!({
            "name": { "vi": "Một cửa điện tử", "en": "One-stop desk" }, "access": "confidential",
            "grant_types": ["client_credentials"], "scopes": ["fees:write"], "agency": SANDBOX_AGENCY,
        });
        let program = desk.admin().await?.post("/identity/v1/clients", &program).await?.expect(201)?;
        let text = |name: &str| program[name].as_str().map(str::to_owned).with_context(|| name.to_owned());
        let credentials = Credentials { client: text("client_id")?, secret: text("client_secret")? };
        credentials.keep(data_dir)?;
        Ok(agency(credentials))
    }

    /// Asks a citizen for a fee, who pays it.
    pub(super) async fn charge(&self, person: &Person, now: DateTime<Utc>) -> anyhow::Result<()> {
        let fee = self.fees.0.choose(&mut rand::rng()).context("procedures cost something")?;
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
        let answer = signs_in(&self.world, &self.credentials).await?.expect(200)?;
        let fresh = answer["access_token"].as_str().context("access_token")?.to_owned();
        *token = Some((fresh.clone(), Instant::now()));
        Ok(fresh)
    }
}

/// What the city answers to the program's credentials.
async fn signs_in(world: &World, credentials: &Credentials) -> anyhow::Result<Answer> {
    let form = [("grant_type", "client_credentials"), ("scope", "fees:write")];
    let request = world.request(Method::POST, "/oauth2/token")?;
    send(request.basic_auth(&credentials.client, Some(&credentials.secret)).form(&form)).await
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use platform::embedded::scratch::TestFolder;

    use super::*;

    #[test]
    fn credentials_are_kept_for_the_next_run_and_for_nobody_else() {
        let folder = TestFolder::new("traffic").expect("a folder");
        assert_eq!(Credentials::kept(folder.path()), None);
        let credentials = Credentials { client: "one".to_owned(), secret: "two".to_owned() };
        credentials.keep(folder.path()).expect("kept");
        assert_eq!(Credentials::kept(folder.path()), Some(credentials));
        let file = folder.path().join(TRAFFIC);
        let mode = std::fs::metadata(&file).expect("a file").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        std::fs::write(&file, "{").expect("torn");
        assert_eq!(Credentials::kept(folder.path()), None, "a file that was not written to its end counts as none");
    }
}
