//! A browser without scripts: keeps cookies, follows redirects within the city, reads and sends its forms.

use std::collections::BTreeMap;

use anyhow::{Context as _, ensure};
use reqwest::header::{COOKIE, LOCATION, SET_COOKIE};
use reqwest::{Client, Method, RequestBuilder, StatusCode};
use serde_json::Value;
use url::Url;

use super::person::{PATIENCE, code_in, eventually, items};
use super::{Answer, World};

/// The most redirects that are followed.
const MAX_REDIRECTS: usize = 8;
/// What browsers say of a request that leads to another page (Fetch Metadata).
const FETCH_MODE: &str = "sec-fetch-mode";
const NAVIGATE: &str = "navigate";

/// A browser at the city.
#[derive(Debug)]
pub struct Browser {
    client: Client,
    world: World,
    cookies: BTreeMap<String, String>,
}

/// What a browser shows.
#[derive(Clone, Debug)]
pub struct Page {
    /// The status of the last answer.
    pub status: StatusCode,
    /// Where that was.
    pub place: Url,
    /// The document.
    pub text: String,
}

impl Page {
    /// The value of the first hidden field with a name.
    fn hidden(&self, name: &str) -> anyhow::Result<&str> {
        let (_, rest) = self.text.split_once(&format!("name=\"{name}\" value=\"")).context("a form")?;
        Ok(rest.split_once('"').context("the end of a value")?.0)
    }

    /// What stands in the first `code` element.
    ///
    /// # Errors
    /// When there is none.
    pub fn code(&self) -> anyhow::Result<&str> {
        let inner = self.text.split_once("<code>").and_then(|(_, rest)| rest.split_once("</code>"));
        Ok(inner.with_context(|| format!("{} shows no code: {}", self.place, self.text))?.0)
    }
}

impl Browser {
    /// A browser that was never used.
    ///
    /// # Errors
    /// When no HTTP client can be made.
    pub fn new(world: &World) -> anyhow::Result<Self> {
        let client = Client::builder().timeout(PATIENCE).redirect(reqwest::redirect::Policy::none()).no_proxy();
        Ok(Self { client: client.build()?, world: world.clone(), cookies: BTreeMap::new() })
    }

    /// Goes to a path of the city.
    ///
    /// # Errors
    /// When the city does not answer, or leads somewhere else.
    pub async fn go(&mut self, path: &str) -> anyhow::Result<Page> {
        let place = self.world.place(path)?;
        self.follow(Method::GET, place, None).await
    }

    /// Sends a form of the city's own page to a path.
    ///
    /// # Errors
    /// When the city does not answer, or leads somewhere else.
    pub async fn send(&mut self, path: &str, fields: &[(&str, &str)]) -> anyhow::Result<Page> {
        let place = self.world.place(path)?;
        self.follow(Method::POST, place, Some(fields)).await
    }

    /// Asks as a script of the page does.
    ///
    /// # Errors
    /// When the city does not answer.
    pub async fn fetch(&mut self, path: &str) -> anyhow::Result<Answer> {
        let place = self.world.place(path)?;
        let answer = self.request(Method::GET, place).send().await?;
        self.keep(&answer)?;
        let status = answer.status();
        Ok(Answer { status, body: answer.json().await.unwrap_or(Value::Null) })
    }

    /// Signs in at the hosted pages by the code that comes to a number; gives where that leads.
    ///
    /// # Errors
    /// When a page is not what it should be, or no code comes.
    pub async fn sign_in(&mut self, path: &str, phone: &str) -> anyhow::Result<Page> {
        let page = self.go(path).await?;
        let ticket = page.hidden("ticket").with_context(|| format!("{} asks for no number", page.place))?;
        let fields = [("ticket", ticket), ("action", "phone"), ("phone", phone)];
        let page = self.send("/oauth2/sign-in", &fields).await?;
        ensure!(page.status == 200, "no code is sent: {}", page.text);
        let (world, sent) = (self.world.clone(), format!("/sms?to={}", phone.replace('+', "%2B")));
        let code = eventually("the SMS", || async {
            let messages = world.outside(&sent).await?;
            Ok(items(&messages).first().and_then(|message| code_in(message["text"].as_str()?)))
        })
        .await?;
        let fields = [("ticket", page.hidden("ticket")?), ("action", "code"), ("code", &code)];
        self.send("/oauth2/sign-in", &fields).await
    }

    fn request(&self, method: Method, place: Url) -> RequestBuilder {
        let cookies: Vec<String> = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let request = self.client.request(method, place).header("accept-language", "en");
        // Browsers say of requests of a page's own that they are.
        request.header(COOKIE, cookies.join("; ")).header("sec-fetch-site", "same-origin")
    }

    async fn follow(
        &mut self,
        method: Method,
        mut place: Url,
        fields: Option<&[(&str, &str)]>,
    ) -> anyhow::Result<Page> {
        let mut request = self.request(method, place.clone()).header(FETCH_MODE, NAVIGATE);
        if let Some(fields) = fields {
            request = request.form(fields);
        }
        for _ in 0..MAX_REDIRECTS {
            let answer = request.send().await?;
            self.keep(&answer)?;
            let Some(next) = answer.headers().get(LOCATION) else {
                return Ok(Page { status: answer.status(), place, text: answer.text().await? });
            };
            let next = place.join(next.to_str()?)?;
            ensure!(next.origin() == place.origin(), "{place} leads out of the city, to {next}");
            place = next;
            request = self.request(Method::GET, place.clone()).header(FETCH_MODE, NAVIGATE);
        }
        anyhow::bail!("{place} leads on and on")
    }

    fn keep(&mut self, answer: &reqwest::Response) -> anyhow::Result<()> {
        for value in answer.headers().get_all(SET_COOKIE) {
            let (name, rest) = value.to_str()?.split_once('=').context("a cookie")?;
            match rest.split(';').next().filter(|value| !value.is_empty()) {
                Some(value) => self.cookies.insert(name.to_owned(), value.to_owned()),
                None => self.cookies.remove(name),
            };
        }
        Ok(())
    }
}
