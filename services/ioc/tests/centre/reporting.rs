//! Field reports are counted once, whoever counts them and however often they are told, and walls hear of what changed.

use std::collections::BTreeMap;

use ioc::overview::{Delta, Overview, ReportFigures};
use proto::reports::v1::{ReportEscalated, ReportMoved, ReportRated, ReportSubmitted, ResultPublished};
use uuid::Uuid;

use crate::stage::{Stage, Wall, open};

const WARD: &str = "19753";
const AGENCY: &str = "HEPCO";
/// Movements of a report from its submission to a published result: action, state after it.
const WAY: [(&str, &str); 5] = [
    ("claim", "verifying"),
    ("distribute", "distributed"),
    ("accept", "in-progress"),
    ("submit-result", "result-submitted"),
    ("approve", "published"),
];

/// A relay of reports: positions of one outbox.
struct Outbox<'a> {
    stage: &'a Stage,
    position: i64,
}

impl Outbox<'_> {
    async fn tell<M: prost::Message + prost::Name>(&mut self, report: Uuid, message: &M) {
        self.position += 1;
        self.stage.publish("reports", self.position, report, message).await;
    }

    async fn submit(&mut self) -> Uuid {
        let report = platform::id::new();
        let message =
            ReportSubmitted { category: "MT".to_owned(), ward_code: WARD.to_owned(), ..ReportSubmitted::default() };
        self.tell(report, &message).await;
        report
    }

    async fn moved(&mut self, report: Uuid, version: i64, step: (&str, &str, &str)) {
        let (action, from_state, to_state) = step;
        let leads = ["distributed", "in-progress", "result-submitted", "published", "closed"].contains(&to_state);
        let message = ReportMoved {
            version,
            action: action.to_owned(),
            from_state: from_state.to_owned(),
            to_state: to_state.to_owned(),
            lead_agency: if leads { AGENCY } else { "" }.to_owned(),
            ward_code: WARD.to_owned(),
            ..ReportMoved::default()
        };
        self.tell(report, &message).await;
    }

    /// Brings a report as many steps on its way as asked.
    async fn bring(&mut self, report: Uuid, steps: usize) {
        let mut from = "received";
        for (version, (action, to)) in (2..).zip(&WAY[..steps]) {
            self.moved(report, version, (action, from, to)).await;
            from = to;
        }
    }

    async fn breach(&mut self, report: Uuid, state: &str) {
        for level in [80, 100, 150] {
            let message = ReportEscalated {
                level,
                state: state.to_owned(),
                agency: AGENCY.to_owned(),
                ward_code: WARD.to_owned(),
                ..ReportEscalated::default()
            };
            self.tell(report, &message).await;
        }
    }

    async fn publish(&mut self, report: Uuid, (kept_first, kept_extended): (bool, bool)) {
        let agency = AGENCY.to_owned();
        let message = ResultPublished { agency, kept_first, kept_extended, ..ResultPublished::default() };
        self.tell(report, &message).await;
    }

    /// A day of one city: one report in each state of the way, one that missed its limit, three results, one rated, one left unrated.
    async fn day(&mut self) {
        for steps in 0..WAY.len() {
            let report = self.submit().await;
            self.bring(report, steps).await;
            if steps == 3 {
                self.breach(report, "in-progress").await;
            }
        }
        for kept in [(true, true), (false, true), (false, false)] {
            let report = self.submit().await;
            self.bring(report, WAY.len()).await;
            self.publish(report, kept).await;
            match kept {
                (true, _) => {
                    let rating = "satisfied".to_owned();
                    self.tell(report, &ReportRated { rating, agency: AGENCY.to_owned(), ..ReportRated::default() })
                        .await;
                    self.moved(report, 7, ("rate", "published", "closed")).await;
                }
                (false, true) => self.moved(report, 7, ("expire", "published", "closed")).await,
                (false, false) => {}
            }
        }
    }
}

fn states(figures: &ReportFigures) -> BTreeMap<&str, (i64, i64)> {
    figures.states.iter().map(|row| (row.state.as_str(), (row.reports, row.overdue))).collect()
}

fn happened(figures: &ReportFigures) -> BTreeMap<(&str, &str), i64> {
    let mut counts = BTreeMap::new();
    for tally in &figures.today {
        *counts.entry((tally.kind.as_str(), tally.outcome.as_str())).or_default() += tally.count;
    }
    counts
}

/// Whether every event up to a position is included, whichever partitions they went to.
fn includes(overview: &Overview, position: i64) -> bool {
    overview.sources.iter().any(|source| source.stream == "reports" && source.position == position)
}

#[tokio::test]
async fn a_day_of_reports_is_counted_once_by_two_replicas_and_a_replay_changes_nothing() {
    let stage = Stage::new().await;
    let centres = [stage.centre("a", open()).await, stage.centre("b", open()).await];
    let mut outbox = Outbox { stage: &stage, position: 0 };
    outbox.day().await;
    let whole = |overview: &Overview| {
        let rated: i64 = overview.reports.today.iter().filter(|row| row.kind == "rating").map(|row| row.count).sum();
        rated == 2
            && states(&overview.reports).values().map(|row| row.0).sum::<i64>() == 8
            && states(&overview.reports).get("closed") == Some(&(2, 0))
            && states(&overview.reports).get("published") == Some(&(1, 0))
            && states(&overview.reports).get("in-progress") == Some(&(1, 1))
            && states(&overview.reports).get("result-submitted") == Some(&(1, 0))
    };
    let first = centres[0].overview_when("the day is counted", whole).await.reports;
    let expected = BTreeMap::from([
        ("received", (1, 0)),
        ("verifying", (1, 0)),
        ("distributed", (1, 0)),
        ("in-progress", (1, 1)),
        ("result-submitted", (1, 0)),
        ("published", (1, 0)),
        ("closed", (2, 0)),
    ]);
    let standing: BTreeMap<_, _> = states(&first).into_iter().filter(|(_, row)| row.0 > 0).collect();
    assert_eq!(standing, expected);
    let leads: Vec<_> = first.agencies.iter().map(|row| (row.agency.as_str(), row.open, row.overdue)).collect();
    assert_eq!(leads, [("", 2, 0), (AGENCY, 3, 1)]);
    let wards: Vec<_> = first.wards.iter().map(|row| (row.ward.as_str(), row.open, row.overdue)).collect();
    assert_eq!(wards, [(WARD, 5, 1)]);
    let flows = BTreeMap::from([
        (("submitted", ""), 8),
        (("breach", "in-progress"), 1),
        (("result", "first"), 1),
        (("result", "extended"), 1),
        (("result", "late"), 1),
        (("rating", "satisfied"), 1),
        (("rating", "none"), 1),
    ]);
    assert_eq!(happened(&first), flows);
    assert_eq!(first.totals, first.today, "it is the first day");

    // Everything again, and behind it in each partition something new.
    stage.deliver_again("reports").await;
    let mut markers = 0;
    let mut reached = std::collections::BTreeSet::new();
    while reached.len() < platform::events::PARTITIONS {
        let report = outbox.submit().await;
        reached.insert(partition(report));
        markers += 1;
    }
    for centre in &centres {
        let counted = |overview: &Overview| happened(&overview.reports)[&("submitted", "")] == 8 + markers;
        let second = centre.overview_when("the markers are counted", counted).await;
        assert!(includes(&second, outbox.position));
        let mut expected = expected.clone();
        expected.insert("received", (1 + markers, 0));
        let standing: BTreeMap<_, _> = states(&second.reports).into_iter().filter(|(_, row)| row.0 > 0).collect();
        assert_eq!(standing, expected);
        let mut flows = flows.clone();
        flows.insert(("submitted", ""), 8 + markers);
        assert_eq!(happened(&second.reports), flows);
    }
}

fn partition(report: Uuid) -> usize {
    let event = platform::events::Event {
        id: report,
        source: String::new(),
        position: 0,
        kind: String::new(),
        subject: report,
        time: chrono::DateTime::UNIX_EPOCH,
        traceparent: None,
        data: Vec::new().into(),
    };
    event.partition()
}

#[tokio::test]
async fn walls_hear_of_rows_that_changed_also_of_those_that_fell_to_nothing() {
    let stage = Stage::new().await;
    let centre = stage.centre("a", open()).await;
    let mut outbox = Outbox { stage: &stage, position: 0 };
    let report = outbox.submit().await;
    outbox.bring(report, 2).await;
    centre.overview_when("counted", |overview| states(&overview.reports).get("distributed") == Some(&(1, 0))).await;

    let mut wall = Wall::open(&centre.url, None).await;
    let snapshot = wall.next().await.expect("a snapshot");
    let overview: Overview = serde_json::from_value(snapshot.body).expect("an overview");
    assert_eq!(states(&overview.reports)["distributed"], (1, 0));

    outbox.moved(report, 4, ("return", "distributed", "verifying")).await;
    // A change of before the snapshot may be told once more: rows come whole, so that hearing twice is hearing once.
    let delta = loop {
        let delta: Delta = serde_json::from_value(wall.next_of("delta").await.body).expect("a delta");
        if states(&delta.reports).contains_key("verifying") {
            break delta;
        }
    };
    let figures = &delta.reports;
    let stand = states(figures);
    assert_eq!((stand["distributed"], stand["verifying"]), ((0, 0), (1, 0)));
    assert!(stand.values().map(|(reports, _)| reports).sum::<i64>() == 1, "{stand:?}");
    let open: BTreeMap<_, _> = figures.agencies.iter().map(|row| (row.agency.as_str(), row.open)).collect();
    assert!(open[AGENCY] == 0 && open.get("").is_none_or(|open| *open == 1), "{open:?}");
    for (told, known) in [(&figures.today, &overview.reports.today), (&figures.totals, &overview.reports.totals)] {
        assert!(told.iter().all(|row| known.contains(row)), "nothing else changed: {figures:?}");
    }
}

#[tokio::test]
async fn codes_have_names_and_the_wards_a_map() {
    let stage = Stage::new().await;
    let centre = stage.centre("a", open()).await;
    let answer = reqwest::get(format!("{}/ioc/v1/directory", centre.url)).await.expect("answered");
    let directory: ioc::directory::Directory = answer.json().await.expect("a directory");
    assert!(directory.agencies.iter().any(|agency| agency.code == AGENCY && agency.name.en.starts_with("Hue ")));
    assert!(directory.wards.iter().any(|ward| ward.code == WARD && ward.name.vi == "Phường Phú Xuân"));
    let answer = reqwest::get(format!("{}/ioc/v1/wards.topojson", centre.url)).await.expect("answered");
    assert_eq!(answer.headers()["content-type"], "application/json");
    let map: serde_json::Value = answer.json().await.expect("JSON");
    let geometries = map["objects"]["wards"]["geometries"].as_array().expect("a collection");
    assert_eq!(geometries.len(), directory.wards.len());
}
