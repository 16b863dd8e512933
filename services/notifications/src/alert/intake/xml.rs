//! XML into a small tree: no document types, no entities but those of XML itself, one namespace, bounded. Pure.
//!
//! Limits: [`MAX_DEPTH`], [`MAX_ELEMENTS`]; the length of a document is bounded by the request.

use quick_xml::NsReader;
use quick_xml::escape::resolve_predefined_entity;
use quick_xml::events::Event;
use quick_xml::name::ResolveResult;

use super::Fault;

/// Elements inside each other at most.
const MAX_DEPTH: usize = 8;
/// Elements at most.
const MAX_ELEMENTS: usize = 5_000;

/// An element of the wanted namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Element {
    pub(super) name: String,
    pub(super) text: String,
    pub(super) children: Vec<Element>,
}

/// A document: its root, and whether it carries a signature (XML-DSig), which is skipped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Document {
    pub(super) root: Element,
    pub(super) signed: bool,
}

impl Element {
    /// The text of the first child with this name.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.children.iter().find(|child| child.name == name).map(|child| child.text.as_str())
    }

    /// Children with this name.
    pub(super) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Element> {
        self.children.iter().filter(move |child| child.name == name)
    }
}

/// Reads a document whose elements are of `namespace`; a signature may stand inside its root.
///
/// # Errors
/// What is not as it must be.
pub(super) fn read(text: &str, namespace: &str, signature: &str) -> Result<Document, Fault> {
    let mut reader = NsReader::from_str(text);
    let (mut open, mut root, mut elements) = (Vec::<Element>::new(), None, 0);
    let (mut signed, mut skipped) = (false, 0_usize);
    loop {
        let (found, event) =
            reader.read_resolved_event().map_err(|_| Fault::new("the document is not well-formed XML"))?;
        let space = match found {
            ResolveResult::Bound(bound) => Some(bound.as_ref().to_vec()),
            _ => None,
        };
        let is_signature = space.as_deref() == Some(signature.as_bytes());
        match event {
            Event::Eof => break,
            Event::DocType(_) => return Err(Fault::new("a document type is not allowed")),
            Event::Start(_) | Event::Empty(_) if skipped > 0 || (is_signature && open.len() == 1) => {
                signed = true;
                skipped += usize::from(matches!(event, Event::Start(_)));
            }
            Event::End(_) if skipped > 0 => skipped -= 1,
            _ if skipped > 0 => {}
            Event::Start(ref tag) | Event::Empty(ref tag) => {
                elements += 1;
                let name = String::from_utf8_lossy(tag.local_name().as_ref()).into_owned();
                if space.as_deref() != Some(namespace.as_bytes()) {
                    return Err(Fault::new(format!("element {} is not of {namespace}", shorten(&name))));
                }
                if elements > MAX_ELEMENTS || open.len() >= MAX_DEPTH || root.is_some() {
                    return Err(Fault::new("there are too many elements"));
                }
                open.push(Element { name, ..Element::default() });
                if matches!(event, Event::Empty(_)) {
                    close(&mut open, &mut root)?;
                }
            }
            Event::End(_) => close(&mut open, &mut root)?,
            Event::Text(text) => add(&mut open, &text.decode().map_err(|_| Fault::new("a text is not UTF-8"))?)?,
            Event::CData(text) => add(&mut open, &text.decode().map_err(|_| Fault::new("a text is not UTF-8"))?)?,
            Event::GeneralRef(entity) => {
                let unknown = || Fault::new("an entity is not known");
                let character = entity.resolve_char_ref().map_err(|_| unknown())?;
                let name = entity.decode().map_err(|_| unknown())?;
                match character {
                    Some(character) => add(&mut open, character.encode_utf8(&mut [0; 4]))?,
                    None => add(&mut open, resolve_predefined_entity(&name).ok_or_else(unknown)?)?,
                }
            }
            Event::Decl(declaration) => {
                let encoding =
                    declaration.encoding().transpose().map_err(|_| Fault::new("the declaration is not XML's"))?;
                if encoding.is_some_and(|name| !name.eq_ignore_ascii_case(b"utf-8")) {
                    return Err(Fault::new("the encoding is not UTF-8"));
                }
            }
            Event::Comment(_) | Event::PI(_) => {}
        }
    }
    let whole = open.is_empty() && skipped == 0;
    let root = root.filter(|_| whole).ok_or_else(|| Fault::new("the document is not whole"))?;
    Ok(Document { root, signed })
}

fn close(open: &mut Vec<Element>, root: &mut Option<Element>) -> Result<(), Fault> {
    let done = open.pop().ok_or_else(|| Fault::new("the document is not well-formed XML"))?;
    match open.last_mut() {
        Some(parent) => parent.children.push(done),
        None => *root = Some(done),
    }
    Ok(())
}

fn add(open: &mut [Element], text: &str) -> Result<(), Fault> {
    match open.last_mut() {
        Some(element) => element.text.push_str(text),
        None if text.trim().is_empty() => {}
        None => return Err(Fault::new("text stands outside of the document")),
    }
    Ok(())
}

fn shorten(name: &str) -> String {
    name.chars().take(40).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPACE: &str = "urn:x";
    const SIGNATURE: &str = "urn:sig";

    fn reads(text: &str) -> Result<Document, Fault> {
        read(text, SPACE, SIGNATURE)
    }

    #[test]
    fn only_plain_documents_of_the_namespace_are_read() {
        let good = reads(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?><a xmlns=\"urn:x\"><b>1 &amp; <![CDATA[<2>]]>&#233;</b><c/></a>",
        );
        let root = good.expect("good").root;
        assert_eq!((root.get("b"), root.get("c"), root.get("d")), (Some("1 & <2>é"), Some(""), None));
        let signed =
            reads("<a xmlns=\"urn:x\"><b>1</b><s:Signature xmlns:s=\"urn:sig\"><s:V>9</s:V></s:Signature></a>")
                .expect("good");
        assert!(signed.signed && signed.root.children.len() == 1);
        let deep = format!("{}{}", "<a xmlns=\"urn:x\">".repeat(9), "</a>".repeat(9));
        for wrong in [
            "",
            "<a xmlns=\"urn:y\"/>",
            "<a/>",
            "<a xmlns=\"urn:x\"><b></a>",
            "<a xmlns=\"urn:x\"/><a xmlns=\"urn:x\"/>",
            "<!DOCTYPE a [<!ENTITY e \"x\">]><a xmlns=\"urn:x\">&e;</a>",
            "<a xmlns=\"urn:x\">&e;</a>",
            "<?xml version=\"1.0\" encoding=\"ISO-8859-1\"?><a xmlns=\"urn:x\"/>",
            "<a xmlns=\"urn:x\">",
            &deep,
        ] {
            assert!(reads(wrong).is_err(), "{wrong}");
        }
    }
}
