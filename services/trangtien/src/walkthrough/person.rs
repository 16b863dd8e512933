//! People and their apps: HTTP as anyone outside would send it.

use std::future::Future;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};
use url::Url;
use uuid::Uuid;

/// How long an answer, or something that happens by itself (a message, a callback), may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);
pub(super) const POLL: Duration = Duration::from_millis(50);

/// The city and the outside world, as anyone reaches them.
#[derive(Clone, Debug)]
pub struct World {
    client: reqwest::Client,
    city: Url,
    sandbox: Url,
}

/// What came back.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// JSON, or text as a JSON string; null when there was no body.
    pub body: Value,
}

impl Answer {
    /// The body, when the status is the expected one.
    ///
    /// # Errors
    /// Shows what came instead.
    pub fn expect(self, status: u16) -> anyhow::Result<Value> {
        ensure!(self.status == status, "expected {status}, got {}: {}", self.status, self.body);
        Ok(self.body)
    }

    /// A problem's stable code, when the status is a client's fault.
    ///
    /// # Errors
    /// Shows what came instead.
    pub fn refused(self) -> anyhow::Result<String> {
        let code = self.body["code"].as_str().unwrap_or_default();
        ensure!(
            self.status.is_client_error() && !code.is_empty(),
            "expected a refusal, got {}: {}",
            self.status,
            self.body
        );
        Ok(format!("{} {code}: {}", self.status.as_u16(), self.body["detail"].as_str().unwrap_or_default()))
    }
}

impl World {
    /// The city at one origin, the sandbox at another.
    ///
    /// # Errors
    /// When no HTTP client can be made.
    pub fn new(city: Url, sandbox: Url) -> anyhow::Result<Self> {
        let client = reqwest::Client::builder().timeout(PATIENCE).no_proxy().build().context("no HTTP client")?;
        Ok(Self { client, city, sandbox })
    }

    /// A path of the city.
    pub(super) fn place(&self, path: &str) -> anyhow::Result<Url> {
        self.city.join(path).with_context(|| format!("{path} is no path"))
    }

    /// A number that nobody has, most likely.
    #[must_use]
    pub fn new_phone() -> String {
        format!("+8490{:07}", rand::random_range(0..10_000_000_u32))
    }

    /// A request to the city, in English.
    pub(crate) fn request(&self, method: Method, path: &str) -> anyhow::Result<RequestBuilder> {
        Ok(self.client.request(method, self.place(path)?).header("accept-language", "en"))
    }

    /// GETs from the city without being signed in.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn get(&self, path: &str) -> anyhow::Result<Answer> {
        send(self.request(Method::GET, path)?).await
    }

    /// POSTs to the city without being signed in.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn post(&self, path: &str, body: &Value) -> anyhow::Result<Answer> {
        send(self.request(Method::POST, path)?.json(body)).await
    }

    /// Reads what the outside world received.
    ///
    /// # Errors
    /// When the sandbox does not answer.
    pub async fn outside(&self, path: &str) -> anyhow::Result<Value> {
        send(self.client.get(self.sandbox.join(path)?)).await?.expect(200)
    }

    /// Steers the outside world.
    ///
    /// # Errors
    /// When the sandbox refuses.
    pub async fn steer(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        let answer = send(self.client.post(self.sandbox.join(path)?).json(body)).await?;
        ensure!(answer.status.is_success(), "the sandbox refused {path}: {}", answer.body);
        Ok(answer.body)
    }

    /// Signs somebody new in.
    ///
    /// # Errors
    /// When the city refuses, or no SMS comes.
    pub async fn sign_up(&self) -> anyhow::Result<Person> {
        let challenge = self.ask_for_code().await?;
        let (_, code) = self.read_sms(&challenge).await?;
        Ok(self.start_session(&challenge, &code).await?.0)
    }

    /// Asks for a one-time code for a new phone number; gives the challenge and the phone.
    ///
    /// # Errors
    /// When the city refuses.
    pub async fn ask_for_code(&self) -> anyhow::Result<Challenge> {
        self.ask_code_for((&Self::new_phone(), Uuid::new_v4()), "sign-in").await
    }

    /// Asks on a device for a one-time code for a phone number.
    pub(super) async fn ask_code_for(&self, (phone, device): (&str, Uuid), purpose: &str) -> anyhow::Result<Challenge> {
        let earlier = items(&self.outside(&sms_to(phone)).await?).len();
        let body = json!({ "phone": phone, "purpose": purpose, "device_id": device });
        let answer = self.post("/identity/v1/otp", &body).await?.expect(202)?;
        let id = super::text(&answer, "/challenge_id")?.to_owned();
        Ok(Challenge { phone: phone.to_owned(), device, id, answer, earlier })
    }

    /// Waits for the SMS of a challenge; gives its text and the code in it.
    ///
    /// # Errors
    /// When none comes.
    pub async fn read_sms(&self, challenge: &Challenge) -> anyhow::Result<(String, String)> {
        eventually("the SMS", || async {
            let messages = self.outside(&sms_to(&challenge.phone)).await?;
            // The newest come first.
            let new = items(&messages).iter().rev().skip(challenge.earlier);
            let mut texts = new.filter_map(|message| message["text"].as_str());
            Ok(texts.find_map(|text| code_in(text).map(|code| (text.to_owned(), code))))
        })
        .await
    }

    /// Starts a session with a code.
    ///
    /// # Errors
    /// When the city refuses.
    pub async fn start_session(&self, challenge: &Challenge, code: &str) -> anyhow::Result<(Person, Value)> {
        let device = json!({ "id": challenge.device, "name": "Walkthrough" });
        let body = json!({ "challenge_id": challenge.id, "code": code, "device": device });
        let answer = self.post("/identity/v1/sessions", &body).await?.expect(201)?;
        let token = super::text(&answer, "/access_token")?.to_owned();
        let refresh = super::text(&answer, "/refresh_token")?.to_owned();
        let (phone, device) = (challenge.phone.clone(), challenge.device);
        Ok((Person { world: self.clone(), phone, device, token, refresh }, answer))
    }
}

/// A one-time code on its way.
#[derive(Clone, Debug)]
pub struct Challenge {
    /// The number that the code goes to.
    pub phone: String,
    /// The device that asked.
    pub device: Uuid,
    /// Its id.
    pub id: String,
    /// What the city said.
    pub answer: Value,
    /// How many messages had come to the number before.
    earlier: usize,
}

/// Somebody who is signed in.
#[derive(Clone, Debug)]
pub struct Person {
    /// Where they live.
    pub world: World,
    /// Their number, E.164.
    pub phone: String,
    /// The device that they signed in on.
    pub(super) device: Uuid,
    token: String,
    refresh: String,
}

impl Person {
    /// A request with their token.
    pub(super) fn request(&self, method: Method, path: &str) -> anyhow::Result<RequestBuilder> {
        Ok(self.world.request(method, path)?.bearer_auth(&self.token))
    }

    /// The same person with new tokens; the old refresh token is used up.
    ///
    /// # Errors
    /// When the session has ended.
    pub async fn renewed(&self) -> anyhow::Result<Self> {
        let body = json!({ "refresh_token": self.refresh });
        let answer = self.world.post("/identity/v1/sessions/refresh", &body).await?.expect(200)?;
        let token = super::text(&answer, "/access_token")?.to_owned();
        let refresh = super::text(&answer, "/refresh_token")?.to_owned();
        Ok(Self { token, refresh, ..self.clone() })
    }

    /// The same app with another token, such as one by which they act for somebody.
    pub(super) fn with_token(&self, token: &str) -> Self {
        Self { token: token.to_owned(), ..self.clone() }
    }

    /// Their id.
    ///
    /// # Errors
    /// When it can't be read.
    pub async fn id(&self) -> anyhow::Result<Uuid> {
        let me = self.get("/identity/v1/me").await?.expect(200)?;
        super::text(&me, "/id")?.parse().context("an id is a UUID")
    }

    /// Adds a picture (PNG) to what stands at `path`.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn send_photo(&self, path: &str, picture: &'static [u8]) -> anyhow::Result<Value> {
        let request = self.request(Method::POST, &format!("{path}/photos"))?.header("content-type", "image/png");
        send(request.header("idempotency-key", Uuid::new_v4().to_string()).body(picture)).await?.expect(201)
    }

    /// GETs as this person.
    ///
    /// # Errors
    /// When the city does not answer.
    pub async fn get(&self, path: &str) -> anyhow::Result<Answer> {
        send(self.request(Method::GET, path)?).await
    }

    /// POSTs as this person, with this idempotency key.
    ///
    /// # Errors
    /// When the city does not answer.
    pub async fn post_as(&self, path: &str, body: &Value, key: &str) -> anyhow::Result<Answer> {
        send(self.request(Method::POST, path)?.header("idempotency-key", key).json(body)).await
    }

    /// POSTs as this person, with this idempotency key and a proof.
    ///
    /// # Errors
    /// When the city does not answer.
    pub async fn post_proved(&self, path: &str, body: &Value, (key, proof): (&str, &str)) -> anyhow::Result<Answer> {
        let request = self.request(Method::POST, path)?.header("idempotency-key", key).header("step-up-token", proof);
        send(request.json(body)).await
    }

    /// POSTs as this person, with a fresh idempotency key.
    ///
    /// # Errors
    /// When the city does not answer.
    pub async fn post(&self, path: &str, body: &Value) -> anyhow::Result<Answer> {
        self.post_as(path, body, &Uuid::new_v4().to_string()).await
    }

    /// PUTs as this person.
    ///
    /// # Errors
    /// When the city does not answer.
    pub async fn put(&self, path: &str, body: &Value) -> anyhow::Result<Answer> {
        send(self.request(Method::PUT, path)?.json(body)).await
    }

    /// What is in their wallet, in đồng.
    ///
    /// # Errors
    /// When it can't be read.
    pub async fn balance(&self) -> anyhow::Result<u64> {
        let wallet = self.get("/wallet/v1/wallet").await?.expect(200)?;
        super::text(&wallet, "/balance/amount")?.parse().context("a whole number of đồng")
    }
}

/// An amount as it stands in JSON.
#[must_use]
pub fn money(amount: u64) -> Value {
    json!({ "amount": amount.to_string(), "currency": "VND" })
}

/// The items of a list, paged or not.
pub(crate) fn items(list: &Value) -> &[Value] {
    list["items"].as_array().or_else(|| list.as_array()).map_or(&[], Vec::as_slice)
}

/// Asks again until there is an answer.
///
/// # Errors
/// When there is none within [`PATIENCE`], with the last error.
pub async fn eventually<T, F, Fut>(what: &str, mut probe: F) -> anyhow::Result<T>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = anyhow::Result<Option<T>>>,
{
    let end = Instant::now() + PATIENCE;
    loop {
        let last = match probe().await {
            Ok(Some(value)) => return Ok(value),
            Ok(None) => None,
            Err(error) => Some(error),
        };
        if Instant::now() >= end {
            match last {
                Some(error) => return Err(error.context(format!("waited {} s for {what}", PATIENCE.as_secs()))),
                None => bail!("waited {} s for {what}", PATIENCE.as_secs()),
            }
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Sends a request and reads the answer.
pub(crate) async fn send(request: RequestBuilder) -> anyhow::Result<Answer> {
    let answer = request.send().await?;
    let status = answer.status();
    let text = answer.text().await?;
    let body = match text.as_str() {
        "" => Value::Null,
        text => serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned())),
    };
    Ok(Answer { status, body })
}

/// Where the sandbox tells of the text messages to a number.
fn sms_to(phone: &str) -> String {
    format!("/sms?to={}", phone.replace('+', "%2B"))
}

/// The first run of exactly six digits.
pub(super) fn code_in(text: &str) -> Option<String> {
    text.split(|c: char| !c.is_ascii_digit()).find(|run| run.len() == 6).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_code_is_found_in_the_message() {
        assert_eq!(code_in("Ma xac thuc: 049217. Het han sau 5 phut.").as_deref(), Some("049217"));
        assert_eq!(code_in("Call 1900888888"), None);
    }
}
