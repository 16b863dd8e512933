//! The citizen signs in by VNeID, the state's identity app, which the sandbox plays.

use anyhow::{Context as _, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use reqwest::Method;
use reqwest::header::LOCATION;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use url::Url;
use uuid::Uuid;

use super::person::{PATIENCE, send};
use super::script::Script;
use super::{Answer, Person, World, text};

const LINK: &str = "/identity/v1/me/vneid";
const SIGN_IN: &str = "/identity/v1/vneid";

/// An app on a device of the citizen's, which keeps what a visit began with.
struct App {
    world: World,
    device: Uuid,
    verifier: String,
}

impl App {
    fn new(world: &World) -> Self {
        let verifier = format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple());
        Self { world: world.clone(), device: Uuid::new_v4(), verifier }
    }

    /// Asks where to sign in, does so there, and brings back what the citizen was sent back with.
    async fn visit(&self, number: &str) -> anyhow::Result<Value> {
        let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(&self.verifier));
        let body = json!({ "device_id": self.device, "challenge": challenge });
        let begun = self.world.post(SIGN_IN, &body).await?.expect(201)?;
        let back = at_vneid(text(&begun, "/authorization_url")?, number).await?;
        Ok(json!({
            "state": back["state"], "code": back["code"], "verifier": self.verifier,
            "device": { "id": self.device, "name": "Walkthrough, by VNeID" },
        }))
    }

    async fn come_back(&self, back: &Value) -> anyhow::Result<Answer> {
        self.world.post(&format!("{SIGN_IN}/returns"), back).await
    }
}

/// Links the account, signs in by it on another device, and takes the link back.
pub(super) async fn signs_in(script: &mut Script, (citizen, pin): (&Person, &str), number: &str) -> anyhow::Result<()> {
    script.chapter("VNeID");
    let world = &citizen.world;
    script
        .step("the citizen links their account to theirs at VNeID, with the PIN", async {
            let person = json!({ "citizen_number": number, "full_name": "Nguyễn Thị Hương" });
            world.steer("/vneid/people", &person).await?;
            let without = citizen.post(LINK, &json!({})).await?.refused()?;
            let begun = citizen.post(LINK, &json!({ "pin": pin })).await?.expect(201)?;
            let back = at_vneid(text(&begun, "/authorization_url")?, number).await?;
            let linked = citizen.post(&format!("{LINK}/returns"), &back).await?.expect(200)?;
            ensure!(linked["vneid_linked"] == true, "it is linked: {linked}");
            Ok(((), vec![without, linked.to_string()]))
        })
        .await?;
    let app = App::new(world);
    let back = script
        .step("and signs in by it on another device", async {
            let back = app.visit(number).await?;
            let opened = app.come_back(&back).await?.expect(201)?;
            let who = (&opened["user"]["id"], &opened["user"]["new"]);
            ensure!(who == (&json!(citizen.id().await?), &json!(false)), "it is the same citizen: {opened}");
            Ok((back, vec![opened["user"].to_string()]))
        })
        .await?;
    script
        .step("the same return signs nobody in again, nor does another device's", async {
            let again = app.come_back(&back).await?;
            let visit = App::new(world).visit(number).await?;
            let elsewhere = App::new(world);
            let mut stolen = visit;
            stolen["device"]["id"] = json!(elsewhere.device);
            let other = elsewhere.come_back(&stolen).await?;
            for answer in [&again, &other] {
                ensure!(answer.body["code"] == "vneid-state-unknown", "no such visit: {answer:?}");
            }
            Ok(((), vec![again.refused()?, other.refused()?]))
        })
        .await?;
    script
        .step("the citizen takes the link back, and VNeID signs them in no more", async {
            let unlinked = send(citizen.request(Method::DELETE, LINK)?).await?;
            ensure!(unlinked.status == 204, "taken back: {unlinked:?}");
            let refused = app.come_back(&app.visit(number).await?).await?;
            ensure!(refused.body["code"] == "vneid-not-linked", "nobody signs in: {refused:?}");
            Ok(((), vec![refused.refused()?]))
        })
        .await
}

/// Says at VNeID who one is, and reads with what one is sent back to the app.
async fn at_vneid(authorization_url: &str, number: &str) -> anyhow::Result<Value> {
    let mut place: Url = authorization_url.parse().context("a URL")?;
    place.query_pairs_mut().append_pair("login_hint", number);
    // A browser would hand the last redirect to the app.
    let client = reqwest::Client::builder().timeout(PATIENCE).redirect(reqwest::redirect::Policy::none()).no_proxy();
    let answer = client.build()?.get(place).send().await?;
    ensure!(answer.status().is_redirection(), "VNeID sends the citizen back, not {}", answer.status());
    let back: Url = answer.headers().get(LOCATION).context("a place")?.to_str()?.parse()?;
    let said = |name: &str| back.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned());
    Ok(json!({ "state": said("state").context("a state")?, "code": said("code").context("a code")? }))
}
