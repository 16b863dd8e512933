//! Words that may stand in no file, names that no file may bear, links that lead nowhere.

use std::path::Path;

use crate::Breach;

/// Names that say nothing about what a file or folder holds.
const EMPTY_NAMES: [&str; 6] = ["common", "helper", "helpers", "manager", "util", "utils"];

/// Hosts of package registries and their mirrors, in parts so that this file does not name them.
const HOSTS: [&[&str]; 8] = [
    &["crates", "io"],
    &["npmjs", "org"],
    &["npmjs", "com"],
    &["pypi", "org"],
    &["pythonhosted", "org"],
    &["proxy", "golang", "org"],
    &["npmmirror", "com"],
    &["rsproxy", "cn"],
];

/// Breaches of a text: no file names the host of a package registry.
pub fn hosts(path: &str, text: &str) -> Vec<Breach> {
    let hosts: Vec<_> = HOSTS.iter().map(|parts| parts.join(".")).collect();
    let mut breaches = Vec::new();
    for (index, line) in text.lines().enumerate() {
        if hosts.iter().any(|host| line.contains(host)) {
            breaches.push(Breach::new(path, index + 1, "no file names the host of a package registry"));
        }
    }
    breaches
}

/// Breaches of a path: a file is named after what it holds.
pub fn name(path: &str) -> Vec<Breach> {
    let stem = |part: &str| part.split('.').next().unwrap_or_default().to_owned();
    let empty = path.split('/').map(stem).find(|part| EMPTY_NAMES.contains(&part.as_str()));
    empty.map(|part| Breach::new(path, 0, format!("{part} says nothing about what is in it"))).into_iter().collect()
}

/// Breaches of a Markdown text: links to files of the checkout lead somewhere.
pub fn links(root: &Path, path: &str, text: &str) -> Vec<Breach> {
    let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
    let mut breaches = Vec::new();
    let mut fenced = false;
    for (index, line) in text.lines().enumerate() {
        fenced ^= line.trim_start().starts_with("```");
        for target in line.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let file = target.split('#').next().unwrap_or_default();
            let outside = target.contains("://") || target.starts_with("mailto:");
            if fenced || outside || file.is_empty() {
                continue;
            }
            if !root.join(folder).join(file).exists() {
                breaches.push(Breach::new(path, index + 1, format!("the link {file} leads nowhere")));
            }
        }
    }
    breaches
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_found() {
        let host = HOSTS[0].join(".");
        assert_eq!(hosts("a.md", &format!("one\nsee https://{host}/a\n"))[0].line, 2);
        assert_eq!(hosts("a.md", "crates, io and npm\n"), []);
    }

    #[test]
    fn empty_names_are_found() {
        assert_eq!(name("services/wallet/src/utils.rs").len(), 1);
        assert_eq!(name("services/common/src/lib.rs").len(), 1);
        assert_eq!(name("services/wallet/src/commonality.rs"), []);
    }

    #[test]
    fn dead_links_are_found() {
        let root = crate::tree::root();
        let check = |text| links(&root, "docs/x.md", text);
        assert_eq!(check("[a](nowhere.md) and [b](../Cargo.toml#x)").len(), 1);
        assert_eq!(check("[a](https://example.com/b) [c](#d)\n```\n[e](nowhere.md)\n```\n"), []);
    }
}
