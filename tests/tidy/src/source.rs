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
    }
    for (line, code) in anatomy.production() {
        for (_, rule) in FORBIDDEN_OUTSIDE_TESTS.iter().filter(|(word, _)| code.contains(word)) {
            breaches.push(Breach::new(path, line, *rule));
        }
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
        ] {
            let found = rules("services/x/src/a.rs", text);
            assert_eq!(found.len(), 1, "{text}: {found:?}");
            assert_eq!(found[0].0, line, "{text}");
        }
        let long = format!("//! x\n{}", "fn a() {}\n".repeat(MAX_LINES));
        assert_eq!(rules("services/x/src/a.rs", &long).len(), 1);
        assert_eq!(rules("services/x/tests/a.rs", &long), []);
    }
}
