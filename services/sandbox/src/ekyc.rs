//! A verifier of citizen identity numbers: says whether number, name and day of birth belong together.
//!
//! Whoever plays with the sandbox may register people. A number that nobody registered belongs to the first who claims it, so that
//! a demonstration needs no preparation; a number registered without a name is nobody's.
//! Invariant: it keeps at most [`MAX_PEOPLE`] people; the oldest is forgotten first.

use std::collections::HashMap;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use chrono::NaiveDate;
use http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::json;
use uuid::Uuid;

use crate::fault;
use crate::refusal::{Refusal, parse};
use crate::ring::Ring;
use crate::signature::has_bearer;
use crate::world::World;

/// People remembered at most.
const MAX_PEOPLE: usize = 50_000;

/// Somebody, or nobody, with a number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Person {
    citizen_number: String,
    /// Nobody has the number without one.
    full_name: Option<String>,
    date_of_birth: Option<NaiveDate>,
}

/// What the verifier says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Verdict {
    Matched,
    Mismatched,
    Unknown,
}

/// Everyone whom the verifier knows.
#[derive(Debug)]
pub(crate) struct Registry {
    order: Ring<String>,
    people: HashMap<String, Person>,
}

impl Registry {
    pub(crate) fn new() -> Self {
        Self { order: Ring::new(MAX_PEOPLE), people: HashMap::new() }
    }

    fn register(&mut self, person: Person) {
        let number = person.citizen_number.clone();
        if self.people.insert(number.clone(), person).is_none()
            && let Some(oldest) = self.order.push(number)
        {
            self.people.remove(&oldest);
        }
    }

    fn verify(&mut self, claimed: Person) -> Verdict {
        let Some(known) = self.people.get(&claimed.citizen_number) else {
            self.register(claimed);
            return Verdict::Matched;
        };
        let plain = |name: &Option<String>| {
            name.as_deref().map(|name| name.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase())
        };
        match &known.full_name {
            None => Verdict::Unknown,
            Some(_)
                if plain(&known.full_name) == plain(&claimed.full_name)
                    && known.date_of_birth == claimed.date_of_birth =>
            {
                Verdict::Matched
            }
            Some(_) => Verdict::Mismatched,
        }
    }
}

/// The routes of the verifier.
pub(crate) fn routes() -> Router<World> {
    Router::new()
        .route("/gateways/ekyc/v1/verifications", post(verify))
        .route("/ekyc/people", post(register))
        .route("/ekyc/faults", fault::routes(World::ekyc_faults))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Question {
    request_id: Uuid,
    citizen_number: String,
    full_name: String,
    date_of_birth: NaiveDate,
}

async fn verify(State(world): State<World>, headers: HeaderMap, body: Bytes) -> Result<Response, Refusal> {
    if !has_bearer(&headers, world.config().ekyc.token.expose()) {
        return Err(Refusal::unauthenticated("the bearer token is missing or wrong"));
    }
    let course = world.ekyc_faults().strike();
    course.before_effect().await?;
    let Question { request_id, citizen_number, full_name, date_of_birth } = parse(&body)?;
    let claimed = Person { citizen_number, full_name: Some(full_name), date_of_birth: Some(date_of_birth) };
    let result = world.people().verify(claimed);
    course.after_effect().await?;
    Ok(axum::Json(json!({ "request_id": request_id, "result": result })).into_response())
}

async fn register(State(world): State<World>, body: Bytes) -> Result<Response, Refusal> {
    let person: Person = parse(&body)?;
    if person.citizen_number.len() != 12 || !person.citizen_number.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Refusal::invalid_field("citizen_number has 12 digits"));
    }
    world.people().register(person.clone());
    Ok((StatusCode::CREATED, axum::Json(person)).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn person(number: usize, name: Option<&str>) -> Person {
        Person {
            citizen_number: format!("{number:012}"),
            full_name: name.map(str::to_owned),
            date_of_birth: "1999-03-26".parse().ok(),
        }
    }

    #[test]
    fn a_number_belongs_to_one_name_and_day() {
        let mut registry = Registry::new();
        assert_eq!(registry.verify(person(1, Some("Nguyễn Thị Hương"))), Verdict::Matched, "the first who claims it");
        assert_eq!(registry.verify(person(1, Some("NGUYỄN THỊ  HƯƠNG"))), Verdict::Matched);
        assert_eq!(registry.verify(person(1, Some("Lê Văn An"))), Verdict::Mismatched);
        let other_day =
            Person { date_of_birth: "1999-03-27".parse().ok(), ..person(1, Some("Nguyễn Thị Hương")) };
        assert_eq!(registry.verify(other_day), Verdict::Mismatched);
        registry.register(person(2, None));
        assert_eq!(registry.verify(person(2, Some("Lê Văn An"))), Verdict::Unknown);
    }

    #[test]
    fn the_oldest_are_forgotten() {
        let mut registry = Registry::new();
        (0..=MAX_PEOPLE).for_each(|number| registry.register(person(number, Some("An"))));
        assert_eq!(registry.people.len(), MAX_PEOPLE);
    }
}
