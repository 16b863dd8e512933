//! An independent OpenID client (the `openidconnect` crate) and a browser of HTTP only sign a citizen in at the running city.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, bail, ensure};
use harness::{Citizen, City, Shape, Visitor, eventually};
use openidconnect::core::{CoreAuthenticationFlow, CoreClient, CoreProviderMetadata, CoreUserInfoClaims};
use openidconnect::{
    AccessTokenHash, AuthorizationCode, ClientId, ClientSecret, CsrfToken, HttpRequest, HttpResponse, IssuerUrl, Nonce,
    OAuth2TokenResponse as _, PkceCodeChallenge, RedirectUrl, Scope, TokenResponse as _,
};
use reqwest::header::{COOKIE, LOCATION, SET_COOKIE, WWW_AUTHENTICATE};
use serde_json::{Value, json};
use url::Url;
use uuid::Uuid;

const CALLBACK: &str = "https://tickets.example/cb";
/// Else anybody may look at the wall, with any token.
const CLOSED_WALL: &[(&str, &str)] = &[("TRANGTIEN_IOC__PUBLIC_WALL", "false")];

/// The client's way to HTTP.
async fn http(request: HttpRequest) -> Result<HttpResponse, std::io::Error> {
    let sent = async {
        let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).no_proxy().build()?;
        let (parts, body) = request.into_parts();
        let answer =
            client.request(parts.method, parts.uri.to_string()).headers(parts.headers).body(body).send().await?;
        Ok::<_, reqwest::Error>((answer.status(), answer.headers().clone(), answer.bytes().await?))
    };
    let (status, headers, body) = sent.await.map_err(std::io::Error::other)?;
    let mut response = HttpResponse::new(body.to_vec());
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    Ok(response)
}

/// A browser that keeps cookies and reads forms; it goes nowhere by itself.
struct Browser {
    http: reqwest::Client,
    visitor: Visitor,
    cookies: BTreeMap<String, String>,
}

/// What a browser sees.
enum Seen {
    Page(String),
    Elsewhere(Url),
}

impl Browser {
    fn new(visitor: &Visitor) -> Result<Self> {
        let http = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).no_proxy().build()?;
        Ok(Self { http, visitor: visitor.clone(), cookies: BTreeMap::new() })
    }

    async fn open(&mut self, place: Url) -> Result<Seen> {
        let request = self.http.get(place);
        self.send(request).await
    }

    async fn form(&mut self, page: &str, fields: &[(&str, &str)]) -> Result<Seen> {
        let (_, rest) = page.split_once("name=\"ticket\" value=\"").context("a form with a ticket")?;
        let ticket = rest.split_once('"').context("the end of the value")?.0;
        let fields: Vec<(&str, &str)> = [("ticket", ticket)].into_iter().chain(fields.iter().copied()).collect();
        let request = self.http.post(self.visitor.city.join("/oauth2/sign-in")?).form(&fields);
        self.send(request).await
    }

    async fn send(&mut self, request: reqwest::RequestBuilder) -> Result<Seen> {
        let cookies: Vec<String> = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let answer = request.header(COOKIE, cookies.join("; ")).header("accept-language", "en").send().await?;
        for value in answer.headers().get_all(SET_COOKIE) {
            let (name, rest) = value.to_str()?.split_once('=').context("a cookie")?;
            self.cookies.insert(name.to_owned(), rest.split(';').next().unwrap_or_default().to_owned());
        }
        match answer.headers().get(LOCATION) {
            Some(place) => Ok(Seen::Elsewhere(place.to_str()?.parse()?)),
            None => Ok(Seen::Page(answer.text().await?)),
        }
    }

    /// Signs a new number in at the page by the code that came by SMS, agrees, and gives where the browser goes then.
    async fn sign_in(&mut self, place: Url, phone: &str) -> Result<Url> {
        let Seen::Page(page) = self.open(place).await? else { bail!("a page that asks for a number") };
        let Seen::Page(page) = self.form(&page, &[("action", "phone"), ("phone", phone)]).await? else {
            bail!("a page that asks for a code")
        };
        let visitor = self.visitor.clone();
        let code = eventually("the code by SMS", || async {
            let sent = visitor.outside(&format!("/sms?to={}", phone.replace('+', "%2B"))).await?;
            let messages = sent["items"].as_array().or(sent.as_array()).cloned().unwrap_or_default();
            Ok(messages.iter().find_map(|message| digits(message["text"].as_str()?)))
        })
        .await?;
        match self.form(&page, &[("action", "code"), ("code", &code)]).await? {
            Seen::Elsewhere(place) => Ok(place),
            Seen::Page(page) => match self.form(&page, &[("action", "allow")]).await? {
                Seen::Elsewhere(place) => Ok(place),
                Seen::Page(page) => bail!("still a page: {page}"),
            },
        }
    }
}

/// Six digits that stand alone.
fn digits(text: &str) -> Option<String> {
    text.split(|character: char| !character.is_ascii_digit()).find(|run| run.len() == 6).map(str::to_owned)
}

/// An admin of the city.
async fn admin(city: &City, visitor: &Visitor) -> Result<Citizen> {
    let citizen = visitor.sign_up().await?;
    sqlx::query("INSERT INTO identity.role_grant (id, user_id, role, granted_at) VALUES ($1, $2, 'admin', now())")
        .bind(Uuid::now_v7())
        .bind(citizen.user)
        .execute(&city.admin())
        .await?;
    Ok(citizen)
}

async fn register(visitor: &Visitor, admin: &Citizen, changed: Value) -> Result<Value> {
    let mut body = json!({
        "name": {"vi": "Vé tham quan", "en": "Tickets"},
        "access": "confidential",
        "grant_types": ["authorization_code", "refresh_token"],
        "scopes": ["openid", "profile", "phone", "offline_access"],
        "redirect_uris": [CALLBACK],
    });
    for (name, value) in changed.as_object().context("an object")? {
        body[name] = value.clone();
    }
    let request = visitor.request(reqwest::Method::POST, "/identity/v1/clients")?.bearer_auth(&admin.token);
    let answer = request.header("idempotency-key", Uuid::new_v4().to_string()).json(&body).send().await?;
    ensure!(answer.status() == 201, "{}", answer.text().await?);
    Ok(answer.json().await?)
}

fn text(value: &Value, name: &str) -> Result<String> {
    Ok(value[name].as_str().with_context(|| format!("{name} in {value}"))?.to_owned())
}

/// Every role there is, and the agency that it is held for.
const ROLES: [(&str, Option<&str>); 7] = [
    ("ioc.operator", None),
    ("ioc.lead", None),
    ("agency.officer", Some("HEPCO")),
    ("agency.head", Some("HEPCO")),
    ("finance.officer", None),
    ("finance.approver", None),
    ("admin", None),
];

/// Gives whoever came last all roles.
async fn appoint_the_newest(city: &City) -> Result<()> {
    for (role, agency) in ROLES {
        sqlx::query(
            "INSERT INTO identity.role_grant (id, user_id, role, agency, granted_at)
             SELECT $1, c.id, $2, $3, now() FROM identity.citizen c ORDER BY c.created_at DESC, c.id DESC LIMIT 1",
        )
        .bind(Uuid::now_v7())
        .bind(role)
        .bind(agency)
        .execute(&city.admin())
        .await?;
    }
    Ok(())
}

/// Signs somebody in at a client, who then gets every role there is; gives its access token, which says them.
async fn signs_in(
    (city, visitor): (&City, &Visitor),
    admin: &Citizen,
    (client, phone): (Value, &str),
) -> Result<String> {
    let registered = register(visitor, admin, client).await?;
    let issuer = IssuerUrl::new(visitor.city.as_str().trim_end_matches('/').to_owned())?;
    let metadata = CoreProviderMetadata::discover_async(issuer, &http).await?;
    let client = CoreClient::from_provider_metadata(
        metadata,
        ClientId::new(text(&registered, "client_id")?),
        Some(ClientSecret::new(text(&registered, "client_secret")?)),
    )
    .set_redirect_uri(RedirectUrl::new(CALLBACK.to_owned())?);
    let (challenge, verifier) = PkceCodeChallenge::new_random_sha256();
    let (place, state, nonce) = client
        .authorize_url(CoreAuthenticationFlow::AuthorizationCode, CsrfToken::new_random, Nonce::new_random)
        .add_scopes(["profile", "phone", "offline_access"].map(|scope| Scope::new(scope.to_owned())))
        .set_pkce_challenge(challenge)
        .url();
    let back = Browser::new(visitor)?.sign_in(place, phone).await?;
    let answer: BTreeMap<String, String> = back.query_pairs().into_owned().collect();
    ensure!(back.as_str().starts_with(CALLBACK) && answer.get("state") == Some(state.secret()), "{back}");
    ensure!(answer.get("iss").map(String::as_str) == Some(visitor.city.as_str().trim_end_matches('/')), "{back}");
    let code = answer.get("code").with_context(|| format!("a code in {back}"))?;
    let tokens = client
        .exchange_code(AuthorizationCode::new(code.clone()))?
        .set_pkce_verifier(verifier)
        .request_async(&http)
        .await?;
    let id_token = tokens.id_token().context("an ID token")?;
    let checker = client.id_token_verifier();
    let claims = id_token.claims(&checker, &nonce)?;
    let hash =
        AccessTokenHash::from_token(tokens.access_token(), id_token.signing_alg()?, id_token.signing_key(&checker)?)?;
    ensure!(claims.access_token_hash() == Some(&hash), "at_hash");
    let info: CoreUserInfoClaims =
        client.user_info(tokens.access_token().clone(), Some(claims.subject().clone()))?.request_async(&http).await?;
    ensure!(info.phone_number().map(|told| told.as_str()) == Some(phone), "{:?}", info.phone_number());
    appoint_the_newest(city).await?;
    let refresh = tokens.refresh_token().context("a refresh token")?;
    let again = client.exchange_refresh_token(refresh)?.request_async(&http).await?;
    let renewed = again.id_token().context("an ID token")?.claims(&checker, |_: Option<&Nonce>| Ok(()))?;
    ensure!(renewed.subject() == claims.subject(), "the subject stays");
    Ok(again.access_token().secret().clone())
}

/// Every route that asks for somebody who signed in, citizens', officers' and agencies', and what a token gets there: the status, and the
/// challenge that comes with it.
async fn answers(visitor: &Visitor, token: &str) -> Result<BTreeMap<String, (u16, String)>> {
    let matrix = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/authorisation.csv"))?;
    let mut answers = BTreeMap::new();
    for line in matrix.lines().skip(1) {
        let cells: Vec<&str> = line.split(',').collect();
        let [method, path, anonymous, ref roles @ ..] = cells[..] else { bail!("a line of the matrix: {line}") };
        // Outside parties sign their requests, machines have tokens of their own, and userinfo is what a client's token is for: none of
        // the roles opens them.
        if anonymous != "401" || !roles.contains(&"yes") {
            continue;
        }
        let filled = |part: &str| match part {
            "{role}" => "ioc.operator".to_owned(),
            part if part.starts_with('{') => Uuid::new_v4().to_string(),
            part => part.to_owned(),
        };
        let place = path.split('/').map(filled).collect::<Vec<_>>().join("/");
        let request = visitor.request(method.parse()?, &place)?.bearer_auth(token);
        let request = request.header("idempotency-key", Uuid::new_v4().to_string());
        let request = if matches!(method, "GET" | "DELETE") { request } else { request.json(&json!({})) };
        // The head is enough: streams have no end.
        let answer = request.send().await?;
        let challenge = answer.headers().get(WWW_AUTHENTICATE).map(|value| value.to_str()).transpose()?;
        answers
            .insert(format!("{method} {path}"), (answer.status().as_u16(), challenge.unwrap_or_default().to_owned()));
    }
    ensure!(answers.len() > 120, "only {} routes were asked", answers.len());
    Ok(answers)
}

#[tokio::test]
async fn an_independent_client_signs_a_citizen_in() -> Result<()> {
    let city = City::start_with(Shape::AllInOne, CLOSED_WALL).await?;
    let visitor = city.visitor()?;
    let admin = admin(&city, &visitor).await?;
    for (algorithm, phone) in [("RS256", "+84905550123"), ("EdDSA", "+84905550124")] {
        let client = json!({"id_token_signed_response_alg": algorithm});
        let token = signs_in((&city, &visitor), &admin, (client, phone)).await;
        let token = token.with_context(|| format!("ID tokens by {algorithm}"))?;
        // What the citizen let a mini-app know moves no money, reads no wallet and sends no report: no service takes its token.
        let opened: Vec<_> =
            answers(&visitor, &token).await?.into_iter().filter(|(_, (status, _))| *status != 401).collect();
        ensure!(opened.is_empty(), "a mini-app's token opens {opened:?}");
    }
    city.finish().await
}

#[tokio::test]
async fn a_page_of_the_citys_own_opens_nothing_but_the_operations_centre() -> Result<()> {
    let city = City::start_with(Shape::AllInOne, CLOSED_WALL).await?;
    let visitor = city.visitor()?;
    let admin = admin(&city, &visitor).await?;
    let token = signs_in((&city, &visitor), &admin, (json!({"first_party": true}), "+84905550125")).await?;
    let refused = (403, r#"Bearer error="insufficient_scope", scope="app""#.to_owned());
    let mut opened = answers(&visitor, &token).await?;
    // What the wall is made of: the officer who holds every role may all of it.
    let wall = |route: &str| route.contains(" /ioc/") || route.contains(" /sta/") || route == "GET /reports/v1/queue";
    let refused_there: Vec<_> =
        opened.iter().filter(|(route, (status, _))| wall(route) && matches!(status, 401 | 403)).collect();
    ensure!(refused_there.is_empty(), "the page's own officer is refused {refused_there:?}");
    opened.retain(|route, answer| *answer != refused && !wall(route));
    ensure!(opened.is_empty(), "a page's token opens {opened:?}");
    let centre = visitor.request(reqwest::Method::GET, "/ioc/v1/session")?.bearer_auth(&token).send().await?;
    ensure!(centre.status() == 200, "the centre takes it: {}", centre.status());
    city.finish().await
}
