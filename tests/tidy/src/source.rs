//! How a Rust file begins, how long it is, and what it may not say.

use crate::Breach;
use crate::rust::{Anatomy, has_word};

/// The most lines of a file outside its tests.
pub const MAX_LINES: usize = 700;

/// Words that a Rust file says nowhere, tests included, and why.
const FORBIDDEN: [(&str, &str); 4] = [
    ("todo!", "finished code only: no todo!"),
    ("unimplemented!", "finished code only: no unimplemented!"),
    ("dbg!", "no dbg!: use tracing"),
    ("#[ignore", "a test that is skipped is a defect: no #[ignore]"),
];

/// Words that a Rust file says in its tests at most, and why.
const FORBIDDEN_OUTSIDE_TESTS: [(&str, &str); 1] =
    [(".unwrap()", "no unwrap: an expect states the invariant, or the error is returned")];

/// Where transactions are begun on a pool.
const BEGINS: &str = "services/platform/src/db.rs";
/// What begins something that is no transaction of a pool.
const OTHER_BEGINNERS: [&str; 2] = ["connection", "leases"];
/// Where folders for tests are made.
const FOLDERS: &str = "services/platform/src/embedded/scratch";

/// All breaches of one Rust file.
pub fn check(path: &str, text: &str) -> Vec<Breach> {
    let mut breaches = Vec::new();
    if !text.starts_with("//!") {
        breaches.push(Breach::new(path, 1, "a Rust file opens with //! that says what lives here"));
    }
    let anatomy = Anatomy::of(path, text);
    let length = anatomy.production().count();
    if length > MAX_LINES {
        let rule = format!("{length} lines outside tests; a file has at most {MAX_LINES}");
        breaches.push(Breach::new(path, 0, rule));
    }
    for (line, code) in anatomy.lines() {
        for (_, rule) in FORBIDDEN.iter().filter(|(word, _)| code.contains(word)) {
            breaches.push(Breach::new(path, line, *rule));
        }
        if has_word(code, "temp_dir") && !path.starts_with(FOLDERS) {
            let rule =
                "no temp_dir: a test's folder is a platform::embedded::scratch::TestFolder, which is removed with it";
            breaches.push(Breach::new(path, line, rule));
        }
    }
    for (line, code) in anatomy.production() {
        for (_, rule) in FORBIDDEN_OUTSIDE_TESTS.iter().filter(|(word, _)| code.contains(word)) {
            breaches.push(Breach::new(path, line, *rule));
        }
    }
    if path.starts_with("services/") && path.contains("/src/") && path != BEGINS {
        let rule =
            "a transaction on a pool is begun by platform::db::begin or begin_read_only, which may be dropped half way";
        breaches.extend(beginnings(&anatomy).into_iter().map(|line| Breach::new(path, line, rule)));
    }
    for (index, line) in text.lines().enumerate() {
        let comment = line.trim_start();
        let marked = ["TODO", "FIXME", "XXX", "HACK"].iter().any(|word| has_word(comment, word));
        if comment.starts_with("//") && marked {
            breaches.push(Breach::new(path, index + 1, "finished code only: no TODO in a comment"));
        }
    }
    breaches
}

/// The lines outside tests on which a transaction is begun by a method; the call may be broken over lines.
fn beginnings(anatomy: &Anatomy) -> Vec<usize> {
    let code: String = anatomy.production().flat_map(|(_, line)| [line, "\n"]).collect();
    let begun = |method: &str| -> Vec<usize> { code.match_indices(method).map(|(at, _)| at).collect() };
    let with_statement = [".begin_with(", ".try_begin_with("].into_iter().flat_map(begun);
    let plain = [".begin()", ".try_begin()"].into_iter().flat_map(|method| {
        let awaited = |at: &usize| code[at + method.len()..].trim_start().starts_with(".await");
        begun(method)
            .into_iter()
            .filter(|at| awaited(at) || beginner(&code[..*at]).ends_with("pool"))
            .collect::<Vec<_>>()
    });
    let of_a_pool = with_statement.chain(plain).filter(|at| !OTHER_BEGINNERS.contains(&beginner(&code[..*at])));
    let mut lines: Vec<usize> = of_a_pool.map(|at| code[..at].matches('\n').count() + 1).collect();
    lines.sort_unstable();
    lines
}

/// The name that a method is called on: `pool` for `self.pool` and for `self.pool()`.
fn beginner(before: &str) -> &str {
    let before = before.trim_end();
    let before = before.strip_suffix("()").unwrap_or(before);
    before.rsplit(|c: char| !(c.is_alphanumeric() || c == '_')).next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(path: &str, text: &str) -> Vec<(usize, String)> {
        check(path, text).into_iter().map(|breach| (breach.line, breach.rule)).collect()
    }

    #[test]
    fn a_good_file_passes() {
        let text =
            "//! Map.\n\nfn a() { b.expect(\"holds\"); }\n\n#[cfg(test)]\nmod tests {\n    fn c() { d.unwrap(); }\n}\n";
        assert_eq!(rules("services/x/src/a.rs", text), []);
        assert_eq!(rules("a.rs", "//! Says \"todo!\" in words and .unwrap() too.\n"), []);
    }

    #[test]
    fn each_rule_can_fail() {
        for (text, line) in [
            ("fn a() {}\n", 1),
            ("//! x\nfn a() { todo!() }\n", 2),
            ("//! x\nfn a() { unimplemented!(\"b\") }\n", 2),
            ("//! x\n\nfn a() { dbg!(b) }\n", 3),
            ("//! x\n#[ignore = \"slow\"]\nfn a() {}\n", 2),
            ("//! x\nfn a() { b.unwrap() }\n", 2),
            ("//! x\n// TODO: more\n", 2),
            ("//! x\nfn a() { let b = std::env::temp_dir(); }\n", 2),
            ("//! x\nasync fn a() { b.pool\n    .begin()\n    .await }\n", 3),
            ("//! x\nasync fn a() { b.pool().begin().await }\n", 2),
            ("//! x\nasync fn a() { b.database.begin().await }\n", 2),
            ("//! x\n\nasync fn a() { b.begin_with(\"BEGIN\").await }\n", 3),
            ("//! x\nfn a() { let b = self.pool.begin(); }\n", 2),
        ] {
            let found = rules("services/x/src/a.rs", text);
            assert_eq!(found.len(), 1, "{text}: {found:?}");
            assert_eq!(found[0].0, line, "{text}");
        }
        let begins = "//! x\nasync fn a() { pool.begin().await }\n";
        for path in [BEGINS, "services/x/tests/a.rs", "services/x/src/tests/a.rs"] {
            assert_eq!(rules(path, begins), [], "{path}");
        }
        let others =
            "//! x\nasync fn a() { shutdown.begin(); db::begin(&pool).await; self.leases.begin().await; b.begin(c) }\n";
        assert_eq!(rules("services/x/src/a.rs", others), []);
        let long = format!("//! x\n{}", "fn a() {}\n".repeat(MAX_LINES));
        assert_eq!(rules("services/x/src/a.rs", &long).len(), 1);
        assert_eq!(rules("services/x/tests/a.rs", &long), []);
    }
}
