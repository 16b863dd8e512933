//! Statements in code and in migrations: qualified names, no star, named constraints, commented tables.
//!
//! Works on tokens, not on a grammar; comments and string literals are skipped, bodies of functions are read.

use std::collections::{BTreeMap, BTreeSet};

use crate::Breach;

/// First words of the statements that rules look at.
const VERBS: [&str; 5] = ["DELETE", "INSERT", "SELECT", "UPDATE", "WITH"];

/// Functions whose argument may hold the word FROM.
const FROM_FUNCTIONS: [&str; 4] = ["EXTRACT", "OVERLAY", "SUBSTRING", "TRIM"];

#[derive(Clone, Debug)]
struct Token {
    line: usize,
    text: String,
    upper: String,
}

/// Whether a string literal is a statement of SQL.
pub fn is_statement(text: &str) -> bool {
    let text = text.trim_start_matches(|c: char| c.is_whitespace() || c == '\\');
    VERBS.iter().any(|verb| text.strip_prefix(verb).is_some_and(|rest| rest.starts_with(char::is_whitespace)))
}

/// Breaches of statements: every table is named with its schema, and no column list is a star, unless it is that of arrays whose names follow.
pub fn statement(path: &str, first_line: usize, text: &str) -> Vec<Breach> {
    let tokens = tokens(first_line, text);
    let local = local_names(&tokens);
    let mut breaches = Vec::new();
    let mut openers: Vec<String> = Vec::new();
    for (index, token) in tokens.iter().enumerate() {
        let before = upper(&tokens, index.wrapping_sub(1));
        match token.upper.as_str() {
            "(" => openers.push(before.to_owned()),
            ")" => drop(openers.pop()),
            "*" if upper(&tokens, index + 2) == "UNNEST" => {}
            "*" if matches!(before, "SELECT" | "RETURNING" | "DISTINCT" | "ALL") || before.ends_with('.') => {
                breaches.push(Breach::new(path, token.line, "columns are named: no star"));
            }
            _ => {}
        }
        let in_function = openers.last().is_some_and(|opener| FROM_FUNCTIONS.contains(&opener.as_str()));
        let Some(table) = table_after(&tokens, index).filter(|_| !in_function) else { continue };
        if !table.text.contains('.') && !local.contains(&table.upper) {
            let rule = format!("table {} is named without its schema", table.text);
            breaches.push(Breach::new(path, table.line, rule));
        }
    }
    breaches
}

/// Breaches of a migration: every constraint has a name, every table a comment.
pub fn migration(path: &str, text: &str) -> Vec<Breach> {
    let tokens = tokens(1, text);
    let mut breaches = Vec::new();
    let (mut created, mut commented) = (BTreeMap::new(), BTreeSet::new());
    for (index, token) in tokens.iter().enumerate() {
        let before = upper(&tokens, index.wrapping_sub(1));
        match (before, token.upper.as_str()) {
            ("CREATE" | "UNLOGGED", "TABLE") => {
                if let Some(table) = table_after(&tokens, index) {
                    created.insert(table.text.clone(), table.line);
                }
                breaches.extend(columns(path, &tokens[index..]));
            }
            ("ON", "TABLE") if upper(&tokens, index.wrapping_sub(2)) == "COMMENT" => {
                commented.extend(tokens.get(index + 1).map(|table| table.text.clone()));
            }
            ("ADD", "PRIMARY" | "UNIQUE" | "CHECK" | "FOREIGN" | "EXCLUDE") => {
                breaches.push(Breach::new(path, token.line, "every constraint has a name"));
            }
            _ => {}
        }
    }
    for (table, line) in created.into_iter().filter(|(table, _)| !commented.contains(table)) {
        breaches.push(Breach::new(path, line, format!("table {table} has no COMMENT ON TABLE")));
    }
    breaches
}

/// Breaches of the names of migrations: `0001_word.sql` and on, without gap, and never back.
pub fn order(paths: &[&str]) -> Vec<Breach> {
    let mut breaches = Vec::new();
    let mut next: BTreeMap<&str, u32> = BTreeMap::new();
    for path in paths {
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
        let number = name.split_once('_').and_then(|(number, _)| (number.len() == 4).then(|| number.parse().ok())?);
        let expected = next.entry(folder).or_insert(1);
        if number != Some(*expected) {
            breaches.push(Breach::new(path, 0, format!("the next migration of the folder is {expected:04}_word.sql")));
        }
        if ["down", "revert", "rollback"].iter().any(|word| name.contains(word)) {
            breaches.push(Breach::new(path, 0, "migrations only go forward"));
        }
        *expected += 1;
    }
    breaches
}

fn upper(tokens: &[Token], index: usize) -> &str {
    tokens.get(index).map_or("", |token| token.upper.as_str())
}

/// The name of the table that a keyword at this place announces, if it does.
fn table_after(tokens: &[Token], index: usize) -> Option<&Token> {
    let before = upper(tokens, index.wrapping_sub(1));
    let first = tokens[..index].iter().rposition(|token| token.text == ";").map_or(0, |at| at + 1);
    let announces = match upper(tokens, index) {
        "FROM" => before != "DISTINCT" && upper(tokens, first) != "REVOKE",
        "JOIN" | "REFERENCES" => true,
        "INTO" => matches!(before, "INSERT" | "MERGE"),
        "UPDATE" => matches!(before, "" | ";" | "(" | ")" | "THEN" | "BEGIN" | "LOOP" | "ELSE"),
        "TABLE" => matches!(before, "CREATE" | "ALTER" | "DROP" | "LOCK" | "UNLOGGED" | "ON"),
        _ => false,
    };
    if !announces {
        return None;
    }
    let skipped = |token: &&Token| !matches!(token.upper.as_str(), "ONLY" | "LATERAL" | "IF" | "NOT" | "EXISTS");
    let at = index + 1 + tokens[index + 1..].iter().position(|token| skipped(&token))?;
    let is_call = upper(tokens, at + 1) == "(" && matches!(upper(tokens, index), "FROM" | "JOIN");
    let is_name = tokens[at].text.starts_with(|c: char| c.is_alphabetic() || matches!(c, '_' | '{' | '"'));
    (is_name && !is_call).then_some(&tokens[at])
}

/// Names that a statement gives itself: common table expressions and transition tables.
fn local_names(tokens: &[Token]) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for index in (0..tokens.len()).filter(|index| tokens[*index].upper == "AS") {
        let body = upper(tokens, index + 1);
        let Some(before) = index.checked_sub(1) else { continue };
        if matches!(body, "(" | "MATERIALIZED" | "NOT") {
            let name = if tokens[before].text == ")" { opener(tokens, before) } else { Some(before) };
            names.extend(name.map(|at| tokens[at].upper.clone()));
        }
        if upper(tokens, before) == "TABLE" {
            names.extend(tokens.get(index + 1).map(|name| name.upper.clone()));
        }
    }
    names
}

/// The token before the bracket that closes here.
fn opener(tokens: &[Token], close: usize) -> Option<usize> {
    let mut depth = 0_usize;
    for index in (0..=close).rev() {
        match tokens[index].text.as_str() {
            ")" => depth += 1,
            "(" if depth == 1 => return index.checked_sub(1),
            "(" => depth -= 1,
            _ => {}
        }
    }
    None
}

/// Breaches of the columns of one CREATE TABLE.
fn columns(path: &str, tokens: &[Token]) -> Vec<Breach> {
    let mut breaches = Vec::new();
    let (mut depth, mut named, mut foreign) = (0_usize, false, false);
    for token in tokens {
        match token.upper.as_str() {
            "(" => depth += 1,
            ")" if depth <= 1 => break,
            ")" => depth -= 1,
            ";" => break,
            "," if depth == 1 => (named, foreign) = (false, false),
            "CONSTRAINT" if depth == 1 => named = true,
            "PRIMARY" | "UNIQUE" | "CHECK" | "REFERENCES" | "FOREIGN" | "EXCLUDE" if depth == 1 => {
                if !named && !foreign {
                    breaches.push(Breach::new(path, token.line, "every constraint has a name"));
                }
                foreign = token.upper == "FOREIGN";
                named = foreign && named;
            }
            _ => {}
        }
    }
    breaches
}

fn tokens(first_line: usize, text: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut line = first_line;
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let length = token_length(rest, c);
        let part = &rest[..length];
        let word = c.is_alphanumeric() || matches!(c, '_' | '{' | '"');
        if word || matches!(c, '(' | ')' | ',' | ';' | '*') {
            tokens.push(Token { line, text: part.to_owned(), upper: part.to_uppercase() });
        }
        line += part.matches('\n').count();
        rest = &rest[length..];
    }
    tokens
}

fn token_length(rest: &str, c: char) -> usize {
    let until = |end: &str, from: usize| rest[from..].find(end).map_or(rest.len(), |at| from + at + end.len());
    if rest.starts_with("--") {
        return until("\n", 2);
    }
    if rest.starts_with("/*") {
        return until("*/", 2);
    }
    match c {
        '\'' => until("'", 1),
        c if c.is_alphanumeric() || matches!(c, '_' | '{' | '"') => {
            let part = |c: char| c.is_alphanumeric() || matches!(c, '_' | '.' | '{' | '}' | '"');
            rest.find(|c| !part(c)).unwrap_or(rest.len())
        }
        _ => c.len_utf8(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(text: &str) -> Vec<String> {
        statement("a.rs", 1, text).into_iter().map(|breach| format!("{}: {}", breach.line, breach.rule)).collect()
    }

    #[test]
    fn good_statements_pass() {
        for text in [
            "SELECT a, COUNT(*) FROM wallet.bill WHERE b * 2 > 1",
            "WITH due AS (SELECT id FROM wallet.job FOR UPDATE SKIP LOCKED) UPDATE wallet.job SET a = 1 FROM due",
            "WITH due (id) AS MATERIALIZED (SELECT id FROM wallet.job) SELECT id FROM due",
            "INSERT INTO wallet.a (b) SELECT c FROM unnest($1::uuid[]) AS t (c) ON CONFLICT (b) DO UPDATE SET b = 1",
            "WITH a AS (SELECT * FROM unnest($1::uuid[]) AS t (c)) SELECT c FROM a",
            "SELECT EXTRACT(EPOCH FROM at) FROM wallet.a WHERE b IS DISTINCT FROM c",
            "SELECT a FROM {schema}.outbox JOIN LATERAL (SELECT 1) AS x ON TRUE",
            "SELECT 'no FROM here', \"from\" FROM wallet.a -- FROM b",
            "SELECT pg_advisory_xact_lock(1)",
        ] {
            assert_eq!(rules(text), [""; 0], "{text}");
        }
        assert!(is_statement("\\\n  SELECT 1") && !is_statement("SELECTED") && !is_statement("Update the app"));
    }

    #[test]
    fn bare_tables_and_stars_are_found() {
        for text in [
            "SELECT a FROM bill",
            "SELECT a FROM wallet.bill JOIN payer ON TRUE",
            "INSERT INTO bill (a) VALUES (1)",
            "UPDATE bill SET a = 1",
            "DELETE FROM bill",
            "SELECT * FROM wallet.bill",
            "SELECT b.* FROM wallet.bill AS b",
            "DELETE FROM wallet.bill RETURNING *",
            "WITH a AS (SELECT 1) SELECT x FROM b",
        ] {
            assert_eq!(rules(text).len(), 1, "{text}: {:?}", rules(text));
        }
        assert_eq!(rules("SELECT a\nFROM bill"), ["2: table bill is named without its schema"]);
    }

    #[test]
    fn migrations_are_checked() {
        let good = "-- x\nCREATE TABLE w.a (\n  id uuid NOT NULL,\n  b bigint DEFAULT (1),\n  CONSTRAINT a_pk PRIMARY KEY (id),\n  \
                    CONSTRAINT a_b FOREIGN KEY (b) REFERENCES w.c (id),\n  d int CONSTRAINT a_d CHECK (d > 0)\n);\n\
                    COMMENT ON TABLE w.a IS 'A.';\nREVOKE ALL ON w.a FROM PUBLIC;\nGRANT SELECT, UPDATE ON w.a TO r;";
        assert_eq!(migration("m.sql", good), []);
        assert_eq!(statement("m.sql", 1, good), []);
        for (text, line) in [
            ("CREATE TABLE w.a (\n  id uuid\n);", 1),
            ("COMMENT ON TABLE w.a IS '';\nCREATE TABLE w.a (\n  id uuid PRIMARY KEY\n);", 3),
            ("COMMENT ON TABLE w.a IS '';\nCREATE TABLE w.a (\n  id uuid,\n UNIQUE (id));", 4),
            ("COMMENT ON TABLE w.a IS '';\nCREATE TABLE w.a (b uuid REFERENCES w.c (id));", 2),
            ("ALTER TABLE w.a ADD CHECK (b > 0);", 1),
        ] {
            let lines: Vec<_> = migration("m.sql", text).iter().map(|breach| breach.line).collect();
            assert_eq!(lines, [line], "{text}");
        }
        assert_eq!(statement("m.sql", 1, "CREATE TABLE a (b int);").len(), 1);
    }

    #[test]
    fn migrations_are_numbered() {
        assert_eq!(order(&["a/migrations/0001_x.sql", "a/migrations/0002_y.sql", "b/migrations/0001_z.sql"]), []);
        assert_eq!(order(&["a/migrations/0001_x.sql", "a/migrations/0003_y.sql"]).len(), 1);
        assert_eq!(order(&["a/migrations/1_x.sql"]).len(), 1);
        assert_eq!(order(&["a/migrations/0001_x.down.sql"]).len(), 1);
    }
}
