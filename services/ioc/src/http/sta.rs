//! `/sta/v1.1`: sensors in, observations out, by OGC SensorThings 1.1.
//!
//! Who may ask: clients of sensors, told by HTTP Basic with a name and secret of the configuration, register and add to what they
//! registered; they and officers of the centre read. The standard's own endpoints take no `Idempotency-Key`: an observation is made
//! once by its datastream and time.

use axum::RequestPartsExt as _;
use axum::extract::{FromRequestParts, State};
use axum::response::{IntoResponse as _, Response};
use http::header::{HeaderValue, LOCATION, WWW_AUTHENTICATE};
use http::request::Parts;
use http::{StatusCode, Uri};
use platform::auth::Principal;
use platform::http::{Json, JsonValue, Path};
use platform::problem::{FORBIDDEN, Problem, UNAUTHENTICATED};
use serde::Deserialize;
use serde_json::{Value, json};
use url::form_urlencoded;

use super::Desk;
use crate::error::Error;
use crate::sensor::entity::{Link, NewDatastream, NewObservation, NewThing, Set};
use crate::sensor::query::{self, Resource};

/// Roles that read.
const READERS: [&str; 3] = ["ioc.operator", "ioc.lead", "admin"];
/// Readings in one array at most.
const MAX_ROWS: usize = 1_000;
/// Arrays in one request at most.
const MAX_ARRAYS: usize = 20;

/// A client of sensors, by the name that the configuration has for it.
pub(super) struct Client(String);

impl FromRequestParts<Desk> for Client {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, desk: &Desk) -> Result<Self, Response> {
        if let Some(name) = desk.sensor_clients.who(&parts.headers) {
            return Ok(Self(name.to_owned()));
        }
        // Whoever is somebody else hears that it is not for them; everybody else is asked for credentials.
        match parts.extract::<Option<Principal>>().await {
            Ok(Some(_)) => Err(Problem::new(FORBIDDEN).into_response()),
            _ => Err(challenge()),
        }
    }
}

/// Whoever may read.
pub(super) struct Reader;

impl FromRequestParts<Desk> for Reader {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, desk: &Desk) -> Result<Self, Response> {
        if desk.sensor_clients.who(&parts.headers).is_some() {
            return Ok(Self);
        }
        if platform::http::is_machine(&parts.headers) {
            return Err(challenge());
        }
        match parts.extract::<Option<Principal>>().await.map_err(|problem| problem.into_response())? {
            Some(principal) if READERS.iter().any(|role| principal.has_role(role)) => Ok(Self),
            Some(_) => Err(Problem::new(FORBIDDEN).into_response()),
            None => Err(challenge()),
        }
    }
}

fn challenge() -> Response {
    let mut response = Problem::new(UNAUTHENTICATED).into_response();
    let ask = HeaderValue::from_static("Basic realm=\"sensors\", charset=\"UTF-8\"");
    response.headers_mut().append(WWW_AUTHENTICATE, ask);
    response
}

/// What the service has: the names of its sets and where they are, and the parts of the standard that it conforms to.
#[utoipa::path(
    get,
    operation_id = "getSensorThings",
    path = "/sta/v1.1",
    tag = "sensors",
    responses(
        (status = 200, description = "OGC 18-088, section 9.2.1.", body = Object),
        (status = 401, description = "`unauthenticated`: HTTP Basic of a sensor client, or an officer's token.", content_type = "application/problem+json"),
    ),
    security(("sensor_client" = []), ("bearer" = []))
)]
pub(super) async fn root(State(desk): State<Desk>, _reader: Reader) -> Json<Value> {
    Json(desk.registry.root())
}

/// A set of entities (`Things`, `Locations`, `Sensors`, `ObservedProperties`, `Datastreams`, `Observations`) or one (`Things(1)`).
///
/// Options: `$top` (a page has at most 1,000, and 100 where `$expand` is given; `@iot.nextLink` leads on), `$skip`, `$orderby` (`phenomenonTime` of Observations, else `id`),
/// `$expand` of direct links but Observations, and for Observations `$filter` with comparisons of `phenomenonTime` and `result` joined
/// by `and`. What else the standard has is answered 501.
#[utoipa::path(
    get,
    operation_id = "getSensorEntities",
    path = "/sta/v1.1/{resource}",
    tag = "sensors",
    params(("resource" = String, Path, description = "`Things`, `Datastreams(1)`, …")),
    responses(
        (status = 200, description = "As OGC 18-088 shows them.", body = Object),
        (status = 400, description = "`sta-query-invalid`.", content_type = "application/problem+json"),
        (status = 501, description = "`sta-query-unsupported`: an option of the standard that is not there.", content_type = "application/problem+json"),
        (status = 401, description = "`unauthenticated`.", content_type = "application/problem+json"),
        (status = 404, description = "`not-found`.", content_type = "application/problem+json"),
    ),
    security(("sensor_client" = []), ("bearer" = []))
)]
pub(super) async fn get(
    State(desk): State<Desk>,
    _reader: Reader,
    Path(path): Path<String>,
    uri: Uri,
) -> Result<Json<Value>, Problem> {
    read(&desk, (&path, None), &uri).await
}

/// What can be reached from an entity: `Things(1)/Datastreams`, `Datastreams(1)/Observations`, `Observations(1)/Datastream`, …
#[utoipa::path(
    get,
    operation_id = "getSensorLink",
    path = "/sta/v1.1/{resource}/{link}",
    tag = "sensors",
    params(
        ("resource" = String, Path, description = "`Things(1)`, …"),
        ("link" = String, Path, description = "`Datastreams`, `Observations`, `Thing`, …"),
    ),
    responses(
        (status = 200, description = "As OGC 18-088 shows them.", body = Object),
        (status = 400, description = "`sta-query-invalid`.", content_type = "application/problem+json"),
        (status = 501, description = "`sta-query-unsupported`: an option of the standard that is not there.", content_type = "application/problem+json"),
        (status = 401, description = "`unauthenticated`.", content_type = "application/problem+json"),
        (status = 404, description = "`not-found`.", content_type = "application/problem+json"),
    ),
    security(("sensor_client" = []), ("bearer" = []))
)]
pub(super) async fn get_link(
    State(desk): State<Desk>,
    _reader: Reader,
    Path((path, link)): Path<(String, String)>,
    uri: Uri,
) -> Result<Json<Value>, Problem> {
    read(&desk, (&path, Some(&link)), &uri).await
}

async fn read(desk: &Desk, (path, link): (&str, Option<&str>), uri: &Uri) -> Result<Json<Value>, Problem> {
    let resource = query::resource(path).ok_or(Error::NotFound)?;
    let pairs: Vec<(String, String)> =
        form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes()).into_owned().collect();
    let set = link.and_then(|link| resource.set.links().iter().find(|(name, _)| *name == link)).map(|(_, set)| *set);
    let options = query::options(set.unwrap_or(resource.set), &pairs)?;
    let next = |skip: i64| {
        let kept =
            pairs.iter().filter(|(name, _)| name != "$skip").map(|(name, value)| (name.as_str(), value.as_str()));
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.extend_pairs(kept).append_pair("$skip", &skip.to_string());
        let path = uri.path().trim_start_matches("/sta/v1.1/");
        format!("{}{path}?{}", desk.registry.base, query.finish())
    };
    Ok(Json(desk.registry.get(resource, link, &options, next).await?))
}

/// One of several sets that entities can be made in.
#[derive(Deserialize)]
#[serde(untagged)]
enum Arrays {
    Some(Vec<Array>),
}

/// Readings of one datastream as an array (OGC 18-088, section 12).
#[derive(Deserialize)]
struct Array {
    #[serde(rename = "Datastream")]
    datastream: Link,
    components: Vec<String>,
    #[serde(rename = "dataArray")]
    rows: Vec<Vec<Value>>,
}

/// Registers a thing with its locations and datastreams (`Things`), adds a datastream to a thing (`Datastreams`), takes a reading
/// (`Observations`) or many of them (`CreateObservations`, the standard's data array).
///
/// A datastream whose `properties` name a `station` of the city's flood stations raises that station's alarms; with `exercise: true` all
/// that follows is marked as an exercise. A reading that is sent again has no further effect. Bodies have at most 64 KiB.
#[utoipa::path(
    post,
    operation_id = "createSensorEntity",
    path = "/sta/v1.1/{resource}",
    tag = "sensors",
    params(("resource" = String, Path, description = "`Things`, `Datastreams`, `Observations` or `CreateObservations`")),
    request_body = Object,
    responses(
        (status = 201, description = "The entity, its address in `Location`; of `CreateObservations` an address or `error` for each reading.", body = Object),
        (status = 400, description = "`sta-entity-invalid`, `malformed-json`, `observation-ahead-of-time`.", content_type = "application/problem+json"),
        (status = 401, description = "`unauthenticated`: HTTP Basic of a sensor client.", content_type = "application/problem+json"),
        (status = 403, description = "`forbidden`: a token; officers read only.", content_type = "application/problem+json"),
        (status = 404, description = "`not-found`; also what another client registered.", content_type = "application/problem+json"),
        (status = 409, description = "`observation-conflicts`: another result is known for that time. `too-many-things`.", content_type = "application/problem+json"),
    ),
    security(("sensor_client" = []))
)]
pub(super) async fn create(
    State(desk): State<Desk>,
    Client(client): Client,
    Path(path): Path<String>,
    JsonValue(body): JsonValue,
) -> Result<Response, Problem> {
    if path == "CreateObservations" {
        return create_many(&desk, &client, body).await;
    }
    let made = match query::resource(&path) {
        Some(Resource { set: Set::Things, id: None }) => {
            desk.registry.add_thing(&client, &parsed::<NewThing>(body)?).await?
        }
        Some(Resource { set: Set::Datastreams, id: None }) => {
            desk.registry.add_datastream(&client, &parsed::<NewDatastream>(body)?).await?
        }
        Some(Resource { set: Set::Observations, id: None }) => {
            let reading: NewObservation = parsed(body)?;
            let missing = Error::EntityInvalid { field: "Datastream", reason: "it must be named by its @iot.id" };
            observe(&desk, &client, reading.datastream.ok_or(missing)?.id, reading).await?
        }
        _ => return Err(Error::NotFound.into()),
    };
    Ok(created(made))
}

/// Takes a reading of a datastream: `Datastreams(1)/Observations`.
#[utoipa::path(
    post,
    operation_id = "createObservation",
    path = "/sta/v1.1/{resource}/{link}",
    tag = "sensors",
    params(
        ("resource" = String, Path, description = "`Datastreams(1)`"),
        ("link" = String, Path, description = "`Observations`"),
    ),
    request_body = Object,
    responses(
        (status = 201, description = "The reading, its address in `Location`.", body = Object),
        (status = 400, description = "`sta-entity-invalid`, `malformed-json`, `observation-ahead-of-time`.", content_type = "application/problem+json"),
        (status = 401, description = "`unauthenticated`: HTTP Basic of a sensor client.", content_type = "application/problem+json"),
        (status = 403, description = "`forbidden`: a token; officers read only.", content_type = "application/problem+json"),
        (status = 404, description = "`not-found`; also what another client registered.", content_type = "application/problem+json"),
        (status = 409, description = "`observation-conflicts`: another result is known for that time.", content_type = "application/problem+json"),
    ),
    security(("sensor_client" = []))
)]
pub(super) async fn create_link(
    State(desk): State<Desk>,
    Client(client): Client,
    Path((path, link)): Path<(String, String)>,
    JsonValue(body): JsonValue,
) -> Result<Response, Problem> {
    match (query::resource(&path), link.as_str()) {
        (Some(Resource { set: Set::Datastreams, id: Some(id) }), "Observations") => {
            Ok(created(observe(&desk, &client, id, parsed(body)?).await?))
        }
        _ => Err(Error::NotFound.into()),
    }
}

async fn observe(desk: &Desk, client: &str, datastream: i64, reading: NewObservation) -> Result<Value, Problem> {
    let ids = desk.watch.take(client, datastream, &[reading]).await?;
    let id = ids.into_iter().next().ok_or(Error::NotFound)??;
    let one = Resource { set: Set::Observations, id: Some(id) };
    Ok(desk.registry.get(one, None, &query::options(Set::Observations, &[])?, |_| String::new()).await?)
}

/// Each reading is kept or refused by itself, and told of at its place.
async fn create_many(desk: &Desk, client: &str, body: Value) -> Result<Response, Problem> {
    let Arrays::Some(arrays) = parsed(body)?;
    if arrays.len() > MAX_ARRAYS || arrays.iter().any(|array| array.rows.len() > MAX_ROWS) {
        return Err(Error::EntityInvalid { field: "dataArray", reason: "there are too many" }.into());
    }
    let mut told: Vec<Value> = Vec::new();
    for array in arrays {
        let rows = readings(&array);
        let readable: Vec<NewObservation> = rows.iter().flatten().copied().collect();
        let taken = match desk.watch.take(client, array.datastream.id, &readable).await {
            Ok(taken) => taken,
            Err(Error::Database(error)) => return Err(Error::Database(error).into()),
            // Not one of the client's.
            Err(_) => Vec::new(),
        };
        let mut taken = taken.into_iter();
        told.extend(rows.iter().map(|row| {
            let id = row.and_then(|_| taken.next()?.ok());
            id.map_or_else(|| Value::from("error"), |id| desk.registry.observation_link(id).into())
        }));
    }
    Ok((StatusCode::CREATED, Json(told)).into_response())
}

/// The readings of an array; `None` for a row that is none.
fn readings(array: &Array) -> Vec<Option<NewObservation>> {
    let reading = |row: &Vec<Value>| {
        let members = array.components.iter().cloned().zip(row.iter().cloned());
        let is_whole = row.len() == array.components.len();
        serde_json::from_value(Value::Object(members.collect())).ok().filter(|_| is_whole)
    };
    array.rows.iter().map(reading).collect()
}

fn parsed<T: serde::de::DeserializeOwned>(body: Value) -> Result<T, Problem> {
    serde_json::from_value(body).map_err(|error| {
        let problem = Problem::from(Error::EntityInvalid { field: "body", reason: "it is not such an entity" });
        problem.with("reason", json!(error.to_string()))
    })
}

fn created(entity: Value) -> Response {
    let link = entity["@iot.selfLink"].as_str().and_then(|link| HeaderValue::from_str(link).ok());
    let mut response = (StatusCode::CREATED, Json(entity)).into_response();
    if let Some(link) = link {
        response.headers_mut().insert(LOCATION, link);
    }
    response
}
