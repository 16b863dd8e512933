//! Tells code, comments, strings and tests of a Rust file apart, well enough for rules. Not a parser.

use std::iter::Peekable;
use std::str::CharIndices;

/// A string literal and the line on which it begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Literal {
    /// The line, from 1.
    pub line: usize,
    /// The text between the quotes, escapes as written.
    pub text: String,
}

/// A Rust file taken apart.
#[derive(Clone, Debug, Default)]
pub struct Anatomy {
    /// The file with comments and the insides of literals blanked; lines are kept.
    pub code: String,
    /// Its string literals in order.
    pub literals: Vec<Literal>,
    /// The first line of the trailing block of tests, or one past the last line.
    pub tests_from: usize,
}

impl Anatomy {
    /// Takes a file apart.
    pub fn of(path: &str, text: &str) -> Self {
        let mut scanner = Scanner { text, chars: text.char_indices().peekable(), line: 1, out: Self::default() };
        scanner.run();
        let mut anatomy = scanner.out;
        let lines = text.lines().count();
        anatomy.tests_from = if is_test(path) { 1 } else { tests_from(&anatomy.code).unwrap_or(lines + 1) };
        anatomy
    }

    /// Numbered lines of code outside tests.
    pub fn production(&self) -> impl Iterator<Item = (usize, &str)> {
        self.lines().take_while(|(line, _)| *line < self.tests_from)
    }

    /// Numbered lines of code, tests included.
    pub fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.code.lines().enumerate().map(|(index, line)| (index + 1, line))
    }
}

/// Whether a whole file is a test.
pub fn is_test(path: &str) -> bool {
    path.starts_with("tests/")
        || path.contains("/tests/")
        || path.contains("/benches/")
        || path.rsplit('/').next().is_some_and(|name| matches!(name, "tests.rs" | "testing.rs"))
}

fn tests_from(code: &str) -> Option<usize> {
    let lines: Vec<_> = code.lines().map(str::trim).collect();
    let pair = |(index, line): (usize, &&str)| {
        let next = lines.get(index + 1)?;
        (*line == "#[cfg(test)]" && next.starts_with("mod ") && next.ends_with('{')).then_some(index + 1)
    };
    lines.iter().enumerate().find_map(pair)
}

/// Whether a word stands in a line of code, not as a part of a longer one.
pub fn has_word(line: &str, word: &str) -> bool {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(at, _)| {
        !line[..at].chars().next_back().is_some_and(part) && !line[at + word.len()..].chars().next().is_some_and(part)
    })
}

struct Scanner<'a> {
    text: &'a str,
    chars: Peekable<CharIndices<'a>>,
    line: usize,
    out: Anatomy,
}

impl Scanner<'_> {
    fn run(&mut self) {
        while let Some((at, c)) = self.chars.next() {
            match c {
                '/' if self.follows(at, "//") => self.blank_line(),
                '/' if self.follows(at, "/*") => self.blank_block(),
                '"' => self.string(),
                'r' | 'b' | 'c' if self.raw_hashes(at).is_some() => {
                    let hashes = self.raw_hashes(at).unwrap_or_default();
                    self.raw_string(hashes);
                }
                '\'' => self.quote(at),
                _ => self.keep(c),
            }
        }
    }

    fn follows(&self, at: usize, text: &str) -> bool {
        self.text[at..].starts_with(text)
    }

    fn keep(&mut self, c: char) {
        self.line += usize::from(c == '\n');
        self.out.code.push(c);
    }

    fn blank(&mut self, c: char) {
        self.keep(if c == '\n' { '\n' } else { ' ' });
    }

    fn blank_line(&mut self) {
        self.blank(' ');
        while let Some((_, c)) = self.chars.next_if(|(_, c)| *c != '\n') {
            self.blank(c);
        }
    }

    fn blank_block(&mut self) {
        let mut depth = 1;
        self.blank(' ');
        self.chars.next();
        self.blank(' ');
        while depth > 0 {
            let Some((at, c)) = self.chars.next() else { return };
            self.blank(c);
            let step = if self.follows(at, "/*") {
                1
            } else if self.follows(at, "*/") {
                -1
            } else {
                continue;
            };
            depth += step;
            self.chars.next();
            self.blank(' ');
        }
    }

    fn string(&mut self) {
        self.keep('"');
        let mut literal = Literal { line: self.line, text: String::new() };
        while let Some((_, c)) = self.chars.next() {
            if c == '"' {
                break;
            }
            literal.text.push(c);
            self.blank(c);
            if c == '\\'
                && let Some((_, escaped)) = self.chars.next()
            {
                literal.text.push(escaped);
                self.blank(escaped);
            }
        }
        self.keep('"');
        self.out.literals.push(literal);
    }

    /// The number of `#` of a raw string that begins here, if one does.
    fn raw_hashes(&self, at: usize) -> Option<usize> {
        let before = self.text[..at].chars().next_back();
        if before.is_some_and(|c| c.is_alphanumeric() || c == '_') {
            return None;
        }
        let rest = self.text[at..].trim_start_matches(['b', 'c']);
        let rest = rest.strip_prefix('r')?;
        let hashes = rest.len() - rest.trim_start_matches('#').len();
        rest[hashes..].starts_with('"').then_some(hashes)
    }

    fn raw_string(&mut self, hashes: usize) {
        self.blank(' ');
        while let Some((_, c)) = self.chars.next() {
            self.blank(c);
            if c == '"' {
                break;
            }
        }
        let end = format!("\"{}", "#".repeat(hashes));
        let mut literal = Literal { line: self.line, text: String::new() };
        while let Some((at, c)) = self.chars.next() {
            if self.follows(at, &end) {
                for _ in 0..hashes {
                    self.chars.next();
                }
                break;
            }
            literal.text.push(c);
            self.blank(c);
        }
        self.out.literals.push(literal);
    }

    /// A character literal is blanked; the tick of a lifetime is kept.
    fn quote(&mut self, at: usize) {
        let rest = &self.text[at + 1..];
        let mut inside = rest.chars();
        let length = match inside.next() {
            Some('\\') => rest[2..].find('\'').map(|end| end + 2),
            Some(c) if inside.next() == Some('\'') => Some(c.len_utf8()),
            _ => None,
        };
        self.keep('\'');
        let Some(length) = length else { return };
        while let Some((_, c)) = self.chars.next_if(|(index, _)| *index <= at + length) {
            self.blank(c);
        }
        self.chars.next();
        self.keep('\'');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_are_blanked() {
        let text = "let a = \"b // c\"; // d\nlet e = 'f'; /* g\n/* h */ */ let i: &'static str = r#\"j \"k\" \"#;\n";
        let anatomy = Anatomy::of("a.rs", text);
        assert_eq!(anatomy.code.lines().count(), 3);
        for gone in ['c', 'd', 'f', 'g', 'h', 'j', 'k'] {
            assert!(!has_word(&anatomy.code, &gone.to_string()), "{gone}: {}", anatomy.code);
        }
        for kept in ["a", "e", "i", "static"] {
            assert!(has_word(&anatomy.code, kept), "{kept}: {}", anatomy.code);
        }
        let literals: Vec<_> = anatomy.literals.iter().map(|l| (l.line, l.text.as_str())).collect();
        assert_eq!(literals, [(1, "b // c"), (3, "j \"k\" ")]);
    }

    #[test]
    fn escapes_end_no_literal() {
        let anatomy = Anatomy::of("a.rs", r#"f("a\"b", '\'', '"', b"\\"); g('\u{1F600}', 'ế');"#);
        let texts: Vec<_> = anatomy.literals.iter().map(|literal| literal.text.as_str()).collect();
        assert_eq!(texts, [r#"a\"b"#, r"\\"]);
        assert!(has_word(&anatomy.code, "g"));
    }

    #[test]
    fn the_block_of_tests_is_found() {
        let text = "fn a() {}\n\n#[cfg(test)]\nmod tests {\n    fn b() {}\n}\n";
        let anatomy = Anatomy::of("services/x/src/a.rs", text);
        assert_eq!(anatomy.tests_from, 3);
        assert_eq!(anatomy.production().count(), 2);
        assert_eq!(Anatomy::of("services/x/src/a/tests.rs", text).production().count(), 0);
        assert_eq!(Anatomy::of("services/x/src/a.rs", "#[cfg(test)]\nmod tests;\nfn a() {}\n").production().count(), 3);
    }
}
