//! The API of all roles as one OpenAPI document, merged from what each role says of itself.

use serde_json::{Map, Value, json};
use url::Url;

/// What the parts of a document share by name.
const COMPONENTS: [&str; 3] = ["schemas", "responses", "securitySchemes"];

/// A document for this origin that holds the common routes only.
pub(crate) fn describe(public_url: &Url) -> Value {
    let mut document = empty(public_url);
    let common = serde_json::to_value(super::common_document()).expect("an OpenAPI document is JSON");
    merge(&mut document, &common);
    document
}

fn empty(public_url: &Url) -> Value {
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Tràng Tiền",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "The backend of a city's app: identity, wallet, field reports, notifications, operations centre. \
                Money is `{\"amount\":\"150000\",\"currency\":\"VND\"}`, a decimal string. Times are RFC 3339. \
                Errors are RFC 9457 problem details with a stable `code`, in Vietnamese or English by `Accept-Language`.",
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "servers": [{ "url": public_url.as_str().trim_end_matches('/') }],
        "paths": {},
        "components": {
            "schemas": {},
            "securitySchemes": {
                "bearer": { "type": "http", "scheme": "bearer", "bearerFormat": "at+jwt" },
                "sensor_client": { "type": "http", "scheme": "basic", "description": "A client of sensors, by the name and secret of `ioc.sensor_clients`." },
                "cap_partner": { "type": "http", "scheme": "basic", "description": "A partner that sends CAP documents, by the name and secret of `notifications.cap_partners`." },
            },
        },
        "tags": [],
    })
}

/// Adds a role's paths, components and tags. What two roles share by name (a path's other method, a schema of the platform) is kept once.
pub(crate) fn merge(document: &mut Value, part: &Value) {
    for (path, methods) in object(part, "/paths") {
        let known = entry(document, "paths", path);
        for (method, operation) in methods.as_object().into_iter().flatten() {
            known.entry(method.clone()).or_insert_with(|| operation.clone());
        }
    }
    for kind in COMPONENTS {
        for (name, component) in object(part, &format!("/components/{kind}")) {
            let components = document["components"].as_object_mut().expect("describe() made it");
            let of_kind = components.entry(kind).or_insert_with(|| json!({}));
            let of_kind = of_kind.as_object_mut().expect("OpenAPI components are objects");
            let known = of_kind.entry(name.clone()).or_insert_with(|| component.clone());
            // Clients are generated from these: a name with two meanings gives one of them the wrong type.
            debug_assert_eq!(known, component, "two roles call different {kind} {name}");
        }
    }
    let tags = document["tags"].as_array_mut().expect("describe() made it");
    for tag in part["tags"].as_array().into_iter().flatten() {
        if !tags.iter().any(|known| known["name"] == tag["name"]) {
            tags.push(tag.clone());
        }
    }
}

/// Says of every operation what its refusals look like: problem details, wherever it says nothing else of a status.
pub(crate) fn describe_problems(document: &mut Value) {
    document["components"]["schemas"]["Problem"] = problem_schema();
    let problem = json!({ "application/problem+json": { "schema": { "$ref": "#/components/schemas/Problem" } } });
    let paths = document["paths"].as_object_mut().expect("describe() made it");
    for operation in paths.values_mut().filter_map(Value::as_object_mut).flat_map(Map::values_mut) {
        let Some(responses) = operation["responses"].as_object_mut() else { continue };
        for (_, response) in responses.iter_mut().filter(|(status, _)| status.as_str() >= "400") {
            let says_more = response["content"].as_object().is_some_and(|content| {
                content.iter().any(|(kind, body)| kind != "application/problem+json" || body["schema"].is_object())
            });
            if !says_more {
                response["content"] = problem.clone();
            }
        }
        let other = json!({ "description": "Any other refusal or failure, by its `code`.", "content": problem });
        responses.entry("default").or_insert(other);
    }
}

/// A problem of [`platform::problem`].
fn problem_schema() -> Value {
    json!({
        "type": "object",
        "description": "RFC 9457 problem details. Some codes have members of their own beside these.",
        "required": ["type", "title", "status", "code", "detail"],
        "properties": {
            "type": { "type": "string", "description": "Where the code is explained." },
            "title": { "type": "string", "description": "What kind of problem it is, in the language asked for." },
            "status": { "type": "integer", "minimum": 400, "maximum": 599, "description": "The HTTP status." },
            "code": { "type": "string", "description": "Stable, for programs." },
            "detail": { "type": "string", "description": "What happened this time, in the language asked for." },
            "trace_id": { "type": "string", "description": "What to name when asking for help." },
        },
    })
}

fn object<'a>(value: &'a Value, pointer: &str) -> impl Iterator<Item = (&'a String, &'a Value)> {
    value.pointer(pointer).and_then(Value::as_object).into_iter().flatten()
}

fn entry<'a>(document: &'a mut Value, section: &str, name: &str) -> &'a mut Map<String, Value> {
    let section = document[section].as_object_mut().expect("describe() made it");
    let value = section.entry(name).or_insert_with(|| json!({}));
    value.as_object_mut().expect("OpenAPI path items are objects")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_parts_become_one_document() {
        let mut document = describe(&Url::parse("http://localhost:8080").expect("a URL"));
        let first = json!({ "paths": { "/a": { "get": { "summary": "one" } } }, "components": { "schemas": { "S": 1 } }, "tags": [{ "name": "t" }] });
        let second =
            json!({ "paths": { "/a": { "post": {}, "get": { "summary": "two" } } }, "tags": [{ "name": "t" }] });
        merge(&mut document, &first);
        merge(&mut document, &second);
        assert_eq!(document["paths"]["/a"]["get"]["summary"], "one");
        assert!(document["paths"]["/a"]["post"].is_object());
        assert_eq!(document["tags"].as_array().map(Vec::len), Some(1));
        assert!(document["paths"]["/app/v1/configuration"]["get"].is_object(), "the common routes are described too");
        assert_eq!(document["servers"][0]["url"], "http://localhost:8080");
    }

    #[test]
    fn refusals_are_problems_unless_something_else_is_said() {
        let mut document = describe(&Url::parse("http://localhost:8080").expect("a URL"));
        let bare = json!({ "description": "no" });
        let page = json!({ "description": "no", "content": { "text/html": {} } });
        let fine = json!({ "description": "yes" });
        let part = json!({ "paths": { "/a": { "get": { "responses": { "204": fine, "404": bare, "422": page } } } } });
        merge(&mut document, &part);
        describe_problems(&mut document);
        let responses = &document["paths"]["/a"]["get"]["responses"];
        assert_eq!(responses["204"], fine);
        assert_eq!(responses["422"], page);
        let schema = "/content/application~1problem+json/schema/$ref";
        assert_eq!(responses["404"].pointer(schema), Some(&json!("#/components/schemas/Problem")));
        assert_eq!(responses["default"].pointer(schema), Some(&json!("#/components/schemas/Problem")));
    }
}
