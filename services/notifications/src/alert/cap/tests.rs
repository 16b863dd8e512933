//! Documents against the rules of the published schema, written down here: order, number and content of elements.

use std::borrow::Cow;

use chrono::{TimeDelta, TimeZone as _, Utc};
use proptest::prelude::*;
use quick_xml::Reader;
use quick_xml::escape::resolve_predefined_entity;

use super::*;
use crate::alert::tests::flood;
use crate::alert::{Outline, Severity, Status};

/// An element with its text or its children.
#[derive(Clone, Debug, Default)]
struct Node {
    name: String,
    attributes: Vec<(String, String)>,
    text: String,
    children: Vec<Node>,
}

impl Node {
    fn texts(&self, name: &str) -> Vec<&str> {
        self.children.iter().filter(|child| child.name == name).map(|child| child.text.as_str()).collect()
    }

    fn all(&self, name: &str) -> Vec<&Node> {
        self.children.iter().filter(|child| child.name == name).collect()
    }
}

fn parse(document: &str) -> Node {
    let mut reader = Reader::from_str(document);
    let mut open = vec![Node::default()];
    loop {
        let top = open.len() - 1;
        match reader.read_event().expect("well formed") {
            Event::Start(start) => open.push(element(&start)),
            Event::Empty(empty) => {
                let node = element(&empty);
                open[top].children.push(node);
            }
            Event::End(_) => {
                let node = open.pop().expect("the reader matches ends");
                open[top - 1].children.push(node);
            }
            Event::Text(text) => open[top].text += &text.decode().expect("UTF-8"),
            Event::GeneralRef(reference) => {
                let name = reference.decode().expect("UTF-8");
                let resolved = match reference.resolve_char_ref().expect("a character") {
                    Some(character) => Cow::Owned(character.to_string()),
                    None => Cow::Borrowed(resolve_predefined_entity(&name).expect("one of the five")),
                };
                open[top].text += &resolved;
            }
            Event::Eof => break,
            _ => {}
        }
    }
    open.remove(0).children.remove(0)
}

fn element(start: &quick_xml::events::BytesStart<'_>) -> Node {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("UTF-8");
    let attributes = start.attributes().map(|attribute| attribute.expect("well formed"));
    Node {
        name: text(start.name().as_ref()),
        attributes: attributes.map(|one| (text(one.key.as_ref()), text(&one.value))).collect(),
        ..Node::default()
    }
}

/// A place in an `xs:sequence`: the element, how often at least and at most.
type Rule = (&'static str, usize, usize);
const MANY: usize = usize::MAX;

/// The sequences of CAP-v1.2.xsd.
const ALERT: &[Rule] = &[
    ("identifier", 1, 1),
    ("sender", 1, 1),
    ("sent", 1, 1),
    ("status", 1, 1),
    ("msgType", 1, 1),
    ("source", 0, 1),
    ("scope", 1, 1),
    ("restriction", 0, 1),
    ("addresses", 0, 1),
    ("code", 0, MANY),
    ("note", 0, 1),
    ("references", 0, 1),
    ("incidents", 0, 1),
    ("info", 0, MANY),
];
const INFO: &[Rule] = &[
    ("language", 0, 1),
    ("category", 1, MANY),
    ("event", 1, 1),
    ("responseType", 0, MANY),
    ("urgency", 1, 1),
    ("severity", 1, 1),
    ("certainty", 1, 1),
    ("audience", 0, 1),
    ("eventCode", 0, MANY),
    ("effective", 0, 1),
    ("onset", 0, 1),
    ("expires", 0, 1),
    ("senderName", 0, 1),
    ("headline", 0, 1),
    ("description", 0, 1),
    ("instruction", 0, 1),
    ("web", 0, 1),
    ("contact", 0, 1),
    ("parameter", 0, MANY),
    ("resource", 0, MANY),
    ("area", 0, MANY),
];
const AREA: &[Rule] = &[
    ("areaDesc", 1, 1),
    ("polygon", 0, MANY),
    ("circle", 0, MANY),
    ("geocode", 0, MANY),
    ("altitude", 0, 1),
    ("ceiling", 0, 1),
];
const NAMED: &[Rule] = &[("valueName", 1, 1), ("value", 1, 1)];

/// The simple types that are enumerations or patterns in the schema.
fn is_value(element: &str, value: &str) -> bool {
    let one_of = |values: &str| values.split(' ').any(|one| one == value);
    match element {
        "status" => one_of("Actual Exercise System Test Draft"),
        "msgType" => one_of("Alert Update Cancel Ack Error"),
        "scope" => one_of("Public Restricted Private"),
        "category" => one_of("Geo Met Safety Security Rescue Fire Health Env Transport Infra CBRNE Other"),
        "responseType" => one_of("Shelter Evacuate Prepare Execute Avoid Monitor Assess AllClear None"),
        "urgency" => one_of("Immediate Expected Future Past Unknown"),
        "severity" => one_of("Extreme Severe Moderate Minor Unknown"),
        "certainty" => one_of("Observed Likely Possible Unlikely Unknown"),
        "sent" | "effective" | "onset" | "expires" => is_time(value),
        _ => !value.is_empty(),
    }
}

/// `\d\d\d\d-\d\d-\d\dT\d\d:\d\d:\d\d[-,+]\d\d:\d\d`, which leaves no room for `Z` or fractions.
fn is_time(value: &str) -> bool {
    let shape = "dddd-dd-ddTdd:dd:dd±dd:dd";
    value.len() == 25
        && value.chars().zip(shape.chars()).all(|(letter, wanted)| match wanted {
            'd' => letter.is_ascii_digit(),
            '±' => letter == '+' || letter == '-',
            fixed => letter == fixed,
        })
        && DateTime::parse_from_rfc3339(value).is_ok()
}

/// What the schema has against an element.
fn fault(node: &Node) -> Option<String> {
    let rules = match node.name.as_str() {
        "alert" => ALERT,
        "info" => INFO,
        "area" => AREA,
        "geocode" | "parameter" | "eventCode" => NAMED,
        name => return (!is_value(name, &node.text)).then(|| format!("{name} is {:?}", node.text)),
    };
    let mut children = node.children.iter().peekable();
    for (name, least, most) in rules {
        let mut count = 0;
        while children.next_if(|child| child.name == *name).is_some() {
            count += 1;
        }
        if count < *least || count > *most {
            return Some(format!("{count} {name} in {}", node.name));
        }
    }
    if let Some(left) = children.next() {
        return Some(format!("{} has no place in {}, or not there", left.name, node.name));
    }
    node.children.iter().find_map(fault)
}

fn time() -> DateTime<FixedOffset> {
    FixedOffset::east_opt(7 * 3_600)
        .expect("an offset")
        .with_ymd_and_hms(2025, 10, 27, 7, 15, 0)
        .single()
        .expect("a time")
}

fn message<'a>(kind: Kind, content: &'a Content) -> Message<'a> {
    Message {
        identifier: "VN-46-1",
        kind,
        sent: time(),
        expires: time() + TimeDelta::hours(12),
        content,
        reference: None,
    }
}

#[test]
fn a_document_keeps_to_the_schema_in_both_languages() {
    let city = crate::city::tests::hue();
    let mut content = flood(&["19774", "19753"]);
    content.outline = Some(Outline {
        description: content.event.clone(),
        polygons: vec!["16.46,107.55 16.47,107.55 16.47,107.56 16.46,107.55".to_owned()],
        circles: vec!["16.4637,107.585 1.5".to_owned()],
    });
    let text = document(&message(Kind::Alert, &content), &city);
    assert!(text.starts_with(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<alert xmlns=\"urn:oasis:names:tc:emergency:cap:1.2\">"
    ));
    let alert = parse(&text);
    assert_eq!(fault(&alert), None);
    assert_eq!(alert.texts("sent"), ["2025-10-27T07:15:00+07:00"]);
    assert_eq!(alert.texts("references"), Vec::<&str>::new());
    let infos = alert.all("info");
    let languages: Vec<_> = infos.iter().flat_map(|info| info.texts("language")).collect();
    assert_eq!(languages, ["vi-VN", "en-US"]);
    assert_eq!(infos[1].texts("description"), ["3.58 m at Kim Long & rising."]);
    let areas = infos[0].all("area");
    assert_eq!(
        areas.iter().flat_map(|area| area.texts("areaDesc")).collect::<Vec<_>>(),
        ["Lũ", "Phường Kim Long", "Phường Phú Xuân"]
    );
    assert_eq!(areas[1].all("geocode")[0].texts("value"), ["19774"]);
}

#[test]
fn updates_and_cancellations_name_what_they_follow() {
    let city = crate::city::tests::hue();
    let content = flood(&["19774"]);
    for kind in [Kind::Update, Kind::Cancel] {
        let reference = Some(Reference { identifier: "VN-46-0", sent: time() - TimeDelta::hours(1) });
        let alert = parse(&document(&Message { reference, ..message(kind, &content) }, &city));
        assert_eq!(fault(&alert), None);
        assert_eq!(alert.texts("msgType"), [kind.cap()]);
        assert_eq!(alert.texts("references"), ["ioc@hue.example,VN-46-0,2025-10-27T06:15:00+07:00"]);
    }
}

#[test]
fn utc_is_written_as_the_schema_wants_it() {
    assert_eq!(stamp(Utc.timestamp_opt(0, 0).single().expect("a time").fixed_offset()), "1970-01-01T00:00:00-00:00");
    assert!(is_time("1970-01-01T00:00:00-00:00") && !is_time("1970-01-01T00:00:00Z"));
}

#[test]
fn the_rules_find_what_is_wrong() {
    let city = crate::city::tests::hue();
    let good = document(&message(Kind::Alert, &flood(&["19774"])), &city);
    for (from, to) in [
        ("2025-10-27T07:15:00+07:00", "2025-10-27T00:15:00Z"),
        ("<scope>Public</scope>", ""),
        ("<severity>Severe</severity>", "<severity>Grave</severity>"),
        ("<msgType>Alert</msgType>", "<scope>Public</scope><msgType>Alert</msgType>"),
        ("<areaDesc>Kim Long Ward</areaDesc>", ""),
        ("<event>Flood</event>", "<event>Flood</event><web>https://hue.example</web>"),
    ] {
        assert!(good.contains(from), "{from}");
        assert!(fault(&parse(&good.replace(from, to))).is_some(), "{from} → {to}");
    }
}

#[test]
fn the_feed_lists_documents_newest_first() {
    let city = crate::city::tests::hue();
    let entry = |number: u8| Entry {
        identifier: format!("VN-46-{number}"),
        sent: time() + TimeDelta::hours(number.into()),
        content: flood(&["19774"]),
    };
    let listed = |entries: &[Entry]| parse(&feed(entries, "https://hue.example/", &city, Language::En));
    let full = listed(&[entry(2), entry(1)]);
    assert_eq!(full.attributes[0], ("xmlns".to_owned(), ATOM.to_owned()));
    assert_eq!(full.texts("updated"), ["2025-10-27T09:15:00+07:00"]);
    let entries = full.all("entry");
    assert_eq!(entries[0].texts("id"), ["https://hue.example/cap/v1/alerts/VN-46-2.xml"]);
    assert_eq!(entries[0].texts("title"), ["Perfume River above flood alarm 3"]);
    for required in ["id", "title", "updated"] {
        assert!(full.texts(required).len() == 1 && entries.iter().all(|entry| entry.texts(required).len() == 1));
    }
    let link = &entries[0].all("link")[0].attributes;
    assert!(link.contains(&("href".to_owned(), "https://hue.example/cap/v1/alerts/VN-46-2.xml".to_owned())));
    let empty = listed(&[]);
    assert_eq!((empty.all("entry").len(), empty.texts("updated").len()), (0, 1));
}

proptest! {
    #[test]
    fn whatever_officers_write_comes_back_and_keeps_to_the_schema(
        texts in prop::collection::vec("[<>&\"'a-zA-Zừ😀\n,;\\]\\[! ]{1,60}", 4),
        severity in prop::sample::select(Severity::ALL.to_vec()),
        exercise in any::<bool>(),
    ) {
        let city = crate::city::tests::hue();
        let mut content = flood(&["19774"]);
        let trimmed: Vec<String> = texts.iter().map(|text| format!("x{}x", text)).collect();
        content.event.vi.clone_from(&trimmed[0]);
        content.headline.vi.clone_from(&trimmed[1]);
        content.description.vi.clone_from(&trimmed[2]);
        content.instruction.vi.clone_from(&trimmed[3]);
        content.severity = severity;
        content.status = if exercise { Status::Exercise } else { Status::Actual };
        let alert = parse(&document(&message(Kind::Alert, &content), &city));
        prop_assert_eq!(fault(&alert), None);
        prop_assert_eq!(alert.texts("status"), [content.status.cap()]);
        let info = alert.all("info")[0];
        for (name, wanted) in ["event", "headline", "description", "instruction"].iter().zip(&trimmed) {
            prop_assert_eq!(info.texts(name), [wanted]);
        }
        prop_assert_eq!(info.texts("severity"), [severity.cap()]);
    }
}
