//! Which crate may use which, and where the names of the transport may stand.

use std::collections::BTreeMap;

use crate::Breach;
use crate::rust::{Anatomy, has_word};

/// Our crates and those of ours that each may use. Arrows point down only; services never meet.
const MAY_USE: &[(&str, &[&str])] = &[
    ("proto", &[]),
    ("platform", &["proto"]),
    ("ledger", &["platform", "proto"]),
    ("identity", &["platform", "proto"]),
    ("wallet", &["ledger", "platform", "proto"]),
    ("reports", &["platform", "proto"]),
    ("notifications", &["platform", "proto"]),
    ("ioc", &["platform", "proto"]),
    ("sandbox", &["platform"]),
    ("trangtien", &["identity", "ioc", "ledger", "notifications", "platform", "proto", "reports", "sandbox", "wallet"]),
    ("faults", &["ledger", "platform"]),
    ("fuzz", &["ledger", "wallet"]),
    ("harness", &["platform", "trangtien"]),
    ("journeys", &["harness", "platform", "trangtien"]),
    ("load", &["harness", "identity", "ledger", "platform", "proto", "trangtien"]),
    ("tidy", &[]),
];

/// What tests of any service may use beside that: the outside world.
const TESTS_MAY_USE: [&str; 1] = ["sandbox"];

/// Crates in which the transport's names stand in transport files only.
const LAYERED: [&str; 6] = ["identity", "ioc", "ledger", "notifications", "reports", "wallet"];

/// Names of the transport.
const TRANSPORT: [&str; 2] = ["axum", "tonic"];

/// What for a crate uses another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// It is linked into the program, or builds it.
    Program,
    /// Its tests use it.
    Tests,
}

/// Breaches of the direction of dependencies, from each crate of ours to what it uses of ours.
pub fn dependencies(uses: &BTreeMap<String, Vec<(String, Purpose)>>) -> Vec<Breach> {
    let allowed: BTreeMap<_, _> = MAY_USE.iter().copied().collect();
    let mut breaches = Vec::new();
    for (package, used) in uses {
        let Some(allowed) = allowed.get(package.as_str()) else {
            let rule = format!("crate {package} is not in the table MAY_USE of tests/tidy/src/layer.rs");
            breaches.push(Breach::new("Cargo.toml", 0, rule));
            continue;
        };
        let refused = |(other, purpose): &&(String, Purpose)| {
            let in_tests = *purpose == Purpose::Tests && TESTS_MAY_USE.contains(&other.as_str());
            !allowed.contains(&other.as_str()) && !in_tests
        };
        for (other, _) in used.iter().filter(refused) {
            let rule = format!("crate {package} may not use {other}: dependencies point down, and services never meet");
            breaches.push(Breach::new("Cargo.toml", 0, rule));
        }
    }
    breaches
}

/// Breaches of a crate's manifest: it takes lints and versions from the workspace.
pub fn manifest(path: &str, text: &str) -> Vec<Breach> {
    let mut breaches = Vec::new();
    let mut section = "";
    let mut inherits = false;
    for (index, line) in text.lines().map(str::trim).enumerate() {
        if line.starts_with('[') {
            section = line;
        }
        inherits |= section == "[lints]" && line == "workspace = true";
        let inherited = line.contains(".workspace = true") || line.contains("workspace = true");
        let entry = line.contains('=') && !line.starts_with('#');
        if section.ends_with("dependencies]") && entry && !inherited {
            breaches.push(Breach::new(path, index + 1, "versions stand in the workspace's Cargo.toml only"));
        }
    }
    if !inherits {
        breaches.push(Breach::new(path, 0, "a crate inherits the lints of the workspace"));
    }
    breaches
}

/// Breaches of one Rust file: axum and tonic are named in transport files only.
pub fn transport(path: &str, text: &str) -> Vec<Breach> {
    let Some((service, file)) = path.strip_prefix("services/").and_then(|rest| rest.split_once("/src/")) else {
        return Vec::new();
    };
    let is_transport = file.split('/').any(|part| matches!(part, "http" | "grpc"))
        || matches!(file.rsplit('/').next(), Some("http.rs" | "grpc.rs" | "lib.rs"));
    if is_transport || !LAYERED.contains(&service) {
        return Vec::new();
    }
    let anatomy = Anatomy::of(path, text);
    let mut breaches = Vec::new();
    for (line, code) in anatomy.production() {
        for name in TRANSPORT.iter().filter(|name| has_word(code, name)) {
            let rule = format!("{name} is named in http, grpc and lib.rs only");
            breaches.push(Breach::new(path, line, rule));
        }
    }
    breaches
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_never_meet() {
        let with = |package: &str, other: &str, purpose| {
            BTreeMap::from([(package.to_owned(), vec![(other.to_owned(), purpose)])])
        };
        let uses = |package: &str, other: &str| with(package, other, Purpose::Program);
        assert_eq!(dependencies(&uses("wallet", "ledger")), []);
        assert_eq!(dependencies(&uses("trangtien", "wallet")), []);
        for (package, other) in [
            ("wallet", "identity"),
            ("identity", "ledger"),
            ("platform", "wallet"),
            ("proto", "platform"),
            ("new", "proto"),
        ] {
            assert_eq!(dependencies(&uses(package, other)).len(), 1, "{package} uses {other}");
        }
        assert_eq!(dependencies(&with("wallet", "sandbox", Purpose::Tests)), []);
        assert_eq!(dependencies(&with("wallet", "identity", Purpose::Tests)).len(), 1);
    }

    #[test]
    fn manifests_inherit() {
        let good = "[package]\nname = \"a\"\n[lints]\nworkspace = true\n[dependencies]\nb.workspace = true\n";
        assert_eq!(manifest("a/Cargo.toml", good), []);
        let bad = manifest("a/Cargo.toml", "[package]\n[dependencies]\nb = \"1\"\n");
        assert_eq!(bad.iter().map(|breach| breach.line).collect::<Vec<_>>(), [3, 0]);
    }

    #[test]
    fn the_transport_is_named_in_its_files() {
        let text = "//! x\nuse axum::Router;\n";
        for path in ["services/wallet/src/http.rs", "services/wallet/src/http/pay.rs", "services/wallet/src/lib.rs"] {
            assert_eq!(transport(path, text), [], "{path}");
        }
        assert_eq!(transport("services/platform/src/auth.rs", text), []);
        assert_eq!(transport("services/wallet/src/pay.rs", text).len(), 1);
        assert_eq!(transport("services/ledger/src/sql.rs", "use tonic::Status;").len(), 1);
        assert_eq!(transport("services/wallet/src/pay.rs", "// axum\nlet a = \"tonic\";"), []);
    }
}
