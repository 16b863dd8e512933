//! Who may call what: every route of the API's description, as every role, answers as `docs/authorisation.csv` says.
//!
//! `yes`: no refusal of the caller, whatever else the request deserves; it may still be 404 for what is another's.
//! Metrics refuse by 404, as if there were nothing.
//! Requests come from outside the internal network, as a proxy tells. Set `WRITE_AUTHORISATION` to write what is
//! answered into the file, and read the difference before it is committed.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use harness::{Citizen, City, Shape, Visitor};
use reqwest::Method;
use serde_json::{Value, json};
use trangtien::up::settings::SANDBOX_BANK;
use uuid::Uuid;

/// Who asks, in the order of the columns; the first two hold no role.
const CALLERS: [&str; 9] = [
    "anonymous",
    "citizen",
    "ioc.operator",
    "ioc.lead",
    "agency.officer",
    "agency.head",
    "finance.officer",
    "finance.approver",
    "admin",
];
/// Ends the session that it is called with, so it comes last.
const SIGN_OUT: &str = "DELETE /identity/v1/sessions/current";
const BEGIN: &str = "<!-- authorisation.csv -->\n";
const END: &str = "<!-- end -->";

/// By route, the answer to each caller.
type Matrix = BTreeMap<String, Vec<String>>;

#[tokio::test]
async fn every_route_answers_every_role_as_it_is_written() -> Result<()> {
    let city = City::start_with(Shape::AllInOne, &[("TRANGTIEN_IOC__PUBLIC_WALL", "false")]).await?;
    let visitor = city.visitor()?;
    let mut routes = routes(&visitor).await?;
    routes.sort_by_key(|route| (route == SIGN_OUT, route.clone()));
    let mut found: Matrix = routes.iter().map(|route| (route.clone(), Vec::new())).collect();
    for caller in CALLERS {
        let citizen = match caller {
            "anonymous" => None,
            role => Some(holder(&city, &visitor, role).await?),
        };
        for route in &routes {
            let answer =
                ask(&visitor, citizen.as_ref(), route).await.with_context(|| format!("{route} as {caller}"))?;
            found.entry(route.clone()).or_default().push(answer);
        }
    }
    city.finish().await?;
    if std::env::var_os("WRITE_AUTHORISATION").is_some() {
        std::fs::write(docs("authorisation.csv"), table(&found))?;
        let page = std::fs::read_to_string(docs("security.md"))?;
        let (head, rest) = page.split_once(BEGIN).context("security.md has no place for the matrix")?;
        let (_, tail) = rest.split_once(END).context("the place has no end")?;
        std::fs::write(docs("security.md"), format!("{head}{BEGIN}{}{END}{tail}", shown(&found)))?;
    }
    let written = read(&std::fs::read_to_string(docs("authorisation.csv"))?)?;
    let mut differences = Vec::new();
    for route in found.keys().chain(written.keys().filter(|route| !found.contains_key(*route))) {
        let (is, says) = (found.get(route), written.get(route));
        if is != says {
            differences.push(format!("{route}\n  answers {is:?}\n  written {says:?}"));
        }
    }
    ensure!(differences.is_empty(), "callers are {CALLERS:?}\n{}", differences.join("\n"));
    let page = std::fs::read_to_string(docs("security.md"))?;
    ensure!(page.contains(&format!("{BEGIN}{}{END}", shown(&written))), "docs/security.md shows another matrix");
    Ok(())
}

/// Every route of the API's description, as `METHOD path`.
async fn routes(visitor: &Visitor) -> Result<Vec<String>> {
    let document = visitor.get("/openapi.json").await?.expect(200)?;
    let paths = document["paths"].as_object().context("paths")?;
    let methods = |item: &Value| item.as_object().map(|item| item.keys().cloned().collect::<Vec<_>>());
    Ok(paths
        .iter()
        .flat_map(|(path, item)| methods(item).unwrap_or_default().into_iter().map(move |method| (method, path)))
        .map(|(method, path)| format!("{} {path}", method.to_uppercase()))
        .collect())
}

/// A citizen who holds a role, if it is one.
async fn holder(city: &City, visitor: &Visitor, role: &str) -> Result<Citizen> {
    let citizen = visitor.sign_up().await?;
    if role == "citizen" {
        return Ok(citizen);
    }
    let agency = role.starts_with("agency.").then_some("HEPCO");
    sqlx::query(
        "INSERT INTO identity.role_grant (id, user_id, role, agency, granted_at) VALUES ($1, $2, $3, $4, now())",
    )
    .bind(Uuid::now_v7())
    .bind(citizen.user)
    .bind(role)
    .bind(agency)
    .execute(&city.admin())
    .await?;
    let refresh = json!({"refresh_token": citizen.refresh_token});
    let tokens = visitor.post("/identity/v1/sessions/refresh", &refresh).await?.expect(200)?;
    let text = |name: &str| Ok::<_, anyhow::Error>(tokens[name].as_str().context("a token")?.to_owned());
    Ok(Citizen { token: text("access_token")?, refresh_token: text("refresh_token")?, ..citizen })
}

/// What a route answers a caller: `yes`, `401`, `403`, or `404` for metrics.
async fn ask(visitor: &Visitor, caller: Option<&Citizen>, route: &str) -> Result<String> {
    let (method, path) = route.split_once(' ').context("a method and a path")?;
    let mut request = visitor.request(Method::from_bytes(method.as_bytes())?, &filled(path))?;
    request = request.header("x-forwarded-for", "203.0.113.9").header("idempotency-key", Uuid::new_v4().to_string());
    if let Some(caller) = caller {
        request = request.bearer_auth(&caller.token);
    }
    if matches!(method, "POST" | "PUT" | "PATCH") {
        request = request.json(&body(route));
    }
    // The head is enough: streams have no end.
    let status = request.send().await?.status().as_u16();
    ensure!(status < 500 || status == 503, "{status}");
    let refused = matches!(status, 401 | 403) || (status == 404 && path.ends_with("/metrics"));
    Ok(if refused { status.to_string() } else { "yes".to_owned() })
}

/// A path with something in place of its parameters.
fn filled(path: &str) -> String {
    let fill = |part: &str| match part {
        "{role}" if path.starts_with("/{role}") => "identity".to_owned(),
        "{role}" => "ioc.operator".to_owned(),
        "{bank_code}" => SANDBOX_BANK.to_owned(),
        "{biller_code}" => "PCHUE".to_owned(),
        "{document}" => "none.xml".to_owned(),
        part if part.starts_with('{') => Uuid::new_v4().to_string(),
        part => part.to_owned(),
    };
    path.split('/').map(fill).collect::<Vec<_>>().join("/")
}

/// A body that is good enough to be asked for one's role: some routes read it first.
fn body(route: &str) -> Value {
    let both = json!({"vi": "Kiểm tra", "en": "A check"});
    match route {
        "PUT /identity/v1/officers/{user_id}/roles/{role}" => json!({"reason": "a check"}),
        "POST /identity/v1/dependents" => json!({
            "ward": "19753", "guardian_citizen_number": "046190000001", "citizen_number": "046215000003",
            "full_name": "Kiểm tra", "date_of_birth": "2015-03-26", "kinds": ["merchant"],
            "limits": {"transaction": 1, "day": 1, "month": 1}, "until": "2033-01-01T00:00:00Z", "reason": "a check",
        }),
        "POST /identity/v1/clients" => json!({
            "name": both, "access": "public", "grant_types": ["authorization_code"], "scopes": ["openid"],
            "redirect_uris": ["https://app.example/cb"],
        }),
        "POST /wallet/v1/proposals" => json!({
            "act": {"kind": "top-up", "id": Uuid::new_v4(), "verdict": "failed"}, "reason": "a check",
        }),
        "POST /wallet/v1/proposals/{proposal_id}/approval" => json!({"digest": "00".repeat(32)}),
        "POST /wallet/v1/proposals/{proposal_id}/refusal" => json!({"reason": "a check"}),
        "POST /reports/v1/reports/{report_id}/transitions" => json!({"action": "claim", "version": 1}),
        "POST /notifications/v1/alerts" => json!({
            "content": {
                "status": "exercise", "category": "met", "severity": "severe", "urgency": "immediate", "certainty": "observed",
                "response": "prepare", "event": both, "headline": both, "description": both, "instruction": both, "wards": [],
            },
            "expires_at": "2026-01-01T00:00:00Z",
        }),
        "POST /notifications/v1/alerts/{id}/release" => json!({ "revision": 1 }),
        "POST /notifications/v1/alerts/{id}/cancel" => json!({ "reason": both }),
        "POST /notifications/v1/news" => json!({ "title": both, "text": both, "wards": [] }),
        "POST /ioc/v1/alarms/{id}/close" => json!({ "note": "a check" }),
        _ => json!({}),
    }
}

/// The matrix as the file has it.
fn table(matrix: &Matrix) -> String {
    let mut text = format!("method,path,{}\n", CALLERS.join(","));
    for (route, answers) in matrix {
        writeln!(text, "{},{}", route.replacen(' ', ",", 1), answers.join(",")).expect("text takes text");
    }
    text
}

fn read(text: &str) -> Result<Matrix> {
    let mut lines = text.lines();
    ensure!(lines.next() == Some(format!("method,path,{}", CALLERS.join(",")).as_str()), "other columns");
    lines
        .map(|line| {
            let mut fields = line.split(',').map(str::to_owned);
            let (method, path) = (fields.next().context("a method")?, fields.next().context("a path")?);
            Ok((format!("{method} {path}"), fields.collect()))
        })
        .collect()
}

/// The matrix as the page shows it: routes that answer alike together.
fn shown(matrix: &Matrix) -> String {
    let mut alike: BTreeMap<&Vec<String>, Vec<&str>> = BTreeMap::new();
    for (route, answers) in matrix {
        alike.entry(answers).or_default().push(route);
    }
    let mut text = format!("| {} | routes |\n|{}\n", CALLERS.join(" | "), " --- |".repeat(CALLERS.len() + 1));
    for (answers, routes) in alike {
        let routes: Vec<String> = routes.iter().map(|route| format!("`{route}`")).collect();
        writeln!(text, "| {} | {} |", answers.join(" | "), routes.join("<br>")).expect("text takes text");
    }
    text
}

fn docs(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs").join(file)
}
