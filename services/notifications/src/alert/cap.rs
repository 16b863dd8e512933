//! CAP 1.2 documents and the Atom feed that lists them. Pure.
//!
//! Elements stand in the order of the published schema (urn:oasis:names:tc:emergency:cap:1.2), whose `xs:sequence` leaves
//! no choice. Times carry a numeric offset: the schema refuses `Z`.
//! A document is made once, when its alert is released, and stored: it never changes afterwards.

use std::io;

use chrono::{DateTime, FixedOffset};
use platform::http::Language;
use quick_xml::Writer;
use quick_xml::events::{BytesDecl, BytesText, Event};

use super::{Bilingual, Content, Kind};
use crate::city::City;

/// The namespace of CAP 1.2.
pub(crate) const NAMESPACE: &str = "urn:oasis:names:tc:emergency:cap:1.2";
/// The namespace of Atom (RFC 4287).
const ATOM: &str = "http://www.w3.org/2005/Atom";
/// What the codes of wards are called in documents.
pub(crate) const WARD_CODE: &str = "VN-WARD-2025";

/// A message of CAP.
#[derive(Clone, Debug)]
pub(crate) struct Message<'a> {
    pub(crate) identifier: &'a str,
    pub(crate) kind: Kind,
    pub(crate) sent: DateTime<FixedOffset>,
    pub(crate) expires: DateTime<FixedOffset>,
    pub(crate) content: &'a Content,
    /// The message that this one replaces or ends.
    pub(crate) reference: Option<Reference<'a>>,
}

/// Names an earlier message of the same sender.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reference<'a> {
    pub(crate) identifier: &'a str,
    pub(crate) sent: DateTime<FixedOffset>,
}

type Xml = Writer<Vec<u8>>;

/// The document of a message.
pub(crate) fn document(message: &Message<'_>, city: &City) -> String {
    render(|xml| {
        xml.create_element("alert").with_attribute(("xmlns", NAMESPACE)).write_inner_content(|xml| {
            text(xml, "identifier", message.identifier)?;
            text(xml, "sender", &city.warner.sender)?;
            text(xml, "sent", &stamp(message.sent))?;
            text(xml, "status", message.content.status.cap())?;
            text(xml, "msgType", message.kind.cap())?;
            text(xml, "scope", "Public")?;
            if let Some(Reference { identifier, sent }) = message.reference {
                text(xml, "references", &format!("{},{identifier},{}", city.warner.sender, stamp(sent)))?;
            }
            for language in [Language::Vi, Language::En] {
                xml.create_element("info").write_inner_content(|xml| info(xml, message, city, language))?;
            }
            Ok(())
        })?;
        Ok(())
    })
}

fn info(xml: &mut Xml, message: &Message<'_>, city: &City, language: Language) -> io::Result<()> {
    let content = message.content;
    text(xml, "language", tag(language))?;
    text(xml, "category", content.category.cap())?;
    text(xml, "event", content.event.of(language))?;
    text(xml, "responseType", content.response.cap())?;
    text(xml, "urgency", content.urgency.cap())?;
    text(xml, "severity", content.severity.cap())?;
    text(xml, "certainty", content.certainty.cap())?;
    text(xml, "effective", &stamp(message.sent))?;
    text(xml, "expires", &stamp(message.expires))?;
    text(xml, "senderName", city.warner.sender_name.of(language))?;
    text(xml, "headline", content.headline.of(language))?;
    text(xml, "description", content.description.of(language))?;
    text(xml, "instruction", content.instruction.of(language))?;
    if let Some(outline) = &content.outline {
        xml.create_element("area").write_inner_content(|xml| {
            text(xml, "areaDesc", outline.description.of(language))?;
            outline.polygons.iter().try_for_each(|polygon| text(xml, "polygon", polygon))?;
            outline.circles.iter().try_for_each(|circle| text(xml, "circle", circle))
        })?;
    }
    for code in &content.wards {
        let name = city.wards.get(code).map_or(code.as_str(), |name| name.of(language));
        xml.create_element("area").write_inner_content(|xml| {
            text(xml, "areaDesc", name)?;
            xml.create_element("geocode").write_inner_content(|xml| {
                text(xml, "valueName", WARD_CODE)?;
                text(xml, "value", code)
            })?;
            Ok(())
        })?;
    }
    Ok(())
}

/// An entry of the feed.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) identifier: String,
    pub(crate) sent: DateTime<FixedOffset>,
    pub(crate) content: Content,
}

/// The Atom feed of `entries`, newest first, in one language. `base` ends with a slash.
pub(crate) fn feed(entries: &[Entry], base: &str, city: &City, language: Language) -> String {
    let updated = entries.first().map_or_else(|| city.local(DateTime::UNIX_EPOCH), |entry| entry.sent);
    let address = format!("{base}cap/v1/feed.atom");
    let warner = city.warner.sender_name.of(language);
    render(|xml| {
        let root = xml.create_element("feed").with_attributes([("xmlns", ATOM), ("xml:lang", language.tag())]);
        root.write_inner_content(|xml| {
            text(xml, "id", &address)?;
            text(xml, "title", warner)?;
            text(xml, "updated", &stamp(updated))?;
            xml.create_element("author").write_inner_content(|xml| text(xml, "name", warner))?;
            xml.create_element("link")
                .with_attributes([("rel", "self"), ("type", "application/atom+xml"), ("href", address.as_str())])
                .write_empty()?;
            entries.iter().try_for_each(|one| entry(xml, one, base, language))
        })?;
        Ok(())
    })
}

fn entry(xml: &mut Xml, entry: &Entry, base: &str, language: Language) -> io::Result<()> {
    let address = format!("{base}cap/v1/alerts/{}.xml", entry.identifier);
    xml.create_element("entry").write_inner_content(|xml| {
        text(xml, "id", &address)?;
        text(xml, "title", entry.content.headline.of(language))?;
        text(xml, "updated", &stamp(entry.sent))?;
        text(xml, "published", &stamp(entry.sent))?;
        xml.create_element("link")
            .with_attributes([("rel", "alternate"), ("type", "application/cap+xml"), ("href", address.as_str())])
            .write_empty()?;
        xml.create_element("category").with_attribute(("term", entry.content.category.cap())).write_empty()?;
        text(xml, "summary", entry.content.description.of(language))
    })?;
    Ok(())
}

impl Bilingual {
    /// The text in a language.
    pub(crate) fn of(&self, language: Language) -> &str {
        match language {
            Language::Vi => &self.vi,
            Language::En => &self.en,
        }
    }
}

fn tag(language: Language) -> &'static str {
    match language {
        Language::Vi => "vi-VN",
        Language::En => "en-US",
    }
}

/// A time as the schema's pattern wants it; UTC is written `-00:00`.
fn stamp(time: DateTime<FixedOffset>) -> String {
    let text = time.format("%Y-%m-%dT%H:%M:%S%:z").to_string();
    text.strip_suffix("+00:00").map(|start| format!("{start}-00:00")).unwrap_or(text)
}

fn text(xml: &mut Xml, name: &str, content: &str) -> io::Result<()> {
    xml.create_element(name).write_text_content(BytesText::new(content)).map(|_| ())
}

fn render(write: impl FnOnce(&mut Xml) -> io::Result<()>) -> String {
    let mut xml = Writer::new_with_indent(Vec::new(), b' ', 2);
    xml.write_event(Event::Decl(BytesDecl::new("1.0", Some("UTF-8"), None)))
        .and_then(|()| write(&mut xml))
        .expect("writing to memory does not fail");
    let mut text = String::from_utf8(xml.into_inner()).expect("only text is written");
    text.push('\n');
    text
}

#[cfg(test)]
mod tests;
