//! Readable pages of the API, rendered here without any outside asset.

use std::sync::LazyLock;

use minijinja::Environment;
use minijinja::value::Serde;
use platform::http::Language;
use serde::Serialize;
use serde_json::Value;

/// How deep a schema is followed when it is shown.
const MAX_DEPTH: usize = 5;

static PAGES: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut pages = Environment::new();
    pages.add_template("api.html", include_str!("api.html")).expect("a template of ours is valid");
    pages.add_template("problems.html", include_str!("problems.html")).expect("a template of ours is valid");
    pages
});

/// The page that describes every operation of an OpenAPI document.
pub(super) fn api(document: &Value) -> String {
    #[derive(Serialize)]
    struct Page {
        title: String,
        version: String,
        description: String,
        groups: Vec<Group>,
    }
    let info = &document["info"];
    let page = Page {
        title: text(&info["title"]),
        version: text(&info["version"]),
        description: text(&info["description"]),
        groups: groups(document),
    };
    render("api.html", &page)
}

fn render(name: &str, page: &impl Serialize) -> String {
    let template = PAGES.get_template(name).expect("added above");
    template.render(Serde(page)).expect("a template of ours renders")
}

/// The page that lists the problems every service shares, in both languages.
pub(super) fn problems() -> String {
    #[derive(Serialize)]
    struct Page {
        rows: Vec<Row>,
    }
    #[derive(Serialize)]
    struct Row {
        code: &'static str,
        status: u16,
        vi: &'static str,
        en: &'static str,
    }
    let rows: Vec<Row> = platform::problem::ALL
        .iter()
        .map(|code| Row {
            code: code.code(),
            status: code.status(),
            vi: code.title(Language::Vi),
            en: code.title(Language::En),
        })
        .collect();
    render("problems.html", &Page { rows })
}

#[derive(Serialize)]
struct Group {
    name: String,
    operations: Vec<Operation>,
}

#[derive(Serialize)]
struct Operation {
    method: String,
    path: String,
    summary: String,
    description: String,
    parameters: Vec<Parameter>,
    request: Option<String>,
    responses: Vec<Answer>,
}

#[derive(Serialize)]
struct Parameter {
    name: String,
    place: String,
    required: bool,
    description: String,
}

#[derive(Serialize)]
struct Answer {
    status: String,
    description: String,
    body: Option<String>,
}

/// Operations by the first segment of their path.
fn groups(document: &Value) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for (path, methods) in document["paths"].as_object().into_iter().flatten() {
        let name = path.split('/').nth(1).unwrap_or_default().to_owned();
        let index = groups.iter().position(|group| group.name == name).unwrap_or_else(|| {
            groups.push(Group { name, operations: Vec::new() });
            groups.len() - 1
        });
        for (method, operation) in methods.as_object().into_iter().flatten().filter(|(_, value)| value.is_object()) {
            groups[index].operations.push(self::operation(document, (method, path), operation));
        }
    }
    groups.sort_by(|one, other| one.name.cmp(&other.name));
    groups
}

fn operation(document: &Value, (method, path): (&str, &str), operation: &Value) -> Operation {
    let parameters = operation["parameters"].as_array().into_iter().flatten().map(|parameter| Parameter {
        name: text(&parameter["name"]),
        place: text(&parameter["in"]),
        required: parameter["required"] == true,
        description: text(&parameter["description"]),
    });
    let responses = operation["responses"].as_object().into_iter().flatten().map(|(status, answer)| Answer {
        status: status.clone(),
        description: text(&answer["description"]),
        body: body(document, answer),
    });
    Operation {
        method: method.to_uppercase(),
        path: path.to_owned(),
        summary: text(&operation["summary"]),
        description: text(&operation["description"]),
        parameters: parameters.collect(),
        request: body(document, &operation["requestBody"]),
        responses: responses.collect(),
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// The shape of a body: of JSON as an outline, of anything else its media type.
fn body(document: &Value, holder: &Value) -> Option<String> {
    let (media, content) = holder["content"].as_object()?.iter().next()?;
    if !media.contains("json") {
        return Some(media.clone());
    }
    let mut outline = String::new();
    outline_of(document, &content["schema"], 0, &mut outline);
    Some(outline)
}

fn outline_of(document: &Value, schema: &Value, depth: usize, out: &mut String) {
    let schema = resolve(document, schema);
    if let Some(one_of) = schema["oneOf"].as_array().or_else(|| schema["anyOf"].as_array()) {
        let wanted: Vec<&Value> = one_of.iter().filter(|one| one["type"] != "null").collect();
        for (index, one) in wanted.iter().enumerate() {
            out.push_str(if index > 0 { " | " } else { "" });
            outline_of(document, one, depth, out);
        }
    } else if let Some(all_of) = schema["allOf"].as_array() {
        for one in all_of {
            outline_of(document, one, depth, out);
        }
    } else if let Some(properties) = schema["properties"].as_object() {
        outline_of_object(document, (schema, properties), depth, out);
    } else if schema["items"].is_object() {
        out.push('[');
        outline_of(document, &schema["items"], depth, out);
        out.push_str(", …]");
    } else {
        out.push_str(&scalar(schema));
    }
}

fn outline_of_object(
    document: &Value,
    (schema, properties): (&Value, &serde_json::Map<String, Value>),
    depth: usize,
    out: &mut String,
) {
    if depth >= MAX_DEPTH {
        out.push_str("{…}");
        return;
    }
    let required: Vec<&str> = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    out.push_str("{\n");
    for (name, property) in properties {
        let mark = if required.contains(&name.as_str()) { "" } else { "?" };
        out.push_str(&format!("{}{name}{mark}: ", "  ".repeat(depth + 1)));
        outline_of(document, property, depth + 1, out);
        let note = text(&resolve(document, property)["description"]);
        if let Some(first) = note.lines().next().filter(|line| !line.is_empty()) {
            out.push_str(&format!("   — {first}"));
        }
        out.push('\n');
    }
    out.push_str(&format!("{}}}", "  ".repeat(depth)));
}

fn resolve<'a>(document: &'a Value, schema: &'a Value) -> &'a Value {
    match schema["$ref"].as_str().and_then(|reference| reference.strip_prefix('#')) {
        Some(pointer) => document.pointer(pointer).unwrap_or(schema),
        None => schema,
    }
}

fn scalar(schema: &Value) -> String {
    if let Some(values) = schema["enum"].as_array() {
        return values.iter().map(Value::to_string).collect::<Vec<_>>().join(" | ");
    }
    let kind = match &schema["type"] {
        Value::String(kind) => kind.clone(),
        Value::Array(kinds) => {
            kinds.iter().filter_map(Value::as_str).filter(|kind| *kind != "null").collect::<Vec<_>>().join(" | ")
        }
        _ => "any".to_owned(),
    };
    match schema["format"].as_str() {
        Some(format) => format!("{kind} ({format})"),
        None => kind,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_operation_shows_its_body_and_escapes_what_it_prints() {
        let document = json!({
            "info": { "title": "T", "version": "1", "description": "<script>" },
            "paths": { "/wallet/v1/transfers": { "post": {
                "summary": "Send",
                "parameters": [{ "name": "Idempotency-Key", "in": "header", "required": true }],
                "requestBody": { "content": { "application/json": { "schema": { "$ref": "#/components/schemas/Send" } } } },
                "responses": { "201": { "description": "Sent" } },
            } } },
            "components": { "schemas": { "Send": {
                "required": ["amount"],
                "properties": { "amount": { "type": "string" }, "note": { "type": ["string", "null"] } },
            } } },
        });
        let page = api(&document);
        assert!(page.contains("/wallet/v1/transfers") || page.contains("&#x2f;wallet"), "{page}");
        assert!(page.contains("note?: string"));
        assert!(!page.contains("<script>"));
    }

    #[test]
    fn problems_are_listed_in_both_languages() {
        let page = problems();
        assert!(page.contains("not-found") && page.contains("Không tìm thấy"));
    }
}
