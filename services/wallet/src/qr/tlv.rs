//! The grammar: two digits of tag, two digits of length (01–99), then that much value.
//!
//! EMVCo counts a length in characters; several Vietnamese wallets count bytes of UTF-8. Both are parsed, `decode.rs` decides.

use std::fmt::{self, Display, Formatter};

use super::{Fault, Reason};

/// Fields of a merchant's code, by which room is made for them.
const EXPECTED_FIELDS: usize = 12;

/// What a length counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    Characters,
    Bytes,
}

/// One tag with its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Field<'a> {
    pub(super) tag: u8,
    pub(super) value: &'a str,
}

/// Where a field stands: its tags from the outside in. Written with dots when a fault names it, so that what is right costs no text.
#[derive(Clone, Copy, Debug)]
pub(super) struct Path {
    tags: [u8; DEPTH],
    depth: usize,
}

/// How deep templates are nested: a tag, a field of its template, and a field of that one's.
const DEPTH: usize = 3;

impl Path {
    /// Outside of all templates.
    pub(super) const OUTSIDE: Self = Self { tags: [0; DEPTH], depth: 0 };

    /// A field of the template that stands here.
    pub(super) fn then(mut self, tag: u8) -> Self {
        self.tags[self.depth] = tag;
        self.depth += 1;
        self
    }
}

impl Display for Path {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        for (level, tag) in self.tags[..self.depth].iter().enumerate() {
            write!(formatter, "{}{tag:02}", if level == 0 { "" } else { "." })?;
        }
        Ok(())
    }
}

/// All fields of the template at `path`, each tag at most once.
pub(super) fn parse<'a>(text: &'a str, unit: Unit, path: Path) -> Result<Vec<Field<'a>>, Fault> {
    let mut fields: Vec<Field<'a>> = Vec::with_capacity(EXPECTED_FIELDS);
    let mut rest = text;
    while !rest.is_empty() {
        let tag = two_digits(rest).ok_or_else(|| Fault::new(Reason::Length, path))?;
        let fault = |reason| Fault::new(reason, path.then(tag));
        let length = two_digits(&rest[2..]).ok_or_else(|| fault(Reason::Length))?;
        let (value, after) = split(&rest[4..], usize::from(length), unit).ok_or_else(|| fault(Reason::Length))?;
        if fields.iter().any(|field| field.tag == tag) {
            return Err(fault(Reason::DuplicateField));
        }
        fields.push(Field { tag, value });
        rest = after;
    }
    Ok(fields)
}

/// Appends a field whose length counts characters. Refuses a value that is empty or longer than 99.
pub(super) fn write(out: &mut String, tag: u8, value: &str, path: Path) -> Result<(), Fault> {
    let length = value.chars().count();
    if length == 0 || length > 99 {
        return Err(Fault::new(Reason::Length, path.then(tag)));
    }
    out.push_str(&format!("{tag:02}{length:02}{value}"));
    Ok(())
}

/// The two ASCII digits at the start. After `Some`, byte 2 is a character boundary.
fn two_digits(text: &str) -> Option<u8> {
    match text.as_bytes() {
        [tens @ b'0'..=b'9', ones @ b'0'..=b'9', ..] => Some((tens - b'0') * 10 + (ones - b'0')),
        _ => None,
    }
}

fn split(text: &str, length: usize, unit: Unit) -> Option<(&str, &str)> {
    let end = match unit {
        _ if length == 0 => return None,
        Unit::Bytes => length,
        Unit::Characters => {
            text.char_indices().nth(length - 1).map(|(start, character)| start + character.len_utf8())?
        }
    };
    text.split_at_checked(end)
}
