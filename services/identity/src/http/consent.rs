//! `GET /identity/v1/me/consents`, `DELETE /identity/v1/me/consents/{client_id}`

use axum::extract::State;
use axum::response::Response;
use chrono::{DateTime, Utc};
use http::StatusCode;
use platform::auth::Principal;
use platform::http::{Path, Query};
use platform::page::{Page, PageQuery};
use platform::problem::Problem;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::address::ClientAddress;
use super::client::ClientName;
use super::{App, origin, private};
use crate::openid::client::ClientId;
use crate::openid::consent::ConsentRow;

/// What a client may know of the caller.
#[derive(Serialize, ToSchema)]
pub(super) struct ConsentItem {
    /// The client.
    client_id: Uuid,
    /// What it is called.
    name: ClientName,
    /// Code of the agency that it acts for.
    agency: Option<String>,
    /// What it may know and do.
    scopes: Vec<String>,
    /// Since when.
    given_at: DateTime<Utc>,
    /// When that last became more.
    changed_at: DateTime<Utc>,
}

impl From<ConsentRow> for ConsentItem {
    fn from(row: ConsentRow) -> Self {
        Self {
            client_id: row.client_id,
            name: ClientName { vi: row.name_vi, en: row.name_en },
            agency: row.agency,
            scopes: row.scopes,
            given_at: row.given_at,
            changed_at: row.changed_at,
        }
    }
}

/// List what I let apps know
#[utoipa::path(
    get, path = "/identity/v1/me/consents", tag = "identity", security(("bearer" = [])), params(PageQuery),
    responses(
        (status = 200, description = "By client", body = Page<ConsentItem>),
        (status = 400, description = "`invalid-query`", content_type = "application/problem+json"),
        (status = 401, description = "`unauthenticated`", content_type = "application/problem+json"),
    )
)]
pub(super) async fn list(
    State(identity): App,
    caller: Principal,
    Query(query): Query<PageQuery>,
) -> Result<Response, Problem> {
    let limit = query.limit()?;
    let rows = identity.consents(caller.subject.into(), query.after()?, limit + 1).await?;
    let items: Vec<ConsentItem> = rows.into_iter().map(Into::into).collect();
    Ok(private(StatusCode::OK, Page::from_rows(items, limit, |item| item.client_id)))
}

/// Take back what I let an app know
///
/// The app's sessions end; all services refuse its tokens within seconds. It may ask again.
#[utoipa::path(
    delete, path = "/identity/v1/me/consents/{client_id}", tag = "identity", security(("bearer" = [])),
    params(("client_id" = Uuid, Path, description = "The client")),
    responses(
        (status = 204, description = "It may know nothing any more"),
        (status = 401, description = "`unauthenticated`", content_type = "application/problem+json"),
        (status = 404, description = "`not-found`: you let no such client know anything", content_type = "application/problem+json"),
    )
)]
pub(super) async fn withdraw(
    State(identity): App,
    caller: Principal,
    ClientAddress(address): ClientAddress,
    Path(client): Path<ClientId>,
) -> Result<StatusCode, Problem> {
    identity.withdraw_consent(caller.subject.into(), client, origin(&caller, address)).await?;
    Ok(StatusCode::NO_CONTENT)
}
