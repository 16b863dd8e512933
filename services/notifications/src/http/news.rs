//! `/notifications/v1/news`: the centre's leads publish news of the city; its officers see what was published.

use axum::extract::State;
use axum::response::Response;
use chrono::{DateTime, Utc};
use http::StatusCode;
use platform::auth::Principal;
use platform::http::{IdempotentJson, Json, Query};
use platform::idempotency::{self, Claim, Key};
use platform::page::{Page, PageQuery};
use platform::problem::Problem;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::Routes;
use super::alert::{LEAD, OPERATOR, allow, answer};
use crate::SCHEMA;
use crate::alert::Bilingual;
use crate::news::{self, News, NewsId, Officer, Wanted};

/// News to be published.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PublishBody {
    /// 1 to 100 characters in each language.
    title: Bilingual,
    /// 1 to 700 characters in each language.
    text: Bilingual,
    /// For those who chose one of these wards; for everybody when absent.
    #[serde(default)]
    #[schema(example = json!(["19774"]), min_items = 1)]
    wards: Option<Vec<String>>,
}

/// News that were published.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct NewsBody {
    /// The item; `data.news_id` of its messages.
    #[schema(value_type = Uuid)]
    id: NewsId,
    /// Its title.
    title: Bilingual,
    /// What it says.
    text: Bilingual,
    /// For whom; null for everybody.
    wards: Option<Vec<String>>,
    /// The officer who published it.
    published_by: Uuid,
    /// When that was.
    published_at: DateTime<Utc>,
    /// Citizens whose messages are made by now.
    recipients: i64,
    /// Whether that is everybody whom it is for.
    complete: bool,
}

impl From<News> for NewsBody {
    fn from(news: News) -> Self {
        let News { id, title, text, wards, published_by, published_at, recipients, complete } = news;
        Self { id, title, text, wards, published_by, published_at, recipients, complete }
    }
}

/// Publishes news of the city, for everybody or for wards. Role `ioc.lead`; it is put on record in the audit.
///
/// Citizens get it in the app and by push, in lane `news`: who muted that gets none, quiet hours and the hour of a digest are kept.
#[utoipa::path(
    post,
    path = "/notifications/v1/news",
    tag = "notifications",
    operation_id = "publishNews",
    params(("Idempotency-Key" = String, Header, description = "1 to 255 visible ASCII characters, new for each item.")),
    request_body = PublishBody,
    responses(
        (status = 201, description = "It is published; messages are being made.", body = NewsBody),
        (status = 400, description = "`idempotency-key-missing`, `malformed-json`."),
        (status = 403, description = "`forbidden`: the role is missing."),
        (status = 422, description = "`invalid-field`, `ward-unknown`, `wards-invalid`, `invalid-body`, `idempotency-key-reused`."),
        (status = 429, description = "`news-too-many`: 10 items were published in the last 24 hours."),
        (status = 503, description = "`unavailable`: it can't be put on record now.")
    ),
    security(("bearer" = []))
)]
pub(super) async fn publish(
    State(routes): State<Routes>,
    principal: Principal,
    request: IdempotentJson<PublishBody>,
) -> Result<Response, Problem> {
    allow(&principal, &[LEAD])?;
    let PublishBody { title, text, wards } = request.body;
    let key = Key {
        caller: principal.subject,
        operation: "news.publish",
        key: request.key,
        fingerprint: request.fingerprint,
    };
    let mut transaction = platform::db::begin(&routes.pool).await?;
    if let Claim::Replay(stored) = idempotency::claim(&mut transaction, SCHEMA, &key, routes.clock.now()).await? {
        return Ok(answer(stored.status, stored.body));
    }
    let officer = Officer { user: principal.subject, session: principal.session };
    let news = routes.news.publish(&mut transaction, officer, Wanted { title, text, wards }).await?;
    let body = serde_json::to_value(NewsBody::from(news)).expect("news serialise");
    let status = StatusCode::CREATED.as_u16();
    idempotency::store(&mut transaction, SCHEMA, &key, status, &body).await?;
    transaction.commit().await?;
    Ok(answer(status, body))
}

/// What was published, the newest first. Roles `ioc.operator` and `ioc.lead`.
#[utoipa::path(
    get,
    path = "/notifications/v1/news",
    tag = "notifications",
    operation_id = "listNews",
    params(PageQuery),
    responses(
        (status = 200, description = "A page of news.", body = Page<NewsBody>),
        (status = 403, description = "`forbidden`: the role is missing.")
    ),
    security(("bearer" = []))
)]
pub(super) async fn list(
    State(routes): State<Routes>,
    principal: Principal,
    Query(query): Query<PageQuery>,
) -> Result<Json<Page<NewsBody>>, Problem> {
    allow(&principal, &[OPERATOR, LEAD])?;
    let limit = query.limit()?;
    let found = news::list(&routes.pool, query.after()?, limit + 1).await?;
    Ok(Json(Page::from_rows(found, limit, |news| news.id).map(NewsBody::from)))
}
