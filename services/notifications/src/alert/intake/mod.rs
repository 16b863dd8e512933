//! CAP documents of others: read strictly, kept as they came, made drafts that officers adopt and release.
//!
//! | module | what it holds |
//! | --- | --- |
//! | this file | from a document to what an alert says. Pure |
//! | `xml` | the tree. Pure |
//! | `schema` | the rules of the schema. Pure |
//! | `desk` | who brought it, what it refers to, the draft that it makes |
//!
//! A signature is kept with the document and not checked: who brought it is told by the connection, and two officers decide.

pub(crate) mod desk;
mod schema;
mod xml;

use chrono::{DateTime, TimeDelta, Utc};

use self::xml::Element;
use super::area::Outline;
use super::{
    Bilingual, Category, Certainty, Content, Kind, MAX_DESCRIPTION, MAX_EVENT, MAX_HEADLINE, MAX_INSTRUCTION, Response,
    Severity, Status, Urgency, is_writable,
};
use crate::city::City;

/// The namespace of a signature (XML-DSig).
const SIGNATURE: &str = "http://www.w3.org/2000/09/xmldsig#";
/// How wards are called in documents.
const WARD_CODE: &str = super::cap::WARD_CODE;
/// How long a message is in force that does not say so.
const USUAL_LIFE: TimeDelta = TimeDelta::hours(24);
/// References that are followed at most.
const MAX_REFERENCES: usize = 20;

/// What is wrong with a document, in one sentence without a full stop.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Fault(String);

impl Fault {
    fn new(what: impl Into<String>) -> Self {
        Self(what.into())
    }
}

/// A document as it was understood.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Received {
    pub(crate) sender: String,
    pub(crate) identifier: String,
    pub(crate) sent_at: DateTime<Utc>,
    pub(crate) kind: Kind,
    pub(crate) signed: bool,
    /// Sender and identifier of the messages that it replaces or ends.
    pub(crate) references: Vec<(String, String)>,
    pub(crate) expires_at: DateTime<Utc>,
    pub(crate) content: Content,
}

/// Why a document makes no draft.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Unfit {
    /// It breaks a rule of CAP.
    Invalid(Fault),
    /// It is a test, a draft of its sender, an acknowledgement, or not for the public.
    NotPublic,
    /// None of its areas is in the city.
    Elsewhere,
}

impl From<Fault> for Unfit {
    fn from(fault: Fault) -> Self {
        Self::Invalid(fault)
    }
}

/// Understands a document.
///
/// # Errors
/// [`Unfit`].
pub(crate) fn understand(text: &str, city: &City) -> Result<Received, Unfit> {
    let xml::Document { root, signed } = xml::read(text, super::cap::NAMESPACE, SIGNATURE)?;
    schema::check(&root)?;
    let word = |name: &str| root.get(name).unwrap_or_default().trim();
    let kind = match word("msgType") {
        "Alert" => Kind::Alert,
        "Update" => Kind::Update,
        "Cancel" => Kind::Cancel,
        _ => return Err(Unfit::NotPublic),
    };
    let status = match (word("status"), word("scope")) {
        ("Actual", "Public") => Status::Actual,
        ("Exercise", "Public") => Status::Exercise,
        _ => return Err(Unfit::NotPublic),
    };
    let sent_at = schema::time(word("sent")).ok_or_else(|| Fault::new("`sent` is not valid"))?;
    let infos: Vec<&Element> = root.all("info").collect();
    if infos.is_empty() && kind != Kind::Cancel {
        return Err(Fault::new("`info` is missing").into());
    }
    let expires = infos.iter().filter_map(|info| schema::time(info.get("expires")?.trim())).max();
    let content = content(&root, &infos, status, city)?;
    if content.wards.is_empty() && kind != Kind::Cancel {
        return Err(Unfit::Elsewhere);
    }
    Ok(Received {
        sender: word("sender").to_owned(),
        identifier: word("identifier").to_owned(),
        sent_at,
        kind,
        signed,
        references: references(word("references")),
        expires_at: expires.unwrap_or(sent_at + USUAL_LIFE),
        content,
    })
}

/// `sender,identifier,sent`, separated by white space; of very many the last, which are the newest.
fn references(text: &str) -> Vec<(String, String)> {
    let one = |reference: &str| {
        let mut parts = reference.split(',');
        Some((parts.next()?.to_owned(), parts.next()?.to_owned()))
    };
    let all: Vec<_> = text.split_whitespace().filter_map(one).collect();
    all[all.len().saturating_sub(MAX_REFERENCES)..].to_vec()
}

fn content(root: &Element, infos: &[&Element], status: Status, city: &City) -> Result<Content, Fault> {
    let nothing = Element::default();
    let of = |language: &str| {
        infos.iter().copied().find(|info| {
            let said = info.get("language").unwrap_or("en-US").trim().to_lowercase();
            said == language || said.starts_with(&format!("{language}-"))
        })
    };
    let first = infos.first().copied().unwrap_or(&nothing);
    let (vi, en) = (of("vi").or(of("en")).unwrap_or(first), of("en").or(of("vi")).unwrap_or(first));
    let note = root.get("note");
    let both = |pick: &dyn Fn(&Element) -> Option<String>, max: usize| Bilingual {
        vi: tidy(pick(vi).as_deref(), max),
        en: tidy(pick(en).as_deref(), max),
    };
    let text = |info: &Element, names: &[&str]| {
        let own = names.iter().filter_map(|name| info.get(name));
        own.chain(note).find(|text| !text.trim().is_empty()).map(str::to_owned)
    };
    let word = |name: &str| first.get(name).unwrap_or_default().trim();
    // Where it was does not matter once it is over: nothing may hold up the end of a warning.
    let is_end = root.get("msgType").is_some_and(|kind| kind.trim() == "Cancel");
    let (polygons, circles) = if is_end { Shapes::default() } else { shapes(infos) };
    let outline = (!polygons.is_empty() || !circles.is_empty()).then(|| Outline {
        description: both(&|info| info.all("area").find_map(|area| area.get("areaDesc").map(str::to_owned)), 200),
        polygons: polygons.clone(),
        circles: circles.clone(),
    });
    let wards = wards(infos, (&polygons, &circles), city);
    // Shapes that are too large to be kept are left out: what counts are the wards that they touch.
    let outline = outline.filter(|outline| wards.is_empty() || outline.fits());
    if let Some(outline) = &outline {
        outline.check().map_err(|_| Fault::new("a polygon or circle is not valid"))?;
    }
    Ok(Content {
        status,
        category: Category::of_cap(word("category")).unwrap_or(Category::Other),
        severity: Severity::of_cap(word("severity")).unwrap_or(Severity::Unknown),
        urgency: Urgency::of_cap(word("urgency")).unwrap_or(Urgency::Unknown),
        certainty: Certainty::of_cap(word("certainty")).unwrap_or(Certainty::Unknown),
        // `Assess` is the one word that has no equal here.
        response: Response::of_cap(word("responseType")).unwrap_or(Response::Monitor),
        event: both(&|info| text(info, &["event", "headline"]), MAX_EVENT),
        headline: both(&|info| text(info, &["headline", "event"]), MAX_HEADLINE),
        description: both(&|info| text(info, &["description", "headline", "event"]), MAX_DESCRIPTION),
        instruction: both(&|info| text(info, &["instruction", "description", "headline", "event"]), MAX_INSTRUCTION),
        wards,
        outline,
    })
}

/// A text that an alert may carry: its white space joined, cut where it is too long; a dash where there is none.
fn tidy(text: Option<&str>, max: usize) -> String {
    let writable: String =
        text.unwrap_or_default().chars().map(|one| if is_writable(one) { one } else { ' ' }).collect();
    let joined = writable.split_whitespace().collect::<Vec<_>>().join(" ");
    match joined.chars().count() {
        0 => "–".to_owned(),
        count if count <= max => joined,
        _ => joined.chars().take(max - 1).collect::<String>().trim_end().to_owned() + "…",
    }
}

type Shapes = (Vec<String>, Vec<String>);

fn shapes(infos: &[&Element]) -> Shapes {
    let all = |name: &'static str| {
        let areas = infos.iter().flat_map(|info| info.all("area"));
        let texts = areas.flat_map(|area| area.all(name).map(|shape| shape.text.as_str()).collect::<Vec<_>>());
        let mut shapes: Vec<String> = texts.map(|text| text.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        // Each language repeats them.
        let mut seen = std::collections::BTreeSet::new();
        shapes.retain(|shape| !shape.is_empty() && seen.insert(shape.clone()));
        shapes
    };
    (all("polygon"), all("circle"))
}

/// The city's wards that a document names; else those whose box a polygon or circle touches. An officer may leave some out.
fn wards(infos: &[&Element], (polygons, circles): (&[String], &[String]), city: &City) -> Vec<String> {
    let areas = infos.iter().flat_map(|info| info.all("area"));
    let codes = areas.flat_map(|area| area.all("geocode").collect::<Vec<_>>());
    let named = codes.filter(|code| code.get("valueName").is_some_and(|name| name.trim() == WARD_CODE));
    let named: std::collections::BTreeSet<String> =
        named.filter_map(|code| code.get("value")).map(|code| code.trim().to_owned()).collect();
    if !named.is_empty() {
        return named.into_iter().filter(|code| city.wards.contains_key(code)).collect();
    }
    let boxes: Vec<[f64; 4]> = polygons
        .iter()
        .filter_map(|it| polygon_box(it))
        .chain(circles.iter().filter_map(|it| circle_box(it)))
        .collect();
    let touched = |own: &[f64; 4]| {
        boxes.iter().any(|one| own[0] <= one[2] && one[0] <= own[2] && own[1] <= one[3] && one[1] <= own[3])
    };
    city.boxes.iter().filter(|(_, own)| touched(own)).map(|(code, _)| code.clone()).collect()
}

fn point(text: &str) -> Option<(f64, f64)> {
    let (latitude, longitude) = text.split_once(',')?;
    Some((latitude.parse().ok()?, longitude.parse().ok()?))
}

/// West, south, east, north.
fn polygon_box(text: &str) -> Option<[f64; 4]> {
    let points: Vec<(f64, f64)> = text.split(' ').map(point).collect::<Option<_>>()?;
    let start = [f64::INFINITY, f64::INFINITY, f64::NEG_INFINITY, f64::NEG_INFINITY];
    Some(points.into_iter().fold(start, |[west, south, east, north], (lat, lon)| {
        [west.min(lon), south.min(lat), east.max(lon), north.max(lat)]
    }))
}

fn circle_box(text: &str) -> Option<[f64; 4]> {
    let (centre, radius) = text.split_once(' ')?;
    let ((lat, lon), radius_km) = (point(centre)?, radius.parse::<f64>().ok()?);
    // A degree of latitude has 111 km; one of longitude less, towards the poles.
    let (tall, wide) = (radius_km / 111.0, radius_km / (111.0 * lat.to_radians().cos().max(0.01)));
    Some([lon - wide, lat - tall, lon + wide, lat + tall])
}

#[cfg(test)]
pub(crate) mod tests;
