//! The city itself, from `city.toml`.

use std::path::Path;

use chrono::{NaiveDate, NaiveTime, Weekday};
use chrono_tz::Tz;
use platform::dataset::{Day, Document, Fault, Spanned, read_toml};
use serde::Deserialize;

const FILE: &str = "city.toml";
const KNOWN_LANGUAGES: [&str; 2] = ["vi", "en"];

/// A name in both languages.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Name {
    /// Vietnamese.
    pub vi: String,
    /// English.
    pub en: String,
}

/// A span of office hours, local time; `until` is outside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Its first moment.
    pub from: NaiveTime,
    /// The moment after its last.
    pub until: NaiveTime,
}

/// What a city says about itself.
#[derive(Clone, Debug)]
pub struct Profile {
    /// The state's code of the province or city, such as `46`.
    pub code: String,
    /// The full name.
    pub name: Name,
    /// The name in everyday use.
    pub short_name: Name,
    /// The zone of days, months and working hours.
    pub time_zone: Tz,
    /// ISO 4217 code of the currency.
    pub currency: String,
    /// ISO 3166 region in which a telephone number without country code is read.
    pub phone_region: String,
    /// Languages that the city offers, the default first.
    pub languages: Vec<String>,
    /// The day since which wards and communes stand directly below the city.
    pub two_levels_since: NaiveDate,
    /// Weekdays on which offices work.
    pub working_days: Vec<Weekday>,
    /// Office hours of such a day, in order.
    pub working_spans: Vec<Span>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    code: Spanned<String>,
    name: Name,
    short_name: Name,
    country: Spanned<String>,
    time_zone: Spanned<String>,
    currency: Spanned<String>,
    phone_region: Spanned<String>,
    area_phone_code: Spanned<String>,
    languages: Spanned<Vec<String>>,
    centre: Spanned<Centre>,
    government: Government,
    working_hours: WorkingHours,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Centre {
    lon: f64,
    lat: f64,
    zoom: f64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Government {
    two_levels_since: Day,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WorkingHours {
    days: Spanned<Vec<String>>,
    spans: Vec<SpanText>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SpanText {
    from: Spanned<String>,
    to: Spanned<String>,
}

pub(super) fn read(dir: &Path, faults: &mut Vec<Fault>) -> Option<Profile> {
    match read_toml::<File>(&dir.join(FILE)) {
        Ok(document) => profile(&document, faults),
        Err(fault) => {
            faults.push(fault);
            None
        }
    }
}

fn profile(document: &Document<File>, faults: &mut Vec<Fault>) -> Option<Profile> {
    let file = &document.value;
    codes(document, faults);
    let languages = file.languages.get_ref();
    for language in languages.iter().filter(|l| !KNOWN_LANGUAGES.contains(&l.as_str())) {
        faults.push(document.fault(&file.languages, format_args!("language {language:?} is unknown")));
    }
    if languages.is_empty() {
        faults.push(document.fault(&file.languages, "the city offers no language"));
    }
    let centre = file.centre.get_ref();
    if !(-180.0..=180.0).contains(&centre.lon)
        || !(-85.0..=85.0).contains(&centre.lat)
        || !(0.0..=22.0).contains(&centre.zoom)
    {
        faults.push(document.fault(&file.centre, "the centre lies outside the map"));
    }
    let working_days = weekdays(document, faults);
    let working_spans = spans(document, faults);
    let Ok(time_zone) = file.time_zone.get_ref().parse::<Tz>() else {
        let message = format!("time zone {:?} is unknown", file.time_zone.get_ref());
        faults.push(document.fault(&file.time_zone, message));
        return None;
    };
    Some(Profile {
        code: file.code.get_ref().clone(),
        name: file.name.clone(),
        short_name: file.short_name.clone(),
        time_zone,
        currency: file.currency.get_ref().clone(),
        phone_region: file.phone_region.get_ref().clone(),
        languages: languages.clone(),
        two_levels_since: file.government.two_levels_since.0,
        working_days,
        working_spans,
    })
}

fn codes(document: &Document<File>, faults: &mut Vec<Fault>) {
    let file = &document.value;
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let capitals = |text: &str, length| text.len() == length && text.bytes().all(|b| b.is_ascii_uppercase());
    let area = file.area_phone_code.get_ref();
    let checks: [(&Spanned<String>, bool, &str); 5] = [
        (
            &file.code,
            file.code.get_ref().len() == 2 && digits(file.code.get_ref()),
            "the city's code is not two digits",
        ),
        (&file.country, capitals(file.country.get_ref(), 2), "the country is not two capital letters"),
        (&file.phone_region, capitals(file.phone_region.get_ref(), 2), "the phone region is not two capital letters"),
        (&file.currency, capitals(file.currency.get_ref(), 3), "the currency is not three capital letters"),
        (
            &file.area_phone_code,
            area.len() >= 2 && area.starts_with('0') && digits(area),
            "the area code is not 0 and digits",
        ),
    ];
    faults.extend(checks.iter().filter(|check| !check.1).map(|(at, _, message)| document.fault(at, message)));
}

fn weekdays(document: &Document<File>, faults: &mut Vec<Fault>) -> Vec<Weekday> {
    let names = &document.value.working_hours.days;
    let mut days = Vec::new();
    for name in names.get_ref() {
        match name.parse::<Weekday>() {
            Ok(day) if days.contains(&day) => {
                faults.push(document.fault(names, format_args!("{name} stands twice")));
            }
            Ok(day) => days.push(day),
            Err(_) => faults.push(document.fault(names, format_args!("weekday {name:?} is unknown"))),
        }
    }
    if names.get_ref().is_empty() {
        faults.push(document.fault(names, "no weekday is worked"));
    }
    days
}

fn spans(document: &Document<File>, faults: &mut Vec<Fault>) -> Vec<Span> {
    let mut spans: Vec<Span> = Vec::new();
    for span in &document.value.working_hours.spans {
        let (Some(from), Some(until)) = (time(document, &span.from, faults), time(document, &span.to, faults)) else {
            continue;
        };
        if until <= from {
            faults.push(document.fault(&span.to, "the span ends before it begins"));
        }
        if spans.last().is_some_and(|before| from < before.until) {
            faults.push(document.fault(&span.from, "the span begins before the one before it ends"));
        }
        spans.push(Span { from, until });
    }
    if document.value.working_hours.spans.is_empty() {
        faults.push(document.fault(&document.value.working_hours.days, "no span of office hours"));
    }
    spans
}

fn time(document: &Document<File>, text: &Spanned<String>, faults: &mut Vec<Fault>) -> Option<NaiveTime> {
    let time = NaiveTime::parse_from_str(text.get_ref(), "%H:%M");
    if time.is_err() {
        faults.push(document.fault(text, format_args!("{:?} is not a time such as 07:30", text.get_ref())));
    }
    time.ok()
}
