//! The city's own public HTTP, as this process reaches it: the OpenID provider, and lists that another role keeps.
//!
//! Limits: [`TIMEOUT`] a request, [`MAX_BYTES`] an answer, no redirects.

use std::time::Duration;

use http::HeaderMap;
use reqwest::{Client, RequestBuilder};
use url::Url;

use crate::error::BuildError;

/// The longest that a request may take. A refresh that was tried so long leaves the provider's grace to whoever tries next.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(5);
/// The longest answer.
const MAX_BYTES: usize = 2 << 20;

/// Where the city is reached.
#[derive(Clone, Debug)]
pub(crate) struct Upstream {
    client: Client,
    base: Url,
    /// Whether places that the city names are reached at our own address for it.
    is_inside: bool,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
}

impl Upstream {
    /// The city at its public URL, or at another address that reaches it from inside.
    pub(crate) fn new(public_url: &Url, inside: Option<&Url>) -> Result<Self, BuildError> {
        let client = Client::builder()
            .timeout(TIMEOUT)
            .connect_timeout(TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build()?;
        let base = inside.unwrap_or(public_url).clone();
        Ok(Self { client, base, is_inside: inside.is_some() })
    }

    /// GETs a path without a leading slash.
    pub(crate) async fn get(&self, path: &str) -> Result<Reply, String> {
        read(self.client.get(self.at(path)?)).await
    }

    /// GETs a path in the name of somebody, with headers of theirs.
    pub(crate) async fn get_as(&self, path: &str, headers: HeaderMap) -> Result<Reply, String> {
        read(self.client.get(self.at(path)?).headers(headers)).await
    }

    /// POSTs a form, with a name and a secret by HTTP Basic (RFC 6749, section 2.3.1).
    pub(crate) async fn post_form(
        &self,
        place: &Url,
        form: &[(&str, &str)],
        (name, secret): (&str, &str),
    ) -> Result<Reply, String> {
        let encode = |text: &str| url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
        let request = self.client.post(self.reach(place)?);
        read(request.basic_auth(encode(name), Some(encode(secret))).form(form)).await
    }

    fn at(&self, path: &str) -> Result<Url, String> {
        self.base.join(path).map_err(|error| error.to_string())
    }

    fn reach(&self, place: &Url) -> Result<Url, String> {
        if !self.is_inside {
            return Ok(place.clone());
        }
        self.at(&place[url::Position::BeforePath..])
    }
}

async fn read(request: RequestBuilder) -> Result<Reply, String> {
    let mut answer = request.send().await.map_err(|error| error.without_url().to_string())?;
    let (status, mut body) = (answer.status().as_u16(), Vec::new());
    while let Some(chunk) = answer.chunk().await.map_err(|error| error.without_url().to_string())? {
        if body.len() + chunk.len() > MAX_BYTES {
            return Err(format!("the answer is longer than {MAX_BYTES} bytes"));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Reply { status, body })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_that_the_city_names_is_reached_from_inside() {
        let url = |text: &str| text.parse::<Url>().expect("a URL");
        let (public, place) = (url("https://hue.example/"), url("https://hue.example/oauth2/token?x=1"));
        let reach = |inside: Option<&Url>| {
            Upstream::new(&public, inside).expect("a client").reach(&place).expect("a place").to_string()
        };
        assert_eq!(reach(None), "https://hue.example/oauth2/token?x=1");
        assert_eq!(reach(Some(&url("http://gateway.internal:8080/"))), "http://gateway.internal:8080/oauth2/token?x=1");
    }
}
