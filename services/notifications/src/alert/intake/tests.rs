//! Documents of others, good and faulty.

use chrono::DateTime;

use super::*;
use crate::alert::cap::{self, Message, Reference};
use crate::city::tests::hue;

/// A document of another centre, with what is put in place of parts of it.
pub(crate) fn document(changes: &[(&str, &str)]) -> String {
    let mut text = r#"<?xml version="1.0" encoding="UTF-8"?>
<alert xmlns="urn:oasis:names:tc:emergency:cap:1.2">
  <identifier>KTTV-1</identifier>
  <sender>dubao@kttv.example</sender>
  <sent>2025-10-27T07:00:00+07:00</sent>
  <status>Actual</status>
  <msgType>Alert</msgType>
  <scope>Public</scope>
  <info>
    <language>vi-VN</language>
    <category>Met</category>
    <event>Lũ khẩn cấp</event>
    <responseType>Evacuate</responseType>
    <urgency>Immediate</urgency>
    <severity>Extreme</severity>
    <certainty>Observed</certainty>
    <expires>2025-10-27T19:00:00+07:00</expires>
    <headline>Lũ khẩn cấp trên sông Hương</headline>
    <description>Mực nước đang lên &amp; sẽ còn lên.</description>
    <instruction>Sơ tán ngay.</instruction>
    <area>
      <areaDesc>Kim Long</areaDesc>
      <geocode><valueName>VN-WARD-2025</valueName><value>19774</value></geocode>
    </area>
  </info>
</alert>"#
        .to_owned();
    for (old, new) in changes {
        assert!(text.contains(old), "{old}");
        text = text.replace(old, new);
    }
    text
}

#[test]
fn a_good_document_says_what_a_draft_may_say() {
    let city = hue();
    let received = understand(&document(&[]), &city).expect("good");
    assert_eq!((received.sender.as_str(), received.identifier.as_str()), ("dubao@kttv.example", "KTTV-1"));
    assert_eq!((received.kind, received.signed, received.references.len()), (Kind::Alert, false, 0));
    received.content.check(&city).expect("within the bounds of an alert");
    assert_eq!(received.content.wards, ["19774"]);
    assert_eq!((received.content.severity, received.content.response), (Severity::Extreme, Response::Evacuate));
    assert_eq!(received.content.description.en, "Mực nước đang lên & sẽ còn lên.", "the one language stands for both");
    let long = understand(&document(&[("Sơ tán ngay.", &"rất ".repeat(400))]), &city).expect("cut");
    long.content.check(&city).expect("within the bounds of an alert");
    let area = "<polygon>16.45,107.55 16.47,107.55 16.47,107.56 16.45,107.55</polygon>";
    let geocode = "<geocode><valueName>VN-WARD-2025</valueName><value>19774</value></geocode>";
    let drawn = understand(&document(&[(geocode, area)]), &city).expect("drawn");
    assert!(
        drawn.content.wards.contains(&"19774".to_owned()) && drawn.content.wards.len() < 12,
        "{:?}",
        drawn.content.wards
    );
    drawn.content.check(&city).expect("with its outline");
}

#[test]
fn no_shape_and_no_length_holds_up_the_end_of_a_warning() {
    let shape =
        |number| format!("<polygon>16.45,107.5{number} 16.47,107.55 16.47,107.56 16.45,107.5{number}</polygon>");
    let areas: String = (10..40).map(shape).collect();
    let all: Vec<String> =
        (0..30).map(|number| format!("dubao@kttv.example,K-{number},2025-10-27T07:00:00+07:00")).collect();
    let references = format!("<scope>Public</scope><references>{}</references>", all.join(" "));
    let geocode = "<geocode><valueName>VN-WARD-2025</valueName><value>19774</value></geocode>";
    let changes = [(">Alert<", ">Cancel<"), ("<scope>Public</scope>", references.as_str()), (geocode, areas.as_str())];
    let begun = understand(&document(&changes[1..]), &hue()).expect("what counts are the wards");
    assert_eq!((begun.kind, begun.content.outline), (Kind::Alert, None), "more shapes than may be sent on");
    assert!(!begun.content.wards.is_empty());
    let points: String = (0..600).map(|number| format!("16.4{number:03},107.55 ")).collect();
    let long = format!("<polygon>{points}16.4000,107.55</polygon>");
    let begun = understand(&document(&[(geocode, &long)]), &hue()).expect("nor does a long outline");
    assert!(begun.content.outline.is_none() && !begun.content.wards.is_empty());
    let elsewhere = areas.replace("16.4", "10.4");
    assert!(understand(&document(&[(geocode, &elsewhere)]), &hue()).is_err(), "a warning must say where");
    let ended = understand(&document(&changes), &hue()).expect("understood");
    assert_eq!((ended.kind, ended.references.len(), ended.content.outline), (Kind::Cancel, 20, None));
    assert_eq!(ended.references[19].1, "K-29", "the newest");
}

#[test]
fn our_own_documents_are_understood() {
    let city = hue();
    let (content, sent) = (
        crate::alert::tests::flood(&["19774", "19753"]),
        city.local(DateTime::from_timestamp(1_761_523_200, 0).expect("a time")),
    );
    let reference = Some(Reference { identifier: "VN-46-1", sent });
    let message = Message {
        identifier: "VN-46-2",
        kind: Kind::Update,
        sent,
        expires: sent + TimeDelta::hours(12),
        content: &content,
        reference,
    };
    let received = understand(&cap::document(&message, &city), &city).expect("good");
    assert_eq!(received.content.headline, content.headline);
    assert_eq!((received.content.severity, received.content.category), (content.severity, content.category));
    assert_eq!(received.references, [("ioc@hue.example".to_owned(), "VN-46-1".to_owned())]);
}

#[test]
fn what_breaks_a_rule_says_which() {
    let city = hue();
    let fault = |changes: &[(&str, &str)]| {
        let unfit = understand(&document(changes), &city).expect_err("unfit");
        let Unfit::Invalid(fault) = unfit else { return format!("{unfit:?}") };
        fault.to_string()
    };
    assert_eq!(fault(&[("07:00:00+07:00", "00:00:00Z")]), "`sent` is not valid");
    assert_eq!(fault(&[("<severity>Extreme</severity>\n", "")]), "`severity` is missing in `info`");
    assert_eq!(fault(&[("Extreme", "Grave")]), "`severity` is not valid");
    assert_eq!(fault(&[("KTTV-1", "KTTV 1")]), "`identifier` is not valid");
    assert_eq!(fault(&[(">Alert<", ">Update<")]), "`references` is missing");
    assert_eq!(
        fault(&[("<scope>Public</scope>", "<scope>Public</scope><scope>Public</scope>")]),
        "`scope` is there too often in `alert`"
    );
    assert_eq!(fault(&[("<language>vi-VN</language>", "<colour>red</colour>")]), "`category` is missing in `info`");
    assert_eq!(fault(&[("cap:1.2", "cap:1.1")]), "element alert is not of urn:oasis:names:tc:emergency:cap:1.2");
    assert_eq!(
        fault(&[("<areaDesc>Kim Long</areaDesc>", "<areaDesc>Kim Long</areaDesc><polygon>1,2 3,4</polygon>")]),
        "a polygon or circle is not valid"
    );
    assert_eq!(fault(&[("Actual", "Test")]), "NotPublic");
    assert_eq!(
        fault(&[("<scope>Public</scope>", "<scope>Restricted</scope><restriction>x</restriction>")]),
        "NotPublic"
    );
    assert_eq!(fault(&[("19774", "99999")]), "Elsewhere");
}
