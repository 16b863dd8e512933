//! Alerts, runbooks and dashboards speak of metrics that exist, and of each other.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::Breach;

/// The roles of the city, each the second part of its metrics' names.
const SERVICES: [&str; 5] = ["identity", "ioc", "notifications", "reports", "wallet"];
/// How a rule names the metric of every role.
const EVERY_SERVICE: &str = "[a-z]+_";
/// What a histogram adds to its name.
const SUFFIXES: [&str; 3] = ["_bucket", "_count", "_sum"];
/// Columns of a dashboard.
const COLUMNS: u64 = 24;

/// The metrics that an expression names, without prefix and service; `up` for `trangtien_up`.
///
/// Names of recorded series (`level:metric:operations`) are left out: their rule names the metric.
pub fn named(expression: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for (at, prefix) in expression.match_indices("trangtien_") {
        if expression[..at].ends_with(':') {
            continue;
        }
        let rest = &expression[at + prefix.len()..];
        let rest = rest.strip_prefix(EVERY_SERVICE).or_else(|| {
            SERVICES.iter().find_map(|service| rest.strip_prefix(service).and_then(|rest| rest.strip_prefix('_')))
        });
        let rest = rest.unwrap_or(&expression[at + prefix.len()..]);
        let end = rest.find(|letter: char| !letter.is_ascii_lowercase() && letter != '_').unwrap_or(rest.len());
        let name = &rest[..end];
        names.insert(SUFFIXES.iter().find_map(|suffix| name.strip_suffix(suffix)).unwrap_or(name).to_owned());
    }
    names
}

/// Breaches of a text with expressions: every metric that it names stands in the table of metrics, in backticks.
pub fn documented(path: &str, text: &str, table: &str) -> Vec<Breach> {
    let mut breaches = Vec::new();
    for (index, line) in text.lines().enumerate() {
        for name in named(line).into_iter().filter(|name| name != "up" && !table.contains(&format!("`{name}`"))) {
            breaches.push(Breach::new(path, index + 1, format!("{name} is not in the table of metrics")));
        }
    }
    breaches
}

/// The names of the alerts in a file of rules, with their lines.
pub fn alerts(rules: &str) -> Vec<(usize, &str)> {
    let lines = rules.lines().enumerate();
    lines.filter_map(|(index, line)| Some((index + 1, line.trim().strip_prefix("- alert: ")?))).collect()
}

/// Breaches of a file of alerts: each has a section of its name in the runbooks and a test, and no section is left over.
pub fn answered(path: &str, rules: &str, runbooks: &str, tests: &str) -> Vec<Breach> {
    let sections: BTreeSet<_> = runbooks.lines().filter_map(|line| line.strip_prefix("## ")).collect();
    let mut breaches = Vec::new();
    let alerts = alerts(rules);
    for (line, alert) in &alerts {
        if !sections.contains(alert) {
            breaches.push(Breach::new(path, *line, format!("{alert} has no section in the runbooks")));
        }
        if !rules.contains(&format!("runbook_url: docs/runbooks.md#{}", alert.to_lowercase())) {
            breaches.push(Breach::new(path, *line, format!("{alert} does not link to its runbook")));
        }
        if !tests.contains(alert) {
            breaches.push(Breach::new(path, *line, format!("{alert} has no test")));
        }
    }
    let left = sections.iter().filter(|section| !alerts.iter().any(|(_, alert)| alert == *section));
    breaches.extend(left.map(|section| Breach::new(path, 0, format!("no alert is called {section}"))));
    breaches
}

/// Every expression of a dashboard.
///
/// # Errors
/// When it is no JSON or a panel has none.
pub fn expressions(text: &str) -> Result<Vec<String>> {
    let dashboard: Value = serde_json::from_str(text)?;
    let targets = panels(&dashboard)?.iter().flat_map(|panel| panel["targets"].as_array().into_iter().flatten());
    targets.map(|target| Ok(target["expr"].as_str().context("a target has no expression")?.to_owned())).collect()
}

fn panels(dashboard: &Value) -> Result<&Vec<Value>> {
    dashboard["panels"].as_array().context("a dashboard has panels")
}

/// Breaches of a dashboard: it says what it shows, each panel too, with unit, and takes its data source from the variable;
/// panels lie inside the grid and on no other.
///
/// # Errors
/// When it is no dashboard.
pub fn dashboard(path: &str, text: &str) -> Result<Vec<Breach>> {
    let dashboard: Value = serde_json::from_str(text).with_context(|| format!("{path} is no JSON"))?;
    let mut breaches = Vec::new();
    let mut broken = |rule: String| breaches.push(Breach::new(path, 0, rule));
    for key in ["uid", "title", "description"] {
        if dashboard[key].as_str().is_none_or(str::is_empty) {
            broken(format!("the dashboard has no {key}"));
        }
    }
    let mut taken = BTreeSet::new();
    let mut ids = BTreeSet::new();
    for panel in panels(&dashboard)? {
        let title = panel["title"].as_str().unwrap_or_default();
        if title.is_empty() || panel["description"].as_str().is_none_or(str::is_empty) {
            broken(format!("panel \"{title}\" does not say what it shows"));
        }
        if panel["fieldConfig"]["defaults"]["unit"].as_str().is_none_or(str::is_empty) {
            broken(format!("panel \"{title}\" has no unit"));
        }
        if !ids.insert(panel["id"].as_u64()) {
            broken(format!("panel \"{title}\" bears the id of another"));
        }
        let targets = panel["targets"].as_array().map_or(&[][..], Vec::as_slice);
        let sources = targets.iter().chain([panel]).map(|from| from["datasource"]["uid"].as_str());
        if targets.is_empty() || sources.into_iter().any(|source| source != Some("${datasource}")) {
            broken(format!("panel \"{title}\" does not ask the chosen data source"));
        }
        let side = |name: &str| panel["gridPos"][name].as_u64().unwrap_or(COLUMNS + 1);
        let (x, y, w, h) = (side("x"), side("y"), side("w"), side("h"));
        let mut cells = (x..x + w).flat_map(|column| (y..y + h).map(move |row| (column, row)));
        if x + w > COLUMNS || !cells.all(|cell| taken.insert(cell)) {
            broken(format!("panel \"{title}\" lies outside the grid or on another"));
        }
    }
    Ok(breaches)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_in_expressions() {
        let found = named(
            r#"sum(rate({__name__=~"trangtien_[a-z]+_jobs_dead"}[5m])) + trangtien_wallet_posting_duration_seconds_bucket
               + trangtien_up + kind:trangtien_wallet_payments:rate5m"#,
        );
        assert_eq!(found.into_iter().collect::<Vec<_>>(), ["jobs_dead", "posting_duration_seconds", "up"]);
    }

    #[test]
    fn an_unknown_metric_is_named() {
        let breaches = documented("a.yml", "x\nexpr: trangtien_wallet_gold_total > 0", "| `payments_total` |");
        assert_eq!(breaches, [Breach::new("a.yml", 2, "gold_total is not in the table of metrics")]);
    }

    #[test]
    fn alerts_and_runbooks_belong_together() {
        let rules = "  - alert: Fire\n    runbook_url: docs/runbooks.md#fire\n  - alert: Flood\n";
        let said: Vec<_> =
            answered("a.yml", rules, "## Fire\n## Storm\n", "Fire").iter().map(Breach::to_string).collect();
        assert_eq!(
            said,
            [
                "a.yml:3: Flood has no section in the runbooks",
                "a.yml:3: Flood does not link to its runbook",
                "a.yml:3: Flood has no test",
                "a.yml: no alert is called Storm"
            ]
        );
    }

    #[test]
    fn a_careless_dashboard_is_told() {
        let panel = |x: u32| {
            format!(
                r#"{{"id":1,"title":"A","gridPos":{{"x":{x},"y":0,"w":12,"h":8}},"targets":[{{"expr":"up","datasource":{{"uid":"p"}}}}]}}"#
            )
        };
        let text = format!(r#"{{"uid":"a","title":"A","panels":[{},{}]}}"#, panel(0), panel(6));
        let said: Vec<_> = dashboard("d.json", &text).expect("JSON").into_iter().map(|breach| breach.rule).collect();
        assert_eq!(said.len(), 1 + 3 + 5, "{said:?}");
        assert!(said[0].contains("no description"));
        assert!(said[8].contains("on another"));
        assert_eq!(expressions(&text).expect("expressions"), ["up", "up"]);
    }
}
