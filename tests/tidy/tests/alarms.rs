//! The files for Prometheus and Grafana: read by promtool, and held against the documents.

use std::fs;
use std::io::Write as _;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use tidy::tree::{self, File};
use tidy::{Breach, metric};

const ALERTS: &str = "deploy/prometheus/rules/alerts.yml";

/// Runs promtool in the root of the checkout, with an input.
fn promtool(arguments: &[&str], input: &str) -> Result<()> {
    let mut command = Command::new("promtool");
    command
        .args(arguments)
        .current_dir(tree::root())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command
        .spawn()
        .context("promtool is missing: Debian has it in the package `prometheus`, and tests/run installs it")?;
    child.stdin.take().context("it has an input")?.write_all(input.as_bytes())?;
    let ran = child.wait_with_output()?;
    let said = [ran.stdout, ran.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    ensure!(ran.status.success(), "promtool {}:\n{said}", arguments.join(" "));
    Ok(())
}

fn text(path: &str) -> Result<String> {
    fs::read_to_string(tree::root().join(path)).with_context(|| format!("reading {path}"))
}

fn dashboards() -> Result<Vec<File>> {
    let files = tree::files(&tree::root())?;
    let dashboards: Vec<_> =
        files.into_iter().filter(|file| file.path.starts_with("deploy/grafana/dashboards/")).collect();
    assert!(!dashboards.is_empty(), "there are dashboards");
    Ok(dashboards)
}

fn report(breaches: &[Breach]) {
    let lines: Vec<_> = breaches.iter().map(ToString::to_string).collect();
    assert!(lines.is_empty(), "{}", lines.join("\n"));
}

#[test]
fn prometheus_takes_configuration_and_rules() -> Result<()> {
    promtool(&["check", "config", "deploy/prometheus/prometheus.yml"], "")
}

#[test]
fn alerts_fire_when_they_should_and_not_before() -> Result<()> {
    promtool(&["test", "rules", "deploy/prometheus/tests/alerts.yml"], "")
}

#[test]
fn every_alert_has_a_runbook_and_a_test() -> Result<()> {
    let (alerts, runbooks) = (text(ALERTS)?, text("docs/runbooks.md")?);
    report(&metric::answered(ALERTS, &alerts, &runbooks, &text("deploy/prometheus/tests/alerts.yml")?));
    Ok(())
}

#[test]
fn rules_and_dashboards_name_metrics_that_exist() -> Result<()> {
    let table = text("docs/operations.md")?;
    let mut breaches = Vec::new();
    for path in [ALERTS, "deploy/prometheus/rules/recording.yml"] {
        breaches.extend(metric::documented(path, &text(path)?, &table));
    }
    for file in dashboards()? {
        breaches.extend(metric::documented(&file.path, &file.text, &table));
    }
    report(&breaches);
    Ok(())
}

#[test]
fn metrics_in_the_table_are_made_by_the_program() -> Result<()> {
    let files = tree::files(&tree::root())?;
    let code: Vec<_> = files.into_iter().filter(|file| file.path.starts_with("services/") && file.is("rs")).collect();
    let (page, head) = (text("docs/operations.md")?, "| metric | labels | tells |");
    let (_, table) = page.split_once(head).context("there is a table of metrics")?;
    let names =
        table.lines().filter_map(|line| line.strip_prefix("| `")?.split(" | ").next()).flat_map(|cell| cell.split('`'));
    let names: Vec<_> = names.filter(|name| !name.is_empty() && *name != ", ").collect();
    assert!(names.len() > 40, "{names:?}");
    for name in names {
        let quoted = format!("\"{name}\"");
        assert!(code.iter().any(|file| file.text.contains(&quoted)), "nothing in the program is called {name}");
    }
    Ok(())
}

#[test]
fn dashboards_are_whole_and_their_expressions_parse() -> Result<()> {
    let mut rules = String::from("groups:\n  - name: dashboards\n    rules:\n");
    let mut breaches = Vec::new();
    for file in dashboards()? {
        breaches.extend(metric::dashboard(&file.path, &file.text)?);
        for expression in metric::expressions(&file.text)? {
            let quoted = serde_json::to_string(&expression)?;
            rules
                .push_str(&format!("      - {{ record: \"dashboard:expression:{}\", expr: {quoted} }}\n", rules.len()));
        }
    }
    report(&breaches);
    promtool(&["check", "rules", "/dev/stdin"], &rules)
}
