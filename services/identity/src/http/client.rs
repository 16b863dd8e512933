//! `/identity/v1/clients…`: programs that may ask for tokens. For admins.

use axum::extract::State;
use axum::response::Response;
use chrono::{DateTime, Utc};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use platform::auth::Principal;
use platform::http::{IdempotentJson, Json, Path, Query};
use platform::idempotency::Key;
use platform::page::{Page, PageQuery};
use platform::problem::Problem;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::address::ClientAddress;
use super::me::versions_seen;
use super::{App, origin, private};
use crate::key::Algorithm;
use crate::openid::client::{Access, Client, ClientId, Edit, Grant, NewClient, Registered};
use crate::openid::scope::{Scope, Scopes};

/// What a client is called.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ClientName {
    /// In Vietnamese, 1 to 80 characters.
    #[schema(min_length = 1, max_length = 80, example = "Vé tham quan")]
    pub vi: String,
    /// In English, 1 to 80 characters.
    #[schema(min_length = 1, max_length = 80, example = "Tickets")]
    pub en: String,
}

/// A client to be registered.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ClientRequest {
    /// What people are told that it is.
    name: ClientName,
    /// Whether it keeps a secret.
    access: Access,
    /// How it comes to tokens.
    #[schema(inline, min_items = 1)]
    grant_types: Vec<Grant>,
    /// What its tokens may be used for.
    #[schema(inline, min_items = 1)]
    scopes: Vec<Scope>,
    /// Where codes may go: at most 10, https, http on localhost, or a scheme with a dot.
    #[serde(default)]
    #[schema(max_items = 10)]
    redirect_uris: Vec<String>,
    /// Where the browser may go after signing out.
    #[serde(default)]
    #[schema(max_items = 10)]
    post_logout_redirect_uris: Vec<String>,
    /// What its ID tokens are signed with; RS256 when absent.
    #[serde(default = "rs256")]
    id_token_signed_response_alg: Algorithm,
    /// A page of the city's own: it sees citizens' ids and asks for no consent.
    #[serde(default)]
    first_party: bool,
    /// Code of the agency that it acts for.
    #[schema(max_length = 24, example = "UBND-HUE")]
    agency: Option<String>,
}

const fn rs256() -> Algorithm {
    Algorithm::Rs256
}

/// A change of a client; absent fields stay as they are.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ClientEdit {
    /// A new name.
    name: Option<ClientName>,
    /// All its scopes from now on.
    #[schema(inline)]
    scopes: Option<Vec<Scope>>,
    /// All its redirect URIs from now on. The subject of its citizens stays.
    redirect_uris: Option<Vec<String>>,
    /// All its URIs after signing out from now on.
    post_logout_redirect_uris: Option<Vec<String>>,
}

/// A client.
#[derive(Serialize, ToSchema)]
pub(super) struct ClientItem {
    /// Names it in requests.
    client_id: Uuid,
    /// Shown when it is made or renewed, and never again.
    #[serde(skip_serializing_if = "Option::is_none")]
    client_secret: Option<String>,
    /// What people are told that it is.
    name: ClientName,
    /// Whether it keeps a secret.
    access: Access,
    /// How it comes to tokens.
    #[schema(inline)]
    grant_types: Vec<Grant>,
    /// What its tokens may be used for.
    #[schema(inline)]
    scopes: Vec<Scope>,
    /// Where codes may go.
    redirect_uris: Vec<String>,
    /// Where the browser may go after signing out.
    post_logout_redirect_uris: Vec<String>,
    /// What its ID tokens are signed with.
    id_token_signed_response_alg: Algorithm,
    /// Whether it is a page of the city's own.
    first_party: bool,
    /// Within which a citizen has one subject; null for the city's own.
    sector: Option<String>,
    /// Code of the agency that it acts for.
    agency: Option<String>,
    /// Since when.
    created_at: DateTime<Utc>,
    /// The admin who registered it.
    created_by: Option<Uuid>,
    /// Since when it is disabled.
    disabled_at: Option<DateTime<Utc>>,
}

impl From<Registered> for ClientItem {
    fn from(Registered { client, secret }: Registered) -> Self {
        Self {
            client_id: client.id.uuid(),
            client_secret: secret,
            first_party: client.is_first_party(),
            name: ClientName { vi: client.name_vi, en: client.name_en },
            access: client.access,
            grant_types: client.grants,
            scopes: client.scopes.iter().collect(),
            redirect_uris: client.redirect_uris,
            post_logout_redirect_uris: client.post_logout_redirect_uris,
            id_token_signed_response_alg: client.id_token_algorithm,
            sector: client.sector,
            agency: client.agency,
            created_at: client.created_at,
            created_by: client.created_by,
            disabled_at: client.disabled_at,
        }
    }
}

fn answer(status: StatusCode, registered: Registered) -> Response {
    let tag = format!("\"{}\"", registered.client.version);
    let mut response = private(status, ClientItem::from(registered));
    let tag = HeaderValue::from_str(&tag).expect("digits in quotes are a header value");
    response.headers_mut().insert(header::ETAG, tag);
    response
}

fn known(client: Client) -> Registered {
    Registered { client, secret: None }
}

/// Register a client
///
/// A confidential client's secret is in the answer, and nowhere else. The same request with the same key gets the same answer.
#[utoipa::path(
    post, path = "/identity/v1/clients", tag = "identity", security(("bearer" = [])), request_body = ClientRequest,
    params(("Idempotency-Key" = String, Header, description = "New for each client")),
    responses(
        (status = 201, description = "The client, with its secret", body = ClientItem, headers(("ETag" = String, description = "Its version"))),
        (status = 400, description = "`idempotency-key-missing`, `malformed-json`", content_type = "application/problem+json"),
        (status = 401, description = "`unauthenticated`", content_type = "application/problem+json"),
        (status = 403, description = "`forbidden`: you are no admin", content_type = "application/problem+json"),
        (status = 422, description = "`invalid-body`, `idempotency-key-reused`", content_type = "application/problem+json"),
    )
)]
pub(super) async fn register(
    State(identity): App,
    caller: Principal,
    ClientAddress(address): ClientAddress,
    IdempotentJson { key, fingerprint, body }: IdempotentJson<ClientRequest>,
) -> Result<Response, Problem> {
    let new = NewClient {
        name_vi: body.name.vi,
        name_en: body.name.en,
        access: body.access,
        grants: body.grant_types,
        scopes: body.scopes.into_iter().collect(),
        redirect_uris: body.redirect_uris,
        post_logout_redirect_uris: body.post_logout_redirect_uris,
        is_first_party: body.first_party,
        id_token_algorithm: body.id_token_signed_response_alg,
        agency: body.agency,
    };
    let key = Key { caller: caller.subject, operation: "client.register", key, fingerprint };
    let admin = (caller.subject.into(), origin(&caller, address));
    Ok(answer(StatusCode::CREATED, identity.register_client(admin, new, &key).await?))
}

/// List clients
#[utoipa::path(
    get, path = "/identity/v1/clients", tag = "identity", security(("bearer" = [])), params(PageQuery),
    responses(
        (status = 200, description = "Oldest first", body = Page<ClientItem>),
        (status = 400, description = "`invalid-query`", content_type = "application/problem+json"),
        (status = 401, description = "`unauthenticated`", content_type = "application/problem+json"),
        (status = 403, description = "`forbidden`: you are no admin", content_type = "application/problem+json"),
    )
)]
pub(super) async fn list(
    State(identity): App,
    caller: Principal,
    Query(query): Query<PageQuery>,
) -> Result<Response, Problem> {
    let limit = query.limit()?;
    let clients = identity.list_clients(caller.subject.into(), query.after()?, limit + 1).await?;
    let items: Vec<ClientItem> = clients.into_iter().map(|client| known(client).into()).collect();
    Ok(private(StatusCode::OK, Page::from_rows(items, limit, |item| item.client_id)))
}

/// Show a client
#[utoipa::path(
    get, path = "/identity/v1/clients/{client_id}", tag = "identity", security(("bearer" = [])),
    params(("client_id" = Uuid, Path, description = "The client")),
    responses(
        (status = 200, description = "The client", body = ClientItem, headers(("ETag" = String, description = "Its version"))),
        (status = 401, description = "`unauthenticated`", content_type = "application/problem+json"),
        (status = 403, description = "`forbidden`: you are no admin", content_type = "application/problem+json"),
        (status = 404, description = "`not-found`", content_type = "application/problem+json"),
    )
)]
pub(super) async fn show(
    State(identity): App,
    caller: Principal,
    Path(id): Path<ClientId>,
) -> Result<Response, Problem> {
    Ok(answer(StatusCode::OK, known(identity.show_client(caller.subject.into(), id).await?)))
}

/// Change a client
///
/// With `If-Match` the change is made only to the version that was read. In force everywhere within five seconds.
#[utoipa::path(
    patch, path = "/identity/v1/clients/{client_id}", tag = "identity", security(("bearer" = [])), request_body = ClientEdit,
    params(
        ("client_id" = Uuid, Path, description = "The client"),
        ("If-Match" = Option<String>, Header, description = "The `ETag` that was read"),
    ),
    responses(
        (status = 200, description = "The changed client", body = ClientItem, headers(("ETag" = String, description = "Its version"))),
        (status = 401, description = "`unauthenticated`", content_type = "application/problem+json"),
        (status = 403, description = "`forbidden`: you are no admin", content_type = "application/problem+json"),
        (status = 404, description = "`not-found`", content_type = "application/problem+json"),
        (status = 409, description = "`client-disabled`", content_type = "application/problem+json"),
        (status = 412, description = "`precondition-failed`: it was changed meanwhile", content_type = "application/problem+json"),
        (status = 422, description = "`invalid-body`", content_type = "application/problem+json"),
    )
)]
pub(super) async fn edit(
    State(identity): App,
    caller: Principal,
    ClientAddress(address): ClientAddress,
    Path(id): Path<ClientId>,
    headers: HeaderMap,
    Json(body): Json<ClientEdit>,
) -> Result<Response, Problem> {
    let (name_vi, name_en) = body.name.map(|name| (name.vi, name.en)).unzip();
    let edit = Edit {
        name_vi,
        name_en,
        scopes: body.scopes.map(|scopes| scopes.into_iter().collect::<Scopes>()),
        redirect_uris: body.redirect_uris,
        post_logout_redirect_uris: body.post_logout_redirect_uris,
    };
    let admin = (caller.subject.into(), origin(&caller, address));
    let client = identity.edit_client(admin, id, edit, versions_seen(&headers)).await?;
    Ok(answer(StatusCode::OK, known(client)))
}

/// Give a client a new secret
///
/// The old one and the client's own tokens are refused everywhere within five seconds.
#[utoipa::path(
    put, path = "/identity/v1/clients/{client_id}/secret", tag = "identity", security(("bearer" = [])),
    params(("client_id" = Uuid, Path, description = "The client")),
    responses(
        (status = 200, description = "The client, with its new secret", body = ClientItem),
        (status = 401, description = "`unauthenticated`", content_type = "application/problem+json"),
        (status = 403, description = "`forbidden`: you are no admin", content_type = "application/problem+json"),
        (status = 404, description = "`not-found`", content_type = "application/problem+json"),
        (status = 409, description = "`client-disabled`, `client-public`", content_type = "application/problem+json"),
    )
)]
pub(super) async fn renew(
    State(identity): App,
    caller: Principal,
    ClientAddress(address): ClientAddress,
    Path(id): Path<ClientId>,
) -> Result<Response, Problem> {
    let admin = (caller.subject.into(), origin(&caller, address));
    Ok(answer(StatusCode::OK, identity.renew_secret(admin, id).await?))
}

/// Disable a client for ever
///
/// It gets no token any more; its own and those that it holds of citizens are refused everywhere within five seconds.
#[utoipa::path(
    delete, path = "/identity/v1/clients/{client_id}", tag = "identity", security(("bearer" = [])),
    params(("client_id" = Uuid, Path, description = "The client")),
    responses(
        (status = 204, description = "It is disabled"),
        (status = 401, description = "`unauthenticated`", content_type = "application/problem+json"),
        (status = 403, description = "`forbidden`: you are no admin", content_type = "application/problem+json"),
        (status = 404, description = "`not-found`", content_type = "application/problem+json"),
    )
)]
pub(super) async fn disable(
    State(identity): App,
    caller: Principal,
    ClientAddress(address): ClientAddress,
    Path(id): Path<ClientId>,
) -> Result<StatusCode, Problem> {
    let admin = (caller.subject.into(), origin(&caller, address));
    identity.disable_client(admin, id).await?;
    Ok(StatusCode::NO_CONTENT)
}
