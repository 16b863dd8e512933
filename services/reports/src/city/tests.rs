//! The city's folder as it is, and copies of it that were broken on purpose.

use std::fs;
use std::path::{Path, PathBuf};

use chrono::NaiveDate;
use platform::dataset::Fault;
use platform::embedded::scratch::TestFolder;

use super::*;
use crate::check_city;

const FILES: [&str; 11] = [
    "agencies.csv",
    "city.toml",
    "flood-levels.csv",
    "holidays.csv",
    "landmarks.csv",
    "report-attributes.csv",
    "report-categories.csv",
    "report-rules.csv",
    "rivers.geojson",
    "wards.csv",
    "wards.geojson",
];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/city/hue")
}

/// What is said about a copy of the folder in which one piece of one file was replaced,
/// each fault with the line of text that it names.
fn broken(name: &str, file: &str, change: (&str, &str)) -> Vec<(Fault, String)> {
    let copy = TestFolder::new(name).expect("a folder");
    let dir = copy.path();
    for copied in FILES.iter().chain(&["wards.topojson"]) {
        fs::copy(folder().join(copied), dir.join(copied)).expect("the file can be copied");
    }
    let path = dir.join(file);
    let text = fs::read_to_string(&path).expect("the file can be read");
    assert!(text.contains(change.0), "{file} has no {:?}", change.0);
    fs::write(&path, text.replacen(change.0, change.1, 1)).expect("the file can be written");
    let line = |fault: &Fault| {
        let text = fs::read_to_string(&fault.file).expect("a fault names a file that exists");
        text.lines().nth((fault.line.max(1) - 1) as usize).unwrap_or_default().to_owned()
    };
    check_city(dir).into_iter().map(|fault| (fault.clone(), line(&fault))).collect()
}

/// Expects a fault of `file` with this message, on a line that holds `at`.
fn expect(name: &str, file: &str, change: (&str, &str), at: &str, message: &str) {
    let faults = broken(name, file, change);
    let hit = faults.iter().find(|(fault, _)| fault.message.contains(message));
    assert!(hit.is_some(), "{name}: nothing says {message:?}: {faults:?}");
    let (fault, line) = hit.expect("asserted above");
    assert!(fault.line > 0 && line.contains(at), "{name}: {fault} is not the line of {at:?}");
}

fn day(text: &str) -> NaiveDate {
    text.parse().expect("the test writes a date")
}

#[test]
fn the_folder_is_sound() {
    assert_eq!(check_city(&folder()), []);
    let city = City::load(&folder()).expect("the folder is sound");
    assert_eq!(city.profile.code, "46");
    assert_eq!(city.profile.time_zone, chrono_tz::Asia::Ho_Chi_Minh);
    assert_eq!(city.profile.working_spans.len(), 2);
    assert_eq!(city.wards.len(), 40);
    assert_eq!(city.wards.iter().filter(|ward| ward.kind == WardKind::Ward).count(), 21);
    assert_eq!(city.categories.len(), 10);
    let instant: Vec<_> = city.categories.iter().filter(|c| c.lane == Lane::Instant).collect();
    assert_eq!(instant.len(), 1);
    assert_eq!(instant[0].code, "TH");
}

#[test]
fn working_days_follow_weekday_holiday_and_make_up_saturday() {
    let calendar = City::load(&folder()).expect("the folder is sound").calendar;
    for (date, worked) in [
        ("2026-08-21", true),
        ("2026-08-22", true),
        ("2026-08-23", false),
        ("2026-08-29", false),
        ("2026-08-31", false),
        ("2026-09-02", false),
        ("2026-11-24", false),
        ("2025-11-24", true),
        ("2031-01-01", true),
    ] {
        assert_eq!(calendar.is_working_day(day(date)), worked, "{date}");
    }
    assert_eq!(calendar.day(day("2026-08-31")), Some(DayKind::Swap));
    assert_eq!(calendar.day(day("2026-08-30")), None);
}

#[test]
fn faults_of_the_city_are_named() {
    let check = |name, change: (&str, &str), message| expect(name, "city.toml", change, change.1, message);
    check("code", ("code = \"46\"", "code = \"4x\""), "not two digits");
    check("zone", ("\"Asia/Ho_Chi_Minh\"", "\"Asia/Hue\""), "time zone \"Asia/Hue\" is unknown");
    check("currency", ("\"VND\"", "\"vnd\""), "three capital letters");
    check("region", ("phone_region = \"VN\"", "phone_region = \"84\""), "phone region");
    check("area", ("\"0234\"", "\"234\""), "area code");
    check("language", ("[\"vi\", \"en\"]", "[\"vi\", \"xx\"]"), "language \"xx\" is unknown");
    check("centre", ("lon = 107.5850", "lon = 1070.5"), "outside the map");
    check("weekday", ("\"friday\"", "\"freitag\""), "weekday \"freitag\" is unknown");
    check("weekday-twice", ("\"friday\"", "\"monday\""), "monday stands twice");
    check("time", ("\"11:30\"", "\"11.30\""), "not a time");
    check("span", ("\"11:30\"", "\"07:00\""), "ends before it begins");
    check("spans", ("\"13:30\"", "\"11:00\""), "before the one before it ends");
    check("key", ("[government]", "[goverment]"), "unknown field `goverment`");
    check("since", ("2025-07-01", "2025-07-32"), "");
}

#[test]
fn faults_of_wards_are_named() {
    let check = |name, change: (&str, &str), message| expect(name, "wards.csv", change, change.1, message);
    check("ward-code", ("19753,", "1975,"), "is not 5 digits");
    check("ward-twice", ("19774,", "19753,"), "ward 19753 stands on line");
    check("ward-kind", ("Phu Xuan Ward,ward", "Phu Xuan Ward,town"), "unknown variant `town`");
    check("ward-box", ("107.556121", "109.556121"), "inverted");
    check("ward-name", ("Phường Phú Xuân", ""), "a name is missing");
    let new = "19754,Mới,Phường Mới,Moi Ward,ward,1,1,107.5,16.5,107.4,16.4,107.6,16.6\n19774,";
    expect("no-shape", "wards.csv", ("19774,", new), "19754,", "ward 19754 has no shape in wards.geojson");
    let geometry = |name, change: (&str, &str), at, message| expect(name, "wards.geojson", change, at, message);
    geometry("shape-code", ("\"code\":\"19753\"", "\"code\":\"99999\""), "99999", "ward 99999 is not in wards.csv");
    geometry("shape-gone", ("\"code\":\"19753\"", "\"code\":\"99999\""), "19753,", "ward 19753 has no shape");
    geometry("shape-twice", ("\"code\":\"19774\"", "\"code\":\"19753\""), "19753", "more than one shape");
    geometry("shape-kind", ("\"Polygon\"", "\"Point\""), "Point", "is not an area");
}

#[test]
fn faults_of_geometry_files_are_named() {
    let first = ("\"provenance\":{", "\"from\":{");
    expect("origin", "wards.geojson", first, "FeatureCollection", "no member `provenance`");
    expect("river-origin", "rivers.geojson", first, "FeatureCollection", "no member `provenance`");
    expect("topology", "wards.topojson", ("\"code\":\"19753\"", "\"code\":\"11111\""), "11111", "ward 11111 is not in");
    let faults = broken("syntax", "wards.geojson", ("\"features\":[", "\"features\":[["));
    assert!(faults.iter().any(|(fault, _)| fault.line > 3 && fault.file.ends_with("wards.geojson")), "{faults:?}");
    expect("river", "rivers.geojson", ("\"LineString\"", "\"Polygon\""), "huong", "a river is not a line");
}

#[test]
fn faults_of_categories_and_days_are_named() {
    let check = |name, change: (&str, &str), message| expect(name, "report-categories.csv", change, change.1, message);
    check("cat-twice", ("CS,", "HT,"), "category HT stands on line");
    check("cat-code", ("CS,", "cs,"), "capital letters");
    check("cat-lane", ("CS,Chiếu sáng công cộng,Street lighting,timed", "CS,a,b,slow"), "unknown variant `slow`");
    check("cat-name", ("Street lighting", " "), "handler is missing");
    check(
        "cat-target",
        ("khẩn cấp,Disaster and emergency,instant", "khẩn cấp,Disaster and emergency,timed"),
        "target of 0",
    );
    let check = |name, change: (&str, &str), message| expect(name, "holidays.csv", change, change.1, message);
    check("day", ("2026-09-02", "2026-09-31"), "");
    check("day-twice", ("2026-09-02", "2026-09-01"), "2026-09-01 stands on line");
    check("day-order", ("2026-09-02", "2025-12-02"), "comes after a later day");
    check("make-up", ("2026-08-22", "2026-08-21"), "is worked anyway");
    check("day-kind", ("swap,announced", "bridge,announced"), "unknown variant `bridge`");
}

#[test]
fn faults_of_places_are_named() {
    let check = |name, change: (&str, &str), message| expect(name, "landmarks.csv", change, change.1, message);
    check("place-ward", ("19753,published", "12345,published"), "ward 12345 is not in wards.csv");
    check("place-outside", ("107.58872", "108.58872"), "outside ward 19753");
    check("place-twice", ("phu-xuan-bridge", "truong-tien-bridge"), "truong-tien-bridge stands on line");
    let check = |name, change: (&str, &str), message| expect(name, "flood-levels.csv", change, change.1, message);
    check("levels", ("1.0,2.0,3.5", "1.0,4.0,3.5"), "do not rise");
    check("station", ("phu-oc,", "kim-long,"), "station kim-long stands on line");
}

#[test]
fn an_absent_folder_is_a_fault_of_each_file() {
    let faults = check_city(Path::new("/nowhere"));
    assert_eq!(faults.len(), FILES.len() + 1);
    assert!(faults.iter().all(|fault| fault.line == 0));
    assert!(City::load(Path::new("/nowhere")).is_err());
}

#[test]
fn faults_of_agencies_rules_and_forms_are_named() {
    expect("agency-scope", "agencies.csv", ("Police,ward", "Police,county"), "Police", "county");
    expect("rule-agency", "report-rules.csv", ("GT,*,CA", "GT,*,XX"), "GT", "agency XX is not in agencies.csv");
    expect("rule-ward", "report-rules.csv", ("TN,19753", "TN,00000"), "TN,00000", "ward 00000 is not in wards.csv");
    expect("form-choice", "report-attributes.csv", ("out=Không sáng|Out", "out"), "CS,fault", "choices are");
    let faults = broken("rule-missing", "report-rules.csv", ("TO,*,UBND", "TO,19753,UBND"));
    assert!(
        faults.iter().any(|(fault, _)| fault.message.contains("category TO has no rule for every ward")),
        "{faults:?}"
    );
}

#[test]
fn every_label_of_a_ward_lies_in_it_and_the_sea_in_none() {
    let city = City::load(&folder()).expect("the folder is sound");
    let labels = fs::read_to_string(folder().join("wards.csv")).expect("the file can be read");
    let mut found = 0;
    for line in labels.lines().filter(|line| line.as_bytes()[0].is_ascii_digit()) {
        let fields: Vec<_> = line.split(',').collect();
        let number = |index: usize| fields[index].parse::<f64>().expect("a number");
        let ward = city.ward_at(number(7), number(8));
        assert_eq!(ward.map(|ward| ward.code.as_str()), Some(fields[0]), "{line}");
        found += 1;
    }
    assert_eq!(found, city.wards.len());
    assert!(city.ward_at(108.9, 16.9).is_none());
    assert!(city.ward_at(0.0, 0.0).is_none());
}

#[test]
fn a_point_on_a_shared_edge_lies_in_one_ward_at_most() {
    let city = City::load(&folder()).expect("the folder is sound");
    let holders = |lon, lat| city.shapes.holders(lon, lat);
    // A grid over the city, and every corner of the shapes: no point has two wards.
    for step in 0..40_000_u32 {
        let (x, y) = (f64::from(step % 200), f64::from(step / 200));
        assert!(holders(107.0 + x * 0.006, 15.95 + y * 0.004) <= 1);
    }
    for [lon, lat] in city.shapes.corners() {
        assert!(holders(lon, lat) <= 1, "{lon} {lat}");
    }
}

#[test]
fn a_report_is_proposed_for_the_agency_of_its_ward() {
    let city = City::load(&folder()).expect("the folder is sound");
    let propose = |category, ward| city.agencies.propose(category, ward).map(|agency| agency.code.as_str());
    assert_eq!(propose("TT", Some("19753")), Some("UBND-19753"));
    assert_eq!(propose("TT", None), None);
    assert_eq!(propose("TN", Some("19753")), Some("TNDT"));
    assert_eq!(propose("TN", Some("19774")), Some("HUEWACO"));
    assert_eq!(propose("TN", None), Some("HUEWACO"));
    assert_eq!(propose("??", None), None);
}
