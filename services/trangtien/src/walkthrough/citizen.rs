//! The citizen: signs in by phone, protects the wallet, hears of what happened to it.

use anyhow::ensure;
use serde_json::json;
use uuid::Uuid;

use super::person::items;
use super::script::Script;
use super::{PRICE, Person, World, dong, eventually, text};

/// Where push messages for the citizen's phone go; the sandbox keeps them by this token.
fn push_token(person: &str) -> String {
    format!("walkthrough-{person}")
}

/// Signs a new citizen in and registers the phone; gives their PIN too.
pub(super) async fn sign_in(script: &mut Script, world: &World) -> anyhow::Result<(Person, String)> {
    script.chapter("A citizen");
    let challenge = script
        .step("asks for a one-time code", async {
            let challenge = world.ask_for_code().await?;
            let lines = vec![format!("202 {}", challenge.answer)];
            Ok((challenge, lines))
        })
        .await?;
    let code = script
        .step("gets it by SMS", async {
            let (message, code) = world.read_sms(&challenge).await?;
            Ok((code, vec![message]))
        })
        .await?;
    let person = script
        .step("signs in with it", async {
            let (person, answer) = world.start_session(&challenge, &code).await?;
            let lines = vec![format!(
                "201 user {}, access token for {} s, refresh token",
                answer["user"], answer["expires_in"]
            )];
            Ok((person, lines))
        })
        .await?;
    let pin = script
        .step("sets a PIN", async {
            // None that is refused as easy to guess: neither steady nor mirrored.
            let pin =
                format!("{:03}{}", rand::random_range(500..600_u32), ["917", "483", "260"][rand::random_range(0..3)]);
            let answer = person.put("/identity/v1/me/pin", &json!({ "pin": pin })).await?;
            ensure!(answer.status.is_success(), "{}: {}", answer.status, answer.body);
            let me = person.get("/identity/v1/me").await?.expect(200)?;
            ensure!(me["pin_set"] == true, "the profile says so: {me}");
            Ok((pin, vec![me.to_string()]))
        })
        .await?;
    script
        .step("lets the phone be reached by push", async {
            let me = person.get("/identity/v1/me").await?.expect(200)?;
            let device = json!({ "token": push_token(text(&me, "/id")?), "platform": "fcm", "name": "Walkthrough" });
            let answer = person.post("/notifications/v1/devices", &device).await?.expect(201)?;
            Ok(((), vec![format!("201 {answer}")]))
        })
        .await?;
    Ok((person, pin))
}

/// The payment shows in the inbox and on the phone.
pub(super) async fn hears_of_it(script: &mut Script, person: &Person) -> anyhow::Result<()> {
    script.chapter("The citizen hears of it");
    let amount = dong(PRICE).trim_end_matches(" ₫").to_owned();
    script
        .step("in the app's inbox", async {
            let message = eventually("the in-app message", || async {
                let inbox = person.get("/notifications/v1/inbox").await?.expect(200)?;
                Ok(items(&inbox).iter().find(|item| item.to_string().contains(&amount)).cloned())
            })
            .await?;
            let id: Uuid = text(&message, "/id")?.parse()?;
            person.post(&format!("/notifications/v1/inbox/{id}/read"), &json!({})).await?.expect(200)?;
            Ok(((), vec![format!("{}: {}", message["title"], message["body"])]))
        })
        .await?;
    script
        .step("by push", async {
            let me = person.get("/identity/v1/me").await?.expect(200)?;
            let path = format!("/push?token={}", push_token(text(&me, "/id")?));
            let push = eventually("the push message", || async {
                let list = person.world.outside(&path).await?;
                Ok(items(&list).iter().find(|push| push.to_string().contains(&amount)).cloned())
            })
            .await?;
            Ok(((), vec![push.to_string()]))
        })
        .await
}
