//! `GET /reports/v1/categories`: what a report can be about. Open to everyone.

use std::sync::Arc;

use axum::extract::State;
use platform::http::{Json, Language, Query};
use platform::page::{Page, PageQuery};
use platform::problem::Problem;
use serde::Serialize;
use utoipa::ToSchema;

use crate::city::{Attribute, AttributeKind, Category, City, Lane, Name};

/// One category of field reports.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct CategoryBody {
    /// Its stable code.
    #[schema(example = "HT")]
    code: String,
    /// Its name in the language of the answer.
    #[schema(example = "Roads and pavements")]
    name: String,
    /// How fast its reports move: `instant` in minutes and hours, `timed` in working days.
    lane: Lane,
    /// Who handles its reports by default, in Vietnamese.
    handler: String,
    /// Working days to a result; 0 in the instant lane.
    target_working_days: u32,
    /// What else it asks, in order.
    attributes: Vec<AttributeBody>,
}

/// One question of a category's form.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct AttributeBody {
    /// Its stable code: the key in a report's `attributes`.
    code: String,
    /// What it asks, in the language of the answer.
    name: String,
    kind: AttributeKind,
    /// Whether it must be answered.
    required: bool,
    /// What can be chosen, for kind `choice`.
    choices: Vec<ChoiceBody>,
}

/// What can be chosen.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct ChoiceBody {
    /// Its stable code: the value to send.
    code: String,
    /// Its name in the language of the answer.
    name: String,
}

fn word(name: &Name, language: Language) -> String {
    match language {
        Language::Vi => name.vi.clone(),
        Language::En => name.en.clone(),
    }
}

impl AttributeBody {
    fn new(attribute: &Attribute, language: Language) -> Self {
        let choice = |(code, name): &(String, Name)| ChoiceBody { code: code.clone(), name: word(name, language) };
        Self {
            code: attribute.code.clone(),
            name: word(&attribute.name, language),
            kind: attribute.kind,
            required: attribute.required,
            choices: attribute.choices.iter().map(choice).collect(),
        }
    }
}

impl CategoryBody {
    fn new(category: &Category, language: Language) -> Self {
        Self {
            code: category.code.clone(),
            name: word(&category.name, language),
            lane: category.lane,
            handler: category.default_handler.clone(),
            target_working_days: category.target_working_days,
            attributes: category.form.iter().map(|attribute| AttributeBody::new(attribute, language)).collect(),
        }
    }
}

/// What a report can be about, in the city's order; names follow `Accept-Language`.
#[utoipa::path(
    get,
    path = "/reports/v1/categories",
    tag = "reports",
    operation_id = "listReportCategories",
    params(PageQuery),
    responses((status = 200, description = "A page of categories.", body = Page<CategoryBody>))
)]
pub(crate) async fn list(
    State(city): State<Arc<City>>,
    language: Language,
    Query(query): Query<PageQuery>,
) -> Result<Json<Page<CategoryBody>>, Problem> {
    let limit = query.limit()?;
    let after = query.after::<usize>()?;
    let first = after.map_or(0, |index| index.saturating_add(1));
    let wanted = usize::try_from(limit).unwrap_or_default().saturating_add(1);
    let rows = city.categories.iter().enumerate().skip(first).take(wanted);
    let page = Page::from_rows(rows.collect(), limit, |(index, _)| *index);
    Ok(Json(page.map(|(_, category)| CategoryBody::new(category, language))))
}
