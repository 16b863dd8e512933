//! People of the city, as their apps and tills would speak to it: public HTTP only.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use url::Url;
use uuid::Uuid;

use crate::patience::{definite, eventually};

/// How long one answer may take.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);

static PHONES: AtomicU32 = AtomicU32::new(0);

/// An answer of the city.
#[derive(Clone, Debug)]
pub struct Answer {
    /// HTTP status.
    pub status: StatusCode,
    /// JSON body; null when there was none.
    pub body: Value,
}

impl Answer {
    /// The body, if the status is the expected one.
    ///
    /// # Errors
    /// Shows what came instead.
    pub fn expect(self, status: u16) -> Result<Value> {
        if self.status.as_u16() == status {
            return Ok(self.body);
        }
        let what = format!("expected {status}, got {}: {}", self.status, self.body);
        Err(if self.may_pass() { anyhow::anyhow!(what) } else { definite(what) })
    }

    /// Whether the answer may be another one when it is asked for again: the city can't now, or asks for patience.
    pub fn may_pass(&self) -> bool {
        self.status.is_server_error() || self.status == StatusCode::TOO_MANY_REQUESTS
    }

    /// The stable code of a problem; empty when the answer is none.
    pub fn code(&self) -> &str {
        self.body["code"].as_str().unwrap_or_default()
    }
}

/// Speaks to the city without being signed in.
#[derive(Clone, Debug)]
pub struct Visitor {
    http: reqwest::Client,
    /// The city's origin.
    pub city: Url,
    /// The sandbox's origin.
    pub sandbox: Url,
}

impl Visitor {
    /// A visitor of the city at `city`, whose outside world is at `sandbox`.
    ///
    /// # Errors
    /// When no HTTP client can be built.
    pub fn new(city: Url, sandbox: Url) -> Result<Self> {
        let http = reqwest::Client::builder().timeout(ANSWER_LIMIT).no_proxy().build()?;
        Ok(Self { http, city, sandbox })
    }

    /// Starts a request to the city.
    ///
    /// # Errors
    /// When the path does not make a URL.
    pub fn request(&self, method: Method, path: &str) -> Result<reqwest::RequestBuilder> {
        Ok(self.http.request(method, self.city.join(path)?))
    }

    /// GETs a path of the city.
    ///
    /// # Errors
    /// When the city does not answer.
    pub async fn get(&self, path: &str) -> Result<Answer> {
        send(self.request(Method::GET, path)?).await
    }

    /// POSTs JSON to a path of the city.
    ///
    /// # Errors
    /// When the city does not answer.
    pub async fn post(&self, path: &str, body: &Value) -> Result<Answer> {
        send(self.request(Method::POST, path)?.json(body)).await
    }

    /// GETs a path of the sandbox.
    ///
    /// # Errors
    /// When the sandbox does not answer with success.
    pub async fn outside(&self, path: &str) -> Result<Value> {
        send(self.http.get(self.sandbox.join(path)?)).await?.expect(200).with_context(|| format!("sandbox {path}"))
    }

    /// POSTs JSON to a path of the sandbox.
    ///
    /// # Errors
    /// When the sandbox does not answer with success.
    pub async fn steer(&self, path: &str, body: &Value) -> Result<Value> {
        let answer = send(self.http.post(self.sandbox.join(path)?).json(body)).await?;
        ensure!(answer.status.is_success(), "sandbox {path}: {} {}", answer.status, answer.body);
        Ok(answer.body)
    }

    /// Signs a new citizen in by SMS.
    ///
    /// # Errors
    /// When a step does not hold.
    pub async fn sign_up(&self) -> Result<Citizen> {
        let number = PHONES.fetch_add(1, Ordering::SeqCst);
        let unique = Uuid::new_v4().as_u128() % 10_000;
        self.sign_in(&format!("+8490{:03}{unique:04}", number % 1_000)).await
    }

    /// Signs the citizen with this number in by SMS, on a new device.
    ///
    /// # Errors
    /// When a step does not hold.
    pub async fn sign_in(&self, phone: &str) -> Result<Citizen> {
        let device = Uuid::new_v4();
        let challenge = json!({"phone": phone, "purpose": "sign-in", "device_id": device});
        let challenge = self.post("/identity/v1/otp", &challenge).await?.expect(202)?;
        let id = challenge["challenge_id"].as_str().context("challenge_id")?.to_owned();
        let code = self.otp_sent_to(phone, &id).await?;
        let session = json!({"challenge_id": id, "code": code, "device": {"id": device, "name": "test phone"}});
        let session = self.post("/identity/v1/sessions", &session).await?.expect(201)?;
        Ok(Citizen {
            visitor: self.clone(),
            phone: phone.to_owned(),
            user: session["user"]["id"].as_str().context("user.id")?.parse()?,
            token: session["access_token"].as_str().context("access_token")?.to_owned(),
            refresh_token: session["refresh_token"].as_str().context("refresh_token")?.to_owned(),
            code,
        })
    }

    /// Waits for the SMS of a challenge and reads its code.
    ///
    /// # Errors
    /// When none comes in time.
    pub async fn otp_sent_to(&self, phone: &str, challenge: &str) -> Result<String> {
        let path = format!("/sms?to={}", phone.replace('+', "%2B"));
        eventually("the SMS with the code", || async {
            let messages = self.outside(&path).await?;
            let list = messages.as_array().or_else(|| messages["items"].as_array()).cloned().unwrap_or_default();
            let message =
                list.iter().find(|message| message["reference"].as_str().is_some_and(|text| text.contains(challenge)));
            let message = message.or_else(|| list.first());
            Ok(message.and_then(|message| six_digits(message["text"].as_str().unwrap_or_default())))
        })
        .await
    }
}

/// A citizen who is signed in.
#[derive(Clone, Debug)]
pub struct Citizen {
    /// How they reach the city.
    pub visitor: Visitor,
    /// Their number, E.164.
    pub phone: String,
    /// Their id.
    pub user: Uuid,
    /// Their access token.
    pub token: String,
    /// Their refresh token.
    pub refresh_token: String,
    /// The one-time code by which they signed in.
    pub code: String,
}

impl Citizen {
    /// What nobody else has to know of them: their number as people and programs write it, and their tokens of now.
    pub fn private(&self) -> [String; 4] {
        let local = self.phone.replacen("+84", "0", 1);
        [self.phone[1..].to_owned(), local, self.token.clone(), self.refresh_token.clone()]
    }

    /// GETs as this citizen.
    ///
    /// # Errors
    /// When the city does not answer.
    pub async fn get(&self, path: &str) -> Result<Answer> {
        send(self.visitor.request(Method::GET, path)?.bearer_auth(&self.token)).await
    }

    /// POSTs as this citizen, with an idempotency key.
    ///
    /// # Errors
    /// When the city does not answer.
    pub async fn post_with(&self, path: &str, body: &Value, key: &str) -> Result<Answer> {
        let request = self.visitor.request(Method::POST, path)?.bearer_auth(&self.token);
        send(request.header("idempotency-key", key).json(body)).await
    }

    /// POSTs as this citizen, with a fresh idempotency key.
    ///
    /// # Errors
    /// When the city does not answer.
    pub async fn post(&self, path: &str, body: &Value) -> Result<Answer> {
        self.post_with(path, body, &Uuid::new_v4().to_string()).await
    }

    /// POSTs with one idempotency key until there is an answer that does not pass, as an app does that means it.
    ///
    /// # Errors
    /// When there is none within [`crate::patience::PATIENCE`].
    pub async fn insist(&self, path: &str, body: &Value) -> Result<Answer> {
        let key = Uuid::new_v4().to_string();
        eventually("an answer that does not pass", || async {
            let answer = self.post_with(path, body, &key).await?;
            Ok((!answer.may_pass()).then_some(answer))
        })
        .await
    }

    /// Goes on with fresh tokens.
    ///
    /// # Errors
    /// When the session does not go on.
    pub async fn refresh(&mut self) -> Result<()> {
        let body = json!({"refresh_token": self.refresh_token});
        let tokens = eventually("fresh tokens", || async {
            self.visitor.post("/identity/v1/sessions/refresh", &body).await?.expect(200).map(Some)
        })
        .await?;
        let text = |name: &str| tokens[name].as_str().map(str::to_owned).with_context(|| name.to_owned());
        (self.token, self.refresh_token) = (text("access_token")?, text("refresh_token")?);
        Ok(())
    }

    /// PUTs as this citizen.
    ///
    /// # Errors
    /// When the city does not answer.
    pub async fn put(&self, path: &str, body: &Value) -> Result<Answer> {
        send(self.visitor.request(Method::PUT, path)?.bearer_auth(&self.token).json(body)).await
    }

    /// Opens a bank account in the sandbox with `balance` đồng; gives its number.
    ///
    /// # Errors
    /// When the sandbox refuses.
    pub async fn bank_account(&self, balance: u64) -> Result<String> {
        let account = format!("{:010}", Uuid::new_v4().as_u128() % 10_000_000_000);
        let body = json!({"account": account, "balance": {"amount": balance.to_string(), "currency": "VND"}});
        self.visitor.steer("/bank/v1/accounts", &body).await?;
        Ok(account)
    }

    /// Asks for a top-up; gives its id.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn request_top_up(&self, bank: &str, account: &str, amount: u64) -> Result<String> {
        let body = json!({"bank_code": bank, "account": account, "amount": money(amount)});
        let answer = self.post("/wallet/v1/top-ups", &body).await?.expect(202)?;
        Ok(answer["id"].as_str().context("id")?.to_owned())
    }

    /// Waits until a top-up has ended; gives its state.
    ///
    /// # Errors
    /// When it does not end in time.
    pub async fn top_up_ended(&self, id: &str) -> Result<String> {
        let path = format!("/wallet/v1/top-ups/{id}");
        eventually("the top-up to end", || async {
            let state = self.get(&path).await?.expect(200)?["state"].as_str().unwrap_or_default().to_owned();
            Ok(matches!(state.as_str(), "completed" | "failed").then_some(state))
        })
        .await
    }

    /// Tops up from a new bank account and waits for the money.
    ///
    /// # Errors
    /// When it does not arrive.
    pub async fn top_up(&self, bank: &str, amount: u64) -> Result<()> {
        let account = self.bank_account(amount * 2).await?;
        let id = self.request_top_up(bank, &account, amount).await?;
        let state = self.top_up_ended(&id).await?;
        ensure!(state == "completed", "top-up ended as {state}");
        Ok(())
    }

    /// The posted balance in đồng.
    ///
    /// # Errors
    /// When the wallet can't be read.
    pub async fn balance(&self) -> Result<u64> {
        let wallet = self.get("/wallet/v1/wallet").await?.expect(200)?;
        Ok(wallet["balance"]["amount"].as_str().context("balance.amount")?.parse()?)
    }

    /// Opens a merchant with one store and one till.
    ///
    /// # Errors
    /// When a step is refused.
    pub async fn open_shop(&self, name: &str) -> Result<Shop> {
        let id = |body: &Value| body["id"].as_str().map(str::to_owned).context("id");
        let merchant = id(&self.post("/wallet/v1/merchants", &json!({ "name": name })).await?.expect(201)?)?;
        let path = format!("/wallet/v1/merchants/{merchant}/stores");
        let store = id(&self.post(&path, &json!({"name": "Chợ Đông Ba"})).await?.expect(201)?)?;
        let path = format!("{path}/{store}/tills");
        let till = id(&self.post(&path, &json!({"name": "Quầy 1"})).await?.expect(201)?)?;
        let qr_path = format!("{path}/{till}/qr.txt");
        let request = self.visitor.request(Method::GET, &qr_path)?.bearer_auth(&self.token);
        let response = request.send().await?.error_for_status()?;
        Ok(Shop { merchant, store, till, qr: response.text().await?.trim().to_owned() })
    }

    /// Sets the first PIN of the account; gives it.
    ///
    /// # Errors
    /// When none is taken.
    pub async fn set_pin(&self) -> Result<String> {
        eventually("a PIN that is not easy to guess", || async {
            let pin = format!("{:06}", Uuid::new_v4().as_u128() % 1_000_000);
            let answer = self.put("/identity/v1/me/pin", &json!({ "pin": pin })).await?;
            if answer.status == StatusCode::UNPROCESSABLE_ENTITY {
                Ok(None)
            } else {
                answer.expect(200).map(|_| Some(pin))
            }
        })
        .await
    }

    /// Proves by PIN that they mean one payment at a till; gives the proof. `key` is the payment's idempotency key.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn prove(&self, pin: &str, (till, amount): (&str, u64), key: &str) -> Result<String> {
        let transaction = json!({"kind": "payment", "payee": till, "amount": money(amount), "nonce": key});
        let body = json!({"method": "pin", "pin": pin, "transaction": transaction});
        let proved = self.insist("/identity/v1/step-ups", &body).await?.expect(201)?;
        Ok(proved["step_up_token"].as_str().context("step_up_token")?.to_owned())
    }

    /// Pays at a till with a proof.
    ///
    /// # Errors
    /// When the city does not answer.
    pub async fn pay_proved(&self, (till, amount): (&str, u64), (key, proof): (&str, &str)) -> Result<Answer> {
        let request = self.visitor.request(Method::POST, "/wallet/v1/payments")?.bearer_auth(&self.token);
        let request = request.header("idempotency-key", key).header("step-up-token", proof);
        send(request.json(&json!({"till_id": till, "amount": money(amount)}))).await
    }

    /// Adds a picture (PNG) to what stands at `path`, until it is taken.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn send_photo(&self, path: &str, picture: &[u8]) -> Result<Value> {
        let key = Uuid::new_v4().to_string();
        eventually("the photo to be taken", || async {
            let request = self.visitor.request(Method::POST, &format!("{path}/photos"))?.bearer_auth(&self.token);
            let request = request.header("content-type", "image/png").header("idempotency-key", &key);
            send(request.body(picture.to_vec())).await?.expect(201).map(Some)
        })
        .await
    }

    /// Pays what a QR code asks for.
    ///
    /// # Errors
    /// When the city does not answer.
    pub async fn pay(&self, qr: &str, amount: u64, key: &str) -> Result<Answer> {
        self.post_with("/wallet/v1/payments", &json!({"qr_payload": qr, "amount": money(amount)}), key).await
    }
}

/// A merchant's place.
#[derive(Clone, Debug)]
pub struct Shop {
    /// The merchant's id.
    pub merchant: String,
    /// The store's id.
    pub store: String,
    /// The till's id.
    pub till: String,
    /// The static QR payload at the till.
    pub qr: String,
}

/// An amount as it stands in JSON.
pub fn money(amount: u64) -> Value {
    json!({"amount": amount.to_string(), "currency": "VND"})
}

async fn send(request: reqwest::RequestBuilder) -> Result<Answer> {
    let response = request.send().await?;
    let status = response.status();
    let bytes = response.bytes().await?;
    let body = if bytes.is_empty() {
        Value::Null
    } else {
        serde_json::from_slice(&bytes).unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&bytes).into_owned()))
    };
    Ok(Answer { status, body })
}

fn six_digits(text: &str) -> Option<String> {
    text.split(|character: char| !character.is_ascii_digit()).find(|run| run.len() == 6).map(str::to_owned)
}
