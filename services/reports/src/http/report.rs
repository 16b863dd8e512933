//! Reports: sent, listed, shown, with their history.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::response::Response;
use platform::auth::Principal;
use platform::http::{IdempotentJson, Json, Language, Path, Query};
use platform::idempotency::{Answer, Key};
use platform::page::{Page, PageQuery};
use platform::problem::{INVALID_BODY, INVALID_QUERY, Problem, UNAUTHENTICATED};
use serde::Deserialize;
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

use super::view::{Moved, ReportView, Surroundings, Timeline};
use super::{App, Attempt, CREATED, Work, key, officer, once, visible};
use crate::error::Error;
use crate::lifecycle::{Channel, State as ReportState};
use crate::list::{Filter, Item};
use crate::officer::Office;
use crate::report::{NewReport, Position, Sender, file};
use crate::text::Text;
use crate::{history, list, person, photo};

/// Characters of a report.
const MAX_TEXT: usize = 4_000;
/// Characters of an address.
const MAX_ADDRESS: usize = 300;

/// A point in WGS 84.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PositionBody {
    #[schema(example = 16.4637)]
    lat: f64,
    #[schema(example = 107.5909)]
    lon: f64,
}

/// A report to be sent.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewReportBody {
    /// Code of a category.
    #[schema(example = "HT")]
    category: String,
    /// What is to be told.
    #[schema(value_type = String, min_length = 1, max_length = 4000)]
    text: Text<MAX_TEXT>,
    /// Answers to the category's form, by code.
    #[serde(default)]
    #[schema(value_type = Object, example = json!({"damage": "pothole", "depth_cm": 30}))]
    attributes: BTreeMap<String, Value>,
    /// Where it is; position or address is needed.
    position: Option<PositionBody>,
    /// Where it is, in words.
    #[schema(value_type = Option<String>, max_length = 300)]
    address: Option<Text<MAX_ADDRESS>>,
    /// `call` when an operator of the centre writes it down for a caller.
    channel: Option<Channel>,
}

/// Sends a report.
///
/// Safe to send again with the same key, also after days in an offline queue.
#[utoipa::path(
    post,
    path = "/reports/v1/reports",
    tag = "reports",
    operation_id = "createReport",
    params(("Idempotency-Key" = String, Header, description = "One per report")),
    request_body = NewReportBody,
    responses(
        (status = 201, body = Moved),
        (status = 403, description = "forbidden: only an operator takes calls"),
        (status = 422, description = "category-unknown, attribute-invalid, outside-city, invalid-body, idempotency-key-reused"),
        (status = 429, description = "too-many-reports"),
    ),
    security(("bearer" = []))
)]
pub(super) async fn submit(
    State(reports): State<App>,
    principal: Principal,
    request: IdempotentJson<NewReportBody>,
) -> Result<Response, Problem> {
    let IdempotentJson { key: client_key, fingerprint, body } = request;
    if body.position.is_none() && body.address.is_none() {
        return Err(Problem::new(INVALID_BODY)
            .detail("Hãy gửi vị trí hoặc địa chỉ.", "Send a position or an address.")
            .with("field", "position"));
    }
    let new = NewReport {
        category: body.category,
        text: body.text.into(),
        attributes: body.attributes,
        position: body.position.map(|point| Position { lat: point.lat, lon: point.lon }),
        address: body.address.map(String::from),
    };
    let key = key(&principal, "report.create", client_key, fingerprint);
    let channel = body.channel.unwrap_or(Channel::App);
    once(&reports, key, Submission { reports: &reports, principal: &principal, channel, new }).await
}

/// A report that is sent.
struct Submission<'a> {
    reports: &'a App,
    principal: &'a Principal,
    channel: Channel,
    new: NewReport,
}

impl Work for Submission<'_> {
    type Body = Moved;

    async fn attempt(&self, key: &Key) -> Result<Attempt<Moved>, Problem> {
        let Self { reports, principal, channel, new } = self;
        let caller = reports.together.callers.ask((key.clone(), reports.now())).await?;
        if let Some(stored) = caller.known.replay(key)? {
            return Ok(Attempt::Known(stored));
        }
        let sender = match channel {
            Channel::App => Sender::Citizen(principal.subject),
            Channel::Call => match officer(reports, principal)? {
                Office::Centre(_) => Sender::Operator(principal.subject),
                Office::Agencies(_) => return Err(Error::Forbidden.into()),
            },
        };
        let filing = file::prepare(reports, (sender, &caller), new).await?;
        let moved = Moved::new(reports, &filing.done);
        let answer = Answer::try_new(key, CREATED, &moved)?;
        let done = filing.write(reports, answer).await?;
        Ok(done.map_or(Attempt::Overtaken, |done| Attempt::Done(moved, done.counts)))
    }
}

/// Which reports.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListQuery {
    /// Only this category.
    category: Option<String>,
    /// Only this ward.
    ward: Option<String>,
    /// Only this state.
    state: Option<ReportState>,
    /// `true`: the caller's own, public or not; needs a token.
    mine: Option<bool>,
    /// Items wanted, 1 to 200; 50 when absent.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u16>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// Public reports, newest first; nobody sees from them who sent them. With `mine=true` the caller's own.
#[utoipa::path(
    get,
    path = "/reports/v1/reports",
    tag = "reports",
    operation_id = "listReports",
    params(ListQuery),
    responses((status = 200, body = Page<Item>), (status = 400, description = "invalid-query"))
)]
pub(super) async fn list(
    State(reports): State<App>,
    principal: Option<Principal>,
    Query(query): Query<ListQuery>,
) -> Result<Json<Page<Item>>, Problem> {
    let page = PageQuery { limit: query.limit, cursor: query.cursor };
    let (limit, before) = (page.limit()?, page.after::<Uuid>()?);
    let filter = Filter { category: query.category, ward: query.ward, state: query.state.map(ReportState::name) };
    let mut connection = reports.pool.acquire().await?;
    let items = if query.mine == Some(true) {
        let principal = principal.ok_or_else(|| Problem::new(UNAUTHENTICATED))?;
        if filter.category.is_some() || filter.ward.is_some() || filter.state.is_some() {
            return Err(Problem::new(INVALID_QUERY).detail("mine không đi cùng bộ lọc.", "mine takes no filters."));
        }
        let mut items = list::mine(&mut connection, principal.subject, before, limit).await?;
        person::open_all(&reports.persons, &mut connection, principal.subject, &mut items).await?;
        items
    } else {
        list::public(&mut connection, &filter, before, limit).await?
    };
    Ok(Json(Page::from_rows(items, limit, |item| item.id)))
}

/// One report, as the caller may see it.
#[utoipa::path(
    get,
    path = "/reports/v1/reports/{report_id}",
    tag = "reports",
    operation_id = "getReport",
    params(("report_id" = Uuid, Path)),
    responses((status = 200, body = ReportView), (status = 404, description = "not-found"))
)]
pub(super) async fn show(
    State(reports): State<App>,
    principal: Option<Principal>,
    language: Language,
    Path(id): Path<Uuid>,
) -> Result<Json<ReportView>, Problem> {
    let mut connection = reports.pool.acquire().await?;
    let (mut row, viewer) = visible(&reports, &mut connection, principal.as_ref(), id).await?;
    if !viewer.reads_all() {
        // They read the public text; of the rest of what was written, what is left when it is masked.
        row.body_sealed = None;
    }
    person::open(&reports.persons, &mut connection, &mut row).await?;
    let reporter = if viewer == super::Viewer::Ioc { list::reporter(&mut connection, id).await? } else { None };
    let photos = photo::list(&mut connection, id).await?;
    Ok(Json(ReportView::new(&reports, row, &viewer, Surroundings { photos, reporter, language })))
}

/// What was done to a report, oldest first, as the caller may see it.
#[utoipa::path(
    get,
    path = "/reports/v1/reports/{report_id}/timeline",
    tag = "reports",
    operation_id = "getReportTimeline",
    params(("report_id" = Uuid, Path)),
    responses((status = 200, body = Timeline), (status = 404, description = "not-found"))
)]
pub(super) async fn timeline(
    State(reports): State<App>,
    principal: Option<Principal>,
    Path(id): Path<Uuid>,
) -> Result<Json<Timeline>, Problem> {
    let mut connection = reports.pool.acquire().await?;
    let (_, viewer) = visible(&reports, &mut connection, principal.as_ref(), id).await?;
    let (entries, holds) = history::read(&reports.persons, &mut connection, id).await?;
    Ok(Json(Timeline::new(entries, holds, &viewer)))
}
