//! The fold against a slow, obvious model: everything is counted again from the whole list of events.

use std::collections::BTreeMap;

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use platform::events::Event;
use proptest::prelude::*;
use prost::Name;
use proto::reports::v1::{ReportEscalated, ReportMoved, ReportRated, ReportSubmitted, ResultPublished};
use uuid::Uuid;

use super::*;

const STATES: [&str; 10] = [
    "received",
    "verifying",
    "needs-info",
    "distributed",
    "in-progress",
    "result-submitted",
    "published",
    "closed",
    "rejected",
    "duplicate",
];
const WARDS: [&str; 3] = ["19753", "19774", ""];
const AGENCIES: [&str; 3] = ["HEPCO", "CA-19753", ""];

fn hue() -> City {
    City {
        name: crate::city::Name::default(),
        zone: chrono_tz::Asia::Ho_Chi_Minh,
        currency: "VND".to_owned(),
        minor_digits: 0,
    }
}

/// What an event says, before it is written down.
#[derive(Clone, Debug)]
enum Said {
    Submitted { category: usize },
    Moved { state: usize, agency: usize, due_in: Option<i64>, unrated: bool },
    Escalated { level: u32, same_state: bool, agency: usize },
    Published { agency: usize, first: bool, extended: bool },
    Rated { agency: usize, rating: usize },
    Unknown,
}

#[derive(Clone, Debug)]
struct Told {
    report: usize,
    /// The version of a movement; those told late have a smaller one than a movement before them.
    version: i64,
    at: DateTime<Utc>,
    /// Where the report stood when it was told.
    state: &'static str,
    said: Said,
}

fn said() -> impl Strategy<Value = Said> {
    prop_oneof![
        3 => (0..2_usize).prop_map(|category| Said::Submitted { category }),
        9 => (0..STATES.len(), 0..AGENCIES.len(), prop::option::of(-3_i64..3), any::<bool>())
            .prop_map(|(state, agency, due_in, unrated)| Said::Moved { state, agency, due_in, unrated }),
        4 => (prop::sample::select(vec![80_u32, 100, 150]), any::<bool>(), 0..AGENCIES.len())
            .prop_map(|(level, same_state, agency)| Said::Escalated { level, same_state, agency }),
        2 => (0..AGENCIES.len(), any::<bool>(), any::<bool>())
            .prop_map(|(agency, first, late)| Said::Published { agency, first, extended: first || !late }),
        2 => (0..AGENCIES.len(), 0..4_usize).prop_map(|(agency, rating)| Said::Rated { agency, rating }),
        1 => Just(Said::Unknown),
    ]
}

/// Happenings of four reports over three days; now and then a movement is told again late.
fn told() -> impl Strategy<Value = Vec<Told>> {
    prop::collection::vec((0..4_usize, said(), prop::bool::weighted(0.1), 0..200_i64), 0..120).prop_map(|list| {
        let mut at: DateTime<Utc> = "2025-11-22T10:00:00Z".parse().expect("a time");
        let (mut versions, mut states) = ([1_i64; 4], ["received"; 4]);
        let tell = |(report, said, is_late, minutes): (usize, Said, bool, i64)| {
            at += TimeDelta::minutes(minutes);
            let mut version = versions[report];
            if let Said::Moved { state, .. } = &said {
                if is_late {
                    version = (version - 1).max(1);
                } else {
                    version += 1;
                    versions[report] = version;
                    states[report] = STATES[*state];
                }
            }
            Told { report, version, at, state: states[report], said }
        };
        list.into_iter().map(tell).collect()
    })
}

fn id(report: usize) -> Uuid {
    Uuid::from_u128(report as u128 + 1)
}

fn event(position: usize, told: &Told) -> Event {
    let (kind, data) = written(told);
    Event {
        id: Uuid::from_u128(position as u128),
        source: REPORTS.to_owned(),
        position: position as i64 + 1,
        kind,
        subject: id(told.report),
        time: told.at,
        traceparent: None,
        data: data.into(),
    }
}

fn encoded<M: prost::Message + Name>(message: &M) -> (String, Vec<u8>) {
    (M::full_name(), message.encode_to_vec())
}

fn written(told: &Told) -> (String, Vec<u8>) {
    let ward_code = WARDS[told.report % WARDS.len()].to_owned();
    let agency = |index: usize| AGENCIES[index].to_owned();
    match &told.said {
        Said::Submitted { category } => encoded(&ReportSubmitted {
            category: ["MT", "HT"][*category].to_owned(),
            ward_code,
            ..ReportSubmitted::default()
        }),
        Said::Moved { state, agency: lead, due_in, unrated } => encoded(&ReportMoved {
            version: told.version,
            action: if *unrated { "expire" } else { "claim" }.to_owned(),
            from_state: if *unrated { "published" } else { "received" }.to_owned(),
            to_state: STATES[*state].to_owned(),
            lead_agency: agency(*lead),
            due_at: due_in.map_or(0, |seconds| told.at.timestamp() + seconds),
            ward_code,
            ..ReportMoved::default()
        }),
        Said::Escalated { level, same_state, agency: blamed } => encoded(&ReportEscalated {
            level: *level,
            state: if *same_state { told.state } else { "closed" }.to_owned(),
            agency: agency(*blamed),
            ..ReportEscalated::default()
        }),
        Said::Published { agency: lead, first, extended } => encoded(&ResultPublished {
            agency: agency(*lead),
            kept_first: *first,
            kept_extended: *extended,
            ..ResultPublished::default()
        }),
        Said::Rated { agency: lead, rating } => encoded(&ReportRated {
            agency: agency(*lead),
            rating: ["satisfied", "acceptable", "dissatisfied", "splendid"][*rating].to_owned(),
            ..ReportRated::default()
        }),
        Said::Unknown => ("trangtien.reports.v9.Strange".to_owned(), vec![1, 2, 3]),
    }
}

/// The tables as the statements keep them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Tables {
    cases: BTreeMap<Uuid, Case>,
    standing: BTreeMap<Place, (i64, i64)>,
    days: BTreeMap<(NaiveDate, Flow), i64>,
}

impl Tables {
    fn take(&mut self, events: &[Event]) {
        let about = events.iter().map(|event| event.subject);
        let known = about.filter_map(|id| Some((id, self.cases.get(&id)?.clone()))).collect();
        let mut batch = Batch::new(known);
        for event in events {
            batch.add(&hue(), event).expect("counted");
        }
        self.cases.extend(batch.cases().map(|(id, case)| (*id, case.clone())));
        for (place, change) in batch.standing() {
            let row = self.standing.entry(place.clone()).or_default();
            *row = (row.0 + change.reports, row.1 + change.overdue);
            assert!(row.0 >= 0 && (0..=row.0).contains(&row.1), "{place:?}: {row:?}");
        }
        self.standing.retain(|_, row| *row != (0, 0));
        for (flow, count) in &batch.days {
            *self.days.entry(flow.clone()).or_default() += count;
        }
    }
}

/// Where a report stands after all that was told of it, by looking through all of it.
fn stands(report: usize, all: &[Told]) -> Option<(Place, bool)> {
    let about: Vec<&Told> = all.iter().filter(|told| told.report == report).collect();
    let moved: Vec<usize> = (0..about.len()).filter(|at| matches!(about[*at].said, Said::Moved { .. })).collect();
    let submitted = about.iter().position(|told| matches!(told.said, Said::Submitted { .. }));
    // A movement of version 1 is older than the submission, unless that was never told.
    let counts = |at: &usize| {
        let earlier = moved.iter().filter(|other| *other < at).map(|other| about[*other].version);
        let first = submitted.filter(|first| first < at).map_or(0, |_| 1);
        about[*at].version > earlier.max().unwrap_or(0).max(first)
    };
    let newest = moved.iter().copied().filter(counts).max();
    let since = newest.or(submitted)?;
    let ward = WARDS[report % WARDS.len()].to_owned();
    let (state, agency, ran_out) = match (newest, &about[since].said) {
        (Some(_), Said::Moved { state, agency, due_in, .. }) => {
            (STATES[*state], AGENCIES[*agency], due_in.is_some_and(|due_in| due_in <= 0))
        }
        _ => ("received", "", false),
    };
    let works = ["received", "verifying", "distributed", "in-progress", "result-submitted"].contains(&state);
    let escalated = about[since..].iter().any(|told| {
        matches!(told.said, Said::Escalated { level, same_state: true, .. } if level >= 100 && told.state == state)
    });
    let place = Place { state: state.to_owned(), agency: agency.to_owned(), ward };
    Some((place, works && (ran_out || escalated)))
}

fn modelled(all: &[Told]) -> Tables {
    let mut tables = Tables::default();
    for (place, overdue) in (0..4).filter_map(|report| stands(report, all)) {
        let row = tables.standing.entry(place).or_default();
        *row = (row.0 + 1, row.1 + i64::from(overdue));
    }
    for told in all {
        let happened = |kind, outcome, agency: usize| {
            Some(Flow { kind, outcome, agency: AGENCIES[agency].to_owned(), ..Flow::default() })
        };
        let flow = match told.said {
            Said::Submitted { category } => Some(Flow {
                kind: "submitted",
                category: ["MT", "HT"][category].to_owned(),
                ward: WARDS[told.report % WARDS.len()].to_owned(),
                ..Flow::default()
            }),
            Said::Moved { unrated: true, agency, .. } => happened("rating", "none", agency),
            Said::Escalated { level: 100, same_state, agency } => {
                happened("breach", if same_state { told.state } else { "closed" }, agency)
            }
            Said::Published { agency, first, extended } => {
                let outcome = ["late", "extended", "first"][usize::from(first) + usize::from(extended)];
                happened("result", outcome, agency)
            }
            Said::Rated { agency, rating } => {
                happened("rating", ["satisfied", "acceptable", "dissatisfied", "other"][rating], agency)
            }
            _ => None,
        };
        if let Some(flow) = flow {
            // Seven hours ahead of UTC.
            let day = (told.at + TimeDelta::hours(7)).date_naive();
            *tables.days.entry((day, flow)).or_default() += 1;
        }
    }
    tables
}

proptest! {
    #[test]
    fn any_cut_into_batches_counts_what_counting_everything_again_counts(
        all in told(),
        sizes in prop::collection::vec(1_usize..9, 1..40),
    ) {
        let events: Vec<Event> = all.iter().enumerate().map(|(position, told)| event(position, told)).collect();
        let mut tables = Tables::default();
        let (mut rest, mut sizes) = (&events[..], sizes.into_iter().cycle());
        while !rest.is_empty() {
            let (batch, after) = rest.split_at(rest.len().min(sizes.next().expect("endless")));
            tables.take(batch);
            rest = after;
        }
        let model = modelled(&all);
        prop_assert_eq!(tables.standing, model.standing);
        prop_assert_eq!(tables.days, model.days);
    }
}

#[test]
fn a_payload_that_is_not_what_its_type_says_is_refused() {
    let told = Told {
        report: 0,
        version: 1,
        at: "2025-11-22T10:00:00Z".parse().expect("a time"),
        state: "received",
        said: Said::Unknown,
    };
    let faulty = Event { kind: ReportMoved::full_name(), data: vec![0xff].into(), ..event(0, &told) };
    assert!(matches!(Batch::default().add(&hue(), &faulty), Err(TallyError::Malformed(_))));
}

#[test]
fn a_clock_that_goes_on_after_its_limit_is_overdue_at_once() {
    let at: DateTime<Utc> = "2025-11-22T10:00:00Z".parse().expect("a time");
    let moved = |version, state: &str, due_at| {
        let state = STATES.iter().position(|known| *known == state).expect("a state");
        let said = Said::Moved { state, agency: 2, due_in: due_at, unrated: false };
        Told { report: 0, version, at, state: STATES[state], said }
    };
    let overdue = |all: &[Told]| {
        let mut tables = Tables::default();
        let events: Vec<Event> = all.iter().enumerate().map(|(position, told)| event(position, told)).collect();
        tables.take(&events);
        tables.standing.values().map(|row| row.1).sum::<i64>()
    };
    let mut all = vec![moved(2, "verifying", Some(60))];
    assert_eq!(overdue(&all), 0);
    let level = Said::Escalated { level: 100, same_state: true, agency: 2 };
    all.push(Told { said: level, ..moved(2, "verifying", None) });
    assert_eq!(overdue(&all), 1);
    all.push(moved(3, "needs-info", Some(0)));
    assert_eq!(overdue(&all), 0, "the city waits for the citizen");
    all.push(moved(4, "verifying", Some(-30)));
    assert_eq!(overdue(&all), 1, "the clock goes on where it stood");
    all.push(moved(5, "in-progress", Some(60)));
    assert_eq!(overdue(&all), 0);
}
