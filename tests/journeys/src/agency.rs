//! An agency whose program asks citizens for the fee of a procedure, and hears of each that is paid.

use std::sync::{Mutex, PoisonError};

use anyhow::{Context as _, Result, ensure};
use chrono::{Days, Utc};
use harness::{Answer, Citizen, City, Visitor, eventually, money};
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use trangtien::up::settings::SANDBOX_AGENCY;
use uuid::Uuid;

use crate::office::officer;

/// A procedure of the portal, and what it costs when it is filed online.
const PROCEDURE: &str = "1.000005";
/// The fee, in đồng.
pub const FEE: u64 = 120_000;

/// The agency, with what its program signs in with. Whatever may pass is asked again: servers and roles may die meanwhile.
#[derive(Debug)]
pub struct Agency {
    visitor: Visitor,
    admin: Citizen,
    client: String,
    secret: String,
    tokens: Mutex<Vec<String>>,
}

impl Agency {
    /// An admin registers the program of the agency that the city listens to.
    ///
    /// # Errors
    /// When a step does not hold.
    pub async fn open(city: &City) -> Result<Self> {
        Self::of(city, SANDBOX_AGENCY).await
    }

    /// An admin registers the program of an agency.
    ///
    /// # Errors
    /// When a step does not hold.
    pub async fn of(city: &City, agency: &str) -> Result<Self> {
        let visitor = city.visitor()?;
        let admin = officer(city, &visitor, ("admin", None)).await?;
        let program = json!({
            "name": {"vi": "Một cửa điện tử", "en": "One-stop desk"}, "access": "confidential",
            "grant_types": ["client_credentials"], "scopes": ["fees:write"], "agency": agency,
        });
        let program = admin.insist("/identity/v1/clients", &program).await?.expect(201)?;
        let text = |name: &str| program[name].as_str().map(str::to_owned).with_context(|| name.to_owned());
        let (client, secret) = (text("client_id")?, text("client_secret")?);
        Ok(Self { visitor, admin, client, secret, tokens: Mutex::default() })
    }

    /// What nobody else has to know: the program's secret, every token that it got so far, and what is the admin's own.
    pub fn private(&self) -> Vec<String> {
        let tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner).clone();
        self.admin.private().into_iter().chain([self.secret.clone()]).chain(tokens).collect()
    }

    /// The code by which the admin signed in.
    pub fn code(&self) -> String {
        self.admin.code.clone()
    }

    /// An access token of the program.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn token(&self) -> Result<String> {
        let form = [("grant_type", "client_credentials"), ("scope", "fees:write")];
        let tokens = eventually("a token for the agency's program", || async {
            let request = self.visitor.request(Method::POST, "/oauth2/token")?;
            asked(request.basic_auth(&self.client, Some(&self.secret)).form(&form)).await?.expect(200).map(Some)
        });
        let token = tokens.await?["access_token"].as_str().context("access_token")?.to_owned();
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner).push(token.clone());
        Ok(token)
    }

    /// Asks whoever has this number for the fee; gives the agency's reference and the notice.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn ask(&self, phone: &str) -> Result<(String, Value)> {
        let (token, key) = (self.token().await?, Uuid::new_v4().to_string());
        let reference = format!("H57-{}", Uuid::new_v4().simple());
        let notice = json!({
            "reference": reference, "procedure": PROCEDURE, "channel": "online", "amount": money(FEE),
            "due_on": Utc::now().date_naive() + Days::new(40), "payer": {"phone": phone},
        });
        let issued = eventually("the notice to be issued", || async {
            let request = self.visitor.request(Method::POST, "/wallet/v1/fee-notices")?.bearer_auth(&token);
            asked(request.header("idempotency-key", &key).json(&notice)).await?.expect(201).map(Some)
        });
        Ok((reference, issued.await?))
    }

    /// The agency's own notices, as the city shows them to it.
    ///
    /// # Errors
    /// When they can't be read.
    pub async fn notices(&self) -> Result<Value> {
        let token = self.token().await?;
        let request = self.visitor.request(Method::GET, "/wallet/v1/fee-notices?limit=200")?.bearer_auth(token);
        asked(request).await?.expect(200)
    }

    /// The messages that came to the agency, each with a signature that it has checked.
    ///
    /// # Errors
    /// When they can't be read.
    pub async fn heard(&self) -> Result<Vec<Value>> {
        let heard = self.visitor.outside(&format!("/agencies/{SANDBOX_AGENCY}/events")).await?;
        heard.as_array().cloned().context("a list of messages")
    }

    /// The agency has heard once of each of these notices, and its own list has them as paid.
    ///
    /// # Errors
    /// Names what differs.
    pub async fn knows_as_paid(&self, references: &[String]) -> Result<()> {
        let (heard, notices) = (self.heard().await?, self.notices().await?);
        for reference in references {
            let told: Vec<&Value> =
                heard.iter().filter(|one| one["event"]["data"]["reference"] == reference.as_str()).collect();
            let once = told.len() == 1 && told.iter().all(|one| one["event"]["type"] == "fee.paid");
            ensure!(once, "of {reference} the agency has heard {told:?}");
            let notice = notices["items"].as_array().into_iter().flatten().find(|one| one["reference"] == **reference);
            ensure!(notice.is_some_and(|one| one["state"] == "paid"), "the agency sees {notice:?}");
        }
        Ok(())
    }
}

async fn asked(request: RequestBuilder) -> Result<Answer> {
    let answer = request.send().await?;
    let (status, bytes) = (answer.status(), answer.bytes().await?);
    Ok(Answer { status, body: serde_json::from_slice(&bytes).unwrap_or_default() })
}
