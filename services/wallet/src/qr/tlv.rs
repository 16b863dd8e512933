//! The grammar: two digits of tag, two digits of length (01–99), then that much value.
//!
//! EMVCo counts a length in characters; several Vietnamese wallets count bytes of UTF-8. Both are parsed, `decode.rs` decides.

use super::{Fault, Reason};

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

/// All fields of a template, each tag at most once. `path` is the dotted tag of the template, empty at the outside.
pub(super) fn parse<'a>(text: &'a str, unit: Unit, path: &str) -> Result<Vec<Field<'a>>, Fault> {
    let mut fields: Vec<Field<'a>> = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let tag = two_digits(rest).ok_or_else(|| Fault::new(Reason::Length, path))?;
        let place = join(path, tag);
        let length = two_digits(&rest[2..]).ok_or_else(|| Fault::new(Reason::Length, &*place))?;
        let (value, after) =
            split(&rest[4..], usize::from(length), unit).ok_or_else(|| Fault::new(Reason::Length, &*place))?;
        if fields.iter().any(|field| field.tag == tag) {
            return Err(Fault::new(Reason::DuplicateField, place));
        }
        fields.push(Field { tag, value });
        rest = after;
    }
    Ok(fields)
}

/// Appends a field whose length counts characters. Refuses a value that is empty or longer than 99.
pub(super) fn write(out: &mut String, tag: u8, value: &str, path: &str) -> Result<(), Fault> {
    let length = value.chars().count();
    if length == 0 || length > 99 {
        return Err(Fault::new(Reason::Length, join(path, tag)));
    }
    out.push_str(&format!("{tag:02}{length:02}{value}"));
    Ok(())
}

/// The dotted name of a tag inside a template.
pub(super) fn join(path: &str, tag: u8) -> String {
    if path.is_empty() { format!("{tag:02}") } else { format!("{path}.{tag:02}") }
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
