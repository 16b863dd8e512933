//! What officers do to reports, each decided on a version.

use axum::extract::State;
use axum::response::Response;
use chrono::{DateTime, Utc};
use platform::auth::Principal;
use platform::http::{IdempotentJson, Path};
use platform::problem::{INVALID_BODY, Problem};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use utoipa::ToSchema;
use uuid::Uuid;

use super::view::Moved;
use super::{Act, App, key, officer, once};
use crate::error::Error;
use crate::lifecycle::{Action, Assignment};
use crate::report::{Deed, Standing};
use crate::text::Text;

/// Which fields an action takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum ActionName {
    /// IOC: takes it up.
    Claim,
    /// IOC: asks the citizen; `question`.
    Ask,
    /// IOC: answers for a caller; `text`.
    Answer,
    /// IOC: no case for the city; `reason`.
    Reject,
    /// IOC: told by another report already; `into`.
    Merge,
    /// IOC: gives it to an agency; `lead_agency`, and if wanted `co_agencies`, `deadline`, `public_text`.
    Distribute,
    /// Leading agency: takes it.
    Accept,
    /// Leading agency: not ours; `reason`.
    Return,
    /// Leading agency: asks for more time; `until`, `reason`.
    RequestExtension,
    /// IOC: grants it.
    GrantExtension,
    /// IOC: refuses it; `reason`.
    RefuseExtension,
    /// Leading agency: says that it is done; `text`. Needs a photo as evidence.
    SubmitResult,
    /// IOC: publishes the result.
    Approve,
    /// IOC: the result does not do; `reason`.
    SendBack,
    /// Supervisor: has it looked at again; `reason`.
    Reopen,
}

/// What an officer does.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct TransitionBody {
    action: ActionName,
    /// The version that it was decided on.
    version: i64,
    #[schema(value_type = Option<String>, max_length = 1000)]
    question: Option<Text<1_000>>,
    #[schema(value_type = Option<String>, max_length = 1000)]
    reason: Option<Text<1_000>>,
    #[schema(value_type = Option<String>, max_length = 4000)]
    text: Option<Text<4_000>>,
    into: Option<Uuid>,
    /// Code of the agency that answers for it.
    lead_agency: Option<String>,
    /// Codes of agencies that help, at most 5.
    co_agencies: Option<Vec<String>>,
    /// When the work shall be done; the category's time when absent.
    deadline: Option<DateTime<Utc>>,
    /// Until when the agency wants time.
    until: Option<DateTime<Utc>>,
    /// What the public reads in place of the citizen's words.
    #[schema(value_type = Option<String>, max_length = 4000)]
    public_text: Option<Text<4_000>>,
}

impl TransitionBody {
    /// The fields that were sent, by name.
    fn sent(&self) -> Vec<&'static str> {
        let fields = [
            ("question", self.question.is_some()),
            ("reason", self.reason.is_some()),
            ("text", self.text.is_some()),
            ("into", self.into.is_some()),
            ("lead_agency", self.lead_agency.is_some()),
            ("co_agencies", self.co_agencies.is_some()),
            ("deadline", self.deadline.is_some()),
            ("until", self.until.is_some()),
            ("public_text", self.public_text.is_some()),
        ];
        fields.into_iter().filter(|(_, sent)| *sent).map(|(name, _)| name).collect()
    }

    /// The action, once exactly its fields were sent.
    fn action(&self) -> Result<Action, Problem> {
        let (needed, optional): (&[&str], &[&str]) = match self.action {
            ActionName::Claim | ActionName::Accept | ActionName::GrantExtension | ActionName::Approve => (&[], &[]),
            ActionName::Ask => (&["question"], &[]),
            ActionName::Answer | ActionName::SubmitResult => (&["text"], &[]),
            ActionName::Merge => (&["into"], &[]),
            ActionName::Distribute => (&["lead_agency"], &["co_agencies", "deadline", "public_text"]),
            ActionName::RequestExtension => (&["until", "reason"], &[]),
            ActionName::Reject
            | ActionName::Return
            | ActionName::RefuseExtension
            | ActionName::SendBack
            | ActionName::Reopen => (&["reason"], &[]),
        };
        let sent = self.sent();
        if let Some(field) = needed.iter().find(|field| !sent.contains(*field)) {
            return Err(misfit(field, "còn thiếu", "is missing"));
        }
        if let Some(field) = sent.iter().find(|field| !needed.contains(*field) && !optional.contains(*field)) {
            return Err(misfit(field, "không dùng cho thao tác này", "does not go with this action"));
        }
        Ok(self.parsed())
    }

    /// The action, whose fields are there.
    fn parsed(&self) -> Action {
        match self.action {
            ActionName::Claim => Action::Claim,
            ActionName::Ask => Action::Ask,
            ActionName::Answer => Action::Answer,
            ActionName::Reject => Action::Reject,
            ActionName::Merge => Action::Merge(self.into.expect("its fields are there")),
            ActionName::Distribute => Action::Distribute(Assignment {
                lead: self.lead_agency.clone().expect("its fields are there"),
                co: self.co_agencies.clone().unwrap_or_default(),
                deadline: self.deadline,
            }),
            ActionName::Accept => Action::Accept,
            ActionName::Return => Action::Return,
            ActionName::RequestExtension => Action::RequestExtension(self.until.expect("its fields are there")),
            ActionName::GrantExtension => Action::GrantExtension,
            ActionName::RefuseExtension => Action::RefuseExtension,
            // How many photos there are is counted when the report is locked.
            ActionName::SubmitResult => Action::SubmitResult(0),
            ActionName::Approve => Action::Approve,
            ActionName::SendBack => Action::SendBack,
            ActionName::Reopen => Action::Reopen,
        }
    }

    /// What the history keeps of it.
    fn details(&self) -> Value {
        let fields = [
            ("question", json!(self.question.as_ref().map(Text::as_str))),
            ("reason", json!(self.reason.as_ref().map(Text::as_str))),
            ("text", json!(self.text.as_ref().map(Text::as_str))),
            ("into", json!(self.into)),
            ("lead_agency", json!(self.lead_agency)),
            ("co_agencies", json!(self.co_agencies)),
            ("deadline", json!(self.deadline)),
            ("until", json!(self.until)),
        ];
        let said = fields.into_iter().filter(|(_, value)| !value.is_null());
        Value::Object(said.map(|(name, value)| (name.to_owned(), value)).collect::<Map<_, _>>())
    }
}

fn misfit(field: &str, vi: &str, en: &str) -> Problem {
    Problem::new(INVALID_BODY)
        .detail(format!("Trường `{field}` {vi}."), format!("Field `{field}` {en}."))
        .with("field", field)
}

/// For officers: does something to a report. Two who decide on the same version: one of them gets 409 and looks again.
#[utoipa::path(
    post,
    path = "/reports/v1/reports/{report_id}/transitions",
    tag = "reports",
    operation_id = "moveReport",
    params(("report_id" = Uuid, Path), ("Idempotency-Key" = String, Header)),
    request_body = TransitionBody,
    responses(
        (status = 201, body = Moved),
        (status = 403, description = "forbidden"),
        (status = 404, description = "not-found"),
        (status = 409, description = "report-changed, wrong-state, extension-not-open, no-extension-asked"),
        (status = 422, description = "agency-unknown, agencies-invalid, deadline-invalid, evidence-missing, merge-target-invalid, invalid-body"),
    ),
    security(("bearer" = []))
)]
pub(super) async fn act(
    State(reports): State<App>,
    principal: Principal,
    Path(id): Path<Uuid>,
    request: IdempotentJson<TransitionBody>,
) -> Result<Response, Problem> {
    let IdempotentJson { key: client_key, fingerprint, body } = request;
    let office = officer(&reports, &principal)?;
    let action = body.action()?;
    let key = key(&principal, "report.transition", client_key, fingerprint);
    let deed = |standing: &Standing| {
        let actor = office.actor(&standing.case, standing.filed.ward_code.as_deref()).ok_or(Error::NotFound)?;
        Ok(Deed {
            actor,
            officer: Some(principal.subject),
            version: body.version,
            action: action.clone(),
            details: body.details(),
            public_text: body.public_text.as_ref().map(|text| text.as_str().to_owned()),
        })
    };
    once(&reports, key, Act { reports: &reports, id, deed }).await
}
