//! Runs every rule over the checkout and lists what breaks it, one `file:line: rule` a line.

use std::collections::BTreeMap;

use anyhow::Result;
use cargo_metadata::{DependencyKind, MetadataCommand};
use tidy::layer::Purpose;
use tidy::tree::{self, File};
use tidy::{Breach, layer, rust, source, sql, word};

fn check(rule: impl Fn(&File) -> Vec<Breach>) -> Result<()> {
    let breaches: Vec<_> = tree::files(&tree::root())?.iter().flat_map(rule).collect();
    report(&breaches);
    Ok(())
}

fn report(breaches: &[Breach]) {
    let lines: Vec<_> = breaches.iter().map(ToString::to_string).collect();
    assert!(lines.is_empty(), "{} places break a rule:\n{}\n", lines.len(), lines.join("\n"));
}

#[test]
fn rust_files_keep_the_style() -> Result<()> {
    check(|file| if file.is("rs") { source::check(&file.path, &file.text) } else { Vec::new() })
}

#[test]
fn transport_is_named_in_transport_files() -> Result<()> {
    check(|file| if file.is("rs") { layer::transport(&file.path, &file.text) } else { Vec::new() })
}

#[test]
fn crates_inherit_lints_and_versions() -> Result<()> {
    check(|file| {
        let is_crate = file.path.ends_with("/Cargo.toml");
        if is_crate { layer::manifest(&file.path, &file.text) } else { Vec::new() }
    })
}

#[test]
fn dependencies_point_down() -> Result<()> {
    let manifest = tree::root().join("Cargo.toml");
    let metadata =
        MetadataCommand::new().manifest_path(manifest).no_deps().other_options(["--offline".to_owned()]).exec()?;
    let ours: Vec<_> = metadata.packages.iter().map(|package| package.name.to_string()).collect();
    let uses: BTreeMap<_, Vec<_>> = metadata
        .packages
        .iter()
        .map(|package| {
            let ours = package.dependencies.iter().filter(|dependency| ours.contains(&dependency.name.to_string()));
            let used = ours.map(|dependency| {
                let in_tests = dependency.kind == DependencyKind::Development;
                (dependency.name.to_string(), if in_tests { Purpose::Tests } else { Purpose::Program })
            });
            (package.name.to_string(), used.collect())
        })
        .collect();
    assert!(uses.contains_key("wallet"), "the metadata lists our crates");
    report(&layer::dependencies(&uses));
    Ok(())
}

#[test]
fn statements_in_code_are_plain() -> Result<()> {
    let mut breaches = Vec::new();
    let mut seen = 0;
    let files = tree::files(&tree::root())?;
    for file in files.iter().filter(|file| file.is("sql") && file.path.contains("/queries/")) {
        breaches.extend(sql::statement(&file.path, 1, &file.text));
    }
    for file in files.iter().filter(|file| file.is("rs") && !rust::is_test(&file.path)) {
        let anatomy = rust::Anatomy::of(&file.path, &file.text);
        let literals = anatomy.literals.iter().filter(|literal| literal.line < anatomy.tests_from);
        for literal in literals.filter(|literal| sql::is_statement(&literal.text)) {
            seen += 1;
            breaches.extend(sql::statement(&file.path, literal.line, &literal.text));
        }
    }
    assert!(seen > 0, "the code holds statements");
    report(&breaches);
    Ok(())
}

#[test]
fn migrations_are_forward_named_and_commented() -> Result<()> {
    let files = tree::files(&tree::root())?;
    let migrations: Vec<_> = files.iter().filter(|file| file.path.contains("/migrations/") && file.is("sql")).collect();
    assert!(!migrations.is_empty(), "there are migrations");
    let mut breaches = sql::order(&migrations.iter().map(|file| file.path.as_str()).collect::<Vec<_>>());
    for file in migrations {
        breaches.extend(sql::statement(&file.path, 1, &file.text));
        breaches.extend(sql::migration(&file.path, &file.text));
    }
    report(&breaches);
    Ok(())
}

#[test]
fn words_names_and_links_are_in_order() -> Result<()> {
    let root = tree::root();
    check(|file| {
        let mut breaches = word::hosts(&file.path, &file.text);
        breaches.extend(word::name(&file.path));
        if file.is("md") {
            breaches.extend(word::links(&root, &file.path, &file.text));
        }
        breaches
    })
}
